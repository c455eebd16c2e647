//! Stats of several label sets as one: the product of their means.

use std::collections::BTreeMap;

use statscache_plugin_sdk::Timestamp;

use super::{
    Answer, From, Query, QueryError, RowValue,
    buckets::{Covered, merged},
    choose::{Chosen, Found, choose},
    plan::Plan,
    select::Groups,
};
use crate::{kind::StatRule, series::SeriesId, view::MetricView};

/// For each group and step in which one of its label sets said something, the product of the means.
pub(super) fn answer(
    view: &MetricView,
    query: &Query,
    groups: Groups<'_>,
    from: From<'_>,
    rows_max: usize,
) -> Result<Answer, QueryError> {
    let plan = Plan::new(&view.descriptor.tiers, query, (from.now, from.horizon))?;
    // Each label set by itself.
    let parts = Groups::new(view, &query.filters, None, None, groups.shown)?;
    let (found, visited) = merged(StatRule, view, &plan, &parts, from, rows_max)?;
    let covered = Covered::new(view, &plan, from.coverage);
    let chains = Chains::new(view, &parts, &groups);
    let mut products: BTreeMap<(u32, Timestamp), (f64, u64)> = BTreeMap::new();
    let mut means: Vec<(u32, Timestamp, u32, f64)> = found
        .into_iter()
        .filter_map(|Found { group, time, value }| {
            Some((chains.of_part[group as usize], time, group, value.and_then(|stat| stat.mean())?))
        })
        .collect();
    // Floats are multiplied in order of the labels, whichever came first.
    means.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| parts.compare(a.2, b.2)));
    for (chain, time, _, mean) in means {
        let (product, parts) = products.entry((chain, time)).or_insert((1.0, 0));
        *product *= mean;
        *parts += 1;
    }
    let found = products.into_iter().map(|((group, time), value)| Found { group, time, value }).collect();
    let Chosen { rows, total, truncated } = choose(
        found,
        &groups,
        query,
        |a, b| a.0.total_cmp(&b.0),
        |Found { group, time, value: (product, parts) }| {
            let missing = chains.lengths[group as usize] - parts;
            (covered.of(time, false), RowValue::Product { product, parts, missing })
        },
    );
    let (start, end, step) = (Some(plan.start), plan.end, Some(plan.step));
    let (dimensions, coverage) = (groups.dimensions, covered.runs);
    Ok(Answer { start, end, step, dimensions, rows, total, truncated, cells: visited, coverage })
}

/// Which label sets make up which group.
struct Chains {
    /// The group of each.
    of_part: Vec<u32>,
    /// How many each group has.
    lengths: Vec<u64>,
}

impl Chains {
    fn new(view: &MetricView, parts: &Groups<'_>, groups: &Groups<'_>) -> Self {
        let mut chains = Self { of_part: vec![0; parts.len()], lengths: vec![0; groups.len()] };
        for series in 0..view.series_count as SeriesId {
            if let (Some(part), Some(group)) = (parts.of(series), groups.of(series)) {
                chains.of_part[part as usize] = group;
                chains.lengths[group as usize] += 1;
            }
        }
        chains
    }
}
