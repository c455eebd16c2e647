//! Makes commits durable and publishes the view that follows. Runs beside the engine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use statscache_plugin_sdk::{Keep, Tier, Timestamp};

use super::{
    PendingCommit,
    cells::{Cells, each_cells},
    compact::Compaction,
    delta::{InstanceDelta, MetricDelta},
};
use crate::{
    bucket::{self, Partition},
    bytes::Corrupt,
    coverage::{Claim, Coverage},
    journal::{JournalError, JournalStats, SyncTicket},
    kind::Rule,
    limits::{
        COVERAGE_STORE_MICROS, Limits, MERGE_BYTES_MAX, SERIES_CHUNK_BYTES, STORE_BATCH_ROWS_MAX, SWEEP_AFTER_MICROS,
        SWEEP_ROWS_PER_COMMIT,
    },
    segment::{Cell, ChunkSource, Form, Merged, ReadError, Segment, SegmentKey, merge_sorted, rows},
    series::SeriesChunk,
    store::{Batch, Chunks, Contents, Garbage, Namespace, NamespaceId, Store, StoreError},
    view::{InstanceView, MetricView, TierView, View},
};

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
        store: Store,
        (contents, namespaces): (Contents, Vec<(NamespaceId, Namespace)>),
        starting: Vec<InstanceDelta>,
        journal: JournalStats,
        (version, as_of, horizon): (u64, Timestamp, Timestamp),
        limits: &Limits,
    ) -> Result<Self, Corrupt> {
        let store = Arc::new(store);
        let mut instances = BTreeMap::new();
        for ((_, namespace), delta) in namespaces.into_iter().zip(starting) {
            let metrics = MetricView::restore(namespace)?;
            let InstanceDelta { instance, ns, declaration, cursor, reading, state, .. } = delta;
            let view = InstanceView { ns, declaration, cursor, reading, state, metrics };
            instances.insert(instance, Arc::new(view));
        }
        let chunks = Arc::new(Chunks::new(store.clone(), limits.cache_bytes));
        let coverage = Arc::new(contents.coverage);
        Ok(Self {
            store,
            view: Arc::new(View { version, as_of, horizon, journal, instances, coverage, chunks }),
            compaction: Compaction::new(as_of),
            sweeper: Sweeper::new(contents.garbage),
            coverage_stored: as_of,
        })
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
        self.compaction.unreadable.take()
    }

    /// Packs a commit into rows, and makes the view that will follow it. Instances have cursors of
    /// their own, so a very large commit may be several writes, each whole for its instances. Behind
    /// them comes what changes no answer: compaction, and the removal of what it has replaced.
    ///
    /// # Panics
    /// If the commit before was not written: its deltas would be missing under the cursors of this one.
    pub fn prepare(&mut self, pending: PendingCommit) -> Result<PreparedCommit, CommitError> {
        let PendingCommit { number, now, journal, ticket, horizon, claims, is_last, instances: deltas } = pending;
        assert_eq!(number, self.view.version + 1, "commits are written in order, each until it succeeds");
        let mut batches = vec![Batch::default()];
        let mut instances = BTreeMap::new();
        let mut removed = Vec::new();
        for delta in deltas {
            let mut batch = Batch::default();
            let id = delta.instance.clone();
            let before = self.view.instances.get(&id);
            // Past the cache: what is read here is replaced, and nobody asks for it again.
            let chunks = &*self.store;
            let mut writer = Writer {
                number,
                horizon,
                chunks,
                compaction: &mut self.compaction,
                batch: &mut batch,
                removed: &mut removed,
            };
            instances.insert(id, writer.instance(before, delta)?);
            match batches.last_mut() {
                Some(last) if last.len() + batch.len() <= STORE_BATCH_ROWS_MAX => last.append(&mut batch),
                _ => batches.push(batch),
            }
        }
        batches.retain(|batch| !batch.is_empty());
        let coverage = self.cover(&claims, (now, is_last), &mut batches);
        let mut view = View {
            version: number,
            as_of: now,
            horizon,
            journal,
            instances,
            coverage,
            chunks: self.view.chunks.clone(),
        };
        let mut upkeep = Batch::default();
        self.compaction.step(&mut view, &*self.store, (number, horizon), &mut upkeep, &mut removed);
        self.sweeper.step(now, removed, &mut upkeep);
        if !upkeep.is_empty() {
            batches.push(upkeep);
        }
        Ok(PreparedCommit { journal: Durability::Pending(ticket), batches, view })
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

/// Writes the deltas of one instance.
struct Writer<'c> {
    number: u64,
    horizon: Timestamp,
    chunks: &'c dyn ChunkSource,
    compaction: &'c mut Compaction,
    batch: &'c mut Batch,
    removed: &'c mut Vec<Garbage>,
}

