//! Values that are too long for one row of sled: in their row is how many parts they have, and each
//! part is a row: `p`, the key, the number (u32, big-endian).

/// Bytes of a part, and of a value that has none: 16 of them are a leaf that sled keeps in its log.
pub(super) const BYTES_MAX: usize = 6 * 1024;

/// What a row holds instead of a value that is in parts. Values end in a checksum, which this, and
/// whatever four bytes follow it, does not fit.
const HEAD: [u8; 12] = *b"\xffin parts\xff\0\xff";

const PART: u8 = b'p';

pub(super) fn head(count: u32) -> Vec<u8> {
    [&HEAD[..], &count.to_be_bytes()].concat()
}

/// How many parts the value of this row has; `None` if it is the value itself.
pub(super) fn count(value: &[u8]) -> Option<u32> {
    let count = value.strip_prefix(&HEAD)?;
    Some(u32::from_be_bytes(count.try_into().ok()?))
}

pub(super) fn key(key: &[u8], number: u32) -> Vec<u8> {
    [&[PART], key, &number.to_be_bytes()].concat()
}

pub(super) fn is_part(key: &[u8]) -> bool {
    key.first() == Some(&PART)
}
