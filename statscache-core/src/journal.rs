//! The journal: every accepted message in order, in segment files, kept for a while.
//!
//! Each record has a **sequence**, from 1 on without a hole. [`Journal`] is the single writer:
//! [`push`](Journal::push) encodes into memory, [`write`](Journal::write) hands the group to the
//! kernel in one call, a [`SyncTicket`] makes it durable from whatever thread has the time.
//! [`Reader`]s go through the same segments without the writer's lock. The file system is behind
//! [`Dir`]; there is no clock, no thread and no async in here.
//!
//! # Promises
//! * After `write`: the group survives `kill -9`. After [`SyncTicket::sync`]: a power cut, too.
//! * A failed `write` leaves nothing in the journal and takes nothing from what was there.
//! * After a power cut: all that was synced, and of the rest a prefix, in order.
//! * Damage is never passed over: a record is either as it was pushed, or part of a reported [`Gap`].
//!
//! It does not know what a message means, and does not find duplicates.
//!
//! # Bytes
//! A directory holds `00000000000000000001.journal` and so on, named by the first sequence inside,
//! `journal.lock`, and whatever ended up as `….damaged`. Integers are little-endian. A segment is a
//! header, then records up to the end of the file:
//!
//! | header at | bytes | what |
//! |--:|--:|---|
//! | 0  | 8 | `SCJOURNL` |
//! | 8  | 4 | format version, 2; a newer one is refused |
//! | 12 | 4 | zero |
//! | 16 | 8 | first sequence of this segment |
//! | 24 | 8 | first sequence of the segment with records before it; 0: none |
//! | 32 | 8 | sequence after the last one there |
//! | 40 | 8 | largest `received` there: its age, without reading it |
//! | 48 | 4 | CRC-32 of bytes 0 to 48 |
//! | 52 | 4 | zero |
//! | 56 | 8 | zero, or `SETTLED\0`: all earlier segments were durable (not part of the CRC) |
//!
//! | record at | bytes | what |
//! |--:|--:|---|
//! | 0  | 4 | low half of XXH3-64 of all that follows, xor the halves of the record's sequence |
//! | 4  | 4 | bytes that follow this field: 40, those of the audience, topic and body |
//! | 8  | 8 | received, µs UTC |
//! | 16 | 8 | event time, µs UTC |
//! | 24 | 16 | identity |
//! | 40 | 4 | flags: 1 has an audience, 2 is stamped, 4 is a mark; any other is damage |
//! | 44 | 4 | bytes of the topic |
//! | 48 | 0 or 8 | audience, first and last namespace; without it, everyone |
//! | …  | … | topic, then body |
//!
//! Segments of version 1 are read, and not written to any more. Their records have no flags: the
//! length of the topic is at 40, the topic at 44. They are for everyone, none is a mark, and one is
//! taken for stamped if its event time is not when it was received.
//!
//! A record's sequence is the segment's first plus its index; it is in the checksum, not in the bytes.
//!
//! # What a power cut leaves
//! The disk may keep any part of what was not synced, in any order. Within the last segment the
//! journal ends before the first record that is not whole. Across segments the word at 56 decides:
//! a sync writes it before it promises anything in that segment. Where it is missing, what precedes
//! is read in full on open; if that falls short, the segment was never promised and is set aside.
//! Where it is there, what precedes was whole, so anything wrong in it is damage: readers report a
//! gap and go on.

mod dir;
mod error;
mod format;
mod group;
mod reader;
mod record;
mod recovery;
mod segment;
mod simulated;
mod sync;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_damage;
#[cfg(test)]
mod tests_faults;
#[cfg(test)]
mod tests_model;
#[cfg(test)]
mod tests_versions;

use std::path::Path;
use std::sync::Arc;

pub use dir::{Dir, DirLock, File, FsDir};
pub use error::JournalError;
pub use format::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES_MAX};
pub use reader::{Chunk, Gap, GapCause, Reader, Records};
pub use record::{Audience, Record};
pub use recovery::{Cut, Recovery, SetAside, SetAsideReason};
pub use simulated::{Fault, PowerCut, SimulatedDir};
pub use sync::SyncTicket;

use format::{HEADER_BYTES, Header, Previous, Version};
use group::Group;
use recovery::Mode;
use segment::{Extent, Segment, Shared, Waypoint};

/// How large segments get, and how long they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// A segment is ended before the group that would make it longer. Retention drops whole
    /// segments, so this is also the step in which it works.
    pub segment_bytes: u64,
    /// Old segments are dropped while all of them together are longer.
    pub retain_bytes: u64,
    /// A segment is dropped when its newest record is older, µs.
    pub retain_micros: i64,
}

