//! One segment file, and the list of them that writer, readers and syncs share.
//!
//! Locks: `Shared::segments` guards which segments there are, `Segment::extent` how far one goes,
//! `Segment::index` where to start reading. None is held across I/O.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::JournalError;
use super::dir::{Dir, File, read_full};
use super::format::{self, Check, HEADER_BYTES, Header, Version};

/// Distance in bytes between the entries of a segment's index.
pub(super) const WAYPOINT_BYTES: u64 = 64 << 10;

/// How far a segment goes. Published as one, so that readers never see half a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes, header included, that hold whole records.
    pub bytes: u64,
    /// The sequence after the last one.
    pub next: u64,
    /// The largest `received`; `None` when nobody has looked yet.
    pub newest: Option<i64>,
}

impl Extent {
    pub(super) fn empty(base: u64) -> Self {
        Self { bytes: HEADER_BYTES, next: base, newest: Some(i64::MIN) }
    }
}

/// Where a record starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waypoint {
    pub sequence: u64,
    pub offset: u64,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub base: u64,
    pub version: Version,
    pub name: String,
    pub file: Arc<dyn File>,
    extent: Mutex<Extent>,
    /// Sparse, sorted, and complete only where somebody has read.
    index: Mutex<Vec<Waypoint>>,
    synced: AtomicU64,
    settled: AtomicBool,
}

impl Segment {
    pub(super) fn new(header: &Header, file: Arc<dyn File>, extent: Extent) -> Self {
        let Header { base, version, settled, .. } = *header;
        Self {
            base,
            version,
            name: format::segment_name(base),
            file,
            extent: Mutex::new(extent),
            index: Mutex::new(vec![Waypoint { sequence: base, offset: HEADER_BYTES }]),
            synced: AtomicU64::new(0),
            settled: AtomicBool::new(settled),
        }
    }

    pub(super) fn extent(&self) -> Extent {
        *lock(&self.extent)
    }

    pub(super) fn set_extent(&self, extent: Extent) {
        *lock(&self.extent) = extent;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.extent().next == self.base
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire) >= self.extent().bytes
    }

    pub(super) fn mark_synced(&self, bytes: u64) {
        self.synced.fetch_max(bytes, Ordering::AcqRel);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Writes down that all before this segment is durable; durable itself with the next sync.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.file.write_at(&format::SETTLED, format::SETTLED_AT)?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    /// The nearest known place at or before `sequence`.
    pub(super) fn waypoint_before(&self, sequence: u64) -> Waypoint {
        let index = lock(&self.index);
        let after = index.partition_point(|waypoint| waypoint.sequence <= sequence);
        index[after.max(1) - 1]
    }

    /// Remembers where a record starts, if nothing near is known.
    pub(super) fn add_waypoint(&self, waypoint: Waypoint) {
        let mut index = lock(&self.index);
        let at = index.partition_point(|known| known.sequence <= waypoint.sequence);
        let near = |other: &Waypoint| other.offset.abs_diff(waypoint.offset) < WAYPOINT_BYTES;
        if !index[..at].last().is_some_and(near) && !index.get(at).is_some_and(near) {
            index.insert(at, waypoint);
        }
    }

    #[cfg(test)]
    pub(super) fn waypoints(&self) -> Vec<Waypoint> {
        lock(&self.index).clone()
    }

    /// Reads the records from the first to the last whole one within `bytes`, and leaves waypoints.
    pub(super) fn scan(&self, bytes: u64) -> io::Result<Extent> {
        let mut extent = Extent::empty(self.base);
        let mut newest = i64::MIN;
        let mut buf = vec![0; WAYPOINT_BYTES as usize];
        loop {
            let want = (bytes - extent.bytes).min(buf.len() as u64) as usize;
            let read = read_full(&*self.file, &mut buf[..want], extent.bytes)?;
            let run = Run::of(&buf[..read], (extent.next, u64::MAX), self.version, |_, record| {
                newest = newest.max(format::received_of(record));
            });
            self.add_waypoint(Waypoint { sequence: extent.next, offset: extent.bytes });
            extent.bytes += run.bytes as u64;
            extent.next += run.count;
            match run.stop {
                Check::Short(need) if extent.bytes + need as u64 <= bytes && read == want => {
                    if need > buf.len() {
                        buf.resize(need, 0);
                    }
                }
                _ => break,
            }
        }
        extent.newest = Some(newest);
        Ok(extent)
    }

    /// If the record after the damaged one at `at` is whole: where it starts.
    pub(super) fn waypoint_after_damage(&self, at: Waypoint, len: usize, end: Extent) -> io::Result<Option<Waypoint>> {
        let next = Waypoint { sequence: at.sequence + 1, offset: at.offset + len as u64 };
        if next.sequence >= end.next || next.offset >= end.bytes {
            return Ok(None);
        }
        let mut buf = vec![0; WAYPOINT_BYTES as usize];
        loop {
            let want = (end.bytes - next.offset).min(buf.len() as u64) as usize;
            let read = read_full(&*self.file, &mut buf[..want], next.offset)?;
            match format::check_record(&buf[..read], next.sequence, self.version) {
                Check::Whole(_) => return Ok(Some(next)),
                Check::Short(need) if need > buf.len() && read == want => buf.resize(need, 0),
                _ => return Ok(None),
            }
        }
    }
}

