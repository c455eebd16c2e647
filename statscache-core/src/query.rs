//! Questions to a [`MetricView`]. Pure: one view, one question, one answer.
//!
//! Ranges are half-open, and rows are whole steps: a step is in the answer if it starts before `end`
//! and ends after `start`, with everything in it, whichever tier it is added up from. Buckets that
//! their tier keeps no longer are not, even while their partition is there: late events no longer
//! reach them, so their numbers may be too small.

mod select;

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::{Kind, Resolution, Tier, Tiers, Timestamp};

use crate::{
    bucket,
    bytes::Corrupt,
    kind::{CountRule, LatestRule, LatestState, Rule},
    limits::QUERY_CELLS_MAX,
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
    /// First instant that was looked at; `None`: from the beginning.
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
    /// The view does not read: a defect of this program or of the memory.
    #[error("the view is damaged")]
    Damaged(#[from] Corrupt),
}

/// Answers the question; `now` decides what open ends mean.
pub fn run(view: &MetricView, query: &Query, now: Timestamp) -> Result<Answer, QueryError> {
    let groups = Groups::new(view, &query.filters, query.by.as_deref())?;
    let mut answer = match view.descriptor.kind {
        Kind::Count => buckets(CountRule, view, query, &groups, now, RowValue::Number)?,
        Kind::Latest { n } => latest(LatestRule { n }, view, query, &groups, now)?,
    };
    sort(&mut answer.rows, query.order, &answer.dimensions);
    answer.truncated = answer.rows.len() > query.limit;
    answer.rows.truncate(query.limit);
    Ok(answer)
}

fn buckets<R: Rule>(
    rule: R,
    view: &MetricView,
    query: &Query,
    groups: &Groups,
    now: Timestamp,
    to_value: impl Fn(R::State) -> RowValue,
) -> Result<Answer, QueryError> {
    let plan = plan(&view.descriptor.tiers, query, now)?;
    let segments = plan.segments(&view.tiers[plan.tier_number]);
    check_cost(&segments)?;
    let mut cells: FxHashMap<(u32, Timestamp), R::State> = FxHashMap::default();
    for (partition, segment) in segments {
        segment.for_each(
            rule,
            |series| groups.of(series).is_some(),
            |cell| {
                let start = bucket::start_of(partition, cell.place, plan.tier.resolution);
                if start < plan.start || start >= plan.end || !bucket::is_kept(plan.tier, start, now) {
                    return;
                }
                let Some(group) = groups.of(cell.series) else { return };
                match cells.entry((group, start.floor(plan.step))) {
                    std::collections::hash_map::Entry::Occupied(kept) => rule.merge(kept.into_mut(), cell.state),
                    std::collections::hash_map::Entry::Vacant(free) => {
                        free.insert(cell.state);
                    }
                }
            },
        )?;
    }
    let rows = cells.into_iter().map(|((group, time), state)| Row {
        time,
        labels: groups.labels(group),
        value: to_value(state),
    });
    Ok(Answer {
        start: Some(plan.start),
        end: plan.end,
        step: Some(plan.step),
        dimensions: groups.dimensions.clone(),
        rows: rows.collect(),
        truncated: false,
    })
}

fn latest(
    rule: LatestRule,
    view: &MetricView,
    query: &Query,
    groups: &Groups,
    now: Timestamp,
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
    for (_, segment) in segments {
        segment.for_each(
            rule,
            |series| groups.of(series).is_some(),
            |cell| {
                let Some(group) = groups.of(cell.series) else { return };
                // First the range, then the cut: what is outside must not push out what is inside.
                let mut state = cell.state;
                state.retain(|value| (start..end).contains(&value.time));
                rule.merge(cells.entry(group).or_default(), state);
            },
        )?;
    }
    let mut rows = Vec::new();
    for (group, state) in cells {
        for value in state {
            let labels = groups.labels(group);
            rows.push(Row { time: value.time, labels, value: RowValue::Latest { json: value.json, id: value.id } });
        }
    }
    let end = query.end.unwrap_or(now);
    Ok(Answer { start: query.start, end, step: None, dimensions: groups.dimensions.clone(), rows, truncated: false })
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
    Ok(Plan { start: start.floor(step), end, step, tier_number, tier })
}

impl Plan {
    fn segments<'v>(&self, view: &'v TierView) -> Vec<(bucket::Partition, &'v Segment)> {
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

fn sort(rows: &mut [Row], order: Order, dimensions: &[usize]) {
    let by_rest = |a: &Row, b: &Row| (a.time, &a.labels, &a.value).cmp(&(b.time, &b.labels, &b.value));
    let label = match order.by {
        OrderBy::Label(dimension) => dimensions.iter().position(|kept| *kept == dimension),
        _ => None,
    };
    rows.sort_unstable_by(|a, b| {
        let first = match order.by {
            OrderBy::Time => a.time.cmp(&b.time),
            OrderBy::Value => a.value.cmp(&b.value),
            OrderBy::Label(_) => label.map_or(std::cmp::Ordering::Equal, |at| a.labels[at].cmp(&b.labels[at])),
        };
        let first = if order.descending { first.reverse() } else { first };
        first.then_with(|| by_rest(a, b))
    });
}

#[cfg(test)]
mod tests;
