//! Compaction: the segments of a partition are written again as one, in columns. That happens
//! when the partition is closed, and when an open one has too many large segments; for latest
//! values once a day, to take out what is removed or expired.
//!
//! It is done a step at a time, beside commits, and changes no answer. Chunks of the new segment are
//! garbage until its index is written, in the same write that removes those of the old ones: a crash
//! at any point leaves either the old segments or the new one. Segments that come meanwhile
//! stay beside it.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use statscache_plugin_sdk::{Tier, Timestamp};

use super::committer::Views;
use crate::{
    bucket, columns,
    kind::{Rule, with_rule},
    limits::{CLOSE_AFTER_MICROS, COMPACT_CELLS_PER_COMMIT, MERGE_BYTES_MAX, SEGMENTS_MAX},
    segment::{Cell, ChunkMeta, ChunkSource, Form, Merged, PackedChunk, ReadError, Segment, SegmentKey},
    series::SeriesId,
    store::{Batch, Garbage, NamespaceId},
    view::{InstanceView, MetricView, View},
};

const DAY_MICROS: i64 = 86_400_000_000;
/// Cells that a job counts for at least, so that many small ones are bounded as well.
const JOB_CELLS_MIN: usize = 4096;
/// Jobs of one commit.
const JOBS_MAX: usize = COMPACT_CELLS_PER_COMMIT / JOB_CELLS_MIN;

/// What is being compacted.
pub(super) struct Compaction {
    job: Option<Job>,
    /// When latest values are looked through next.
    next_collection: Timestamp,
    /// Latest metrics whose turn it is.
    to_collect: Vec<(NamespaceId, u16)>,
    /// Partitions that could not be read; they are left alone until the next start.
    damaged: HashSet<(NamespaceId, u16, u8, i64)>,
    /// What was wrong with the last of them.
    pub(super) unreadable: Option<ReadError>,
}

/// One partition under way.
struct Job {
    instance: String,
    /// Of the new segment.
    key: SegmentKey,
    inputs: Vec<Arc<Segment>>,
    /// Where to go on.
    next: SeriesId,
    directory: Vec<ChunkMeta>,
}

/// What one step has done.
enum Step {
    /// The job goes on from this series.
    Until(SeriesId),
    Done,
}

