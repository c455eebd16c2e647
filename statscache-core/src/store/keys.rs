//! The only place where keys are built and taken apart. A key is a letter for what the row is, then
//! numbers, big-endian; signed ones have their sign bit flipped, so that byte order is order of time.

use super::NamespaceId;
use crate::{
    bytes::Corrupt,
    segment::{Form, SegmentKey},
    series::SeriesId,
};

pub(super) const FORMAT: &[u8] = b"F";
pub(super) const NAMESPACES: &[u8] = b"N";
pub(super) const GARBAGE: &[u8] = b"G";
pub(super) const COVERAGE: &[u8] = b"V";
pub(super) const SET_ASIDE: &[u8] = b"X";

/// Of all namespaces.
pub(super) const CURSORS: &[u8] = &[CURSOR];
pub(super) const READINGS: &[u8] = &[READING];
pub(super) const ALL_SERIES: &[u8] = &[SERIES];
pub(super) const ALL_INDEXES: &[u8] = &[INDEX];
pub(super) const ALL_CHUNKS: &[u8] = &[CHUNK];

const CURSOR: u8 = b'P';
const READING: u8 = b'R';
const SERIES: u8 = b'S';
const INDEX: u8 = b'I';
const CHUNK: u8 = b'D';

/// Letters of all rows that are of a namespace.
pub(super) const OF_NAMESPACES: [u8; 8] =
    [NAMESPACES[0], CURSOR, READING, SERIES, INDEX, CHUNK, GARBAGE[0], SET_ASIDE[0]];

const SIGN: u64 = 1 << 63;

fn key(tag: u8, ns: NamespaceId) -> Vec<u8> {
    let mut key = Vec::with_capacity(29);
    key.push(tag);
    key.extend(ns.to_be_bytes());
    key
}

pub(super) fn namespace(ns: NamespaceId) -> Vec<u8> {
    key(NAMESPACES[0], ns)
}

pub(super) fn cursor(ns: NamespaceId) -> Vec<u8> {
    key(CURSOR, ns)
}

pub(super) fn reading(ns: NamespaceId) -> Vec<u8> {
    key(READING, ns)
}

pub(super) fn all_series(ns: NamespaceId) -> Vec<u8> {
    key(SERIES, ns)
}

pub(super) fn series(ns: NamespaceId, metric: u16, first: SeriesId) -> Vec<u8> {
    let mut key = all_series(ns);
    key.extend(metric.to_be_bytes());
    key.extend(first.to_be_bytes());
    key
}

pub(super) fn all_indexes(ns: NamespaceId) -> Vec<u8> {
    key(INDEX, ns)
}

pub(super) fn all_chunks(ns: NamespaceId) -> Vec<u8> {
    key(CHUNK, ns)
}

pub(super) fn all_garbage(ns: NamespaceId) -> Vec<u8> {
    key(GARBAGE[0], ns)
}

pub(super) fn all_set_aside(ns: NamespaceId) -> Vec<u8> {
    key(SET_ASIDE[0], ns)
}

pub(super) fn index(segment: SegmentKey) -> Vec<u8> {
    of_segment(INDEX, segment)
}

pub(super) fn garbage(segment: SegmentKey) -> Vec<u8> {
    of_segment(GARBAGE[0], segment)
}

pub(super) fn set_aside(segment: SegmentKey) -> Vec<u8> {
    of_segment(SET_ASIDE[0], segment)
}

pub(super) fn chunk(segment: SegmentKey, number: u32) -> Vec<u8> {
    let mut key = of_segment(CHUNK, segment);
    key.extend(number.to_be_bytes());
    key
}

fn of_segment(tag: u8, segment: SegmentKey) -> Vec<u8> {
    let mut key = key(tag, segment.ns);
    key.extend(segment.metric.to_be_bytes());
    key.push(segment.tier);
    key.extend((segment.partition as u64 ^ SIGN).to_be_bytes());
    key.push(match segment.form {
        Form::Columns => 0,
        Form::Rows => 1,
    });
    key.extend(segment.commit.to_be_bytes());
    key
}

pub(super) fn read_namespace(key: &[u8]) -> Result<NamespaceId, Corrupt> {
    Ok(NamespaceId::from_be_bytes(Reader::after_tag(key).take()?))
}

pub(super) fn read_series(key: &[u8]) -> Result<(u16, SeriesId), Corrupt> {
    let mut key = Reader(key.get(5..).unwrap_or_default());
    Ok((u16::from_be_bytes(key.take()?), SeriesId::from_be_bytes(key.take()?)))
}

/// Of an index row, of a garbage row, and of a segment that is set aside.
pub(super) fn read_segment(key: &[u8]) -> Result<SegmentKey, Corrupt> {
    Reader::after_tag(key).segment()
}