impl Default for JournalConfig {
    /// 64 MiB a segment, 4 GiB in all, 7 days.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, retain_bytes: 4 << 30, retain_micros: 7 * 86_400_000_000 }
    }
}

/// How much there is, of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStats {
    /// The oldest sequence kept; equal to `next` when there is none.
    pub first: u64,
    /// The sequence after the last one written.
    pub next: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many segments.
    pub segments: usize,
}

/// A segment that retention has dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its name.
    pub segment: String,
    /// The first sequence that was in it.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Its length.
    pub bytes: u64,
    /// Why.
    pub reason: DropReason,
}

/// Why retention has dropped a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The journal was longer than [`JournalConfig::retain_bytes`].
    Size,
    /// Everything in it was older than [`JournalConfig::retain_micros`].
    Age,
}

/// The single writer. Everything takes `&mut self` but the handing out of readers.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    config: JournalConfig,
    group: Group,
    /// The buffer of the next group but one, if somebody has brought one.
    spare: Vec<u8>,
    /// A failed write may have left bytes behind the last segment's end.
    tail_unsure: bool,
    _lock: DirLock,
}

/// Lets any thread read the journal, while the [`Journal`] stays with its writer.
#[derive(Debug, Clone)]
pub struct JournalHandle {
    shared: Arc<Shared>,
}

impl Journal {
    /// Opens the journal in `dir` for writing: takes its lock, cuts a torn tail, sets aside what
    /// cannot be used. An empty directory is an empty journal; other files in it are left alone.
    pub fn open(dir: Arc<dyn Dir>, config: JournalConfig) -> Result<(Self, Recovery), JournalError> {
        let lock = dir
            .lock()
            .map_err(JournalError::at(dir.path(), "lock"))?
            .ok_or_else(|| JournalError::Locked { dir: dir.path().to_owned() })?;
        let (segments, recovery) = recovery::recover(&*dir, Mode::Repair)?;
        let journal = Self {
            group: Group::starting_at(recovery.next),
            shared: Arc::new(Shared::new(dir, segments, recovery.next)),
            config,
            spare: Vec::new(),
            tail_unsure: false,
            _lock: lock,
        };
        Ok((journal, recovery))
    }

    /// [`open`](Self::open) on the real file system; creates the directory if there is none.
    pub fn open_path(path: &Path, config: JournalConfig) -> Result<(Self, Recovery), JournalError> {
        let dir = FsDir::create(path).map_err(JournalError::at(path, "create the directory"))?;
        Self::open(Arc::new(dir), config)
    }

    /// Looks at a journal without lock or repair: what was written up to now. [`Recovery`] says what
    /// [`open`](Self::open) would do. For when no writer is running: one that drops or repairs
    /// segments meanwhile may cause errors and gaps.
    pub fn open_read_only(path: &Path) -> Result<(JournalHandle, Recovery), JournalError> {
        let dir = FsDir::existing(path).map_err(JournalError::at(path, "list"))?;
        Self::look(Arc::new(dir))
    }

    /// [`open_read_only`](Self::open_read_only) on any [`Dir`].
    pub fn look(dir: Arc<dyn Dir>) -> Result<(JournalHandle, Recovery), JournalError> {
        let (segments, recovery) = recovery::recover(&*dir, Mode::Look)?;
        let shared = Arc::new(Shared::new(dir, segments, recovery.next));
        Ok((JournalHandle { shared }, recovery))
    }

    /// The sequence that the next pushed record gets. The first one ever gets 1.
    pub fn next_sequence(&self) -> u64 {
        self.group.next()
    }

    /// The oldest sequence kept; [`JournalStats::next`] when there is none.
    pub fn first_sequence(&self) -> u64 {
        self.shared.first()
    }

    /// Adds a record to the group in memory and returns its sequence. No I/O.
    ///
    /// # Panics
    /// If the record takes more than [`RECORD_BYTES_MAX`].
    pub fn push(&mut self, record: &Record<'_>) -> u64 {
        self.group.push(record)
    }

    /// Records pushed and not yet written, and their bytes.
    pub fn pending(&self) -> (u64, usize) {
        (self.group.count, self.group.bytes.len())
    }

    /// Group commit: hands all pending records to the kernel with one write. They survive `kill -9`
    /// from here on, and readers see them.
    ///
    /// On failure nothing of the group is in the journal, and all of it is still pending: call again
    /// to try again, or [`discard`](Self::discard) to give up. What had been written stays.
    pub fn write(&mut self) -> Result<(), JournalError> {
        if self.group.count > 0 {
            self.write_group()?;
            self.group.restart(self.group.next());
        }
        Ok(())
    }

