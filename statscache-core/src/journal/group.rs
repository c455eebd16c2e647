//! The records between two writes, already in the bytes of the file.

use super::Record;
use super::format;
use super::segment::{MARK_BYTES, Mark};

/// A larger buffer than this is given back after the group that needed it.
const SPARE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Group {
    pub bytes: Vec<u8>,
    pub first: u64,
    pub count: u64,
    pub newest: i64,
    /// Sparse; offsets are within `bytes`.
    pub marks: Vec<Mark>,
}

impl Group {
    pub(super) fn starting_at(first: u64) -> Self {
        Self { bytes: Vec::new(), first, count: 0, newest: i64::MIN, marks: Vec::new() }
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.count
    }

    pub(super) fn push(&mut self, record: &Record<'_>) -> u64 {
        let mark = Mark { sequence: self.next(), offset: self.bytes.len() as u64 };
        if self.marks.last().is_none_or(|last| mark.offset - last.offset >= MARK_BYTES) {
            self.marks.push(mark);
        }
        format::encode_record(&mut self.bytes, mark.sequence, record);
        self.count += 1;
        self.newest = self.newest.max(record.received);
        mark.sequence
    }

    /// Empties it; the next record gets sequence `first`.
    pub(super) fn restart(&mut self, first: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES_MAX);
        self.marks.clear();
        self.first = first;
        self.count = 0;
        self.newest = i64::MIN;
    }
}
