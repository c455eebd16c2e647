//! The bytes of a segment: the only place that lays them out and reads them back.
//! The table is in the documentation of [`journal`](super).

use xxhash_rust::xxh3::xxh3_64;

use super::{Audience, Record};

/// Bytes of a segment's header; the first record starts here.
pub(super) const HEADER_BYTES: u64 = 64;
/// The longest record, frame included. Anything longer in a file is damage, not a length.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// The most that a record takes beside its topic and body.
pub const RECORD_OVERHEAD_BYTES_MAX: usize = FRAME_BYTES + FIXED_BYTES + AUDIENCE_BYTES;

/// Where the word is that says that all earlier segments are durable.
pub(super) const SETTLED_AT: u64 = 56;
pub(super) const SETTLED: [u8; 8] = *b"SETTLED\0";

const MAGIC: [u8; 8] = *b"SCJOURNL";
const HEADER_CRC_AT: usize = 48;
/// Checksum and length.
const FRAME_BYTES: usize = 8;
/// Received, time, identity, flags, length of the topic.
const FIXED_BYTES: usize = 8 + 8 + 16 + 4 + 4;
/// First and last namespace, if not everyone's.
const AUDIENCE_BYTES: usize = 4 + 4;
/// Where the flags are, from version 2 on.
const FLAGS_AT: usize = 40;
/// The audience follows the length of the topic.
const FLAG_AUDIENCE: u32 = 1;
const FLAG_STAMPED: u32 = 1 << 1;
const FLAG_MARK: u32 = 1 << 2;
const FLAGS: u32 = FLAG_AUDIENCE | FLAG_STAMPED | FLAG_MARK;
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

/// How a segment's records are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Records without flags: for everyone, none of them a mark.
    V1 = 1,
    /// Records with flags, and an audience where they say so.
    V2 = 2,
}

impl Version {
    /// What this build writes, and the newest that it reads.
    pub(super) const NEWEST: Self = Self::V2;

    fn from_number(number: u32) -> Result<Self, BadHeader> {
        match number {
            0 => Err(BadHeader::Damaged),
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            newer => Err(BadHeader::TooNew(newer)),
        }
    }

    /// Where the length of the topic is in a record. The part of fixed length ends behind it.
    fn topic_len_at(self) -> usize {
        match self {
            Self::V1 => FLAGS_AT,
            Self::V2 => FLAGS_AT + 4,
        }
    }
}

/// What a segment says about itself and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub version: Version,
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
        bytes[8..12].copy_from_slice(&(self.version as u32).to_le_bytes());
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
        let version = Version::from_number(u32_at(bytes, 8))?;
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        if crc != u32_at(bytes, HEADER_CRC_AT) {
            return Err(BadHeader::Damaged);
        }
        let previous = Previous { base: u64_at(bytes, 24), next: u64_at(bytes, 32), newest: u64_at(bytes, 40) as i64 };
        Ok(Self {
            version,
            base: u64_at(bytes, 16),
            previous: (previous.base > 0).then_some(previous),
            // Not zero and not the word: damaged after it was set. Zero is how it starts.
            settled: bytes[SETTLED_AT as usize..] != [0; 8],
        })
    }
}