/// The whole records at the start of some bytes.
#[derive(Debug)]
pub(super) struct Run {
    pub count: u64,
    pub bytes: usize,
    /// What stands behind them: `Short` or `Damaged`; `Whole` if the limit was reached.
    pub stop: Check,
}

impl Run {
    /// Checks records from `sequence` on, all before `limit`; `visit` gets the end of each and its bytes.
    pub(super) fn of(
        bytes: &[u8],
        (sequence, limit): (u64, u64),
        version: Version,
        mut visit: impl FnMut(usize, &[u8]),
    ) -> Self {
        let mut run = Self { count: 0, bytes: 0, stop: Check::Whole(0) };
        while sequence + run.count < limit {
            let rest = &bytes[run.bytes..];
            match format::check_record(rest, sequence + run.count, version) {
                Check::Whole(len) => {
                    run.bytes += len;
                    run.count += 1;
                    visit(run.bytes, &rest[..len]);
                }
                stop => {
                    run.stop = stop;
                    break;
                }
            }
        }
        run
    }
}

/// What the writer, its readers and its syncs have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub dir: Arc<dyn Dir>,
    /// Oldest first; the last one is written to.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// The sequence after the last one written.
    next: AtomicU64,
    poisoned: AtomicBool,
    /// How often entries of the directory were changed, and how many of these changes are durable.
    entries_changed: AtomicU64,
    entries_synced: AtomicU64,
}

impl Shared {
    pub(super) fn new(dir: Arc<dyn Dir>, segments: Vec<Arc<Segment>>, next: u64) -> Self {
        Self {
            dir,
            segments: RwLock::new(segments),
            next: AtomicU64::new(next),
            poisoned: AtomicBool::new(false),
            // Nobody knows whether the last process synced what it created.
            entries_changed: AtomicU64::new(1),
            entries_synced: AtomicU64::new(0),
        }
    }

    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.read().clone()
    }

    pub(super) fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        change(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn last(&self) -> Option<Arc<Segment>> {
        self.read().last().cloned()
    }

    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn set_next(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    /// The oldest sequence kept; the next one when there is none.
    pub(super) fn first(&self) -> u64 {
        let segments = self.read();
        segments.iter().find(|segment| !segment.is_empty()).map_or(self.next(), |segment| segment.base)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    pub(super) fn check_poison(&self) -> Result<(), JournalError> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(JournalError::Poisoned { dir: self.dir.path().to_owned() }),
            false => Ok(()),
        }
    }

    pub(super) fn entries_changed(&self) -> u64 {
        self.entries_changed.load(Ordering::Acquire)
    }

    pub(super) fn entry_changed(&self) {
        self.entries_changed.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes the entries as of `changes` durable, if nobody has done it yet.
    pub(super) fn sync_entries(&self, changes: u64) -> Result<(), JournalError> {
        if self.entries_synced.load(Ordering::Acquire) < changes {
            self.dir.sync().map_err(JournalError::at(self.dir.path(), "sync the directory"))?;
            self.entries_synced.fetch_max(changes, Ordering::AcqRel);
        }
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves the value whole at each step, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
