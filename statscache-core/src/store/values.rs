//! The only place where values are framed, and where the small ones are laid out.

use statscache_plugin_sdk::Timestamp;

use super::{Cursor, NamespaceRecord};
use crate::bytes::{Corrupt, Input, put_i64, put_u64};

/// Appends the checksum: CRC-32 (IEEE), big-endian.
pub(super) fn seal(mut value: Vec<u8>) -> Vec<u8> {
    value.extend(crc32fast::hash(&value).to_be_bytes());
    value
}

/// Takes the checksum off.
pub(super) fn open(value: &[u8]) -> Result<&[u8], Corrupt> {
    let (value, checksum) = value.split_last_chunk().ok_or(Corrupt("it is too short for a checksum"))?;
    if crc32fast::hash(value) == u32::from_be_bytes(*checksum) {
        Ok(value)
    } else {
        Err(Corrupt("its checksum does not fit"))
    }
}

pub(super) fn format(value: &[u8]) -> Result<u32, Corrupt> {
    Ok(u32::from_be_bytes(value.try_into().map_err(|_| Corrupt("the format version is not four bytes"))?))
}

pub(super) fn namespace(record: &NamespaceRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("strings and numbers have a JSON form")
}

pub(super) fn read_namespace(value: &[u8]) -> Result<NamespaceRecord, Corrupt> {
    serde_json::from_slice(value).map_err(|_| Corrupt("it is not the JSON of a namespace"))
}

pub(super) fn cursor(cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, cursor.next);
    put_u64(&mut out, u64::from(cursor.watermark.is_some()));
    put_i64(&mut out, cursor.watermark.unwrap_or_default().micros());
    for counter in [cursor.processed, cursor.failed, cursor.updates, cursor.limited, cursor.missed] {
        put_u64(&mut out, counter);
    }
    out
}

pub(super) fn read_cursor(value: &[u8]) -> Result<Cursor, Corrupt> {
    let mut input = Input(value);
    let next = input.u64()?;
    let has_watermark = input.u64()? == 1;
    let watermark = Timestamp::from_micros(input.i64()?);
    Ok(Cursor {
        next,
        watermark: has_watermark.then_some(watermark),
        processed: input.u64()?,
        failed: input.u64()?,
        updates: input.u64()?,
        limited: input.u64()?,
        missed: input.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back(next: u64, time: Option<i64>, processed: u64, failed: u64, missed: u64) {
            let watermark = time.map(Timestamp::from_micros);
            let cursor_before = Cursor { next, watermark, processed, failed, updates: 7, limited: 8, missed };
            let sealed = seal(cursor(&cursor_before));
            prop_assert_eq!(open(&sealed).and_then(read_cursor), Ok(cursor_before));
        }
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let sealed = seal(b"value".to_vec());
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&damaged).is_err(), "bit {bit}");
        }
    }
}
