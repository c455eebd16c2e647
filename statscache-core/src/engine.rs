//! The fold: messages in, deltas out, one commit at a time.
//!
//! [`Intake`] is the single writer of the journal: it admits messages and appends them. Each instance
//! has a [`Runner`], which folds them at its own pace: the newest from memory, where they lie read once
//! for all, older ones from the journal's files. Deltas gather in memory until the intake asks for
//! them; a commit takes what runners have handed over, with the cursors that belong to it, to the
//! [`Committer`], which makes them durable in one write and publishes the next
//! [`crate::view::View`]. Intake, runners and committer may each be on a thread of their own, as in
//! the daemon; [`Engine`] is intake and runners on one.
//!
//! The fold reads no state: what a message does to a metric is a delta, whatever was there
//! before. So a crash loses nothing but deltas whose messages the journal still has.

mod admit;
mod cells;
mod committer;
mod compact;
mod damage;
mod dedupe;
mod delta;
mod holders;
mod instance;
mod intake;
mod live;
mod router;
mod runner;
mod start;
mod writer;

use std::sync::Arc;

use statscache_plugin_sdk::{Timestamp, host::FieldSet};

pub use admit::Rejection;
pub use committer::{CommitError, Committer, PreparedCommit};
pub use damage::SetAside;
pub use delta::{InstanceDelta, MetricDelta, Recorded, Recorder};
pub use instance::{Failure, InstanceSpec, Processor, Role};
pub use intake::{Fetched, Incoming, Intake};
pub use runner::{Bell, Request, Runner, Step};

use crate::{
    bytes::Corrupt,
    coverage::{Claim, Reading},
    identity,
    journal::{Gap, Journal, JournalError, JournalStats, SyncTicket},
    limits::Limits,
    store::{Contents, Namespace, NamespaceId, Store, StoreError},
};
use admit::Admission;
use committer::Starting;
use dedupe::Dedupe;
use instance::Instance;
use intake::{Found, Place};
use live::Tail;
use start::{Assigned, assign_namespaces, received_from, recent_identities};

/// What became of messages; sums since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted: in the journal.
    pub accepted: u64,
    /// Dropped because they were there already.
    pub duplicates: u64,
    /// New messages under an id that another message has: another topic, or another `msg`.
    pub id_conflicts: u64,
    /// Messages stamped so long ago that the window does not reach back to them: had they been there
    /// before, nobody would know.
    pub unchecked: u64,
    /// Accepted of what was fetched from a history service.
    pub fetched: u64,
    /// Fetched, and of another time than was asked for.
    pub unwanted: u64,
    /// Identities that had to be forgotten before their window had passed.
    pub forgotten_early: u64,
    /// Messages with `NaN` or `Infinity`, read as `null`.
    pub repaired: u64,
    /// Messages from so far in the future that they are kept in the journal and handed to nobody.
    pub future: u64,
}

impl Counters {
    /// These, together with those of an engine that ran before on the same journal.
    pub fn and(self, before: &Self) -> Self {
        let forgotten_early = self.forgotten_early + before.forgotten_early;
        let mut sum = Self { forgotten_early, ..self };
        sum.add(before);
        sum
    }

    /// Adds what became of a batch; what is forgotten early is a sum already.
    fn add(&mut self, more: &Self) {
        let Self {
            accepted,
            duplicates,
            id_conflicts,
            unchecked,
            fetched,
            unwanted,
            forgotten_early: _,
            repaired,
            future,
        } = more;
        self.accepted += accepted;
        self.duplicates += duplicates;
        self.id_conflicts += id_conflicts;
        self.unchecked += unchecked;
        self.fetched += fetched;
        self.unwanted += unwanted;
        self.repaired += repaired;
        self.future += future;
    }
}

/// Intake and runners on one thread.
pub struct Engine {
    intake: Intake,
    runners: Vec<Runner>,
    /// Whose turn it is.
    turn: usize,
}

