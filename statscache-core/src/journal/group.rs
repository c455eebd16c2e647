//! The records between two writes, already in the bytes of the file.

use super::format::{self, Version};
use super::segment::{WAYPOINT_BYTES, Waypoint};
use super::{Chunk, Record};

/// A larger buffer than this is given back after the group that needed it.
const SPARE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Group {
    pub bytes: Vec<u8>,
    pub first: u64,
    pub count: u64,
    pub newest: i64,
    /// Sparse; offsets are within `bytes`.
    pub waypoints: Vec<Waypoint>,
}

impl Group {
    pub(super) fn starting_at(first: u64) -> Self {
        Self { bytes: Vec::new(), first, count: 0, newest: i64::MIN, waypoints: Vec::new() }
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.count
    }

    pub(super) fn push(&mut self, record: &Record<'_>) -> u64 {
        let waypoint = Waypoint { sequence: self.next(), offset: self.bytes.len() as u64 };
        if self.waypoints.last().is_none_or(|last| waypoint.offset - last.offset >= WAYPOINT_BYTES) {
            self.waypoints.push(waypoint);
        }
        format::encode_record(&mut self.bytes, waypoint.sequence, record);
        self.count += 1;
        self.newest = self.newest.max(record.received);
        waypoint.sequence
    }

    /// Hands over its records and goes on behind them, with the buffer `spare`.
    pub(super) fn take(&mut self, spare: Vec<u8>) -> Chunk {
        let bytes = std::mem::replace(&mut self.bytes, spare);
        let chunk = Chunk::new(bytes, self.first, self.count, Version::NEWEST);
        self.restart(self.next());
        chunk
    }

    /// Empties it; the next record gets sequence `first`.
    pub(super) fn restart(&mut self, first: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES_MAX);
        self.waypoints.clear();
        self.first = first;
        self.count = 0;
        self.newest = i64::MIN;
    }
}
