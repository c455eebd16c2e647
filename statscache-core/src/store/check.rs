//! Looks at everything that a store holds, and tells all that is wrong with it. Writes nothing.
//!
//! Checked are the bytes of every row and every cell; that rows agree with each other (indexes with
//! chunks, cells with label sets); that each tier is the sum of the one below it, for as long as
//! both are kept; and cursors against the journal.
//!
//! In memory are the indexes, as in the daemon, and the cells of some series of one partition.

mod laws;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use statscache_plugin_sdk::Timestamp;

use super::{Cursor, NamespaceId, NamespaceRecord, NamespaceState, StoreError, backend::Backend, format_of};
use crate::{
    coverage::Reading,
    journal::{JournalError, JournalHandle},
    segment::{Segment, SegmentKey},
};

/// What to do about bytes that are not what was written.
const RESTORE: &str = "restore a backup, or remove the store to build it anew from the journal";
/// What to do about rows that are whole and contradict each other.
const REPORT: &str =
    "keep a copy and report it; export what there is, restore a backup, or remove the store to build it anew";

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose; none if it concerns the whole store.
    pub ns: Option<NamespaceId>,
    /// Whether something is wrong; if not, it is only worth knowing.
    pub is_problem: bool,
    /// What, and where.
    pub what: String,
    /// The time that it is about.
    pub at: Option<Timestamp>,
    /// What to do about it; empty if nothing.
    pub advice: &'static str,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of all sorts.
    pub rows: u64,
    /// In order of their numbers.
    pub namespaces: Vec<NamespaceReport>,
    /// Number of problems.
    pub problems: u64,
}

/// What was looked at in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceReport {
    /// Its number.
    pub number: NamespaceId,
    /// Id of the instance.
    pub instance: String,
    /// What it is for at present.
    pub state: NamespaceState,
    /// Label sets.
    pub series: u64,
    /// Segments.
    pub segments: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Cells that were decoded.
    pub cells: u64,
    /// Buckets that were compared with the finer ones that they are made of.
    pub buckets: u64,
    /// Number of problems.
    pub problems: u64,
}

/// Checks a store; `journal` is what was written beside it, if there is one. Each finding is handed
/// to `found` as it is made. An error means that the store cannot be read at all.
pub fn check(
    backend: &dyn Backend,
    journal: Option<&JournalHandle>,
    now: Timestamp,
    found: &mut dyn FnMut(Finding),
) -> Result<Report, StoreError> {
    match format_of(backend) {
        Err(StoreError::Damaged { .. }) => {} // Found again with the other rows.
        other => drop(other?),
    }
    let mut checker = Checker { backend, found, rows: 0, problems: 0, known: BTreeMap::new() };
    checker.rows()?;
    checker.cursors(journal, now);
    let horizon = match checker.horizon(journal) {
        Ok(horizon) => horizon,
        Err(error) => {
            checker.journal_fails(&error);
            checker.newest_watermark()
        }
    };
    if let Some(horizon) = horizon {
        checker.laws(horizon)?;
    }
    let namespaces = checker.known.into_values().map(|known| known.report).collect();
    Ok(Report { rows: checker.rows, namespaces, problems: checker.problems })
}

struct Checker<'c> {
    backend: &'c dyn Backend,
    found: &'c mut dyn FnMut(Finding),
    rows: u64,
    problems: u64,
    known: BTreeMap<NamespaceId, Known>,
}

/// What is known of a namespace.
struct Known {
    record: NamespaceRecord,
    /// There is a cursor, whether or not it reads: without one it is half removed.
    has_cursor: bool,
    cursor: Option<Cursor>,
    reading: Option<Reading>,
    /// By metric: label sets.
    series: Vec<u64>,
    segments: BTreeMap<SegmentKey, Indexed>,
    /// Segments whose index does not read, or that are set aside.
    unreadable: BTreeSet<SegmentKey>,
    report: NamespaceReport,
}

/// A segment that has an index.
struct Indexed {
    segment: Segment,
    /// The next of its chunks that should come.
    next_chunk: u32,
    /// Nothing is wrong with it so far.
    is_sound: bool,
}

