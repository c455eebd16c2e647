//! The fold: messages in, deltas out, one commit at a time.
//!
//! [`Engine`] is the single writer of the journal. It admits messages, appends them, and hands
//! them to the instances that are up to date; the others catch up from the journal, each from its
//! own cursor. Deltas gather in memory until [`Engine::take_commit`] hands them, with the cursors
//! that belong to them, to the [`Committer`], which may run on another thread: it makes them
//! durable in one write and publishes the next [`crate::view::View`].
//!
//! The engine reads no state: what a message does to a metric is a delta, whatever was there
//! before. So a crash loses nothing but deltas whose messages the journal still has.

mod admit;
mod cells;
mod committer;
mod compact;
mod delta;
mod instance;
mod router;
mod start;

use std::collections::BTreeSet;

use statscache_plugin_sdk::{Message, Timestamp, abi::FieldValue, host::FieldSet};

pub use admit::Rejection;
pub use committer::{CommitError, Committer, PreparedCommit};
pub use delta::{MetricDelta, Recorded, Recorder};
pub use instance::{Failure, InstanceSpec, Processor};

use crate::{
    bytes::Corrupt,
    coverage::{Claim, Reading},
    identity::DedupeWindow,
    journal::{Chunk, Gap, Journal, JournalError, JournalStats, Reader, Record, SyncTicket},
    limits::Limits,
    store::{Contents, Store, StoreError},
};
use admit::{Admission, Admitted, Slot};
use delta::InstanceDelta;
use instance::Instance;
use router::Router;
use start::{assign_namespaces, received_from, recent_identities};

/// What became of messages; sums since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted: in the journal.
    pub accepted: u64,
    /// Dropped because they were there already.
    pub duplicates: u64,
    /// Identities that had to be forgotten before their window had passed.
    pub forgotten_early: u64,
    /// Messages with `NaN` or `Infinity`, read as `null`.
    pub repaired: u64,
    /// Messages from so far in the future that they are kept in the journal and handed to nobody.
    pub future: u64,
}

/// The single writer.
pub struct Engine {
    journal: Journal,
    limits: Limits,
    admission: Admission,
    window: DedupeWindow,
    router: Router,
    instances: Vec<Instance>,
    counters: Counters,
    commit: u64,
    /// Newest event time. Retention goes by it, or by the present if that is earlier: a clock that
    /// jumps ahead drops nothing.
    newest: Option<Timestamp>,
    /// Whether messages say themselves when they happened: then those that do not leave `newest` alone,
    /// because they have their time from our clock.
    is_stamped: bool,
    /// The latest horizon that a message was folded by: a commit keeps no less than that.
    folded_by: Timestamp,
    /// The latest time of arrival. A clock behind it is wrong, and no measure of what is in the future.
    arrived: Timestamp,
    /// What was learnt about coverage since the last commit, in order.
    claims: Vec<Claim>,
    /// As accounted last.
    memory: usize,
    is_full: bool,
    /// Scratch, kept from batch to batch.
    slots: Vec<Slot>,
    /// Reads for instances that lag, and whose turn it is.
    reader: Reader,
    turn: usize,
    ahead: Option<Gap>,
}

