//! The picture that readers share: everything as of one commit, never changed afterwards.
//!
//! A commit makes a new picture out of the last one; what did not change is shared. Readers hold
//! an `Arc` of it and no lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use statscache_plugin_sdk::{Declaration, MetricDescriptor, Timestamp};

use crate::{
    bucket::Partition,
    bytes::Corrupt,
    coverage::{Coverage, Reading},
    journal::JournalStats,
    query::MovedIndex,
    segment::Segment,
    series::SeriesChunk,
    store::{Chunks, Cursor, Namespace, NamespaceId, NamespaceRecord},
};

/// Everything as of one commit.
#[derive(Clone, Debug)]
pub struct View {
    /// Number of the commit; grows, across restarts as well.
    pub version: u64,
    /// When it was made.
    pub as_of: Timestamp,
    /// The present as retention saw it: the newest event, or `as_of` if that is earlier.
    pub horizon: Timestamp,
    /// What the journal held.
    pub journal: JournalStats,
    /// Those that serve, by instance id.
    pub instances: BTreeMap<String, Arc<InstanceView>>,
    /// Those that are to take the place of the one with the same id, when they have caught up.
    pub building: BTreeMap<String, Arc<InstanceView>>,
    /// When the bus was seen.
    pub coverage: Arc<Coverage>,
    /// Where the chunks of its segments are.
    pub chunks: Arc<Chunks>,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Where its state is.
    pub ns: NamespaceId,
    /// What is known of it in the store.
    pub record: Arc<NamespaceRecord>,
    /// What it declared.
    pub declaration: Arc<Declaration>,
    /// How far it had got.
    pub cursor: Cursor,
    /// What it had read of what the bus brought.
    pub reading: Reading,
    /// How it is.
    pub state: InstanceState,
    /// Its metrics, in order of declaration.
    pub metrics: Vec<Arc<MetricView>>,
}

/// How an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It takes messages.
    Running,
    /// The code that it was made by is gone; it serves what it has until another takes its place.
    Frozen,
    /// It failed too often and gets no messages until a reload or a start.
    Quarantined {
        /// What it said last.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

/// One metric.
#[derive(Clone, Debug)]
pub struct MetricView {
    /// What it is.
    pub descriptor: MetricDescriptor,
    /// Number of the commit that changed it last.
    pub version: u64,
    /// Its label sets, in order of their numbers.
    pub series: Vec<Arc<SeriesChunk>>,
    /// Number of label sets.
    pub series_count: u32,
    /// By tier; kinds without buckets have one.
    pub tiers: Vec<TierView>,
    /// Of a metric whose paths are moved: which of them.
    pub moved: Arc<MovedIndex>,
}

/// Cells of one tier: segments of each partition; those in columns, then those in rows, oldest
/// commit first.
#[derive(Clone, Debug, Default)]
pub struct TierView {
    /// By partition; none of them empty.
    pub partitions: BTreeMap<Partition, Vec<Arc<Segment>>>,
    /// Partitions of which something was damaged and is set aside: what is there is not all.
    pub set_aside: BTreeSet<Partition>,
}

impl View {
    /// How many messages the instance has yet to read.
    pub fn lag(&self, instance: &InstanceView) -> u64 {
        self.journal.next.saturating_sub(instance.cursor.next.max(self.journal.first))
    }

    /// Memory that it takes, the cache included.
    pub fn memory(&self) -> usize {
        let metrics = self.all().map(|(_, instance)| instance).flat_map(|instance| &instance.metrics);
        metrics.map(|metric| metric.memory()).sum::<usize>() + self.chunks.bytes() as usize
    }

    /// Whether the instance's answers hold everything that the journal holds. What the journal had
    /// dropped before the instance read it is in [`Cursor::missed`].
    pub fn is_whole(&self, instance: &InstanceView) -> bool {
        instance.state == InstanceState::Running && self.lag(instance) == 0
    }
}

impl View {
    /// All that fold: those that serve and those that are being built.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Arc<InstanceView>)> {
        self.instances.iter().chain(&self.building)
    }
}

impl InstanceView {
    /// Whether something of it was damaged and is set aside.
    pub fn is_damaged(&self) -> bool {
        self.metrics.iter().any(|metric| metric.is_damaged())
    }

    /// The metric that moves the paths of this one.
    pub fn moves_of(&self, metric: &MetricView) -> Option<&MetricView> {
        let moved = metric.descriptor.moved.as_ref()?;
        self.metric(&moved.metric).map(|moves| &**moves)
    }

    /// Number of the commit that changed last what is answered about one of its metrics.
    pub fn version_of(&self, metric: &MetricView) -> u64 {
        metric.version.max(self.moves_of(metric).map_or(0, |moves| moves.version))
    }

    /// The metric with that name.
    pub fn metric(&self, name: &str) -> Option<&Arc<MetricView>> {
        self.metrics.iter().find(|metric| metric.descriptor.name == name)
    }
}

impl MetricView {
    /// Nothing yet.
    pub fn empty(descriptor: MetricDescriptor) -> Self {
        let tiers = if descriptor.kind.is_bucketed() { descriptor.tiers.as_slice().len() } else { 1 };
        Self {
            descriptor,
            version: 0,
            series: Vec::new(),
            series_count: 0,
            tiers: vec![TierView::default(); tiers],
            moved: Arc::default(),
        }
    }

    /// What the store holds of an instance's metrics.
    pub fn restore(namespace: Namespace) -> Result<Vec<Arc<Self>>, Corrupt> {
        let parts = namespace.record.metrics.into_iter().zip(namespace.series).zip(namespace.segments);
        let views = parts.map(|((descriptor, series), segments)| {
            let mut view = Self::empty(descriptor);
            for chunk in &series {
                view.series_count += chunk.count()?;
            }
            view.series = series;
            for segment in segments {
                let key = segment.key();
                view.version = view.version.max(key.commit);
                if segment.chunks().last().is_some_and(|chunk| chunk.last >= view.series_count) {
                    return Err(Corrupt("a segment has series without label sets"));
                }
                let tier = view.tiers.get_mut(usize::from(key.tier)).ok_or(Corrupt("the tier is not declared"))?;
                tier.partitions.entry(key.partition).or_default().push(segment);
            }
            Ok(Arc::new(view))
        });
        views.collect()
    }

    /// Whether something of it was damaged and is set aside.
    pub fn is_damaged(&self) -> bool {
        self.tiers.iter().any(|tier| !tier.set_aside.is_empty())
    }

    /// Every segment.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.tiers.iter().flat_map(|tier| tier.partitions.values().flatten())
    }

    /// Bytes of its label sets and cells, packed, wherever they are.
    pub fn bytes_len(&self) -> u64 {
        let series: usize = self.series.iter().map(|chunk| chunk.bytes.len()).sum();
        series as u64 + self.segments().map(|segment| segment.bytes_len()).sum::<u64>()
    }

    /// Memory that it takes, the cache aside.
    pub fn memory(&self) -> usize {
        let series: usize = self.series.iter().map(|chunk| chunk.bytes.len() + size_of::<SeriesChunk>()).sum();
        series + self.segments().map(|segment| segment.memory()).sum::<usize>()
    }
}
