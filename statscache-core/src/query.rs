//! Questions to a [`MetricView`]. Pure: one view, one question, one answer.
//!
//! Ranges are half-open, and rows are whole steps: a step is in the answer if it starts before `end`
//! and ends after `start`, with everything in it, whichever tier it is added up from. Buckets that
//! their tier keeps no longer are not, even while their partition is there: late events no longer
//! reach them, so their numbers may be too small. Neither are steps of which only a part is kept; the
//! answer's `start` says from where on it is whole.

mod select;

use std::collections::{HashMap, hash_map::Entry};

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::{Kind, Resolution, Tier, Tiers, Timestamp};

use crate::{
    bucket,
    bytes::Corrupt,
    kind::{CountRule, LatestRule, LatestState, Rule},
    limits::{QUERY_CELLS_MAX, QUERY_ROWS_MAX},
    segment::Segment,
    view::{MetricView, TierView},
};
use select::{Groups, Labels};

pub use select::Filter;

/// Buckets that an answer has at most when the question leaves the step open.
pub const POINTS_DEFAULT: i64 = 500;
/// Range of an answer when the question leaves the start open.
pub const RANGE_DEFAULT: Resolution = Resolution::HOUR;

/// A question to one metric.
#[derive(Clone, Debug)]
pub struct Query {
    /// First instant; an hour before the end if open. For kinds without buckets open means all.
    pub start: Option<Timestamp>,
    /// First instant after; the present if open, and then the running bucket is in.
    pub end: Option<Timestamp>,
    /// Width of the answer's buckets; if open, what fits the range.
    pub step: Option<Resolution>,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Dimensions to keep, by position; values are merged over the others. Open: all.
    pub by: Option<Vec<usize>>,
    /// Order of rows.
    pub order: Order,
    /// Rows at most.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        let order = Order { by: OrderBy::Time, descending: false };
        Self { start: None, end: None, step: None, filters: Vec::new(), by: None, order, limit: 10_000 }
    }
}

/// Order of rows; equal ones follow in order of time and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// Greatest first.
    pub descending: bool,
}

/// By what rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// Start of the bucket, or time of the value.
    Time,
    /// The number; JSON values by their text.
    Value,
    /// A label, by position of its dimension.
    Label(usize),
}

/// What the view says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// First instant that was looked at, later than asked if the tier keeps less; `None`: from the
    /// beginning.
    pub start: Option<Timestamp>,
    /// First instant that was not looked at.
    pub end: Timestamp,
    /// Width of the buckets; `None` for kinds without.
    pub step: Option<Resolution>,
    /// The dimensions kept, by position.
    pub dimensions: Vec<usize>,
    /// Rows, in order.
    pub rows: Vec<Row>,
    /// Whether the limit cut rows off.
    pub truncated: bool,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Start of the bucket, or time of the value.
    pub time: Timestamp,
    /// Values of the dimensions kept.
    pub labels: Labels,
    /// What was asked for.
    pub value: RowValue,
}

/// A value in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowValue {
    /// Of a count.
    Number(i64),
    /// Of a latest value.
    Latest {
        /// JSON text.
        json: String,
        /// The message that said it.
        id: String,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nothing can be in the range.
    #[error("start {start} is not before end {end} (microseconds since 1970)", start = .start.micros(), end = .end.micros())]
    EmptyRange {
        /// As asked.
        start: Timestamp,
        /// As asked.
        end: Timestamp,
    },
    /// No tier has buckets that make up such steps.
    #[error("step {step} is not a multiple of any tier of this metric ({tiers})")]
    Step {
        /// As asked.
        step: Resolution,
        /// What there is.
        tiers: Tiers,
    },
    /// A step means nothing to a kind without buckets.
    #[error("this metric has latest values, no buckets: it takes no step")]
    NoBuckets,
    /// It would keep a core busy for too long.
    #[error(
        "the answer would visit about {cells} cells, the most is {QUERY_CELLS_MAX}; ask for a shorter range or a coarser step"
    )]
    TooExpensive {
        /// How many, about.
        cells: u64,
    },
    /// It would fill the memory, whatever its limit.
    #[error(
        "more than {QUERY_ROWS_MAX} rows were found before `limit` could choose among them; ask for fewer labels with filters, merge labels with `by`, or ask for a shorter range or a coarser step"
    )]
    TooManyRows,
    /// The view does not read: a defect of this program or of the memory.
    #[error("the view is damaged")]
    Damaged(#[from] Corrupt),
}