/// Which metric and tier.
#[derive(Clone, Copy)]
struct Place {
    ns: NamespaceId,
    metric: u16,
    tier: u8,
}

impl Writer<'_> {
    fn instance(
        &mut self,
        before: Option<&Arc<InstanceView>>,
        delta: InstanceDelta,
    ) -> Result<Arc<InstanceView>, Corrupt> {
        let mut metrics = match before {
            Some(before) => before.metrics.clone(),
            None => {
                delta.declaration.metrics.iter().map(|metric| Arc::new(MetricView::empty(metric.clone()))).collect()
            }
        };
        for (position, (metric, delta_of)) in metrics.iter_mut().zip(delta.metrics).enumerate() {
            if delta_of.is_empty() && !has_expired(metric, self.horizon) {
                continue;
            }
            let mut changed = MetricView::clone(metric);
            changed.version = self.number;
            self.metric((delta.ns, position as u16), &mut changed, delta_of)?;
            *metric = Arc::new(changed);
        }
        if before.is_none_or(|before| before.cursor != delta.cursor) || !self.batch.is_empty() {
            self.batch.put_cursor(delta.ns, &delta.cursor);
            self.batch.put_reading(delta.ns, &delta.reading);
        }
        let InstanceDelta { ns, declaration, cursor, reading, state, .. } = delta;
        Ok(Arc::new(InstanceView { ns, declaration, cursor, reading, state, metrics }))
    }

    fn metric(
        &mut self,
        (ns, metric): (NamespaceId, u16),
        view: &mut MetricView,
        delta: MetricDelta,
    ) -> Result<(), Corrupt> {
        if let Some(chunk) = delta.new_series {
            view.series_count += chunk.count()?;
            self.series((ns, metric), view, chunk)?;
        }
        let is_bucketed = view.descriptor.kind.is_bucketed();
        let tiers = view.descriptor.tiers.clone();
        each_cells!(delta.cells, cells => {
            let Cells { rule, states } = cells;
            let cells: Vec<_> = states.into_iter().collect();
            if is_bucketed {
                for (number, tier) in tiers.as_slice().iter().enumerate() {
                    let place = Place { ns, metric, tier: number as u8 };
                    self.tier(rule, (place, *tier), &cells, &mut view.tiers[number]);
                }
            } else if !cells.is_empty() {
                let cells = cells.into_iter().map(|((series, _), state)| Cell { series, place: 0, state });
                self.add(rule, (Place { ns, metric, tier: 0 }, 0), cells.collect(), &mut view.tiers[0]);
            }
        });
        Ok(())
    }

    /// Adds label sets. As with segments, rows at the end that are not much larger are written again as
    /// one with them.
    fn series(
        &mut self,
        (ns, metric): (NamespaceId, u16),
        view: &mut MetricView,
        mut chunk: SeriesChunk,
    ) -> Result<(), Corrupt> {
        let is_small = |last: &mut Arc<SeriesChunk>, len: usize| {
            last.bytes.len() <= 2 * len && last.bytes.len() + len <= SERIES_CHUNK_BYTES
        };
        while let Some(last) = view.series.pop_if(|last| is_small(last, chunk.bytes.len())) {
            self.batch.remove_series(ns, metric, chunk.first);
            chunk = last.joined(&chunk)?;
        }
        for chunk in chunk.split(view.descriptor.dimensions.len(), SERIES_CHUNK_BYTES)? {
            self.batch.put_series(ns, metric, &chunk);
            view.series.push(Arc::new(chunk));
        }
        Ok(())
    }

    /// Merges the finest buckets into those of a tier, as far as it still keeps them, and drops
    /// partitions that it keeps no longer.
    fn tier<R: Rule>(
        &mut self,
        rule: R,
        (place, tier): (Place, Tier),
        finest: &[((u32, Timestamp), R::State)],
        view: &mut TierView,
    ) {
        let now = self.horizon;
        while let Some(first) =
            view.partitions.first_entry().filter(|first| bucket::is_expired(tier, *first.key(), now))
        {
            for segment in first.remove() {
                self.removed.extend(self.batch.remove_segment(&segment));
            }
        }
        let mut partitions: BTreeMap<Partition, Vec<Cell<R::State>>> = BTreeMap::new();
        for ((series, time), state) in finest.iter().filter(|((_, time), _)| bucket::is_kept(tier, *time, now)) {
            let (partition, place) = bucket::locate(*time, tier.resolution);
            let cell = Cell { series: *series, place, state: state.clone() };
            partitions.entry(partition).or_default().push(cell);
        }
        for (partition, cells) in partitions {
            self.add(rule, (place, partition), cells, view);
        }
    }

    /// Adds a segment of these cells. Segments at the end of the list that are not much larger are
    /// merged with it, so that a partition has few of them and a byte is rewritten only a
    /// logarithmic number of times.
    fn add<R: Rule>(
        &mut self,
        rule: R,
        (place, partition): (Place, Partition),
        cells: Vec<Cell<R::State>>,
        view: &mut TierView,
    ) {
        let Place { ns, metric, tier } = place;
        let key = SegmentKey { ns, metric, tier, partition, form: Form::Rows, commit: self.number };
        let mut cells = merge_sorted(rule, cells);
        let mut packed = rows::pack(rule, &cells);
        let segments = view.partitions.entry(partition).or_default();
        let frozen = self.compaction.inputs_up_to(key);
        let mut inputs: Vec<Arc<Segment>> = Vec::new();
        let mut bytes: u64 = packed.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        while let Some(last) = segments.pop_if(|last| {
            let len = last.bytes_len();
            last.key().form == Form::Rows && Some(last.key().commit) > frozen && len <= (2 * bytes).min(MERGE_BYTES_MAX)
        }) {
            bytes += last.bytes_len();
            inputs.push(last);
        }
        if !inputs.is_empty() {
            match read_all(rule, self.chunks, &inputs) {
                Ok(before) => {
                    cells.extend(before);
                    packed = rows::pack(rule, merge_sorted(rule, cells));
                    for segment in &inputs {
                        self.removed.extend(self.batch.remove_segment(segment));
                    }
                }
                // They stay beside each other.
                Err(error) => {
                    self.compaction.unreadable = Some(error);
                    segments.extend(inputs.into_iter().rev());
                }
            }
        }
        segments.extend(self.batch.put_segment(key, packed).map(Arc::new));
        if segments.is_empty() {
            view.partitions.remove(&partition);
        }
    }
}

fn read_all<R: Rule>(
    rule: R,
    chunks: &dyn ChunkSource,
    segments: &[Arc<Segment>],
) -> Result<Vec<Cell<R::State>>, ReadError> {
    Merged::new(rule, chunks, segments.iter().map(|segment| &**segment), 0)?.collect()
}

impl MetricDelta {
    fn is_empty(&self) -> bool {
        self.new_series.is_none() && self.cells.is_empty()
    }
}

/// Whether a tier holds a partition that it keeps no longer.
fn has_expired(metric: &MetricView, now: Timestamp) -> bool {
    metric.descriptor.kind.is_bucketed()
        && metric.descriptor.tiers.as_slice().iter().zip(&metric.tiers).any(|(tier, view)| {
            tier.keep != Keep::Forever
                && view.partitions.keys().next().is_some_and(|first| bucket::is_expired(*tier, *first, now))
        })
}
