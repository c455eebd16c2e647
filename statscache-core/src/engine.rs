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
mod committer;
mod delta;
mod instance;
mod router;

use std::collections::{BTreeMap, BTreeSet};

use statscache_plugin_sdk::{Message, Timestamp, abi::FieldValue, host::FieldSet};

pub use admit::Rejection;
pub use committer::{CommitError, Committer, PreparedCommit};
pub use delta::{MetricDelta, Recorded, Recorder};
pub use instance::{Failure, InstanceSpec, Processor};

use crate::{
    bytes::Corrupt,
    identity::DedupeWindow,
    journal::{Chunk, Gap, Journal, JournalError, JournalStats, Reader, Record, SyncTicket},
    limits::Limits,
    store::{Batch, Cursor, Namespace, NamespaceId, Store, StoreError},
};
use admit::{Admission, Admitted, Slot};
use delta::InstanceDelta;
use instance::Instance;
use router::Router;

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
    /// Messages from so far in the future that the time of arrival was taken instead.
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
    instances: Vec<InstanceDelta>,
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
        (store, namespaces): (Store, BTreeMap<NamespaceId, Namespace>),
        specs: Vec<InstanceSpec>,
        id_pointers: &[String],
        limits: Limits,
        now: Timestamp,
    ) -> Result<(Self, Committer), StartError> {
        let newest = namespaces.values().map(|namespace| namespace.cursor.next).max().unwrap_or(0);
        let ahead = journal.ensure_next(newest)?;
        let namespaces = assign_namespaces(&store, namespaces, &specs, journal.first_sequence())?;
        // Commits that wrote no segment have left no number behind. Counting on from the present keeps
        // readers from taking a view of this process for one of the last.
        let last_commit = namespaces.iter().filter_map(|(_, namespace)| namespace.last_commit()).max();
        let commit = last_commit.unwrap_or(0).max(u64::try_from(now.micros()).unwrap_or(0));

        let mut fields = FieldSet::default();
        let admission_slots = admit::register(&mut fields, id_pointers);
        let mut instances = Vec::with_capacity(specs.len());
        for (spec, (ns, namespace)) in specs.into_iter().zip(&namespaces) {
            instances.push(Instance::new(spec, *ns, namespace, &mut fields, &limits)?);
        }
        let reader = journal.reader(journal.first_sequence());
        let mut engine = Self {
            window: recent_identities(&journal, &limits, now)?,
            router: Router::new(instances.iter().map(|instance| instance.declaration.topics.clone()).collect()),
            admission: Admission::new(fields, admission_slots),
            journal,
            limits,
            instances,
            counters: Counters::default(),
            commit,
            slots: Vec::new(),
            reader,
            turn: 0,
            ahead,
        };
        let deltas = engine.take_deltas();
        let committer = Committer::new(store, namespaces, deltas, engine.journal.stats(), (commit, now))?;
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
        let admitted = Vec::with_capacity(batch.size_hint().0);
        let mut offered = Offered { admitted, rejected: Vec::new(), duplicates: 0, repaired: 0, future: 0 };
        let mut found = Vec::new();
        for (position, (topic, body)) in batch.enumerate() {
            match self.admission.read((topic, body), now, slots, &mut found) {
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
            let read = self.admission.read((record.topic, record.body), received, &mut slots, &mut found);
            let (time, identity) = (Timestamp::from_micros(record.time), record.identity);
            if let Ok(message) = read {
                let message = Admitted { time, identity, ..message };
                for index in self.router.route(message.topic) {
                    let instance = &mut self.instances[usize::from(*index)];
                    if instance.is_running() && instance.cursor.next == sequence {
                        instance.process((sequence, &message), &slots, now, self.limits.quarantine_after);
                    }
                }
            }
            for instance in self.instances.iter_mut().filter(|instance| instance.cursor.next == sequence) {
                instance.reach(sequence + 1, Some(time));
            }
            slots.clear();
        }
        self.slots = slots;
    }

    /// Hands over everything since the last commit. Call it about once a second, whether or not
    /// something came in: the view says as of when it is.
    pub fn take_commit(&mut self, now: Timestamp) -> PendingCommit {
        self.commit += 1;
        for instance in &mut self.instances {
            instance.taken = instance.cursor.next;
        }
        PendingCommit {
            number: self.commit,
            now,
            journal: self.journal.stats(),
            ticket: self.journal.dirty(),
            instances: self.take_deltas(),
        }
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
        for (sequence, message) in (first..).zip(admitted) {
            for index in self.router.route(message.topic) {
                let instance = &mut self.instances[usize::from(*index)];
                if live[usize::from(*index)] && instance.is_running() {
                    instance.process((sequence, message), slots, now, self.limits.quarantine_after);
                }
            }
        }
        let newest = admitted.iter().map(|message| message.time).max();
        for (instance, _) in self.instances.iter_mut().zip(live).filter(|(_, live)| *live) {
            instance.reach(first + admitted.len() as u64, newest);
        }
    }
}