/// A commit to be: the deltas of all instances and the cursors that belong to them.
pub struct PendingCommit {
    number: u64,
    now: Timestamp,
    journal: JournalStats,
    ticket: SyncTicket,
    /// The present as retention sees it.
    horizon: Timestamp,
    claims: Vec<Claim>,
    is_last: bool,
    instances: Vec<InstanceDelta>,
    /// Namespaces that take the place of those that serve.
    promotions: Vec<NamespaceId>,
}

impl PendingCommit {
    /// No other follows soon: what could wait is written as well.
    pub fn last(mut self) -> Self {
        self.is_last = true;
        self
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows that fit their checksums and still do not read.
    #[error("the state is damaged; restore a backup, or remove the store to build it anew from the journal")]
    Damaged(#[from] Corrupt),
}

impl Engine {
    /// Puts journal, store and instances together. Instances whose fingerprint the store does not
    /// know start in a fresh namespace at the journal's beginning, beside the one that serves; when they
    /// have caught up they take its place.
    pub fn start(
        mut journal: Journal,
        (store, mut contents): (impl Into<Arc<Store>>, Contents),
        specs: Vec<InstanceSpec>,
        naming: &identity::Naming,
        limits: Limits,
        now: Timestamp,
    ) -> Result<(Self, Committer), StartError> {
        let store: Arc<Store> = store.into();
        let existing = std::mem::take(&mut contents.namespaces);
        let furthest = existing.values().map(|namespace| namespace.cursor.next).max().unwrap_or(0);
        let newest = existing.values().filter_map(|namespace| namespace.cursor.watermark).max();
        let ahead = journal.ensure_next(furthest)?;
        // Commits that wrote no segment have left no number behind. Counting on from the present keeps
        // readers from taking a view of this process for one of the last.
        // Garbage counts as well, what has its number would be swept with it; and what is set aside.
        let swept = contents.garbage.iter().map(|garbage| garbage.key.commit);
        let aside = contents.set_aside.iter().map(|(key, _)| key.commit);
        let last_commit = existing.values().filter_map(Namespace::last_commit).chain(swept).chain(aside).max();
        let commit = last_commit.unwrap_or(0).max(u64::try_from(now.micros()).unwrap_or(0));
        let existing = (existing, contents.next_namespace);
        let Assigned { running, frozen, retired } =
            assign_namespaces(&store, existing, specs, journal.first_sequence(), now)?;

        let places: Vec<Place> = running.iter().map(|(_, ns, namespace)| Place::of(*ns, namespace)).collect();
        let tail = Arc::new(Tail::new(journal.next_sequence(), places.iter().map(|place| place.taken)));
        let mut fields = FieldSet::default();
        let admission_slots = admit::register(&mut fields, naming);
        let (mut runners, mut namespaces) = (Vec::new(), Vec::new());
        for ((spec, ns, namespace), gauge) in running.into_iter().zip(tail.gauges()) {
            let mut reader = journal.reader(namespace.cursor.next);
            let reading = match &namespace.reading {
                Some(reading) => reading.clone(),
                None => Reading::new(received_from(&mut reader, namespace.cursor.next)?.unwrap_or(now)),
            };
            let slots = spec.declaration.fields.iter().map(|pointer| fields.insert(pointer)).collect();
            let instance = Instance::new(spec, ns, &namespace, reading, &limits)?;
            let shared = (tail.clone(), gauge.clone());
            runners.push(Runner::new(instance, slots, shared, reader, limits.quarantine_after));
            namespaces.push(namespace);
        }
        let ((window, holders), last_received) = recent_identities(&journal, &limits, now)?;
        let arrived = Timestamp::from_micros(last_received.unwrap_or(i64::MIN));
        let admission = Admission::new(fields, admission_slots, limits.event_ahead);
        let found = Found { commit, newest, arrived, ahead };
        let dedupe = Dedupe::new(window, holders, journal.reader(0));
        let intake = Intake::new(journal, limits, (admission, dedupe), tail, places, found);

        let deltas = runners.iter_mut().map(Runner::first_delta);
        let starting = Starting { running: namespaces.into_iter().zip(deltas).collect(), frozen, retired };
        let version = (commit, now, intake.horizon(now));
        let committer = Committer::new(store, contents, starting, intake.journal.stats(), version, &intake.limits)?;
        Ok((Self { intake, runners, turn: 0 }, committer))
    }

    /// Takes it apart, to run each part on a thread of its own.
    pub fn into_parts(self) -> (Intake, Vec<Runner>) {
        (self.intake, self.runners)
    }

    /// Admits messages, writes them to the journal in one go, and folds them into the instances that
    /// are up to date. See [`Intake::ingest`].
    pub fn ingest<'b>(
        &mut self,
        batch: impl Iterator<Item = (&'b [u8], &'b [u8])>,
        now: Timestamp,
    ) -> Result<Vec<(usize, Rejection)>, JournalError> {
        let (mut data, mut index) = (Vec::new(), Vec::new());
        for (topic, body) in batch {
            data.extend_from_slice(topic);
            data.extend_from_slice(body);
            index.push((topic.len(), body.len()));
        }
        let first = self.intake.journal.next_sequence();
        let live: Vec<bool> = self.runners.iter().map(|runner| runner.next() == first).collect();
        let mut rejected = Vec::new();
        let mut reject = |position, why, _: (&[u8], &[u8])| rejected.push((position, why));
        self.intake.ingest(Incoming { data: &mut data, index: &index }, now, &mut reject)?;
        for (runner, _) in self.runners.iter_mut().zip(live).filter(|(_, live)| *live) {
            runner.step(usize::MAX, now, &mut || false)?;
        }
        Ok(rejected)
    }

    /// Reads at most about `max_bytes` of the journal for an instance that lags; they take turns.
    /// False when every instance is up to date.
    pub fn catch_up(&mut self, max_bytes: usize, now: Timestamp) -> Result<bool, JournalError> {
        for _ in 0..self.runners.len() {
            self.turn = (self.turn + 1) % self.runners.len();
            if self.runners[self.turn].step(max_bytes, now, &mut || false)? == Step::Moved {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands over everything since the last commit.
    pub fn take_commit(&mut self, now: Timestamp) -> PendingCommit {
        let request = self.intake.request(now);
        let mut deltas = Vec::with_capacity(self.runners.len());
        for runner in &mut self.runners {
            runner.answer(&request, |delta| deltas.push(delta));
        }
        self.intake.withdraw();
        self.intake.commit(&request, deltas)
    }

    /// See [`Intake::cover`].
    pub fn cover(&mut self, claim: Claim) {
        self.intake.cover(claim);
    }

    /// See [`Intake::commit_written`].
    pub fn commit_written(&mut self) {
        self.intake.commit_written();
    }

    /// See [`Intake::retain`].
    pub fn retain(&mut self, now: Timestamp) -> Result<usize, JournalError> {
        self.intake.retain(now)
    }

    /// See [`Intake::bound_memory`].
    pub fn bound_memory(&mut self, view: usize) -> bool {
        self.intake.bound_memory(view)
    }

    /// See [`Intake::pending_bytes`].
    pub fn pending_bytes(&self) -> usize {
        self.intake.pending_bytes()
    }

    /// See [`Intake::memory`].
    pub fn memory(&self) -> (usize, usize) {
        self.intake.memory()
    }

    /// See [`Intake::counters`].
    pub fn counters(&self) -> Counters {
        self.intake.counters()
    }

    /// See [`Intake::ahead_of_journal`].
    pub fn ahead_of_journal(&self) -> Option<&Gap> {
        self.intake.ahead_of_journal()
    }
}

#[cfg(test)]
mod tests;
