//! What opening a journal found: cut tails, segments set aside, sequences missing.

use std::fmt;
use std::sync::Arc;

use super::JournalError;
use super::dir::{Dir, File, read_full};
use super::format::{self, BadHeader, Check, HEADER_BYTES, Header, Version};
use super::reader::{Gap, GapCause};
use super::segment::{Extent, Segment, Waypoint};

/// What was found and done on open. [`Display`](fmt::Display) prints a line for each finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The oldest sequence kept; equal to `next` when there is none.
    pub first: u64,
    /// The sequence that the next message gets.
    pub next: u64,
    /// The torn tail, if there was one.
    pub cut: Option<Cut>,
    /// Segments, or parts of them, that were renamed out of the way.
    pub set_aside: Vec<SetAside>,
    /// Segments whose creation had been cut off before anything was in them: removed.
    pub unfinished: Vec<String>,
    /// Sequences that should be there and are not.
    pub missing: Vec<Gap>,
}

/// A segment's tail that was not a whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: String,
    /// Its length now.
    pub at: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The sequence that would have been in the first of these bytes.
    pub sequence: u64,
}

/// A file that cannot be part of the journal any more and is kept for whoever wants to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The segment.
    pub segment: String,
    /// The file's name now.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Why.
    pub reason: SetAsideReason,
}

/// Why a file was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAsideReason {
    /// Its header is damaged.
    Header,
    /// What precedes it was lost by a power cut before anything in it was promised to be durable:
    /// keeping it would leave a hole in the middle.
    BehindTornTail,
    /// A copy of a cut tail that has whole records behind the damage.
    TailWithRecords,
}

impl Recovery {
    /// Whether everything was as it should be.
    pub fn is_clean(&self) -> bool {
        self.cut.is_none() && self.set_aside.is_empty() && self.unfinished.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.next - self.first {
            0 => write!(f, "journal is empty, the next sequence is {}", self.next)?,
            _ => write!(f, "journal holds sequences {} to {}", self.first, self.next - 1)?,
        }
        if let Some(cut) = &self.cut {
            let Cut { segment, at, bytes, sequence } = cut;
            write!(f, "\n{segment}: torn tail of {bytes} bytes cut at byte {at}, sequence {sequence}")?;
        }
        for SetAside { segment, file, bytes, reason } in &self.set_aside {
            let why = match reason {
                SetAsideReason::Header => "its header is damaged",
                SetAsideReason::BehindTornTail => "what precedes it was lost before it was durable",
                SetAsideReason::TailWithRecords => "the cut tail has records behind the damage",
            };
            write!(f, "\n{segment}: {bytes} bytes set aside as {file}: {why}")?;
        }
        for segment in &self.unfinished {
            write!(f, "\n{segment}: removed, its creation was never finished")?;
        }
        for Gap { first, last, .. } in &self.missing {
            write!(f, "\nsequences {first} to {last} are missing")?;
        }
        Ok(())
    }
}

/// Whether findings are acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Repair,
    Look,
}

/// The segments that can be read, as far as they can, and what was wrong.
pub(super) fn recover(dir: &dyn Dir, mode: Mode) -> Result<(Vec<Arc<Segment>>, Recovery), JournalError> {
    let names = dir.list().map_err(JournalError::at(dir.path(), "list"))?;
    let mut opening = Opening { dir, mode, names, unusable: Vec::new(), recovery: Recovery::default() };
    let found = opening.headers()?;
    let segments = opening.extents(&found)?;
    // With nothing left, the journal ends before the first segment that could not be kept.
    let lost = opening.unusable.iter().map(|unusable| unusable.base).min().unwrap_or(1);
    opening.clear_unusable()?;
    if let (Some(last), Some(end)) = (segments.last(), found.get(segments.len().max(1) - 1)) {
        opening.cut_tail(last, end.size)?;
    }
    let mut recovery = opening.recovery;
    recovery.next = segments.last().map_or(lost, |last| last.extent().next);
    let oldest = segments.iter().find(|segment| !segment.is_empty());
    recovery.first = oldest.map_or(recovery.next, |segment| segment.base);
    if mode == Mode::Repair && !recovery.is_clean() {
        dir.sync().map_err(JournalError::at(dir.path(), "sync the directory"))?;
    }
    Ok((segments, recovery))
}

struct Opening<'a> {
    dir: &'a dyn Dir,
    mode: Mode,
    names: Vec<String>,
    /// Cleared away only when all of them are known, from the end: see [`Self::clear_unusable`].
    unusable: Vec<Unusable>,
    recovery: Recovery,
}