/// Appends one record, as [`Version::NEWEST`]. No allocation once `out` has grown; one pass to copy,
/// one to check-sum.
///
/// # Panics
/// If the record is longer than [`RECORD_BYTES_MAX`]: messages are limited long before.
pub(super) fn encode_record(out: &mut Vec<u8>, sequence: u64, record: &Record<'_>) {
    let has_audience = !record.audience.is_everyone();
    let head_bytes = FRAME_BYTES + FIXED_BYTES + if has_audience { AUDIENCE_BYTES } else { 0 };
    let len = head_bytes + record.topic.len() + record.body.len();
    assert!(len <= RECORD_BYTES_MAX, "record {sequence} of {len} bytes is longer than the limit of {RECORD_BYTES_MAX}");
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags =
        flag(has_audience, FLAG_AUDIENCE) | flag(record.is_stamped, FLAG_STAMPED) | flag(record.is_mark, FLAG_MARK);
    let start = out.len();
    let mut head = [0; RECORD_OVERHEAD_BYTES_MAX];
    head[4..8].copy_from_slice(&((len - FRAME_BYTES) as u32).to_le_bytes());
    head[8..16].copy_from_slice(&record.received.to_le_bytes());
    head[16..24].copy_from_slice(&record.time.to_le_bytes());
    head[24..40].copy_from_slice(&record.identity.to_le_bytes());
    head[FLAGS_AT..44].copy_from_slice(&flags.to_le_bytes());
    head[44..48].copy_from_slice(&(record.topic.len() as u32).to_le_bytes());
    // Where there is none, these bytes are not written.
    head[48..52].copy_from_slice(&record.audience.first.to_le_bytes());
    head[52..56].copy_from_slice(&record.audience.last.to_le_bytes());
    out.reserve(len);
    out.extend_from_slice(&head[..head_bytes]);
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

/// Whether `bytes` start with the record `sequence`, in the layout of `version`.
pub(super) fn check_record(bytes: &[u8], sequence: u64, version: Version) -> Check {
    if bytes.len() < FRAME_BYTES {
        return Check::Short(FRAME_BYTES);
    }
    let len = FRAME_BYTES + u32_at(bytes, 4) as usize;
    if !(version.topic_len_at() + 4..=RECORD_BYTES_MAX).contains(&len) {
        return Check::Damaged(None);
    }
    let Some(bytes) = bytes.get(..len) else {
        return Check::Short(len);
    };
    let is_sound = flags_of(bytes, version) & !FLAGS == 0
        && topic_start(bytes, version) + u32_at(bytes, version.topic_len_at()) as usize <= len
        && checksum(&bytes[4..], sequence) == u32_at(bytes, 0);
    if is_sound { Check::Whole(len) } else { Check::Damaged(Some(len)) }
}

/// The record at the start of `bytes`, which [`check_record`] has passed, and its length.
pub(super) fn decode_record(bytes: &[u8], version: Version) -> (Record<'_>, usize) {
    let len = FRAME_BYTES + u32_at(bytes, 4) as usize;
    let topic_start = topic_start(bytes, version);
    let (topic, body) = bytes[topic_start..len].split_at(u32_at(bytes, version.topic_len_at()) as usize);
    let flags = flags_of(bytes, version);
    let audience = match flags & FLAG_AUDIENCE {
        0 => Audience::EVERYONE,
        _ => Audience { first: u32_at(bytes, topic_start - 8), last: u32_at(bytes, topic_start - 4) },
    };
    let record = Record {
        received: received_of(bytes),
        time: u64_at(bytes, 16) as i64,
        identity: u128::from(u64_at(bytes, 24)) | u128::from(u64_at(bytes, 32)) << 64,
        audience,
        is_stamped: flags & FLAG_STAMPED != 0,
        is_mark: flags & FLAG_MARK != 0,
        topic,
        body,
    };
    (record, len)
}

/// The flags of the record at the start of `bytes`; what comes closest to them in version 1.
fn flags_of(bytes: &[u8], version: Version) -> u32 {
    match version {
        // It did not write down whether a message was stamped; one that was not had this time.
        Version::V1 if u64_at(bytes, 8) == u64_at(bytes, 16) => 0,
        Version::V1 => FLAG_STAMPED,
        Version::V2 => u32_at(bytes, FLAGS_AT),
    }
}

/// Where the topic of the record at the start of `bytes` is, by its flags.
fn topic_start(bytes: &[u8], version: Version) -> usize {
    let audience = if flags_of(bytes, version) & FLAG_AUDIENCE == 0 { 0 } else { AUDIENCE_BYTES };
    version.topic_len_at() + 4 + audience
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