    /// [`write`](Self::write), and hands over what was written, as a [`Reader`] would read it; `None`
    /// if nothing was pending. The next group goes into `spare`, so that none need be allocated:
    /// give it the buffer of an earlier one ([`Chunk::into_spare`]).
    pub fn write_out(&mut self, spare: Vec<u8>) -> Result<Option<Chunk>, JournalError> {
        if spare.capacity() > self.spare.capacity() {
            self.spare = spare;
        }
        if self.group.count == 0 {
            return Ok(None);
        }
        self.write_group()?;
        Ok(Some(self.group.take(std::mem::take(&mut self.spare))))
    }

    /// Writes what is pending and publishes it; the group is left as it is.
    fn write_group(&mut self) -> Result<(), JournalError> {
        self.shared.check_poison()?;
        let segment = self.segment_for_group()?;
        let mut extent = segment.extent();
        if let Err(err) = segment.file.write_at(&self.group.bytes, extent.bytes) {
            self.tail_unsure = true;
            // If it does not work now, the next write tries again before anything else.
            let _ = self.repair_tail(&segment);
            return Err(JournalError::entry(&*self.shared.dir, &segment.name, "write to")(err));
        }
        for waypoint in &self.group.waypoints {
            segment.add_waypoint(Waypoint { offset: extent.bytes + waypoint.offset, ..*waypoint });
        }
        extent.bytes += self.group.bytes.len() as u64;
        extent.next = self.group.next();
        extent.newest = extent.newest.max(Some(self.group.newest));
        segment.set_extent(extent);
        self.shared.set_next(extent.next);
        Ok(())
    }

    /// Drops all pending records and takes their sequences back. Returns how many.
    pub fn discard(&mut self) -> u64 {
        let count = self.group.count;
        self.group.restart(self.group.first);
        count
    }

    /// A ticket to make durable everything written so far. `Send`: sync it where waiting is cheap.
    pub fn dirty(&mut self) -> SyncTicket {
        SyncTicket::issue(&self.shared)
    }

    /// Moves the next sequence up to `sequence`, for a state that has seen more than the journal
    /// holds. Pending records are written first. Returns the sequences passed over, if any; readers
    /// get them as a [`Gap`] once something follows.
    pub fn ensure_next(&mut self, sequence: u64) -> Result<Option<Gap>, JournalError> {
        self.write()?;
        let first = self.group.first;
        if sequence <= first {
            return Ok(None);
        }
        self.group.restart(sequence);
        self.shared.set_next(sequence);
        Ok(Some(Gap { first, last: sequence - 1, cause: GapCause::Missing }))
    }

    /// Drops the oldest segments: while there are too many bytes, and while the newest record in
    /// them was received more than [`JournalConfig::retain_micros`] before `now`. Never the last
    /// segment, however old: it holds the place. Never a segment with `keep_from` or what follows it.
    pub fn retain(&mut self, now: i64, keep_from: u64) -> Result<Vec<Dropped>, JournalError> {
        let mut dropped = Vec::new();
        let segments = self.shared.segments();
        let mut bytes: u64 = segments.iter().map(|segment| segment.extent().bytes).sum();
        for segment in segments.iter().take(segments.len().saturating_sub(1)) {
            let extent = segment.extent();
            if extent.next > keep_from {
                break;
            }
            let reason = if bytes > self.config.retain_bytes {
                DropReason::Size
            } else if now.saturating_sub(self.newest_in(segment)?) > self.config.retain_micros {
                DropReason::Age
            } else {
                break;
            };
            // Readers first: they report a gap instead of stumbling over a missing file.
            self.shared.change(|list| list.retain(|other| other.base != segment.base));
            let dir = &*self.shared.dir;
            if let Err(err) = dir.remove(&segment.name) {
                self.shared.change(|list| list.insert(0, segment.clone()));
                return Err(JournalError::entry(dir, &segment.name, "remove")(err));
            }
            self.shared.entry_changed();
            bytes -= extent.bytes;
            dropped.push(Dropped {
                segment: segment.name.clone(),
                first: segment.base,
                last: extent.next - 1,
                bytes: extent.bytes,
                reason,
            });
        }
        Ok(dropped)
    }

    /// How large segments get, and how long they are kept.
    pub fn config(&self) -> JournalConfig {
        self.config
    }

