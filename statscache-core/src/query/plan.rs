//! From where, and in what buckets, a question is answered.

use statscache_plugin_sdk::{Resolution, Tier, Tiers, Timestamp};

use super::{POINTS_DEFAULT, Query, QueryError, RANGE_DEFAULT};
use crate::{
    bucket::{self, Partition},
    kind::Rule,
    limits::QUERY_STATE_BYTES_MAX,
    segment::{Segment, Selection},
    view::TierView,
};

pub(super) struct Plan {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) step: Resolution,
    pub(super) tier_number: usize,
    pub(super) tier: Tier,
    /// Whether the one step is the whole range, which begins anywhere.
    pub(super) is_whole: bool,
}

impl Plan {
    pub(super) fn new(
        tiers: &Tiers,
        query: &Query,
        (now, horizon): (Timestamp, Timestamp),
    ) -> Result<Self, QueryError> {
        // One past the present, so that an event of this very microsecond is in.
        let end = query.end.unwrap_or(now.plus_micros(1));
        let start = query.start.unwrap_or(end.plus_micros(-RANGE_DEFAULT.micros()));
        if start >= end {
            return Err(QueryError::EmptyRange { start, end });
        }
        let points = query.max_points.map(|points| bucket::step_for_points(tiers, (start, end), horizon, points));
        let wanted = query.step.or(points);
        let (tier_number, tier) = match wanted {
            Some(step) => {
                bucket::tier_for_step(tiers, step).ok_or_else(|| QueryError::Step { step, tiers: tiers.clone() })?
            }
            None => bucket::tier_for_range(tiers, (start, end), horizon, POINTS_DEFAULT),
        };
        if query.is_whole {
            return Ok(Self::whole((start, end), (tier_number, tier), horizon));
        }
        let step = wanted.unwrap_or(tier.resolution);
        let end = end.plus_micros(-1).floor(step).plus_micros(step.micros());
        // Of a step that begins before what the tier keeps there would be a part only.
        let whole_since = bucket::kept_since(tier, horizon).map_or(start.floor(step), |since| ceil(since, step));
        if whole_since >= end && query.step.is_some() {
            return Err(QueryError::NotKept { step, since: whole_since, tiers: tiers.clone() });
        }
        Ok(Self { start: start.floor(step).max(whole_since).min(end), end, step, tier_number, tier, is_whole: false })
    }

    /// One step: the range in whole buckets of the tier, as far as that keeps them.
    fn whole((start, end): (Timestamp, Timestamp), (tier_number, tier): (usize, Tier), horizon: Timestamp) -> Self {
        let width = tier.resolution;
        let end = end.plus_micros(-1).floor(width).plus_micros(width.micros());
        let since = bucket::kept_since(tier, horizon).map_or(start, |since| since.max(start));
        // A step has a greatest width; what is longer loses its oldest part.
        let first = end.plus_micros(-Resolution::MAX.micros());
        let start =
            ceil(first, width).max(if since > start { ceil(since, width) } else { start.floor(width) }).min(end);
        let secs = u64::try_from(end.micros() / 1_000_000 - start.micros() / 1_000_000).unwrap_or(0);
        // Of a range of which nothing is kept, there are no steps.
        let step = Resolution::from_secs(secs).unwrap_or(width);
        Self { start, end, step, tier_number, tier, is_whole: true }
    }

    /// Number of steps.
    pub(super) fn steps(&self) -> u64 {
        // The last one may be cut short by the end of time.
        let span = i128::from(self.end.micros()) - i128::from(self.start.micros());
        span.max(0).unsigned_abs().div_ceil(self.step.micros().unsigned_abs().into()) as u64
    }

    /// Start of a step.
    pub(super) fn start_of(&self, step: u64) -> Timestamp {
        let time = i128::from(self.start.micros()) + i128::from(step) * i128::from(self.step.micros());
        Timestamp::from_micros(time.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    pub(super) fn segments<'v>(&self, view: &'v TierView) -> Vec<(Partition, &'v Segment)> {
        if self.start >= self.end {
            return Vec::new();
        }
        let (first, _) = bucket::locate(self.start, self.tier.resolution);
        let (last, _) = bucket::locate(self.end.plus_micros(-1), self.tier.resolution);
        let partitions = view.partitions.range(first..=last);
        partitions.flat_map(|(partition, segments)| segments.iter().map(|segment| (*partition, &**segment))).collect()
    }
}

/// Memory behind the states that a query has merged so far.
#[derive(Default)]
pub(super) struct Held(usize);

impl Held {
    /// Merges one more, unless the bound is reached; false when it is.
    #[inline]
    pub(super) fn merge<R: Rule>(&mut self, rule: R, into: &mut R::State, from: R::State) -> bool {
        if self.0 > QUERY_STATE_BYTES_MAX {
            return false;
        }
        let before = rule.heap(into);
        rule.merge(into, from);
        self.0 = (self.0 + rule.heap(into)).saturating_sub(before);
        self.0 <= QUERY_STATE_BYTES_MAX
    }
}

/// The first multiple that is not earlier.
fn ceil(time: Timestamp, width: Resolution) -> Timestamp {
    let floor = time.floor(width);
    if floor < time { floor.plus_micros(width.micros()) } else { floor }
}

/// How many cells there are. The directories say it, so that the work is bounded before it is done.
pub(super) fn check_cost<'s>(
    segments: impl IntoIterator<Item = &'s Segment>,
    wanted: &impl Selection,
    max: u64,
) -> Result<u64, QueryError> {
    let chunks = segments.into_iter().flat_map(Segment::chunks);
    let visited = chunks.filter(|chunk| wanted.may_have(chunk.first..=chunk.last));
    // A cell of a sketch is many bytes, and takes as long as the cells that they could be.
    let cells = visited.map(|chunk| u64::from(chunk.cells.max(chunk.len / 16))).sum();
    if cells > max { Err(QueryError::TooExpensive { cells, max }) } else { Ok(cells) }
}