/// What became of a batch before it is written.
struct Offered<'b> {
    admitted: Vec<Admitted<'b>>,
    rejected: Vec<(usize, Rejection)>,
    duplicates: u64,
    repaired: u64,
    future: u64,
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
    /// know start in a fresh namespace at the journal's beginning; what they had before goes when the
    /// journal no longer reaches back to it.
    pub fn start(
        mut journal: Journal,
        (store, mut contents): (Store, Contents),
        specs: Vec<InstanceSpec>,
        id_pointers: &[String],
        limits: Limits,
        now: Timestamp,
    ) -> Result<(Self, Committer), StartError> {
        let existing = std::mem::take(&mut contents.namespaces);
        let furthest = existing.values().map(|namespace| namespace.cursor.next).max().unwrap_or(0);
        let newest = existing.values().filter_map(|namespace| namespace.cursor.watermark).max();
        let ahead = journal.ensure_next(furthest)?;
        let namespaces = assign_namespaces(&store, existing, &specs, journal.first_sequence())?;
        // Commits that wrote no segment have left no number behind. Counting on from the present keeps
        // readers from taking a view of this process for one of the last.
        // Garbage counts as well: what has its number would be swept with it.
        let swept = contents.garbage.iter().map(|garbage| garbage.key.commit);
        let last_commit = namespaces.iter().filter_map(|(_, namespace)| namespace.last_commit()).chain(swept).max();
        let commit = last_commit.unwrap_or(0).max(u64::try_from(now.micros()).unwrap_or(0));

        let mut fields = FieldSet::default();
        let admission_slots = admit::register(&mut fields, id_pointers);
        let mut reader = journal.reader(journal.first_sequence());
        let mut instances = Vec::with_capacity(specs.len());
        for (spec, (ns, namespace)) in specs.into_iter().zip(&namespaces) {
            let reading = match &namespace.reading {
                Some(reading) => reading.clone(),
                None => Reading::new(received_from(&mut reader, namespace.cursor.next)?.unwrap_or(now)),
            };
            instances.push(Instance::new(spec, *ns, namespace, reading, &mut fields, &limits)?);
        }
        let (window, last_received) = recent_identities(&journal, &limits, now)?;
        let mut engine = Self {
            window,
            router: Router::new(instances.iter().map(|instance| instance.declaration.topics.clone()).collect()),
            admission: Admission::new(fields, admission_slots, limits.event_ahead),
            journal,
            limits,
            instances,
            counters: Counters::default(),
            commit,
            newest,
            is_stamped: false,
            folded_by: Timestamp::from_micros(i64::MIN),
            arrived: Timestamp::from_micros(last_received.unwrap_or(i64::MIN)),
            claims: Vec::new(),
            memory: 0,
            is_full: false,
            slots: Vec::new(),
            reader,
            turn: 0,
            ahead,
        };
        let deltas = engine.take_deltas();
        let version = (commit, now, engine.horizon(now));
        let committer =
            Committer::new(store, (contents, namespaces), deltas, engine.journal.stats(), version, &engine.limits)?;
        Ok((engine, committer))
    }

    /// Admits messages, writes them to the journal in one go, and hands them to the instances
    /// that are up to date. Says why those that were not admitted were not, by position.
    ///
    /// If the journal cannot be written, nothing of the batch has happened; it can be offered again.
    pub fn ingest<'b>(
        &mut self,
        batch: impl Iterator<Item = (&'b [u8], &'b [u8])>,
        now: Timestamp,
    ) -> Result<Vec<(usize, Rejection)>, JournalError> {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        let first = self.journal.next_sequence();
        let offered = self.offer(batch, &mut slots, now);
        if let Err(error) = self.journal.write() {
            self.journal.discard();
            offered.admitted.iter().for_each(|message| self.window.remove(message.identity));
            return Err(error);
        }
        self.counters.accepted += offered.admitted.len() as u64;
        self.counters.duplicates += offered.duplicates;
        self.counters.repaired += offered.repaired;
        self.counters.future += offered.future;
        self.counters.forgotten_early = self.window.forgotten_early;
        self.fold(first, &offered.admitted, &slots, now);
        self.slots = slots;
        Ok(offered.rejected)
    }

    /// Reads messages and pushes those that are new to the journal's group; nothing is written yet.
    fn offer<'b>(
        &mut self,
        batch: impl Iterator<Item = (&'b [u8], &'b [u8])>,
        slots: &mut Vec<Slot>,
        now: Timestamp,
    ) -> Offered<'b> {
        self.arrived = self.arrived.max(now);
        let admitted = Vec::with_capacity(batch.size_hint().0);
        let mut offered = Offered { admitted, rejected: Vec::new(), duplicates: 0, repaired: 0, future: 0 };
        let mut found = Vec::new();
        for (position, (topic, body)) in batch.enumerate() {
            match self.admission.read((topic, body), (now, self.arrived), slots, &mut found) {
                Ok(message) => offered.admitted.push(message),
                Err(rejection) => offered.rejected.push((position, rejection)),
            }
        }
        // In a loop of its own: the window is larger than the caches, and so the processor waits for
        // several of its misses at once.
        let read = offered.admitted.len();
        offered.admitted.retain(|message| self.window.insert(message.identity, now.micros()));
        offered.duplicates = (read - offered.admitted.len()) as u64;
        for message in &offered.admitted {
            offered.repaired += u64::from(message.is_repaired());
            offered.future += u64::from(message.is_future);
            self.journal.push(&Record {
                received: now.micros(),
                time: message.time.micros(),
                identity: message.identity,
                topic: message.topic.as_bytes(),
                body: message.original,
            });
        }
        offered
    }

    /// Reads at most about `max_bytes` of the journal for instances that lag. Those at different
    /// places take turns, so that one with a long way to go holds up nobody who is nearly there.
    /// False when every instance is up to date.
    pub fn catch_up(&mut self, max_bytes: usize, now: Timestamp) -> Result<bool, JournalError> {
        let head = self.journal.stats().next;
        let lagging = self.instances.iter().filter(|instance| instance.is_running() && instance.cursor.next < head);
        let places: BTreeSet<u64> = lagging.map(|instance| instance.cursor.next).collect();
        let Some(from) = places.iter().nth(self.turn % places.len().max(1)) else { return Ok(false) };
        self.turn = self.turn.wrapping_add(1);
        self.reader.seek(*from);
        let chunk = self.reader.next_chunk(max_bytes)?;
        if let Some(gap) = chunk.gap() {
            for instance in &mut self.instances {
                instance.skip(gap.first, gap.last);
            }
        }
        let has_moved = !chunk.is_empty() || chunk.gap().is_some();
        self.fold_chunk(&chunk, now);
        self.reader.recycle(chunk);
        // Nothing to read although the journal says otherwise: do not spin on it.
        Ok(has_moved)
    }

    /// Hands the messages of a chunk to the instances whose turn they are.
    fn fold_chunk(&mut self, chunk: &Chunk, now: Timestamp) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        let mut found = Vec::new();
        for (sequence, record) in chunk.iter() {
            let received = Timestamp::from_micros(record.received);
            // It was admitted before, by the same rules or by those of an earlier version.
            let read = self.admission.read((record.topic, record.body), (received, received), &mut slots, &mut found);
            let (time, identity) = (Timestamp::from_micros(record.time), record.identity);
            self.arrived = self.arrived.max(received);
            let is_future = self.admission.is_future(time, self.arrived);
            let is_stamped = read.as_ref().is_ok_and(|message| message.is_stamped);
            let counts = !is_future && self.note(time, is_stamped);
            if let Ok(message) = read {
                let message = Admitted { time, identity, ..message };
                for index in self.router.route(message.topic) {
                    let instance = &mut self.instances[usize::from(*index)];
                    if !is_future && instance.is_running() && instance.cursor.next == sequence {
                        let horizon = instance.horizon(counts.then_some(time), received);
                        self.folded_by = self.folded_by.max(horizon);
                        instance.process((sequence, &message), &slots, (now, horizon), self.limits.quarantine_after);
                    }
                }
            }
            for instance in self.instances.iter_mut().filter(|instance| instance.cursor.next == sequence) {
                instance.reach(sequence + 1, counts.then_some(time), received);
            }
            slots.clear();
        }
        self.slots = slots;
    }

    /// Hands over everything since the last commit. Call it about once a second, whether or not
    /// something came in: the view says as of when it is.
    pub fn take_commit(&mut self, now: Timestamp) -> PendingCommit {
        self.commit += 1;
        let head = self.journal.next_sequence();
        for instance in &mut self.instances {
            instance.taken = instance.cursor.next;
            instance.has_read(head, now);
        }
        PendingCommit {
            number: self.commit,
            now,
            horizon: self.horizon(now),
            claims: std::mem::take(&mut self.claims),
            is_last: false,
            journal: self.journal.stats(),
            ticket: self.journal.dirty(),
            instances: self.take_deltas(),
        }
    }

    /// Says when the bus was seen, and how much of it. Everything that was received until the end of
    /// what is claimed has been offered to [`Engine::ingest`] by now.
    pub fn cover(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Takes note of an event, unless our clock has dated it although others date their own.
    fn note(&mut self, time: Timestamp, is_stamped: bool) -> bool {
        self.is_stamped |= is_stamped;
        let counts = is_stamped || !self.is_stamped;
        if counts {
            self.newest = self.newest.max(Some(time));
        }
        counts
    }

    /// The present as retention sees it: not later than the newest event.
    fn horizon(&self, now: Timestamp) -> Timestamp {
        self.newest.map_or(now, |newest| newest.min(now)).max(self.folded_by)
    }

    /// The commit that was taken last is written.
    pub fn commit_written(&mut self) {
        for instance in &mut self.instances {
            instance.committed = instance.taken;
        }
    }

    /// Drops what the journal keeps no longer; says how many segments. What an instance has folded
    /// and no commit holds yet stays, however large the journal gets: a crash would lose it.
    pub fn retain(&mut self, now: Timestamp) -> Result<usize, JournalError> {
        let uncommitted = self.instances.iter().filter(|instance| instance.committed < instance.cursor.next);
        let keep_from = uncommitted.map(|instance| instance.committed).min().unwrap_or(u64::MAX);
        Ok(self.journal.retain(now.micros(), keep_from)?.len())
    }

    /// Memory of what waits for the next commit, about.
    pub fn pending_bytes(&self) -> usize {
        self.instances.iter().map(Instance::pending_bytes).sum()
    }

    /// Folds new label sets if the memory of label sets and deltas, together with that of the view, is
    /// beyond its bound; takes them again when a twentieth of it is free. Says whether it folds them.
    pub fn bound_memory(&mut self, view: usize) -> bool {
        let own: usize = self.instances.iter().map(Instance::memory).sum();
        self.memory = own + view;
        let max = self.limits.memory_bytes;
        let is_full = if self.is_full { self.memory > max - max / 20 } else { self.memory > max };
        if is_full != self.is_full {
            self.is_full = is_full;
            self.instances.iter_mut().for_each(|instance| instance.set_full(is_full));
        }
        is_full
    }

    /// Whether new label sets are folded because of the memory.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Memory as of the last [`Engine::bound_memory`], and its bound, bytes.
    pub fn memory(&self) -> (usize, usize) {
        (self.memory, self.limits.memory_bytes)
    }

    /// Sequences that the state has seen and the journal did not hold when they were put together:
    /// somebody removed the journal, or restored an old one. Instances that lagged have missed them.
    pub fn ahead_of_journal(&self) -> Option<&Gap> {
        self.ahead.as_ref()
    }

    /// What became of messages.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn take_deltas(&mut self) -> Vec<InstanceDelta> {
        self.instances.iter_mut().map(Instance::take_delta).collect()
    }

    fn fold(&mut self, first: u64, admitted: &[Admitted<'_>], slots: &[Slot], now: Timestamp) {
        let live: Vec<bool> =
            self.instances.iter().map(|instance| instance.is_running() && instance.cursor.next == first).collect();
        let mut newest = None;
        for (sequence, message) in (first..).zip(admitted).filter(|(_, message)| !message.is_future) {
            if self.note(message.time, message.is_stamped) {
                newest = newest.max(Some(message.time));
            }
            for index in self.router.route(message.topic) {
                let instance = &mut self.instances[usize::from(*index)];
                if live[usize::from(*index)] && instance.is_running() {
                    let horizon = instance.horizon(newest, now);
                    self.folded_by = self.folded_by.max(horizon);
                    instance.process((sequence, message), slots, (now, horizon), self.limits.quarantine_after);
                }
            }
        }
        for (instance, _) in self.instances.iter_mut().zip(live).filter(|(_, live)| *live) {
            instance.reach(first + admitted.len() as u64, newest, now);
        }
    }
}

/// A message on its way to one instance.
fn message_for<'m>(message: &'m Admitted<'_>, fields: &'m [FieldValue<'m>]) -> Message<'m> {
    Message::new(message.topic, &message.id, message.time, &message.body, fields)
}

#[cfg(test)]
mod tests;
