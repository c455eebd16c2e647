//! The only place where keys are built and taken apart.

use super::NamespaceId;
use crate::{bucket::Partition, bytes::Corrupt, series::SeriesId};

pub(super) const FORMAT: &[u8] = b"F";
pub(super) const NAMESPACES: &[u8] = b"N";

/// Which segment: cells of one metric, tier and partition that one commit wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// Whose.
    pub ns: NamespaceId,
    /// Position of the metric.
    pub metric: u16,
    /// Position of the tier; 0 for kinds without buckets.
    pub tier: u8,
    /// Which stretch of time; 0 for kinds without buckets.
    pub partition: Partition,
    /// Number of the commit.
    pub commit: u64,
}

const SIGN: u64 = 1 << 63;

fn key(tag: u8, ns: NamespaceId) -> Vec<u8> {
    let mut key = Vec::with_capacity(28);
    key.push(tag);
    key.extend(ns.to_be_bytes());
    key
}

pub(super) fn namespace(ns: NamespaceId) -> Vec<u8> {
    key(b'N', ns)
}

pub(super) fn cursor(ns: NamespaceId) -> Vec<u8> {
    key(b'C', ns)
}

pub(super) fn all_series(ns: NamespaceId) -> Vec<u8> {
    key(b'S', ns)
}

pub(super) fn series(ns: NamespaceId, metric: u16, first: SeriesId) -> Vec<u8> {
    let mut key = all_series(ns);
    key.extend(metric.to_be_bytes());
    key.extend(first.to_be_bytes());
    key
}

pub(super) fn all_cells(ns: NamespaceId) -> Vec<u8> {
    key(b'B', ns)
}

pub(super) fn chunk(segment: SegmentKey, number: u32) -> Vec<u8> {
    let mut key = all_cells(segment.ns);
    key.extend(segment.metric.to_be_bytes());
    key.push(segment.tier);
    key.extend((segment.partition as u64 ^ SIGN).to_be_bytes());
    key.extend(segment.commit.to_be_bytes());
    key.extend(number.to_be_bytes());
    key
}

pub(super) fn read_namespace(key: &[u8]) -> Result<NamespaceId, Corrupt> {
    let mut key = Reader(key.get(1..).unwrap_or_default());
    Ok(NamespaceId::from_be_bytes(key.take()?))
}

pub(super) fn read_series(key: &[u8]) -> Result<(u16, SeriesId), Corrupt> {
    let mut key = Reader(key.get(5..).unwrap_or_default());
    Ok((u16::from_be_bytes(key.take()?), SeriesId::from_be_bytes(key.take()?)))
}

pub(super) fn read_chunk(key: &[u8]) -> Result<(SegmentKey, u32), Corrupt> {
    let mut key = Reader(key.get(1..).unwrap_or_default());
    let segment = SegmentKey {
        ns: NamespaceId::from_be_bytes(key.take()?),
        metric: u16::from_be_bytes(key.take()?),
        tier: u8::from_be_bytes(key.take()?),
        partition: (u64::from_be_bytes(key.take()?) ^ SIGN) as Partition,
        commit: u64::from_be_bytes(key.take()?),
    };
    Ok((segment, u32::from_be_bytes(key.take()?)))
}

/// A key for people.
pub(super) fn describe(key: &[u8]) -> String {
    match key.split_first() {
        Some((b'B', _)) => read_chunk(key).map_or_else(|_| hex(key), |(segment, n)| format!("{segment:?} chunk {n}")),
        Some((tag, rest)) => format!("{} {}", *tag as char, hex(rest)),
        None => "(empty)".to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Corrupt("a key is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_of_keys_is_order_of_time(a: (u32, u16, u8, i64, u64), b: (u32, u16, u8, i64, u64), n: u32) {
            let segment = |(ns, metric, tier, partition, commit)| SegmentKey { ns, metric, tier, partition, commit };
            let (a, b) = (segment(a), segment(b));
            prop_assert_eq!(a.cmp(&b), chunk(a, n).cmp(&chunk(b, n)));
            prop_assert_eq!(read_chunk(&chunk(a, n)), Ok((a, n)));
        }

        #[test]
        fn series_keys_come_back(ns: u32, metric: u16, first: u32) {
            prop_assert_eq!(read_series(&series(ns, metric, first)), Ok((metric, first)));
            prop_assert_eq!(read_namespace(&namespace(ns)), Ok(ns));
        }
    }
}
