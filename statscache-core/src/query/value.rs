//! From states to what a row says.

use std::{cmp::Ordering, sync::Arc};

use crate::kind::{
    CountRule, DistRule, DistState, DistinctRule, DistinctState, Rule, StatRule, StatState, TopEntry, TopRule, TopState,
};

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowValue {
    /// Nobody knows: the bus was not seen.
    Unknown,
    /// Of a count.
    Number(i64),
    /// Of a stat.
    Stat(Stat),
    /// Of a distinct.
    Distinct {
        /// About how many.
        estimate: u64,
        /// Relative standard error; 0 where the estimate is exact.
        error: f64,
    },
    /// Of a dist.
    Dist(Dist),
    /// Of a top: the greatest first.
    Top(Vec<TopEntry>),
    /// Of a latest value.
    Latest {
        /// JSON text.
        json: String,
        /// The message that said it.
        id: String,
    },
    /// Of latest values that are objects and were added up, member by member.
    Sums {
        /// Each member that has a number in one of them, with its sum; in the order in which they came.
        members: Vec<(Arc<str>, f64)>,
        /// How many objects are in it.
        values: u64,
        /// How many values have no such member and are not in it.
        others: u64,
    },
    /// Of latest values that were added up.
    Sum {
        /// The sum.
        sum: f64,
        /// How many numbers are in it.
        values: u64,
        /// How many values are no numbers and not in it.
        others: u64,
    },
    /// Of stats of which the means were multiplied.
    Product {
        /// The product of the means of the parts that said something.
        product: f64,
        /// How many those are.
        parts: u64,
        /// How many label sets there are that said nothing in the bucket.
        missing: u64,
    },
}

/// What a stat says; where there are no numbers, there is no least, greatest, mean or deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct Stat {
    /// How many numbers.
    pub n: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their standard deviation, of the population.
    pub stddev: Option<f64>,
}

/// What a dist says: quantiles are within 1 %, the ends are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Dist {
    /// How many numbers.
    pub n: u64,
    /// The least.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Quantiles 0.5, 0.9, 0.95 and 0.99.
    pub quantiles: [Option<f64>; 4],
}

/// Quantiles that a dist tells.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// A kind whose buckets become rows.
pub(super) trait Told: Rule {
    /// What the row says.
    fn tell(self, state: Self::State) -> RowValue;

    /// What rows are ordered by when they are ordered by value.
    fn compare(self, a: &Self::State, b: &Self::State) -> Ordering;
}

impl Told for CountRule {
    fn tell(self, state: i64) -> RowValue {
        RowValue::Number(state)
    }

    fn compare(self, a: &i64, b: &i64) -> Ordering {
        a.cmp(b)
    }
}

/// By sum.
impl Told for StatRule {
    fn tell(self, state: StatState) -> RowValue {
        RowValue::Stat(Stat {
            n: state.n(),
            sum: state.sum(),
            min: state.min(),
            max: state.max(),
            mean: state.mean(),
            stddev: state.stddev(),
        })
    }

    fn compare(self, a: &StatState, b: &StatState) -> Ordering {
        a.sum().total_cmp(&b.sum())
    }
}

/// By estimate.
impl Told for DistinctRule {
    fn tell(self, state: DistinctState) -> RowValue {
        RowValue::Distinct { estimate: state.estimate(), error: state.error() }
    }

    fn compare(self, a: &DistinctState, b: &DistinctState) -> Ordering {
        a.estimate().cmp(&b.estimate())
    }
}

/// By number.
impl Told for DistRule {
    fn tell(self, state: DistState) -> RowValue {
        let quantiles = QUANTILES.map(|q| state.quantile(q));
        RowValue::Dist(Dist { n: state.n(), min: state.min(), max: state.max(), quantiles })
    }

    fn compare(self, a: &DistState, b: &DistState) -> Ordering {
        a.n().cmp(&b.n())
    }
}

/// By the weight of all keys.
impl Told for TopRule {
    fn tell(self, state: TopState) -> RowValue {
        RowValue::Top(state.top(self))
    }

    fn compare(self, a: &TopState, b: &TopState) -> Ordering {
        a.total().cmp(&b.total())
    }
}