impl Compaction {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            job: None,
            next_collection: now.plus_micros(DAY_MICROS / 24),
            to_collect: Vec::new(),
            damaged: HashSet::new(),
            unreadable: None,
        }
    }

    /// The newest commit among the segments of this partition that are being compacted: they must not
    /// be merged with others meanwhile.
    pub(super) fn inputs_up_to(&self, key: SegmentKey) -> Option<u64> {
        let job = self.job.as_ref().filter(|job| of_partition(job.key) == of_partition(key))?;
        job.inputs.iter().filter(|input| input.key().form == Form::Rows).map(|input| input.key().commit).max()
    }

    /// Works on what is due, for a bounded time, and puts what is done into the view.
    pub(super) fn step(
        &mut self,
        view: &mut View,
        source: &dyn ChunkSource,
        (commit, now): (u64, Timestamp),
        batch: &mut Batch,
        removed: &mut Vec<Garbage>,
    ) {
        self.collect_when_due(view, now);
        let mut room = COMPACT_CELLS_PER_COMMIT;
        let mut jobs: VecDeque<Job> = self.job.take().into_iter().collect();
        jobs.extend(self.due(view, commit, now));
        while room > 0
            && let Some(mut job) = jobs.pop_front()
        {
            let Some(metric) = job.metric(view) else {
                // Retention has dropped the partition meanwhile, or it is done.
                removed.extend(job.garbage());
                continue;
            };
            let kind = metric.descriptor.kind;
            self.to_collect.retain(|turn| *turn != (job.key.ns, job.key.metric));
            match with_rule!(kind, rule => job.step(rule, source, now, &mut room, batch)) {
                Ok(Step::Until(series)) => {
                    job.next = series;
                    self.job = Some(job);
                    return;
                }
                Ok(Step::Done) => job.finish(view, batch, removed),
                Err(error) => {
                    self.unreadable = Some(error);
                    self.damaged.insert(of_partition(job.key));
                    removed.extend(job.garbage());
                }
            }
        }
    }

    fn collect_when_due(&mut self, view: &View, now: Timestamp) {
        if now < self.next_collection && self.next_collection <= now.plus_micros(DAY_MICROS) {
            return;
        }
        self.next_collection = now.plus_micros(DAY_MICROS);
        for (_, instance) in view.all() {
            for (position, metric) in instance.metrics.iter().enumerate() {
                let has_rows = metric.segments().any(|segment| segment.key().form == Form::Rows);
                let expires =
                    matches!(metric.descriptor.kind, statscache_plugin_sdk::Kind::Latest { ttl: Some(_), .. });
                if !metric.descriptor.kind.is_bucketed() && (has_rows || expires) {
                    self.to_collect.push((instance.ns, position as u16));
                }
            }
        }
    }

    /// Partitions that are to be compacted, as many as there may be room for.
    fn due(&self, view: &View, commit: u64, now: Timestamp) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (id, instance) in view.all() {
            // What is still being filled from the journal is not closed, however old it is.
            if view.lag(instance) > 0 {
                continue;
            }
            for (position, metric) in instance.metrics.iter().enumerate() {
                for inputs in self.due_in(instance, position as u16, metric, (commit, now)) {
                    let key = SegmentKey { form: Form::Columns, commit, ..inputs[0].key() };
                    jobs.push(Job { instance: id.clone(), key, inputs, next: 0, directory: Vec::new() });
                    if jobs.len() >= JOBS_MAX {
                        return jobs;
                    }
                }
            }
        }
        jobs
    }

    fn due_in(
        &self,
        instance: &InstanceView,
        position: u16,
        metric: &MetricView,
        (commit, now): (u64, Timestamp),
    ) -> Vec<Vec<Arc<Segment>>> {
        let tiers = metric.descriptor.tiers.as_slice();
        let is_bucketed = metric.descriptor.kind.is_bucketed();
        let is_its_turn = self.to_collect.contains(&(instance.ns, position));
        let mut due = Vec::new();
        for (number, view) in metric.tiers.iter().enumerate() {
            for (partition, segments) in &view.partitions {
                let closed = is_bucketed && is_closed(tiers[number], *partition, now);
                // What this very commit adds is not in the store yet, and cannot be read.
                let written = segments.iter().filter(|segment| segment.key().commit < commit);
                let segments: Vec<Arc<Segment>> = written.cloned().collect();
                if (is_its_turn && !segments.is_empty() || is_due(closed, &segments))
                    && !self.damaged.contains(&(instance.ns, position, number as u8, *partition))
                {
                    due.push(segments);
                }
            }
        }
        due
    }
}

fn of_partition(key: SegmentKey) -> (NamespaceId, u16, u8, i64) {
    (key.ns, key.metric, key.tier, key.partition)
}

fn is_closed(tier: Tier, partition: bucket::Partition, now: Timestamp) -> bool {
    let end = bucket::start_of(partition.saturating_add(1), 0, tier.resolution);
    end.plus_micros(CLOSE_AFTER_MICROS) <= now
}

/// Whether writing these segments again as one is worth it.
fn is_due(closed: bool, segments: &[Arc<Segment>]) -> bool {
    let bytes = |form| -> u64 {
        segments.iter().filter(|segment| segment.key().form == form).map(|segment| segment.bytes_len()).sum()
    };
    let in_rows = segments.iter().filter(|segment| segment.key().form == Form::Rows).count();
    if closed {
        // Late events gather beside the columns until they are an eighth of them.
        return in_rows > SEGMENTS_MAX || (in_rows > 0 && 8 * bytes(Form::Rows) >= bytes(Form::Columns));
    }
    let large = segments.iter().filter(|segment| segment.bytes_len() > MERGE_BYTES_MAX / 2).count();
    large > SEGMENTS_MAX && bytes(Form::Rows) >= bytes(Form::Columns)
}