pub(super) fn read_chunk(key: &[u8]) -> Result<(SegmentKey, u32), Corrupt> {
    let mut key = Reader::after_tag(key);
    Ok((key.segment()?, u32::from_be_bytes(key.take()?)))
}

/// A key for people.
pub(super) fn describe(key: &[u8]) -> String {
    let described = match key.first() {
        Some(&CHUNK) => read_chunk(key).map(|(segment, number)| format!("chunk {number} of {segment:?}")),
        Some(tag) if SET_ASIDE == [*tag] => read_segment(key).map(|segment| format!("{segment:?}, set aside")),
        Some(&INDEX) => read_segment(key).map(|segment| format!("index of {segment:?}")),
        Some(&SERIES) => read_series(key).map(|(metric, first)| format!("label sets of metric {metric} from {first}")),
        _ => Err(Corrupt("")),
    };
    described.unwrap_or_else(|_| match key.split_first() {
        Some((tag, rest)) => format!("{} {}", *tag as char, hex(rest)),
        None => "(empty)".to_owned(),
    })
}

/// What a row is, by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    Format,
    Coverage,
    Namespace,
    Cursor,
    Reading,
    Series,
    Index,
    Chunk,
    Garbage,
    SetAside,
}

/// What a row with this key is, if it is one of ours.
pub(super) fn kind(key: &[u8]) -> Option<RowKind> {
    Some(match *key.first()? {
        tag if FORMAT == [tag] => RowKind::Format,
        tag if COVERAGE == [tag] => RowKind::Coverage,
        tag if NAMESPACES == [tag] => RowKind::Namespace,
        tag if GARBAGE == [tag] => RowKind::Garbage,
        tag if SET_ASIDE == [tag] => RowKind::SetAside,
        CURSOR => RowKind::Cursor,
        READING => RowKind::Reading,
        SERIES => RowKind::Series,
        INDEX => RowKind::Index,
        CHUNK => RowKind::Chunk,
        _ => return None,
    })
}

/// What a row is for, in words, for statistics.
pub(super) fn what(key: &[u8]) -> &'static str {
    match kind(key) {
        Some(RowKind::Series) => "label sets",
        Some(RowKind::Index) => "indexes and small segments",
        // Behind the letter, namespace, metric, tier and partition.
        Some(RowKind::Chunk) if key.get(16) == Some(&0) => "chunks in columns",
        Some(RowKind::Chunk) => "chunks in rows",
        Some(RowKind::Garbage) => "notes of what is to be removed",
        Some(RowKind::SetAside) => "segments that are set aside",
        Some(RowKind::Coverage) => "coverage of the bus",
        Some(_) => "namespaces, cursors, readings, format",
        None => "unknown",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn after_tag(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Corrupt("a key is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn partition(&mut self) -> Result<i64, Corrupt> {
        Ok((u64::from_be_bytes(self.take()?) ^ SIGN) as i64)
    }

    fn segment(&mut self) -> Result<SegmentKey, Corrupt> {
        Ok(SegmentKey {
            ns: NamespaceId::from_be_bytes(self.take()?),
            metric: u16::from_be_bytes(self.take()?),
            tier: u8::from_be_bytes(self.take()?),
            partition: self.partition()?,
            form: match self.take()? {
                [0] => Form::Columns,
                [1] => Form::Rows,
                _ => return Err(Corrupt("a segment is in no form that is known")),
            },
            commit: u64::from_be_bytes(self.take()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_segment() -> impl Strategy<Value = SegmentKey> {
        (any::<(u32, u16, u8, i64, bool, u64)>()).prop_map(|(ns, metric, tier, partition, rows, commit)| {
            let form = if rows { Form::Rows } else { Form::Columns };
            SegmentKey { ns, metric, tier, partition, form, commit }
        })
    }

    proptest! {
        #[test]
        fn order_of_keys_is_order_of_time(a in any_segment(), b in any_segment(), n: u32) {
            prop_assert_eq!(a.cmp(&b), chunk(a, n).cmp(&chunk(b, n)));
            prop_assert_eq!(a.cmp(&b), index(a).cmp(&index(b)));
            prop_assert_eq!(read_chunk(&chunk(a, n)), Ok((a, n)));
            prop_assert_eq!((read_segment(&garbage(a)), read_segment(&set_aside(a))), (Ok(a), Ok(a)));
        }

        #[test]
        fn series_keys_come_back(ns: u32, metric: u16, first: u32) {
            prop_assert_eq!(read_series(&series(ns, metric, first)), Ok((metric, first)));
            prop_assert_eq!(read_namespace(&namespace(ns)), Ok(ns));
        }

        #[test]
        fn any_key_is_described(key: Vec<u8>) {
            let _ = (describe(&key), what(&key));
        }
    }
}
