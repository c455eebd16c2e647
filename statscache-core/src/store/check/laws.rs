//! Each tier is the sum of the one below it: a coarse bucket has the bytes of its finer ones merged,
//! for as long as those are kept.

use std::{collections::BTreeMap, ops::RangeInclusive};

use statscache_plugin_sdk::{Tier, Timestamp};

use super::{Checker, Finding, Known, REPORT};
use crate::{
    bucket::{self, Partition},
    kind::{Rule, with_rule},
    limits::PARTITION_BUCKETS,
    segment::{ChunkSource, ReadError, Segment, SegmentKey, Selection},
    series::SeriesId,
    store::{NamespaceId, StoreError, Uncached},
};

/// Cells that are compared at a time, about, and their packed bytes.
const CELLS_MAX: u64 = 1 << 20;
const BYTES_MAX: u64 = 16 << 20;

/// Which tier of which metric is compared with the one below it.
#[derive(Clone, Copy)]
struct Pair {
    ns: NamespaceId,
    metric: u16,
    /// Position of the coarse one.
    tier: u8,
    coarse: Tier,
    fine: Tier,
    horizon: Timestamp,
}

/// What the comparison of one partition came to.
#[derive(Default)]
struct Compared {
    buckets: u64,
    different: u64,
    /// The first one that differs: its label set and its start.
    first: Option<(SeriesId, Timestamp)>,
}

/// Some series in a row.
struct Window(RangeInclusive<SeriesId>);

impl Selection for Window {
    fn has(&self, series: SeriesId) -> bool {
        self.0.contains(&series)
    }

    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool {
        range.start() <= self.0.end() && self.0.start() <= range.end()
    }
}

impl Checker<'_> {
    pub(super) fn laws(&mut self, horizon: Timestamp) -> Result<(), StoreError> {
        let numbers: Vec<NamespaceId> =
            self.known.iter().filter(|(_, known)| known.has_cursor).map(|(ns, _)| *ns).collect();
        for ns in numbers {
            // Out of the map while it is read, so that findings can be told meanwhile.
            let Some(mut known) = self.known.remove(&ns) else { continue };
            let compared = self.laws_of(ns, &mut known, horizon);
            self.known.insert(ns, known);
            for finding in compared? {
                self.tell(finding);
            }
        }
        Ok(())
    }

    fn laws_of(&self, ns: NamespaceId, known: &mut Known, horizon: Timestamp) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        for (position, metric) in known.record.metrics.iter().enumerate().filter(|(_, it)| it.kind.is_bucketed()) {
            let tiers = metric.tiers.as_slice().windows(2).enumerate();
            for (finer, tiers) in tiers {
                let (metric_number, tier) = (position as u16, finer as u8 + 1);
                let (fine, coarse) = (tiers[0], tiers[1]);
                let pair = Pair { ns, metric: metric_number, tier, coarse, fine, horizon };
                for partition in pair.partitions(known) {
                    let Some(segments) = pair.segments(known, partition) else { continue };
                    let source = Uncached(self.backend);
                    let series = known.series[position];
                    let compared =
                        with_rule!(metric.kind, rule => pair.compare(rule, &source, partition, &segments, series));
                    let compared = match compared {
                        Ok(compared) => compared,
                        Err(ReadError::Store(error)) => return Err(error),
                        // Every chunk has been read before: the disk does not tell the same twice.
                        Err(error) => {
                            let (what, advice) = (format!("{error}, and was not a moment ago"), "check the disk");
                            findings.push(Finding { ns: Some(ns), is_problem: true, what, at: None, advice });
                            continue;
                        }
                    };
                    known.report.buckets += compared.buckets;
                    findings.extend(pair.finding(&metric.name, partition, &compared));
                }
            }
        }
        Ok(findings)
    }
}

impl Pair {
    fn ratio(self) -> i64 {
        self.coarse.resolution.micros() / self.fine.resolution.micros()
    }

    /// Whether all finer buckets of this coarse one are kept: the first of them is the first to go.
    fn is_comparable(self, start: Timestamp) -> bool {
        bucket::is_kept(self.fine, start, self.horizon)
    }

    /// Partitions of the coarse tier in which either has something and some bucket can be compared.
    fn partitions(self, known: &Known) -> Vec<Partition> {
        let of = |tier: u8| {
            let segments = known.segments.keys();
            segments.filter(move |key| (key.metric, key.tier) == (self.metric, tier)).map(|key| key.partition)
        };
        let finer = of(self.tier - 1).map(|partition| partition.div_euclid(self.ratio()));
        let mut partitions: Vec<Partition> = of(self.tier).chain(finer).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let last = |partition| bucket::start_of(partition, PARTITION_BUCKETS as u32 - 1, self.coarse.resolution);
        partitions.retain(|partition| self.is_comparable(last(*partition)));
        partitions
    }

