//! Questions to a [`MetricView`]. Pure: one view, one question, one answer.
//!
//! Ranges are half-open, and rows are whole steps: a step is in the answer if it starts before `end`
//! and ends after `start`, with everything in it, whichever tier it is added up from. Buckets that
//! their tier keeps no longer are not, even while their partition is there: late events no longer
//! reach them, so their numbers may be too small. What is kept goes by the newest event, as retention
//! does. Neither are steps of which only a part is kept; the
//! answer's `start` says from where on it is whole.

mod buckets;
mod choose;
mod labels;
mod latest;
mod moves;
mod numbers;
mod plan;
mod product;
mod rollup;
mod select;
mod value;

use statscache_plugin_sdk::{Kind, Resolution, Tiers, Timestamp};

use crate::{
    bytes::Corrupt,
    coverage::{BucketCoverage, Coverage},
    kind::{CountRule, DistRule, DistinctRule, LatestRule, StatRule, TopRule},
    limits::{MEMBERS_MAX, QUERY_ROWS_MAX},
    segment::{ChunkSource, ReadError, SegmentKey},
    view::MetricView,
};
use moves::Shown;
use select::Groups;

pub use labels::{LabelQuery, LabelValues, label_samples, label_values};
pub use moves::MovedIndex;
pub use select::{Filter, Labels, Path};
pub use value::{Dist, QUANTILES, RowValue, Stat};

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
    /// Where the step is open: buckets at most, of a round width. Open: the buckets of a tier, at most
    /// [`POINTS_DEFAULT`] of them.
    pub max_points: Option<u32>,
    /// Instead of a width: one bucket over the whole range, of buckets of the tier that fits it.
    pub is_whole: bool,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Dimensions to keep, by position; values are merged over the others. Open: all.
    pub by: Option<Vec<usize>>,
    /// What stands for buckets with nothing in them.
    pub fill: Fill,
    /// What is made of the values of several label sets, other than merging them.
    pub rollup: Option<Rollup>,
    /// Of latest values that are objects: the member by which they are ordered, where they are ordered by
    /// value. Open: of sums the first that there is, of values as they are their text.
    pub member: Option<String>,
    /// Order of rows.
    pub order: Order,
    /// Rows at most.
    pub limit: usize,
    /// Rows left out before the first, in order.
    pub offset: usize,
}

/// What is made of the values of several label sets, other than merging them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    /// Of latest values: the numbers are added up along a path.
    Sum(Path),
    /// Of stats: the product of their means. If each says how often a part works, and parts fail without regard
    /// to each other, that is how often a chain of all of them works.
    Product,
}

/// What stands for buckets with nothing in them, in rows of label sets that have something elsewhere in
/// the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// No row; the answer's coverage tells whether that means zero.
    #[default]
    None,
    /// Zero where all of the bucket was seen, else [`RowValue::Unknown`].
    Null,
    /// Zero.
    Zero,
}

/// What a question is answered from, besides the metric.
#[derive(Clone, Copy)]
pub struct From<'a> {
    /// Where chunks are.
    pub chunks: &'a dyn ChunkSource,
    /// When the bus was seen, as far as the instance has read it.
    pub coverage: &'a Coverage,
    /// What open ends mean.
    pub now: Timestamp,
    /// What is kept: the present as retention sees it, not later than `now`.
    pub horizon: Timestamp,
    /// What moves the paths of the metric, where its descriptor names one.
    pub moves: Option<&'a MetricView>,
    /// Cells that may be visited, [`QUERY_CELLS_MAX`](crate::limits::QUERY_CELLS_MAX) where nothing says less.
    pub cells_max: u64,
}

