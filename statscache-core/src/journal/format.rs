//! The bytes of a segment: the only place that lays them out and reads them back.
//! The table is in the documentation of [`journal`](super).

use xxhash_rust::xxh3::xxh3_64;

use super::Record;

/// Bytes of a segment's header; the first record starts here.
pub(super) const HEADER_BYTES: u64 = 64;
/// The format that this build writes, and the newest one that it reads.
pub(super) const VERSION: u32 = 1;
/// The longest record, frame included. Anything longer in a file is damage, not a length.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Where the word is that says that all earlier segments are durable.
pub(super) const SETTLED_AT: u64 = 56;
pub(super) const SETTLED: [u8; 8] = *b"SETTLED\0";

const MAGIC: [u8; 8] = *b"SCJOURNL";
const HEADER_CRC_AT: usize = 48;
/// Checksum and length.
const FRAME_BYTES: usize = 8;
/// Received, time, identity, length of the topic.
const FIXED_BYTES: usize = 8 + 8 + 16 + 4;
const NAME_SUFFIX: &str = ".journal";

/// A segment's name: its first sequence, padded so that names sort as numbers.
pub(super) fn segment_name(base: u64) -> String {
    format!("{base:020}{NAME_SUFFIX}")
}

/// The first sequence in a segment's name; `None` for somebody else's file.
pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&base| base > 0)
}

/// What a segment says about itself and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub base: u64,
    pub previous: Option<Previous>,
    /// Whether everything before this segment was durable when something in it was first promised
    /// to be. See "What a power cut leaves" in [`journal`](super).
    pub settled: bool,
}

/// The last segment with records before this one, as it was when this one was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Previous {
    pub base: u64,
    pub next: u64,
    pub newest: i64,
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Too short or all zeros: its creation was cut off.
    Unfinished,
    /// Something else stands there, or the checksum is wrong.
    Damaged,
    /// From a later version.
    TooNew(u32),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let previous = self.previous.unwrap_or(Previous { base: 0, next: 0, newest: i64::MIN });
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&previous.base.to_le_bytes());
        bytes[32..40].copy_from_slice(&previous.next.to_le_bytes());
        bytes[40..48].copy_from_slice(&previous.newest.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        if self.settled {
            bytes[SETTLED_AT as usize..].copy_from_slice(&SETTLED);
        }
        bytes
    }

    /// `bytes` is the start of a file: shorter than a header if the file is.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let unfinished = bytes.iter().all(|&byte| byte == 0);
        let Some(bytes) = bytes.first_chunk::<{ HEADER_BYTES as usize }>() else {
            return Err(BadHeader::Unfinished);
        };
        if unfinished {
            return Err(BadHeader::Unfinished);
        }
        if bytes[0..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        // Before the checksum: a later version may well keep that somewhere else.
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(BadHeader::TooNew(version));
        }
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        if version != VERSION || crc != u32_at(bytes, HEADER_CRC_AT) {
            return Err(BadHeader::Damaged);
        }
        let previous = Previous { base: u64_at(bytes, 24), next: u64_at(bytes, 32), newest: u64_at(bytes, 40) as i64 };
        Ok(Self {
            base: u64_at(bytes, 16),
            previous: (previous.base > 0).then_some(previous),
            // Not zero and not the word: damaged after it was set. Zero is how it starts.
            settled: bytes[SETTLED_AT as usize..] != [0; 8],
        })
    }
}

/// Appends one record. No allocation once `out` has grown; one pass to copy, one to check-sum.
///
/// # Panics
/// If the record is longer than [`RECORD_BYTES_MAX`]: messages are limited long before.
pub(super) fn encode_record(out: &mut Vec<u8>, sequence: u64, record: &Record<'_>) {
    let payload = FIXED_BYTES + record.topic.len() + record.body.len();
    assert!(
        payload + FRAME_BYTES <= RECORD_BYTES_MAX,
        "record {sequence} of {payload} bytes is longer than the limit of {RECORD_BYTES_MAX}"
    );
    let start = out.len();
    let mut head = [0; FRAME_BYTES + FIXED_BYTES];
    head[4..8].copy_from_slice(&(payload as u32).to_le_bytes());
    head[8..16].copy_from_slice(&record.received.to_le_bytes());
    head[16..24].copy_from_slice(&record.time.to_le_bytes());
    head[24..40].copy_from_slice(&record.identity.to_le_bytes());
    head[40..44].copy_from_slice(&(record.topic.len() as u32).to_le_bytes());
    out.reserve(FRAME_BYTES + payload);
    out.extend_from_slice(&head);
    out.extend_from_slice(record.topic);
    out.extend_from_slice(record.body);
    let sum = checksum(&out[start + 4..], sequence);
    out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The sequence is part of the sum: a whole record in the wrong place does not pass for the right
/// one. XXH3, because a CRC-32 costs four times as much on the hot path and finds no more than
/// its 32 bits, either.
fn checksum(bytes: &[u8], sequence: u64) -> u32 {
    let place = sequence ^ (sequence >> 32);
    xxh3_64(bytes) as u32 ^ place as u32
}

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The record that was asked for, so many bytes long.
    Whole(usize),
    /// The bytes end before the record does; it takes so many.
    Short(usize),
    /// No such record. The length, if it may be one.
    Damaged(Option<usize>),
}

/// Whether `bytes` start with the record `sequence`.
pub(super) fn check_record(bytes: &[u8], sequence: u64) -> Check {
    if bytes.len() < FRAME_BYTES {
        return Check::Short(FRAME_BYTES);
    }
    let len = FRAME_BYTES + u32_at(bytes, 4) as usize;
    if !(FRAME_BYTES + FIXED_BYTES..=RECORD_BYTES_MAX).contains(&len) {
        return Check::Damaged(None);
    }
    let Some(bytes) = bytes.get(..len) else {
        return Check::Short(len);
    };
    let topic_end = FRAME_BYTES + FIXED_BYTES + u32_at(bytes, 40) as usize;
    if topic_end > len || checksum(&bytes[4..], sequence) != u32_at(bytes, 0) {
        return Check::Damaged(Some(len));
    }
    Check::Whole(len)
}

/// The record at the start of `bytes`, which [`check_record`] has passed, and its length.
pub(super) fn decode_record(bytes: &[u8]) -> (Record<'_>, usize) {
    let len = FRAME_BYTES + u32_at(bytes, 4) as usize;
    let (topic, body) = bytes[FRAME_BYTES + FIXED_BYTES..len].split_at(u32_at(bytes, 40) as usize);
    let record = Record {
        received: received_of(bytes),
        time: u64_at(bytes, 16) as i64,
        identity: u128::from(u64_at(bytes, 24)) | u128::from(u64_at(bytes, 32)) << 64,
        topic,
        body,
    };
    (record, len)
}

/// When the record at the start of `bytes` was received, without the rest of it.
pub(super) fn received_of(bytes: &[u8]) -> i64 {
    u64_at(bytes, 8) as i64
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