    /// Reads from sequence `from` on.
    pub fn reader(&self, from: u64) -> Reader {
        Reader::new(self.shared.clone(), from)
    }

    /// For whoever reads without having the writer.
    pub fn handle(&self) -> JournalHandle {
        JournalHandle { shared: self.shared.clone() }
    }

    /// How much there is, of what was written.
    pub fn stats(&self) -> JournalStats {
        stats(&self.shared)
    }

    /// The segment that the group goes into: the last one, or a new one behind it.
    fn segment_for_group(&mut self) -> Result<Arc<Segment>, JournalError> {
        if let Some(last) = self.shared.last() {
            if self.tail_unsure {
                self.repair_tail(&last)?;
            }
            let extent = last.extent();
            let fits = extent.bytes + self.group.bytes.len() as u64 <= self.config.segment_bytes;
            let goes_on = last.version == Version::NEWEST && extent.next == self.group.first;
            if goes_on && (fits || extent.bytes == HEADER_BYTES) {
                return Ok(last);
            }
        }
        self.start_segment(self.group.first)
    }

    fn start_segment(&self, base: u64) -> Result<Arc<Segment>, JournalError> {
        let segments = self.shared.segments();
        let before = segments.iter().rfind(|segment| !segment.is_empty());
        let mut previous = None;
        if let Some(before) = before {
            let next = before.extent().next;
            previous = Some(Previous { base: before.base, next, newest: self.newest_in(before)? });
        }
        let settled = before.is_none_or(|before| before.is_synced());
        let header = Header { version: Version::NEWEST, base, previous, settled };
        let passed_over = segments.last().filter(|last| last.is_empty());
        // An earlier version has started it and left it empty: the new file takes its name.
        let is_replaced = passed_over.is_some_and(|passed| passed.base == base);
        let dir = &*self.shared.dir;
        let name = format::segment_name(base);
        let file = dir.create(&name).map_err(JournalError::entry(dir, &name, "create"))?;
        self.shared.entry_changed();
        if let Err(err) = file.write_at(&header.encode(), 0) {
            // A leftover is replaced by the next try, or removed by the next open. What replaces one
            // that held the place goes on holding it.
            if !is_replaced {
                let _ = dir.remove(&name);
            }
            return Err(JournalError::entry(dir, &name, "write to")(err));
        }
        let segment = Arc::new(Segment::new(&header, file, Extent::empty(base)));
        self.shared.change(|list| {
            list.retain(|other| passed_over.is_none_or(|passed| passed.base != other.base));
            list.push(segment.clone());
        });
        if let Some(passed) = passed_over.filter(|_| !is_replaced) {
            // Without records, it does no harm if it stays.
            let _ = dir.remove(&passed.name);
            self.shared.entry_changed();
        }
        Ok(segment)
    }

    /// Cuts off what a failed write has left, durably: otherwise a power cut could bring records
    /// back that were refused.
    fn repair_tail(&mut self, segment: &Segment) -> Result<(), JournalError> {
        let failed = |action| JournalError::entry(&*self.shared.dir, &segment.name, action);
        segment.file.truncate(segment.extent().bytes).map_err(failed("cut the failed write off"))?;
        segment.file.sync_data().map_err(|err| {
            self.shared.poison();
            failed("sync")(err)
        })?;
        self.tail_unsure = false;
        Ok(())
    }

    fn newest_in(&self, segment: &Segment) -> Result<i64, JournalError> {
        let mut extent = segment.extent();
        if extent.newest.is_none() {
            let scanned =
                segment.scan(extent.bytes).map_err(JournalError::entry(&*self.shared.dir, &segment.name, "read"))?;
            extent.newest = scanned.newest;
            segment.set_extent(extent);
        }
        Ok(extent.newest.unwrap_or(i64::MIN))
    }
}

impl JournalHandle {
    /// Reads from sequence `from` on.
    pub fn reader(&self, from: u64) -> Reader {
        Reader::new(self.shared.clone(), from)
    }

    /// How much there is, of what was written.
    pub fn stats(&self) -> JournalStats {
        stats(&self.shared)
    }
}

impl Reader {
    /// Reads a journal on the real file system from its beginning, as
    /// [`Journal::open_read_only`] does.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (handle, recovery) = Journal::open_read_only(path)?;
        Ok(handle.reader(recovery.first))
    }
}

fn stats(shared: &Shared) -> JournalStats {
    let segments = shared.segments();
    JournalStats {
        first: shared.first(),
        next: shared.next(),
        bytes: segments.iter().map(|segment| segment.extent().bytes).sum(),
        segments: segments.len(),
    }
}