/// Answers the question; `now` decides what open ends mean.
pub fn run(view: &MetricView, query: &Query, now: Timestamp) -> Result<Answer, QueryError> {
    run_bounded(view, query, now, QUERY_ROWS_MAX)
}

fn run_bounded(view: &MetricView, query: &Query, now: Timestamp, rows_max: usize) -> Result<Answer, QueryError> {
    let groups = Groups::new(view, &query.filters, query.by.as_deref())?;
    match view.descriptor.kind {
        Kind::Count => buckets(CountRule, view, query, groups, now, rows_max),
        Kind::Latest { n } => latest(LatestRule { n }, view, query, groups, now, rows_max),
    }
}

fn buckets(
    rule: CountRule,
    view: &MetricView,
    query: &Query,
    groups: Groups,
    now: Timestamp,
    rows_max: usize,
) -> Result<Answer, QueryError> {
    let plan = plan(&view.descriptor.tiers, query, now)?;
    let segments = plan.segments(&view.tiers[plan.tier_number]);
    check_cost(&segments)?;
    let mut cells: FxHashMap<(u32, Timestamp), i64> = FxHashMap::default();
    for (partition, segment) in segments {
        let mut is_full = false;
        segment.for_each(
            rule,
            |series| groups.of(series).is_some(),
            |cell| {
                let start = bucket::start_of(partition, cell.place, plan.tier.resolution);
                if start < plan.start || start >= plan.end {
                    return;
                }
                let Some(group) = groups.of(cell.series) else { return };
                let has_room = cells.len() < rows_max;
                match cells.entry((group, start.floor(plan.step))) {
                    Entry::Occupied(kept) => rule.merge(kept.into_mut(), cell.state),
                    Entry::Vacant(free) if has_room => {
                        free.insert(cell.state);
                    }
                    Entry::Vacant(_) => is_full = true,
                }
            },
        )?;
        if is_full {
            return Err(QueryError::TooManyRows);
        }
    }
    let found = cells.into_iter().map(|((group, time), value)| Found { group, time, value }).collect();
    let (rows, truncated) = choose(found, &groups, query, RowValue::Number);
    let (start, end, step) = (Some(plan.start), plan.end, Some(plan.step));
    Ok(Answer { start, end, step, dimensions: groups.dimensions, rows, truncated })
}

fn latest(
    rule: LatestRule,
    view: &MetricView,
    query: &Query,
    groups: Groups,
    now: Timestamp,
    rows_max: usize,
) -> Result<Answer, QueryError> {
    if query.step.is_some() {
        return Err(QueryError::NoBuckets);
    }
    let end = query.end.unwrap_or(Timestamp::from_micros(i64::MAX));
    let start = query.start.unwrap_or(Timestamp::from_micros(i64::MIN));
    if start >= end {
        return Err(QueryError::EmptyRange { start, end });
    }
    let segments: Vec<_> = view.tiers[0].partitions.values().flatten().map(|(_, segment)| (0, &**segment)).collect();
    check_cost(&segments)?;
    let mut cells: FxHashMap<u32, LatestState> = FxHashMap::default();
    let mut count = 0_usize;
    for (_, segment) in segments {
        segment.for_each(
            rule,
            |series| groups.of(series).is_some(),
            |cell| {
                let Some(group) = groups.of(cell.series) else { return };
                // First the range, then the cut: what is outside must not push out what is inside.
                let mut state = cell.state;
                state.retain(|value| (start..end).contains(&value.time));
                if state.is_empty() || count > rows_max {
                    return;
                }
                let kept = cells.entry(group).or_default();
                count -= kept.len();
                rule.merge(kept, state);
                count += kept.len();
            },
        )?;
        if count > rows_max {
            return Err(QueryError::TooManyRows);
        }
    }
    let mut found = Vec::with_capacity(count);
    for (group, state) in cells {
        found.extend(state.into_iter().map(|value| Found { group, time: value.time, value: (value.json, value.id) }));
    }
    let (rows, truncated) = choose(found, &groups, query, |(json, id)| RowValue::Latest { json, id });
    let end = query.end.unwrap_or(now);
    Ok(Answer { start: query.start, end, step: None, dimensions: groups.dimensions, rows, truncated })
}

