//! Reading from a sequence on, in chunks, without the writer's help or locks.

use std::sync::Arc;

use super::JournalError;
use super::Record;
use super::dir::read_full;
use super::format::{self, Check, Version};
use super::segment::{Extent, Run, Segment, Shared, Waypoint};

/// Less than this is not worth a system call.
const CHUNK_BYTES_MIN: usize = 4 << 10;

/// Reads a journal in order of sequence. Send it to any thread; it sees what is written at each call.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: u64,
    /// Where to go on, and in the segment of which base.
    place: Option<(u64, Waypoint)>,
    spare: Vec<u8>,
}

/// Sequences that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Why; where several reasons follow each other, the first.
    pub cause: GapCause,
}

impl Gap {
    /// How many sequences are missing.
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Why sequences cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapCause {
    /// They are older than what is kept.
    Retention,
    /// No segment holds them: it was set aside or lost, or the sequence was moved by
    /// [`Journal::ensure_next`](super::Journal::ensure_next).
    Missing,
    /// Their bytes are damaged.
    Damaged {
        /// The segment.
        segment: String,
        /// Where the damage starts.
        offset: u64,
    },
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: u64) -> Self {
        Self { shared, next: from.max(1), place: None, spare: Vec::new() }
    }

    /// The sequence that the next chunk starts at, if nothing is missing.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Goes on from another sequence.
    pub fn seek(&mut self, sequence: u64) {
        let sequence = sequence.max(1);
        if sequence != self.next {
            self.next = sequence;
            self.place = None;
        }
    }