impl Job {
    /// The metric that it is about, if all inputs are still there.
    fn metric(&self, view: &View) -> Option<Arc<MetricView>> {
        let instance = view.all().find(|(_, instance)| instance.ns == self.key.ns)?.1;
        let metric = instance.metrics.get(usize::from(self.key.metric))?;
        let segments = metric.tiers.get(usize::from(self.key.tier))?.partitions.get(&self.key.partition)?;
        let is_there = |input: &Arc<Segment>| segments.iter().any(|segment| segment.key() == input.key());
        self.inputs.iter().all(is_there).then(|| metric.clone())
    }

    /// What it has written so far, which is nobody's if it ends here.
    fn garbage(&self) -> Option<Garbage> {
        let chunks = self.directory.len() as u32;
        (chunks > 0).then_some(Garbage { key: self.key, chunks })
    }

    /// Writes chunks for about as many cells as there is room for.
    fn step<R: Rule>(
        &mut self,
        rule: R,
        source: &dyn ChunkSource,
        now: Timestamp,
        room: &mut usize,
        batch: &mut Batch,
    ) -> Result<Step, ReadError> {
        let mut cells: Vec<Cell<R::State>> = Vec::new();
        let (mut step, mut spent, mut last) = (Step::Done, 0, None);
        for cell in Merged::new(rule, source, self.inputs.iter().map(|input| &**input), self.next)? {
            let mut cell = cell?;
            if spent >= *room && last.is_some_and(|last| last != cell.series) {
                step = Step::Until(cell.series);
                break;
            }
            last = Some(cell.series);
            rule.collect(&mut cell.state, now);
            spent += 1 + rule.heap(&cell.state) / 32;
            if !rule.is_neutral(&cell.state) {
                cells.push(cell);
            }
        }
        *room = room.saturating_sub(spent.max(JOB_CELLS_MIN));
        let mut chunks: Vec<PackedChunk> = Vec::new();
        columns::pack(rule, cells.into_iter(), |chunk| chunks.push(chunk));
        for chunk in chunks {
            let number = self.directory.len() as u32;
            self.directory.push(chunk.meta());
            batch.put_chunk(self.key, number, chunk);
        }
        if let (Step::Until(_), Some(garbage)) = (&step, self.garbage()) {
            batch.put_garbage(garbage);
        }
        Ok(step)
    }

    /// Puts the new segment in the place of the old ones, in the view and in the store.
    fn finish(self, view: &mut View, batch: &mut Batch, removed: &mut Vec<Garbage>) {
        let of = |views: &Views| views.get(&self.instance).is_some_and(|instance| instance.ns == self.key.ns);
        let views = if of(&view.instances) { &mut view.instances } else { &mut view.building };
        let Some(instance) = views.get_mut(&self.instance).filter(|instance| instance.ns == self.key.ns) else {
            return;
        };
        let metric = &mut Arc::make_mut(instance).metrics[usize::from(self.key.metric)];
        let tier = &mut Arc::make_mut(metric).tiers[usize::from(self.key.tier)];
        let Some(segments) = tier.partitions.get_mut(&self.key.partition) else { return };
        for input in &self.inputs {
            removed.extend(batch.remove_segment(input));
        }
        segments.retain(|segment| self.inputs.iter().all(|input| input.key() != segment.key()));
        if !self.directory.is_empty() {
            batch.remove_garbage(self.key);
            segments.insert(0, Arc::new(batch.put_index(self.key, self.directory)));
        }
        if segments.is_empty() {
            tier.partitions.remove(&self.key.partition);
        }
    }
}