    /// Segments of a partition of the coarse tier, and those of the finer one within it. None if one of
    /// them is damaged: that has been told.
    fn segments(self, known: &Known, partition: Partition) -> Option<[Vec<&Segment>; 2]> {
        let has_unreadable = known.unreadable.iter().any(|key| self.is_within(key, partition));
        let within: Vec<_> = known.segments.iter().filter(|(key, _)| self.is_within(key, partition)).collect();
        if has_unreadable || within.iter().any(|(_, indexed)| !indexed.is_sound) {
            return None;
        }
        let of = |tier| within.iter().filter(|(key, _)| key.tier == tier).map(|(_, it)| &it.segment).collect();
        Some([of(self.tier), of(self.tier - 1)])
    }

    fn is_within(self, key: &SegmentKey, partition: Partition) -> bool {
        key.metric == self.metric
            && (key.tier == self.tier && key.partition == partition
                || key.tier == self.tier - 1 && key.partition.div_euclid(self.ratio()) == partition)
    }

    fn compare<R: Rule>(
        self,
        rule: R,
        source: &dyn ChunkSource,
        partition: Partition,
        [coarse, fine]: &[Vec<&Segment>; 2],
        series: u64,
    ) -> Result<Compared, ReadError> {
        let all = || coarse.iter().chain(fine);
        let (cells, bytes): (u64, u64) = (all().map(|it| it.cells()).sum(), all().map(|it| it.bytes_len()).sum());
        let windows = (cells / CELLS_MAX).max(bytes / BYTES_MAX) + 1;
        let width = series.div_ceil(windows).max(1);
        let mut compared = Compared::default();
        for window in 0..windows {
            let Ok(first) = SeriesId::try_from(window * width) else { break };
            let last = SeriesId::try_from((window + 1) * width - 1).unwrap_or(SeriesId::MAX);
            let window = Window(first..=last);
            let mut is = BTreeMap::new();
            for segment in coarse {
                self.gather(rule, source, segment, &window, &mut is)?;
            }
            let mut should = BTreeMap::new();
            for segment in fine {
                self.gather(rule, source, segment, &window, &mut should)?;
            }
            compared.add(rule, self.coarse, partition, is, should);
        }
        Ok(compared)
    }

    /// Adds the cells of a segment to the coarse buckets that they are in, those that can be compared.
    fn gather<R: Rule>(
        self,
        rule: R,
        source: &dyn ChunkSource,
        segment: &Segment,
        window: &Window,
        into: &mut BTreeMap<(SeriesId, u32), R::State>,
    ) -> Result<(), ReadError> {
        let key = segment.key();
        let tier = if key.tier == self.tier { self.coarse } else { self.fine };
        segment.for_each(rule, source, window, |cell| {
            let start = bucket::start_of(key.partition, cell.place, tier.resolution);
            if self.is_comparable(start.floor(self.coarse.resolution)) {
                let (_, place) = bucket::locate(start, self.coarse.resolution);
                rule.merge(into.entry((cell.series, place)).or_default(), cell.state);
            }
        })
    }

    fn finding(self, metric: &str, partition: Partition, compared: &Compared) -> Option<Finding> {
        let (series, start) = compared.first?;
        let (coarse, fine) = (self.coarse.resolution, self.fine.resolution);
        let what = format!(
            "metric {metric}, tier {coarse}, partition {partition}: {} of {} buckets are not the sum of their tier {fine}; \
             the first is that of label set {series}",
            compared.different, compared.buckets
        );
        Some(Finding { ns: Some(self.ns), is_problem: true, what, at: Some(start), advice: REPORT })
    }
}

impl Compared {
    fn add<R: Rule>(
        &mut self,
        rule: R,
        tier: Tier,
        partition: Partition,
        is: BTreeMap<(SeriesId, u32), R::State>,
        mut should: BTreeMap<(SeriesId, u32), R::State>,
    ) {
        // Parts that amount to nothing may be there or not.
        let bytes = |state: Option<&R::State>| {
            let mut out = Vec::new();
            if let Some(state) = state.filter(|state| !rule.is_neutral(state)) {
                rule.encode(state, &mut out);
            }
            out
        };
        let mut compare = |(series, place): (SeriesId, u32), is: Option<&R::State>, should: Option<&R::State>| {
            self.buckets += 1;
            if bytes(is) != bytes(should) {
                self.different += 1;
                let start = bucket::start_of(partition, place, tier.resolution);
                self.first = Some(self.first.map_or((series, start), |first| first.min((series, start))));
            }
        };
        for (at, state) in &is {
            let other = should.remove(at);
            compare(*at, Some(state), other.as_ref());
        }
        for (at, state) in &should {
            compare(*at, None, Some(state));
        }
    }
}