    /// The next records, of about `max_bytes` together: at least one if there is any, however long.
    /// No records means that everything written has been read. What is missing on the way is in
    /// [`Chunk::gap`], whether records follow or not.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Chunk, JournalError> {
        let mut chunk = Chunk { end: 0, ..Chunk::new(std::mem::take(&mut self.spare), self.next, 0, Version::NEWEST) };
        loop {
            match self.locate() {
                Place::End => break,
                Place::Hole { until, cause } => self.skip(&mut chunk, until, cause),
                Place::In { segment, extent } => {
                    self.read_in(&segment, extent, max_bytes.max(CHUNK_BYTES_MIN), &mut chunk)?;
                    if !chunk.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(chunk)
    }

    /// The record `sequence`, first in a chunk with what little was read beyond it; `None` if it is
    /// missing or not written yet. The reader goes on behind the chunk.
    pub fn only(&mut self, sequence: u64) -> Result<Option<Chunk>, JournalError> {
        self.seek(sequence);
        let chunk = self.next_chunk(0)?;
        if chunk.is_empty() || chunk.first_sequence() != sequence {
            self.recycle(chunk);
            return Ok(None);
        }
        Ok(Some(chunk))
    }

    /// Takes a chunk's buffer back, so that the next chunk need not allocate one.
    pub fn recycle(&mut self, chunk: Chunk) {
        if chunk.bytes.capacity() > self.spare.capacity() {
            self.spare = chunk.bytes;
        }
    }

    fn locate(&self) -> Place {
        let segments = self.shared.read();
        let after = segments.partition_point(|segment| segment.base <= self.next);
        if let Some(at) = after.checked_sub(1) {
            let segment = &segments[at];
            let extent = segment.extent();
            if self.next < extent.next {
                return Place::In { segment: segment.clone(), extent };
            }
        }
        match segments[after..].iter().find(|segment| !segment.is_empty()) {
            Some(segment) if after == 0 => Place::Hole { until: segment.base, cause: GapCause::Retention },
            Some(segment) => Place::Hole { until: segment.base, cause: GapCause::Missing },
            None => Place::End,
        }
    }

    fn skip(&mut self, chunk: &mut Chunk, until: u64, cause: GapCause) {
        match &mut chunk.gap {
            Some(gap) => gap.last = until - 1,
            None => chunk.gap = Some(Gap { first: self.next, last: until - 1, cause }),
        }
        self.next = until;
        chunk.first = until;
    }

    /// Reads what follows within one segment: records into `chunk`, or past one hole.
    fn read_in(
        &mut self,
        segment: &Segment,
        extent: Extent,
        max_bytes: usize,
        chunk: &mut Chunk,
    ) -> Result<(), JournalError> {
        let dir = &*self.shared.dir;
        let failed = || JournalError::entry(dir, &segment.name, "read");
        let mut at = match self.place {
            Some((base, waypoint)) if base == segment.base => waypoint,
            _ => segment.waypoint_before(self.next),
        };
        let mut window = max_bytes;
        loop {
            let want = extent.bytes.saturating_sub(at.offset).min(window as u64) as usize;
            chunk.bytes.resize(want, 0);
            let read = read_full(&*segment.file, &mut chunk.bytes, at.offset).map_err(failed())?;
            let to_skip = self.next - at.sequence;
            let (mut seen, mut start) = (0, 0);
            let run = Run::of(&chunk.bytes[..read], (at.sequence, extent.next), segment.version, |end, _| {
                seen += 1;
                if seen == to_skip {
                    start = end;
                }
            });
            let stop_at = Waypoint { sequence: at.sequence + run.count, offset: at.offset + run.bytes as u64 };
            segment.add_waypoint(at);
            self.place = Some((segment.base, stop_at));
            if run.count > to_skip {
                chunk.start = start;
                chunk.end = run.bytes;
                chunk.first = self.next;
                chunk.count = run.count - to_skip;
                chunk.version = segment.version;
                self.next = stop_at.sequence;
                return Ok(());
            }
            match run.stop {
                Check::Whole(_) => return Ok(()),
                Check::Short(need) if read == want && at.offset + need as u64 <= extent.bytes => {
                    window = window.max(need);
                    at = stop_at;
                }
                stop => return self.pass_damage(segment, extent, stop_at, stop, chunk),
            }
        }
    }

    /// Goes on behind the damage at `at`: after one record if only that one is, else after the segment.
    fn pass_damage(
        &mut self,
        segment: &Segment,
        extent: Extent,
        at: Waypoint,
        stop: Check,
        chunk: &mut Chunk,
    ) -> Result<(), JournalError> {
        let damaged = GapCause::Damaged { segment: segment.name.clone(), offset: at.offset };
        let (cause, next) = match stop {
            Check::Damaged(Some(len)) => {
                let next = segment.waypoint_after_damage(at, len, extent).map_err(JournalError::entry(
                    &*self.shared.dir,
                    &segment.name,
                    "read",
                ))?;
                (damaged, next)
            }
            // The file ends cleanly, only too early.
            Check::Short(_) if at.offset >= extent.bytes => (GapCause::Missing, None),
            _ => (damaged, None),
        };
        let next = next.unwrap_or(Waypoint { sequence: extent.next, offset: extent.bytes });
        self.place = Some((segment.base, next));
        if next.sequence > self.next {
            self.skip(chunk, next.sequence, cause);
        }
        Ok(())
    }
}

enum Place {
    /// All that is written has been read.
    End,
    /// The next records start later.
    Hole { until: u64, cause: GapCause },
    /// The next record is in this segment, which goes so far.
    In { segment: Arc<Segment>, extent: Extent },
}

/// Some records in a row, checked, with the buffer that holds them.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    first: u64,
    count: u64,
    version: Version,
    gap: Option<Gap>,
}

impl Chunk {
    /// All of `bytes`: so many records from `first` on, checked or just encoded.
    pub(super) fn new(bytes: Vec<u8>, first: u64, count: u64, version: Version) -> Self {
        Self { start: 0, end: bytes.len(), bytes, first, count, version, gap: None }
    }

    /// The sequence of the first record.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The sequence after the last record, and after the gap if nothing follows it.
    pub fn next_sequence(&self) -> u64 {
        self.first + self.count
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether everything written had been read.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all records, frames included.
    pub fn byte_len(&self) -> usize {
        self.end - self.start
    }

    /// What is missing between the chunk before and the records in this one.
    pub fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// The records with their sequences, in order.
    pub fn iter(&self) -> Records<'_> {
        Records { rest: &self.bytes[self.start..self.end], sequence: self.first, version: self.version }
    }

    /// Its buffer, emptied, for [`Journal::write_out`](super::Journal::write_out).
    pub fn into_spare(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}

impl<'a> IntoIterator for &'a Chunk {
    type Item = (u64, Record<'a>);
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a [`Chunk`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    sequence: u64,
    version: Version,
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (record, len) = format::decode_record(self.rest, self.version);
        let sequence = self.sequence;
        self.rest = &self.rest[len..];
        self.sequence += 1;
        Some((sequence, record))
    }
}