/// What may become a row.
struct Found<V> {
    group: u32,
    time: Timestamp,
    value: V,
}

/// The first `limit` in order, and whether there were more. Only they are sorted and get labels.
fn choose<V: Ord>(
    mut found: Vec<Found<V>>,
    groups: &Groups,
    query: &Query,
    to_value: impl Fn(V) -> RowValue,
) -> (Vec<Row>, bool) {
    let Order { by, descending } = query.order;
    let compare = |a: &Found<V>, b: &Found<V>| {
        let first = match by {
            OrderBy::Time => a.time.cmp(&b.time),
            OrderBy::Value => a.value.cmp(&b.value),
            OrderBy::Label(dimension) => groups.compare_by(dimension, a.group, b.group),
        };
        let first = if descending { first.reverse() } else { first };
        first
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| groups.compare(a.group, b.group))
            .then_with(|| a.value.cmp(&b.value))
    };
    let truncated = found.len() > query.limit;
    if truncated {
        found.select_nth_unstable_by(query.limit, compare);
        found.truncate(query.limit);
    }
    found.sort_unstable_by(compare);
    let mut labels: HashMap<u32, Labels> = HashMap::new();
    let rows = found.into_iter().map(|Found { group, time, value }| {
        let labels = labels.entry(group).or_insert_with(|| groups.labels(group)).clone();
        Row { time, labels, value: to_value(value) }
    });
    (rows.collect(), truncated)
}

/// From where and in what buckets a question is answered.
struct Plan {
    start: Timestamp,
    end: Timestamp,
    step: Resolution,
    tier_number: usize,
    tier: Tier,
}

fn plan(tiers: &Tiers, query: &Query, now: Timestamp) -> Result<Plan, QueryError> {
    // One past the present, so that an event of this very microsecond is in.
    let end = query.end.unwrap_or(now.plus_micros(1));
    let start = query.start.unwrap_or(end.plus_micros(-RANGE_DEFAULT.micros()));
    if start >= end {
        return Err(QueryError::EmptyRange { start, end });
    }
    let (tier_number, tier) = match query.step {
        Some(step) => {
            bucket::tier_for_step(tiers, step).ok_or_else(|| QueryError::Step { step, tiers: tiers.clone() })?
        }
        None => bucket::tier_for_range(tiers, (start, end), now, POINTS_DEFAULT),
    };
    let step = query.step.unwrap_or(tier.resolution);
    let end = end.plus_micros(-1).floor(step).plus_micros(step.micros());
    // Of a step that begins before what the tier keeps there would be a part only.
    let whole_since = bucket::kept_since(tier, now).map_or(start.floor(step), |since| ceil(since, step));
    Ok(Plan { start: start.floor(step).max(whole_since).min(end), end, step, tier_number, tier })
}

/// The first multiple that is not earlier.
fn ceil(time: Timestamp, width: Resolution) -> Timestamp {
    let floor = time.floor(width);
    if floor < time { floor.plus_micros(width.micros()) } else { floor }
}

impl Plan {
    fn segments<'v>(&self, view: &'v TierView) -> Vec<(bucket::Partition, &'v Segment)> {
        if self.start >= self.end {
            return Vec::new();
        }
        let (first, _) = bucket::locate(self.start, self.tier.resolution);
        let (last, _) = bucket::locate(self.end.plus_micros(-1), self.tier.resolution);
        let partitions = view.partitions.range(first..=last);
        partitions
            .flat_map(|(partition, segments)| segments.iter().map(|(_, segment)| (*partition, &**segment)))
            .collect()
    }
}

/// A cell takes two bytes at least, so bytes bound the work before it is done.
fn check_cost(segments: &[(bucket::Partition, &Segment)]) -> Result<(), QueryError> {
    let cells = segments.iter().map(|(_, segment)| segment.bytes_len() as u64 / 2).sum();
    if cells > QUERY_CELLS_MAX { Err(QueryError::TooExpensive { cells }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