/// Finds the namespace of each instance, or makes one. What a new one replaces is kept for as long
/// as it could go on without a gap: an operator who takes a change back has the old numbers again.
fn assign_namespaces(
    store: &Store,
    mut existing: BTreeMap<NamespaceId, Namespace>,
    specs: &[InstanceSpec],
    first_sequence: u64,
) -> Result<Vec<(NamespaceId, Namespace)>, StoreError> {
    let mut next_ns = existing.keys().last().map_or(1, |ns| ns + 1);
    let mut assigned = Vec::with_capacity(specs.len());
    let mut batch = Batch::default();
    for spec in specs {
        let record = spec.namespace_record();
        let known = existing.iter().find(|(_, namespace)| namespace.record.counts_as(&record));
        // One that was replaced and could not go on without a gap is not taken up again.
        let known = known.filter(|(_, namespace)| {
            let newer = |other: &Namespace| {
                other.record.instance == record.instance && other.cursor.next > namespace.cursor.next
            };
            namespace.cursor.next >= first_sequence || !existing.values().any(newer)
        });
        let known = known.map(|(ns, _)| *ns);
        let (ns, namespace) = match known.and_then(|ns| existing.remove_entry(&ns)) {
            Some((ns, mut namespace)) => {
                if namespace.record != record {
                    batch.put_namespace(ns, &record);
                    namespace.record = record;
                }
                (ns, namespace)
            }
            None => {
                let cursor = Cursor { next: first_sequence, ..Cursor::default() };
                batch.put_namespace(next_ns, &record);
                batch.put_cursor(next_ns, &cursor);
                next_ns += 1;
                (next_ns - 1, Namespace::new(record, cursor))
            }
        };
        assigned.push((ns, namespace));
    }
    if !batch.is_empty() {
        store.apply(&batch)?;
        store.sync()?;
    }
    for (ns, namespace) in &existing {
        let is_replaced = specs.iter().any(|spec| spec.id == namespace.record.instance);
        if is_replaced && namespace.cursor.next < first_sequence {
            store.remove_namespace(*ns)?;
        }
    }
    Ok(assigned)
}

/// The identities of the journal's last messages, so that a duplicate is one across a restart.
fn recent_identities(journal: &Journal, limits: &Limits, now: Timestamp) -> Result<DedupeWindow, JournalError> {
    const CHUNK_BYTES: usize = 4 << 20;
    let mut window = DedupeWindow::new(limits);
    let stats = journal.stats();
    let since = now.micros().saturating_sub(limits.dedupe_window);
    let oldest = stats.first.max(stats.next.saturating_sub(limits.dedupe_ids as u64));
    let mut reader = journal.reader(oldest);
    let from = first_received(&mut reader, oldest..stats.next, since)?;
    reader.seek(from);
    loop {
        let chunk = reader.next_chunk(CHUNK_BYTES)?;
        for (_, record) in chunk.iter().filter(|(_, record)| record.received >= since) {
            window.insert(record.identity, record.received);
        }
        if chunk.is_empty() {
            return Ok(window);
        }
        reader.recycle(chunk);
    }
}

/// About the first sequence that was received at that time or later, by halving: a long journal is
/// not read for a short window. Where the clock was turned back, a few of the window may lie before.
fn first_received(reader: &mut Reader, sequences: std::ops::Range<u64>, since: i64) -> Result<u64, JournalError> {
    let (mut low, mut high) = (sequences.start, sequences.end);
    while low < high {
        let middle = low + (high - low) / 2;
        reader.seek(middle);
        let chunk = reader.next_chunk(1)?;
        let found = chunk.iter().next().map(|(sequence, record)| (sequence, record.received));
        match found {
            Some((sequence, received)) if received < since => low = sequence.max(middle) + 1,
            _ => high = middle,
        }
        reader.recycle(chunk);
    }
    Ok(low)
}

/// A message on its way to one instance.
fn message_for<'m>(message: &'m Admitted<'_>, fields: &'m [FieldValue<'m>]) -> Message<'m> {
    Message::new(message.topic, &message.id, message.time, &message.body, fields)
}

#[cfg(test)]
mod tests;
