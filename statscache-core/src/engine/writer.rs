//! What a commit writes of one instance: its deltas as segments, merged with small ones before them.

use std::{collections::BTreeMap, sync::Arc};

use statscache_plugin_sdk::{Keep, Tier, Timestamp};

use super::{
    cells::{Cells, each_cells},
    compact::Compaction,
    delta::{InstanceDelta, MetricDelta},
};
use crate::{
    bucket::{self, Partition},
    bytes::Corrupt,
    kind::Rule,
    limits::{MERGE_BYTES_MAX, SERIES_CHUNK_BYTES},
    segment::{Cell, ChunkSource, Form, Merged, ReadError, Segment, SegmentKey, merge_sorted, rows},
    series::SeriesChunk,
    store::{Batch, Garbage, NamespaceId},
    view::{InstanceView, MetricView, TierView},
};

/// Writes the deltas of one instance.
pub(super) struct Writer<'c> {
    /// Number of the commit.
    pub(super) number: u64,
    /// No commit follows soon.
    pub(super) is_last: bool,
    /// The present as retention sees it.
    pub(super) horizon: Timestamp,
    pub(super) chunks: &'c dyn ChunkSource,
    pub(super) compaction: &'c mut Compaction,
    pub(super) batch: &'c mut Batch,
    pub(super) removed: &'c mut Vec<Garbage>,
}

/// Which metric and tier.
#[derive(Clone, Copy)]
struct Place {
    ns: NamespaceId,
    metric: u16,
    tier: u8,
}

impl Writer<'_> {
    pub(super) fn instance(
        &mut self,
        before: &InstanceView,
        delta: InstanceDelta,
    ) -> Result<Arc<InstanceView>, Corrupt> {
        let mut metrics = before.metrics.clone();
        for (position, (metric, delta_of)) in metrics.iter_mut().zip(delta.metrics).enumerate() {
            if delta_of.is_empty() && !has_expired(metric, self.horizon) {
                continue;
            }
            let mut changed = MetricView::clone(metric);
            changed.version = self.number;
            self.metric((delta.ns, position as u16), &mut changed, delta_of)?;
            *metric = Arc::new(changed);
        }
        if before.cursor != delta.cursor || !self.batch.is_empty() || self.is_last {
            self.batch.put_cursor(delta.ns, &delta.cursor);
            self.batch.put_reading(delta.ns, &delta.reading);
        }
        let InstanceDelta { ns, declaration, cursor, reading, state, .. } = delta;
        let record = before.record.clone();
        Ok(Arc::new(InstanceView { ns, record, declaration, cursor, reading, state, metrics }))
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
