//! Makes commits durable and publishes the view that follows. Runs beside the engine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use statscache_plugin_sdk::{Declaration, Timestamp};

use super::{
    PendingCommit,
    compact::Compaction,
    damage::{self, SetAside},
    delta::InstanceDelta,
    writer::Writer,
};
use crate::{
    bytes::Corrupt,
    coverage::{Claim, Coverage, Reading},
    journal::{JournalError, JournalStats, SyncTicket},
    limits::{COVERAGE_STORE_MICROS, Limits, STORE_BATCH_ROWS_MAX, SWEEP_AFTER_MICROS, SWEEP_ROWS_PER_COMMIT},
    segment::{ReadError, SegmentKey},
    store::{
        Batch, Chunks, Contents, Garbage, Namespace, NamespaceId, NamespaceRecord, NamespaceState, Store, StoreError,
    },
    view::{InstanceState, InstanceView, MetricView, View},
};

pub(super) type Views = BTreeMap<String, Arc<InstanceView>>;

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The journal could not be made durable, so nothing that points into it may be written.
    #[error("the journal cannot be made durable")]
    Journal(#[from] JournalError),
    /// The journal failed before, under this commit: only a restart tells what the disk has kept.
    #[error("the journal could not be made durable before; check the disk and restart")]
    JournalUnsure,
    /// The store failed; the commit can be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something in memory does not read: a defect of this program or of the memory.
    #[error("what is in memory is damaged")]
    Damaged(#[from] Corrupt),
}

/// The only writer of the store.
pub struct Committer {
    store: Arc<Store>,
    view: Arc<View>,
    compaction: Compaction,
    sweeper: Sweeper,
    coverage_stored: Timestamp,
    /// Namespaces whose place was taken, and when: the oldest first.
    retired: VecDeque<(NamespaceId, Timestamp)>,
    /// How long they are kept, microseconds.
    grace: i64,
    /// What did not read when segments were merged.
    unreadable: Option<ReadError>,
    /// Segments that somebody could not read.
    doubted: Vec<SegmentKey>,
    set_aside: Vec<SetAside>,
}

/// Segments that wait to be looked at.
const DOUBTS_MAX: usize = 64;

/// What there is when a committer starts.
pub(super) struct Starting {
    pub(super) running: Vec<(Namespace, InstanceDelta)>,
    pub(super) frozen: Vec<(NamespaceId, Namespace)>,
    pub(super) retired: Vec<(NamespaceId, Timestamp)>,
}

/// An instance without code.
fn frozen(ns: NamespaceId, namespace: Namespace, now: Timestamp) -> Result<InstanceView, Corrupt> {
    let record = Arc::new(namespace.record.clone());
    let declaration = Arc::new(Declaration { metrics: record.metrics.clone(), ..Declaration::default() });
    let (cursor, reading) = (namespace.cursor, namespace.reading.clone().unwrap_or_else(|| Reading::new(now)));
    let metrics = MetricView::restore(namespace)?;
    Ok(InstanceView { ns, record, declaration, cursor, reading, state: InstanceState::Frozen, metrics })
}

/// A commit, ready to be written as often as it takes.
pub struct PreparedCommit {
    journal: Durability,
    batches: Vec<Batch>,
    view: View,
}

/// Whether what the cursors point to survives a power cut.
enum Durability {
    Pending(SyncTicket),
    Done,
    Unsure,
}

impl PreparedCommit {
    /// Rows that it writes.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    /// Bytes that it writes.
    pub fn bytes_len(&self) -> usize {
        self.batches.iter().map(Batch::bytes_len).sum()
    }
}

impl Committer {
    pub(super) fn new(
        store: Arc<Store>,
        contents: Contents,
        starting: Starting,
        journal: JournalStats,
        (version, as_of, horizon): (u64, Timestamp, Timestamp),
        limits: &Limits,
    ) -> Result<Self, Corrupt> {
        let (mut instances, mut building) = (BTreeMap::new(), BTreeMap::new());
        for (namespace, delta) in starting.running {
            let record = Arc::new(namespace.record.clone());
            let metrics = MetricView::restore(namespace)?;
            let InstanceDelta { instance, ns, declaration, cursor, reading, state, .. } = delta;
            let of_its_state = match record.state {
                NamespaceState::Building => &mut building,
                _ => &mut instances,
            };
            let view = InstanceView { ns, record, declaration, cursor, reading, state, metrics };
            of_its_state.insert(instance, Arc::new(view));
        }
        for (ns, namespace) in starting.frozen {
            let view = frozen(ns, namespace, as_of)?;
            instances.insert(view.record.instance.clone(), Arc::new(view));
        }
        damage::recall(&contents.set_aside, [&mut instances, &mut building]);
        let chunks = Arc::new(Chunks::new(store.clone(), limits.cache_bytes));
        let coverage = Arc::new(contents.coverage);
        Ok(Self {
            store,
            view: Arc::new(View { version, as_of, horizon, journal, instances, building, coverage, chunks }),
            retired: starting.retired.into(),
            grace: limits.retired_grace,
            unreadable: None,
            doubted: Vec::new(),
            set_aside: Vec::new(),
            compaction: Compaction::new(as_of),
            sweeper: Sweeper::new(contents.garbage),
            coverage_stored: as_of,
        })
    }

    /// The store, to start another engine on it. Views that are still read share it.
    pub fn into_store(self) -> Arc<Store> {
        self.store
    }

    /// The view of the last commit.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Bytes of the store on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    /// What could not be read since the last call while segments were merged; they stay as they are.
    pub fn take_unreadable(&mut self) -> Option<ReadError> {
        self.unreadable.take()
    }

    /// Somebody could not read this segment. The next commit looks at it, and sets it aside if it is damaged.
    pub fn doubt(&mut self, segment: SegmentKey) {
        if self.doubted.len() < DOUBTS_MAX && !self.doubted.contains(&segment) {
            self.doubted.push(segment);
        }
    }

    /// What was set aside since the last call.
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        std::mem::take(&mut self.set_aside)
    }

    /// Packs a commit into rows, and makes the view that will follow it. Instances have cursors of
    /// their own, so a very large commit may be several writes, each whole for its instances. Behind
    /// them comes what changes no answer: compaction, and the removal of what it has replaced.
    ///
    /// # Panics
    /// If the commit before was not written: its deltas would be missing under the cursors of this one.
    pub fn prepare(&mut self, pending: PendingCommit) -> Result<PreparedCommit, CommitError> {
        let PendingCommit { number, now, journal, ticket, horizon, claims, is_last, instances: deltas, promotions } =
            pending;
        assert_eq!(number, self.view.version + 1, "commits are written in order, each until it succeeds");
        let mut batches = vec![Batch::default()];
        // Of those that have not handed anything over, what there was stays.
        let (mut instances, mut building) = (self.view.instances.clone(), self.view.building.clone());
        let mut removed = Vec::new();
        if let Some(ReadError::Damaged(key, ..) | ReadError::Gone(key, _)) = &self.unreadable {
            self.doubt(*key);
        }
        if !self.doubted.is_empty() {
            let doubted = std::mem::take(&mut self.doubted);
            let mut batch = Batch::default();
            let views = [&mut instances, &mut building];
            self.set_aside.extend(damage::set_aside(doubted, views, &*self.store, &mut batch));
            batches.push(batch);
        }
        for delta in deltas {
            let mut batch = Batch::default();
            let of = |views: &Views| views.get(&delta.instance).filter(|view| view.ns == delta.ns).cloned();
            let (serving, built) = (of(&instances), of(&building));
            let (before, views) = match (&serving, &built) {
                (Some(before), _) => (before, &mut instances),
                (None, Some(before)) => (before, &mut building),
                // Another has taken its place.
                (None, None) => continue,
            };
            let id = delta.instance.clone();
            // Past the cache: what is read here is replaced, and nobody asks for it again.
            let chunks = &*self.store;
            let mut writer = Writer {
                number,
                is_last,
                horizon,
                chunks,
                compaction: &mut self.compaction,
                batch: &mut batch,
                removed: &mut removed,
            };
            views.insert(id, writer.instance(before, delta)?);
            match batches.last_mut() {
                Some(last) if last.len() + batch.len() <= STORE_BATCH_ROWS_MAX => last.append(&mut batch),
                _ => batches.push(batch),
            }
        }
        batches.retain(|batch| !batch.is_empty());
        for ns in promotions {
            batches.push(self.promote(ns, now, (&mut instances, &mut building)));
        }
        let coverage = self.cover(&claims, (now, is_last), &mut batches);
        let mut view = View {
            version: number,
            as_of: now,
            horizon,
            journal,
            instances,
            building,
            coverage,
            chunks: self.view.chunks.clone(),
        };
        let mut upkeep = Batch::default();
        self.unreadable = self.compaction.unreadable.take().or(self.unreadable.take());
        self.compaction.step(&mut view, &*self.store, (number, horizon), &mut upkeep, &mut removed);
        self.sweeper.step(now, removed, &mut upkeep);
        if !upkeep.is_empty() {
            batches.push(upkeep);
        }
        Ok(PreparedCommit { journal: Durability::Pending(ticket), batches, view })
    }

    /// Puts a namespace that was being built in the place of the one that serves.
    fn promote(&mut self, ns: NamespaceId, now: Timestamp, (instances, building): (&mut Views, &mut Views)) -> Batch {
        let mut batch = Batch::default();
        let id = building.iter().find(|(_, view)| view.ns == ns).map(|(id, _)| id.clone());
        let Some((id, built)) = id.and_then(|id| building.remove_entry(&id)) else { return batch };
        let mut put = |view: &InstanceView, state| {
            let record = NamespaceRecord { state, ..NamespaceRecord::clone(&view.record) };
            batch.put_namespace(view.ns, &record);
            Arc::new(record)
        };
        let record = put(&built, NamespaceState::Serving);
        let built = InstanceView { record, ..InstanceView::clone(&built) };
        if let Some(old) = instances.insert(id, Arc::new(built)) {
            put(&old, NamespaceState::Retired { since: now });
            self.retired.push_back((old.ns, now));
        }
        batch
    }

    /// Removes a namespace whose time of grace is over, if there is one.
    fn drop_retired(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if let Some((ns, since)) = self.retired.front().copied()
            && now.micros().saturating_sub(since.micros()) > self.grace
        {
            self.store.remove_namespace(ns)?;
            self.retired.pop_front();
        }
        Ok(())
    }

    /// Adds to the coverage. It is written behind the deltas that it speaks of, and where there are
    /// none only now and then, so that an idle bus does not keep the disk busy.
    fn cover(
        &mut self,
        claims: &[Claim],
        (now, is_last): (Timestamp, bool),
        batches: &mut Vec<Batch>,
    ) -> Arc<Coverage> {
        if claims.is_empty() && !is_last {
            return self.view.coverage.clone();
        }
        let mut coverage = Coverage::clone(&self.view.coverage);
        claims.iter().for_each(|claim| claim.apply(&mut coverage));
        // A clock that was put back makes it due as well.
        let is_due = now.micros().abs_diff(self.coverage_stored.micros()) >= COVERAGE_STORE_MICROS as u64;
        if is_due || is_last || !batches.is_empty() {
            let mut batch = Batch::default();
            batch.put_coverage(&coverage);
            match batches.last_mut() {
                Some(last) => last.append(&mut batch),
                None => batches.push(batch),
            }
            self.coverage_stored = now;
        }
        Arc::new(coverage)
    }

    /// Writes it: first what the cursors point to, then all rows. After a failure of the store,
    /// call it again with the same commit; what was written of it already does no harm. After a
    /// failure of the journal there is no going on: start again from what the disk has kept.
    pub fn write(&mut self, commit: &mut PreparedCommit) -> Result<Arc<View>, CommitError> {
        match std::mem::replace(&mut commit.journal, Durability::Unsure) {
            Durability::Pending(ticket) => ticket.sync().map(drop)?,
            Durability::Done => {}
            Durability::Unsure => return Err(CommitError::JournalUnsure),
        }
        commit.journal = Durability::Done;
        for batch in &commit.batches {
            self.store.apply(batch)?;
        }
        if !commit.batches.is_empty() {
            self.store.sync()?;
        }
        self.drop_retired(commit.view.as_of)?;
        self.view = Arc::new(commit.view.clone());
        Ok(self.view.clone())
    }
}

