//! Makes commits durable and publishes the view that follows. Runs beside the engine.

use std::{collections::BTreeMap, sync::Arc};

use statscache_plugin_sdk::{Keep, Kind, MetricDescriptor, Tier, Timestamp};

use super::{PendingCommit, delta::DeltaCells, delta::InstanceDelta, delta::MetricDelta};
use crate::{
    bucket::{self, Partition},
    bytes::Corrupt,
    journal::{JournalError, JournalStats, SyncTicket},
    kind::{CountRule, LatestRule, Rule},
    limits::STORE_BATCH_ROWS_MAX,
    segment::{Cell, Segment, merge_sorted},
    store::{Batch, Namespace, NamespaceId, SegmentKey, Store, StoreError},
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
    /// A segment in memory does not read: a defect of this program or of the memory.
    #[error("a segment in memory is damaged")]
    Damaged(#[from] Corrupt),
}

/// The only writer of the store.
pub struct Committer {
    store: Store,
    view: Arc<View>,
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
        namespaces: Vec<(NamespaceId, Namespace)>,
        starting: Vec<InstanceDelta>,
        journal: JournalStats,
        (version, as_of): (u64, Timestamp),
    ) -> Result<Self, Corrupt> {
        let mut instances = BTreeMap::new();
        for ((_, namespace), delta) in namespaces.into_iter().zip(starting) {
            let metrics = MetricView::restore(namespace)?;
            let InstanceDelta { instance, ns, declaration, cursor, state, .. } = delta;
            instances.insert(instance, Arc::new(InstanceView { ns, declaration, cursor, state, metrics }));
        }
        Ok(Self { store, view: Arc::new(View { version, as_of, journal, instances }) })
    }

    /// The view of the last commit.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Bytes of the store on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    /// Packs a commit into rows, and makes the view that will follow it. Instances have cursors of
    /// their own, so a very large commit may be several writes, each whole for its instances.
    ///
    /// # Panics
    /// If the commit before was not written: its deltas would be missing under the cursors of this one.
    pub fn prepare(&self, pending: PendingCommit) -> Result<PreparedCommit, CommitError> {
        let PendingCommit { number, now, journal, ticket, instances: deltas } = pending;
        assert_eq!(number, self.view.version + 1, "commits are written in order, each until it succeeds");
        let mut batches = vec![Batch::default()];
        let mut instances = BTreeMap::new();
        for delta in deltas {
            let mut batch = Batch::default();
            let id = delta.instance.clone();
            let before = self.view.instances.get(&id);
            instances.insert(id, commit_instance(before, delta, (number, now), &mut batch)?);
            match batches.last_mut() {
                Some(last) if last.len() + batch.len() <= STORE_BATCH_ROWS_MAX => last.append(&mut batch),
                _ => batches.push(batch),
            }
        }
        batches.retain(|batch| !batch.is_empty());
        let view = View { version: number, as_of: now, journal, instances };
        Ok(PreparedCommit { journal: Durability::Pending(ticket), batches, view })
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

fn commit_instance(
    before: Option<&Arc<InstanceView>>,
    delta: InstanceDelta,
    commit: (u64, Timestamp),
    batch: &mut Batch,
) -> Result<Arc<InstanceView>, Corrupt> {
    let mut metrics = match before {
        Some(before) => before.metrics.clone(),
        None => delta.declaration.metrics.iter().map(|metric| Arc::new(MetricView::empty(metric.clone()))).collect(),
    };
    for (position, (metric, delta_of)) in metrics.iter_mut().zip(delta.metrics).enumerate() {
        let place = MetricPlace { ns: delta.ns, metric: position as u16, commit };
        if delta_of.is_empty() && !has_expired(metric, commit.1) {
            continue;
        }
        let mut changed = MetricView::clone(metric);
        changed.version = commit.0;
        place.commit(&mut changed, delta_of, batch)?;
        *metric = Arc::new(changed);
    }
    if before.is_none_or(|before| before.cursor != delta.cursor) || !batch.is_empty() {
        batch.put_cursor(delta.ns, &delta.cursor);
    }
    let InstanceDelta { ns, declaration, cursor, state, .. } = delta;
    Ok(Arc::new(InstanceView { ns, declaration, cursor, state, metrics }))
}

/// Where the rows of one metric go.
struct MetricPlace {
    ns: NamespaceId,
    metric: u16,
    commit: (u64, Timestamp),
}

impl MetricPlace {
    fn commit(&self, view: &mut MetricView, delta: MetricDelta, batch: &mut Batch) -> Result<(), Corrupt> {
        if let Some(chunk) = delta.new_series {
            batch.put_series(self.ns, self.metric, &chunk);
            view.series_count += chunk.count()?;
            view.series.push(Arc::new(chunk));
        }
        let MetricDescriptor { kind, tiers, .. } = view.descriptor.clone();
        match (delta.cells, kind) {
            (DeltaCells::Count(cells), _) => {
                let cells: Vec<_> = cells.into_iter().collect();
                for (number, tier) in tiers.as_slice().iter().enumerate() {
                    self.commit_tier(CountRule, (number, *tier), &cells, &mut view.tiers[number], batch)?;
                }
            }
            (DeltaCells::Latest(cells), Kind::Latest { n }) => {
                let cells = cells.into_iter().map(|(series, state)| Cell { series, place: 0, state });
                self.add(LatestRule { n }, (0, 0), cells.collect(), &mut view.tiers[0], batch)?;
            }
            (DeltaCells::Latest(_), _) => unreachable!("deltas are of the metric's kind"),
        }
        Ok(())
    }

    /// Merges the finest buckets into those of a tier, as far as it still keeps them, and drops
    /// partitions that it keeps no longer.
    fn commit_tier<R: Rule>(
        &self,
        rule: R,
        (number, tier): (usize, Tier),
        finest: &[((u32, Timestamp), R::State)],
        view: &mut TierView,
        batch: &mut Batch,
    ) -> Result<(), Corrupt> {
        let now = self.commit.1;
        while let Some(first) =
            view.partitions.first_entry().filter(|first| bucket::is_expired(tier, *first.key(), now))
        {
            let (partition, segments) = first.remove_entry();
            for (commit, segment) in segments {
                batch.remove_segment(self.key(number, partition, commit), &segment);
            }
        }
        let mut partitions: BTreeMap<Partition, Vec<Cell<R::State>>> = BTreeMap::new();
        for ((series, time), state) in finest.iter().filter(|((_, time), _)| bucket::is_kept(tier, *time, now)) {
            let (partition, place) = bucket::locate(*time, tier.resolution);
            let cell = Cell { series: *series, place, state: state.clone() };
            partitions.entry(partition).or_default().push(cell);
        }
        for (partition, cells) in partitions {
            self.add(rule, (number, partition), cells, view, batch)?;
        }
        Ok(())
    }

    /// Adds a segment of these cells. Segments at the end of the list that are not much larger are
    /// merged with it, so that a partition has few of them and a byte is rewritten only a
    /// logarithmic number of times.
    fn add<R: Rule>(
        &self,
        rule: R,
        (tier, partition): (usize, Partition),
        cells: Vec<Cell<R::State>>,
        view: &mut TierView,
        batch: &mut Batch,
    ) -> Result<(), Corrupt> {
        if cells.is_empty() {
            return Ok(());
        }
        let mut segment = Segment::pack(rule, merge_sorted(rule, cells));
        let segments = view.partitions.entry(partition).or_default();
        while let Some((commit, last)) = segments.pop_if(|(_, last)| last.bytes_len() <= 2 * segment.bytes_len()) {
            segment = Segment::merge(rule, &[&last, &segment])?;
            batch.remove_segment(self.key(tier, partition, commit), &last);
        }
        batch.put_segment(self.key(tier, partition, self.commit.0), &segment);
        segments.push((self.commit.0, Arc::new(segment)));
        Ok(())
    }

    fn key(&self, tier: usize, partition: Partition, commit: u64) -> SegmentKey {
        SegmentKey { ns: self.ns, metric: self.metric, tier: tier as u8, partition, commit }
    }
}

impl MetricDelta {
    fn is_empty(&self) -> bool {
        self.new_series.is_none() && self.cells.len() == 0
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