impl Default for Query {
    fn default() -> Self {
        let order = Order { by: OrderBy::Time, descending: false };
        Self {
            start: None,
            end: None,
            step: None,
            max_points: None,
            is_whole: false,
            filters: Vec::new(),
            by: None,
            fill: Fill::None,
            rollup: None,
            member: None,
            order,
            limit: 10_000,
            offset: 0,
        }
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
    /// The value: a stat by its sum, a distinct by its estimate, a dist by its number, a top by the weight
    /// of all keys; latest values that are numbers as numbers, others behind them by their text.
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
    /// Rows that there are, those left out by offset and limit too.
    pub total: usize,
    /// Whether the limit cut rows off.
    pub truncated: bool,
    /// Cells visited, about.
    pub cells: u64,
    /// What was seen of the range: steps with the same coverage as one, in order. Empty for kinds
    /// without buckets.
    pub coverage: Vec<(Timestamp, Timestamp, BucketCoverage)>,
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
    /// How much of the bucket was seen; always complete for kinds without buckets.
    pub coverage: BucketCoverage,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
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
    /// Nothing of the range is kept in such steps any more.
    #[error("steps of {step} are kept since {since} only (microseconds since 1970); the tiers are {tiers}", since = .since.micros())]
    NotKept {
        /// As asked.
        step: Resolution,
        /// From when on there are whole steps.
        since: Timestamp,
        /// What there is.
        tiers: Tiers,
    },
    /// This kind is not rolled up like that.
    #[error("latest values are rolled up to sums, stats to products; other kinds are merged with `by` and `step`")]
    NoRollup,
    /// More names than a sum should have.
    #[error(
        "the values have more than {MEMBERS_MAX} different members with numbers; ask with filters for those that are alike"
    )]
    TooManyMembers,
    /// A step means nothing to a kind without buckets.
    #[error("this metric has latest values, no buckets: it takes no step")]
    NoBuckets,
    /// It would keep a core busy for too long.
    #[error("the answer would visit about {cells} cells, the most is {max}; ask for a shorter range or a coarser step")]
    TooExpensive {
        /// How many, about.
        cells: u64,
        /// How many may be.
        max: u64,
    },
    /// It would fill the memory, whatever its limit.
    #[error(
        "more than {QUERY_ROWS_MAX} rows, or more of their values than the memory should hold, were found before `limit` could choose among them; leave `fill` out, ask for fewer labels with filters, merge labels with `by`, or ask for a shorter range or a coarser step"
    )]
    TooManyRows,
    /// The view is so old that what it leads to is gone; ask the present one.
    #[error("the view is out of date")]
    Stale(SegmentKey),
    /// Part of the answer does not read: a damaged disk, or a defect of this program.
    #[error("part of the state cannot be read")]
    Unreadable(#[source] ReadError),
    /// The label sets do not read: a defect of this program or of the memory.
    #[error("the view is damaged")]
    Damaged(#[from] Corrupt),
}

impl std::convert::From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone(key, _) => Self::Stale(key),
            error => Self::Unreadable(error),
        }
    }
}

/// Answers the question.
pub fn run(view: &MetricView, query: &Query, from: From<'_>) -> Result<Answer, QueryError> {
    run_bounded(view, query, from, QUERY_ROWS_MAX)
}

fn run_bounded(view: &MetricView, query: &Query, from: From<'_>, rows_max: usize) -> Result<Answer, QueryError> {
    let path = match query.rollup {
        Some(Rollup::Sum(path)) => Some(path),
        Some(Rollup::Product) | None => None,
    };
    let shown = Shown::new(view, query, from)?;
    let groups = Groups::new(view, &query.filters, query.by.as_deref(), path, &shown)?;
    match (view.descriptor.kind, query.rollup) {
        (Kind::Latest { n, ttl }, Some(Rollup::Sum(_))) => {
            rollup::answer(LatestRule { n, ttl }, view, query, groups, from)
        }
        (Kind::Latest { n, ttl }, None) => latest::answer(LatestRule { n, ttl }, view, query, groups, from, rows_max),
        (Kind::Stat, Some(Rollup::Product)) => product::answer(view, query, groups, from, rows_max),
        (_, Some(_)) => Err(QueryError::NoRollup),
        (Kind::Count, None) => buckets::answer(CountRule, view, query, groups, from, rows_max),
        (Kind::Stat, None) => buckets::answer(StatRule, view, query, groups, from, rows_max),
        (Kind::Distinct, None) => buckets::answer(DistinctRule, view, query, groups, from, rows_max),
        (Kind::Dist, None) => buckets::answer(DistRule, view, query, groups, from, rows_max),
        (Kind::Top { k }, None) => buckets::answer(TopRule { k }, view, query, groups, from, rows_max),
    }
}

#[cfg(test)]
mod tests;