/// Removes what segments have left, a while later and a little at a time.
struct Sweeper {
    waiting: VecDeque<(Timestamp, Garbage)>,
}

impl Sweeper {
    /// Of what was left by another process, nobody holds a view.
    fn new(garbage: Vec<Garbage>) -> Self {
        Self { waiting: garbage.into_iter().map(|garbage| (Timestamp::from_micros(i64::MIN), garbage)).collect() }
    }

    fn step(&mut self, now: Timestamp, removed: Vec<Garbage>, batch: &mut Batch) {
        self.waiting.extend(removed.into_iter().map(|garbage| (now, garbage)));
        let mut room = SWEEP_ROWS_PER_COMMIT;
        while room > 0
            && let Some((since, garbage)) = self.waiting.front_mut()
            // A clock that was put back does not keep it for years.
            && now.micros().abs_diff(since.micros()) >= SWEEP_AFTER_MICROS as u64
        {
            let from = garbage.chunks.saturating_sub(room);
            batch.remove_chunks(garbage.key, from..garbage.chunks);
            room -= garbage.chunks - from;
            garbage.chunks = from;
            if from > 0 {
                return;
            }
            batch.remove_garbage(garbage.key);
            room = room.saturating_sub(1);
            self.waiting.pop_front();
        }
    }
}