impl Known {
    fn new(number: NamespaceId, record: NamespaceRecord) -> Self {
        let report = NamespaceReport {
            number,
            instance: record.instance.clone(),
            state: record.state,
            ..NamespaceReport::default()
        };
        Self {
            series: vec![0; record.metrics.len()],
            record,
            has_cursor: false,
            cursor: None,
            reading: None,
            segments: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            report,
        }
    }
}

impl Checker<'_> {
    fn problem(&mut self, ns: Option<NamespaceId>, what: String, advice: &'static str) {
        self.tell(Finding { ns, is_problem: true, what, at: None, advice });
    }

    fn note(&mut self, ns: Option<NamespaceId>, what: String) {
        self.tell(Finding { ns, is_problem: false, what, at: None, advice: "" });
    }

    fn tell(&mut self, finding: Finding) {
        if finding.is_problem {
            self.problems += 1;
            if let Some(known) = finding.ns.and_then(|ns| self.known.get_mut(&ns)) {
                known.report.problems += 1;
            }
        }
        (self.found)(finding);
    }

    fn journal_fails(&mut self, error: &JournalError) {
        let what = format!("the journal cannot be read: {error}");
        self.problem(None, what, "check the disk; the state itself does not depend on it");
    }

    fn newest_watermark(&self) -> Option<Timestamp> {
        self.known.values().filter_map(|known| known.cursor?.watermark).max()
    }

    /// The present as retention has seen it, or later: the newest event of all that any cursor has
    /// passed, and of what the journal holds behind them. That counts for retention when it comes in,
    /// whether or not an instance has read it.
    fn horizon(&self, journal: Option<&JournalHandle>) -> Result<Option<Timestamp>, JournalError> {
        let mut newest = self.newest_watermark();
        let furthest = self.known.values().filter_map(|known| Some(known.cursor?.next)).max();
        let (Some(journal), Some(furthest)) = (journal, furthest) else { return Ok(newest) };
        let mut reader = journal.reader(furthest.max(journal.stats().first));
        loop {
            let chunk = reader.next_chunk(1 << 20)?;
            newest = newest.max(chunk.iter().map(|(_, record)| Timestamp::from_micros(record.time)).max());
            if chunk.is_empty() {
                return Ok(newest);
            }
            reader.recycle(chunk);
        }
    }

    fn cursors(&mut self, journal: Option<&JournalHandle>, now: Timestamp) {
        let stats = journal.map(JournalHandle::stats).filter(|stats| stats.segments > 0);
        if stats.is_none() && self.known.values().any(|known| known.cursor.is_some_and(|cursor| cursor.next > 1)) {
            self.note(None, "there is no journal beside it: instances go on with what comes next".to_owned());
        }
        let cursors: Vec<_> = self.known.iter().map(|(ns, known)| (*ns, known.cursor, known.reading.clone())).collect();
        for (ns, cursor, reading) in cursors {
            if let Some(cursor) = cursor {
                self.gap(ns, cursor);
            }
            if let (Some(stats), Some(cursor)) = (stats, cursor) {
                self.cursor(ns, cursor.next, (stats.first, stats.next));
            }
            if let Some(until) = reading.map(|reading| reading.until()).filter(|until| *until > now) {
                let what = "it says that it has read what is received up to a time that is to come".to_owned();
                let advice = "set the clock; what comes before that time will not count as seen";
                self.tell(Finding { ns: Some(ns), is_problem: true, what, at: Some(until), advice });
            }
        }
    }

    /// What a cursor says about itself.
    fn gap(&mut self, ns: NamespaceId, cursor: Cursor) {
        if cursor.since > cursor.next {
            let (since, next) = (cursor.since, cursor.next);
            let what = format!("it says that it has read everything from sequence {since} on, and goes on with {next}");
            self.problem(Some(ns), what, REPORT);
        }
    }

    fn cursor(&mut self, ns: NamespaceId, next: u64, (first, end): (u64, u64)) {
        if next > end {
            let what = format!(
                "it has read up to sequence {}, but the journal ends with {}: an older journal was put beside the store, \
                 or a newer store beside the journal",
                next - 1,
                end - 1
            );
            let advice = "put the journal back that belongs to it; if it is gone, start the daemon, \
                          which passes over the sequences between";
            self.problem(Some(ns), what, advice);
        } else if next < first {
            let what = format!(
                "the journal begins with sequence {first}, it goes on with {next}: it will miss {} messages",
                first - next
            );
            self.note(Some(ns), what);
        }
    }
}