/// A segment that cannot stay.
struct Unusable {
    base: u64,
    size: u64,
    /// `None`: there is nothing in it.
    reason: Option<SetAsideReason>,
}

/// A segment with a sound header.
struct Found {
    header: Header,
    name: String,
    file: Arc<dyn File>,
    size: u64,
}

impl Found {
    fn segment(&self, extent: Extent) -> Segment {
        Segment::new(&self.header, self.file.clone(), extent)
    }
}

impl Opening<'_> {
    /// Opens all segments, oldest first; those without a sound header are unusable.
    fn headers(&mut self) -> Result<Vec<Found>, JournalError> {
        let mut bases: Vec<u64> = self.names.iter().filter_map(|name| format::parse_segment_name(name)).collect();
        bases.sort_unstable();
        let mut found = Vec::with_capacity(bases.len());
        for base in bases {
            let name = format::segment_name(base);
            let failed = |action| JournalError::entry(self.dir, &name, action);
            let file = self.dir.open(&name, self.mode == Mode::Repair).map_err(failed("open"))?;
            let size = file.size().map_err(failed("read the length of"))?;
            let mut bytes = [0; HEADER_BYTES as usize];
            let read = read_full(&*file, &mut bytes, 0).map_err(failed("read"))?;
            match Header::decode(&bytes[..read]) {
                Ok(header) if header.base == base => found.push(Found { header, name, file, size }),
                Err(BadHeader::TooNew(version)) => {
                    return Err(JournalError::FormatTooNew {
                        path: self.dir.path().join(name),
                        found: version,
                        supported: Version::NEWEST as u32,
                    });
                }
                Err(BadHeader::Unfinished) if size <= HEADER_BYTES => {
                    self.unusable.push(Unusable { base, size, reason: None });
                }
                Ok(_) | Err(BadHeader::Damaged | BadHeader::Unfinished) => {
                    let reason = Some(SetAsideReason::Header);
                    self.unusable.push(Unusable { base, size, reason });
                }
            }
        }
        Ok(found)
    }

    /// Finds how far each segment goes: from its successor's header where that one is settled, by
    /// reading it otherwise. At the first one that falls short, the journal ends: what follows was
    /// never promised.
    fn extents(&mut self, found: &[Found]) -> Result<Vec<Arc<Segment>>, JournalError> {
        let scan_from = found.iter().rposition(|segment| segment.header.settled).unwrap_or(0);
        let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(found.len());
        for (at, this) in found.iter().enumerate() {
            if at >= scan_from && !this.header.settled && !self.follows(&this.header, &segments) {
                let reason = Some(SetAsideReason::BehindTornTail);
                self.unusable.extend(found[at..].iter().map(|found| Unusable {
                    base: found.header.base,
                    size: found.size,
                    reason,
                }));
                break;
            }
            let segment = match found.get(at + 1) {
                Some(successor) if at < scan_from => self.sealed(this, &successor.header)?,
                _ => self.scanned(this)?,
            };
            segments.push(Arc::new(segment));
        }
        Ok(segments)
    }

    /// Whether a segment that is not settled starts where the records before it end.
    fn follows(&self, header: &Header, before: &[Arc<Segment>]) -> bool {
        let Some(previous) = header.previous else {
            return true;
        };
        let Some(tip) = before.iter().rfind(|segment| !segment.is_empty()) else {
            // Retention may have taken what precedes; but then nothing of it is left.
            let left = before.iter().map(|segment| segment.base);
            let unusable = self.unusable.iter().map(|unusable| unusable.base);
            return !left.chain(unusable).any(|base| base == previous.base);
        };
        previous.next <= tip.extent().next
    }

    /// A segment that was durable when its successor was promised.
    fn sealed(&mut self, this: &Found, successor: &Header) -> Result<Segment, JournalError> {
        let mut extent = Extent { bytes: this.size.max(HEADER_BYTES), next: successor.base, newest: None };
        match successor.previous {
            Some(previous) if previous.base == this.header.base => {
                extent.next = previous.next;
                extent.newest = Some(previous.newest);
                let segment = this.segment(extent);
                segment.mark_synced(extent.bytes);
                Ok(segment)
            }
            // The one between the two is gone, so nobody says where this one ends.
            _ => {
                let segment = self.scanned(this)?;
                let mut extent = segment.extent();
                extent.next = extent.next.min(successor.base);
                segment.set_extent(extent);
                let first = extent.next;
                if first < successor.base && !segment.is_empty() {
                    let cause = GapCause::Missing;
                    self.recovery.missing.push(Gap { first, last: successor.base - 1, cause });
                }
                segment.mark_synced(segment.extent().bytes);
                Ok(segment)
            }
        }
    }

    fn scanned(&self, this: &Found) -> Result<Segment, JournalError> {
        let segment = this.segment(Extent::empty(this.header.base));
        let extent = segment.scan(this.size).map_err(JournalError::entry(self.dir, &this.name, "read"))?;
        segment.set_extent(extent);
        Ok(segment)
    }

    /// Removes or sets aside, from the end: after a crash on the way, what is left still has in
    /// front of it whatever makes it unusable.
    fn clear_unusable(&mut self) -> Result<(), JournalError> {
        let mut unusable = std::mem::take(&mut self.unusable);
        unusable.sort_unstable_by_key(|unusable| unusable.base);
        for Unusable { base, size, reason } in unusable.into_iter().rev() {
            let name = format::segment_name(base);
            match reason {
                Some(reason) => self.set_aside(&name, size, reason)?,
                None => self.remove(name)?,
            }
        }
        Ok(())
    }

    fn cut_tail(&mut self, last: &Segment, size: u64) -> Result<(), JournalError> {
        let extent = last.extent();
        if size <= extent.bytes {
            return Ok(());
        }
        let failed = |action| JournalError::entry(self.dir, &last.name, action);
        let tail = size - extent.bytes;
        let end = Extent { bytes: size, next: u64::MAX, newest: None };
        let at = Waypoint { sequence: extent.next, offset: extent.bytes };
        let mut head = [0; 8];
        let read = read_full(&*last.file, &mut head, at.offset).map_err(failed("read"))?;
        let records_follow = match format::check_record(&head[..read], at.sequence, last.version) {
            Check::Short(len) | Check::Damaged(Some(len)) => {
                last.waypoint_after_damage(at, len, end).map_err(failed("read"))?.is_some()
            }
            _ => false,
        };
        if records_follow {
            self.copy_tail(last, extent.bytes, tail)?;
        }
        if self.mode == Mode::Repair {
            last.file.truncate(extent.bytes).map_err(failed("cut the torn tail of"))?;
            // Before anything is appended: else a power cut could bring back what was cut, behind it.
            last.file.sync_data().map_err(failed("sync"))?;
        }
        self.recovery.cut =
            Some(Cut { segment: last.name.clone(), at: extent.bytes, bytes: tail, sequence: extent.next });
        Ok(())
    }

    /// Keeps a copy of what is about to be cut.
    fn copy_tail(&mut self, last: &Segment, from: u64, bytes: u64) -> Result<(), JournalError> {
        let file = self.free_name(&format!("{}.{from}", last.name));
        if self.mode == Mode::Repair {
            let failed = |action| JournalError::entry(self.dir, &file, action);
            let copy = self.dir.create(&file).map_err(failed("create"))?;
            let mut buf = vec![0; 1 << 20];
            let mut done = 0;
            while done < bytes {
                let want = (bytes - done).min(buf.len() as u64) as usize;
                let read = read_full(&*last.file, &mut buf[..want], from + done)
                    .map_err(JournalError::entry(self.dir, &last.name, "read"))?;
                if read == 0 {
                    break;
                }
                copy.write_at(&buf[..read], done).map_err(failed("write to"))?;
                done += read as u64;
            }
            copy.sync_data().map_err(failed("sync"))?;
        }
        let segment = last.name.clone();
        let reason = SetAsideReason::TailWithRecords;
        self.recovery.set_aside.push(SetAside { segment, file, bytes, reason });
        Ok(())
    }

    fn set_aside(&mut self, name: &str, bytes: u64, reason: SetAsideReason) -> Result<(), JournalError> {
        let file = self.free_name(name);
        if self.mode == Mode::Repair {
            self.dir.rename(name, &file).map_err(JournalError::entry(self.dir, name, "set aside"))?;
        }
        self.recovery.set_aside.push(SetAside { segment: name.to_owned(), file, bytes, reason });
        Ok(())
    }

    fn remove(&mut self, name: String) -> Result<(), JournalError> {
        if self.mode == Mode::Repair {
            self.dir.remove(&name).map_err(JournalError::entry(self.dir, &name, "remove"))?;
        }
        self.recovery.unfinished.push(name);
        Ok(())
    }

    /// A name with `.damaged` that is not taken by an earlier accident.
    fn free_name(&mut self, name: &str) -> String {
        let mut free = format!("{name}.damaged");
        let mut count = 1;
        while self.names.contains(&free) {
            count += 1;
            free = format!("{name}.damaged.{count}");
        }
        self.names.push(free.clone());
        free
    }
}
