//! The only place where values are framed, and where the small ones are laid out.

use statscache_plugin_sdk::Timestamp;

use super::{Cursor, NamespaceRecord};
use crate::{
    bytes::{Corrupt, Input, put_bytes, put_i64, put_u64},
    coverage::{Coverage, Reading},
    segment::{PackedChunk, Segment, SegmentKey},
};

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

/// Next sequence; whether there is a watermark; watermark; number of counters; counters, and the sequence
/// from which on there is no gap. More of them may come at the end.
pub(super) fn cursor(cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, cursor.next);
    put_u64(&mut out, u64::from(cursor.watermark.is_some()));
    put_i64(&mut out, cursor.watermark.unwrap_or_default().micros());
    let mut cursor = *cursor;
    let counters = counters(&mut cursor);
    put_u64(&mut out, counters.len() as u64);
    counters.iter().for_each(|counter| put_u64(&mut out, **counter));
    out
}

/// Counters, and what is laid out like one, in the order of their bytes.
fn counters(cursor: &mut Cursor) -> [&mut u64; 10] {
    let Cursor { processed, failed, updates, limited, missed, folded, refused, late, too_late, since, .. } = cursor;
    [processed, failed, updates, limited, missed, folded, refused, late, too_late, since]
}

pub(super) fn read_cursor(value: &[u8]) -> Result<Cursor, Corrupt> {
    let mut input = Input(value);
    let mut cursor = read_position(&mut input)?;
    let stored = input.u64()?;
    let counters = counters(&mut cursor);
    if stored > counters.len() as u64 {
        return Err(Corrupt("a cursor has more counters than are known"));
    }
    for counter in counters.into_iter().take(stored as usize) {
        *counter = input.u64()?;
    }
    Ok(cursor)
}

pub(super) fn read_position(input: &mut Input<'_>) -> Result<Cursor, Corrupt> {
    let next = input.u64()?;
    let has_watermark = input.u64()? == 1;
    let watermark = Timestamp::from_micros(input.i64()?);
    Ok(Cursor { next, watermark: has_watermark.then_some(watermark), ..Cursor::default() })
}

/// Whether its only chunk follows (0 or 1); the directory; that chunk.
pub(super) fn index(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.resident_bytes().map_or(0, <[u8]>::len) + 16);
    put_u64(&mut out, u64::from(segment.resident_bytes().is_some()));
    Segment::encode_directory(segment.chunks(), &mut out);
    out.extend_from_slice(segment.resident_bytes().unwrap_or_default());
    out
}

pub(super) fn read_index(key: SegmentKey, mut input: Input<'_>) -> Result<Segment, Corrupt> {
    let is_resident = input.u64()? == 1;
    let directory = Segment::decode_directory(&mut input)?;
    if !is_resident {
        return Ok(Segment::stored(key, directory));
    }
    match directory[..] {
        [meta] if meta.len as usize == input.0.len() => {
            let (first, last, cells, bytes) = (meta.first, meta.last, meta.cells, input.0.to_vec());
            Ok(Segment::resident(key, PackedChunk { first, last, cells, bytes }))
        }
        _ => Err(Corrupt("an index row does not hold the chunk that it says")),
    }
}

pub(super) fn garbage(chunks: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, u64::from(chunks));
    out
}

pub(super) fn read_garbage(value: &[u8]) -> Result<u32, Corrupt> {
    Input(value).u32()
}

/// Why it is set aside; its index row as it was.
pub(super) fn set_aside(segment: &Segment, why: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, why.as_bytes());
    out.extend(index(segment));
    out
}

pub(super) fn read_set_aside(key: SegmentKey, value: &[u8]) -> Result<(String, Segment), Corrupt> {
    let mut input = Input(value);
    let why = input.text()?.to_owned();
    Ok((why, read_index(key, input)?))
}

pub(super) fn coverage(coverage: &Coverage) -> Vec<u8> {
    let mut out = Vec::new();
    coverage.encode(&mut out);
    out
}

pub(super) fn read_coverage(value: &[u8]) -> Result<Coverage, Corrupt> {
    Coverage::decode(&mut Input(value))
}

pub(super) fn reading(reading: &Reading) -> Vec<u8> {
    let mut out = Vec::new();
    reading.encode(&mut out);
    out
}

pub(super) fn read_reading(value: &[u8]) -> Result<Reading, Corrupt> {
    Reading::decode(&mut Input(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back(next: u64, since: u64, time: Option<i64>, processed: u64, failed: u64, missed: u64) {
            let watermark = time.map(Timestamp::from_micros);
            let cursor_before =
                Cursor { next, since, watermark, processed, failed, updates: 7, limited: 8, missed, too_late: 9, ..Cursor::default() };
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
