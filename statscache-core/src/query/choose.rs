//! Which rows are told, and in what order.

use std::{cmp::Ordering, collections::HashMap};

use statscache_plugin_sdk::Timestamp;

use super::{
    Order, OrderBy, Query, Row, RowValue,
    select::{Groups, Labels},
};
use crate::coverage::BucketCoverage;

/// What may become a row.
pub(super) struct Found<V> {
    pub(super) group: u32,
    pub(super) time: Timestamp,
    pub(super) value: V,
}

/// What was chosen.
pub(super) struct Chosen {
    pub(super) rows: Vec<Row>,
    pub(super) total: usize,
    pub(super) truncated: bool,
}

/// The first `limit` behind the first `offset` in order. Only they are sorted and get labels.
pub(super) fn choose<V>(
    mut found: Vec<Found<V>>,
    groups: &Groups<'_>,
    query: &Query,
    compare_values: impl Fn(&V, &V) -> Ordering,
    mut to_value: impl FnMut(Found<V>) -> (BucketCoverage, RowValue),
) -> Chosen {
    let Order { by, descending } = query.order;
    let compare = |a: &Found<V>, b: &Found<V>| {
        let first = match by {
            OrderBy::Time => a.time.cmp(&b.time),
            OrderBy::Value => compare_values(&a.value, &b.value),
            OrderBy::Label(dimension) => groups.compare_by(dimension, a.group, b.group),
        };
        let first = if descending { first.reverse() } else { first };
        first
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| groups.compare(a.group, b.group))
            .then_with(|| compare_values(&a.value, &b.value))
    };
    let total = found.len();
    let first = query.offset.min(total);
    if first > 0 && first < total {
        found.select_nth_unstable_by(first, compare);
    }
    found.drain(..first);
    let truncated = found.len() > query.limit;
    if truncated {
        found.select_nth_unstable_by(query.limit, compare);
        found.truncate(query.limit);
    }
    found.sort_unstable_by(compare);
    let mut labels: HashMap<u32, Labels> = HashMap::new();
    let rows = found.into_iter().map(|found| {
        let labels = labels.entry(found.group).or_insert_with(|| groups.labels(found.group)).clone();
        let time = found.time;
        let (coverage, value) = to_value(found);
        Row { time, labels, value, coverage }
    });
    Chosen { rows: rows.collect(), total, truncated }
}
