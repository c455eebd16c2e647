//! Answers of latest values as they are.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::Timestamp;

use super::{
    Answer, From, Query, QueryError, RowValue,
    choose::{Chosen, Found, choose},
    numbers,
    plan::Held,
    select::Groups,
};
use crate::{
    coverage::BucketCoverage,
    kind::{LatestRule, LatestState, LatestValue, Rule},
    segment::{Segment, Selection},
    series::SeriesId,
    view::MetricView,
};

/// The range of times looked at, and the segments.
pub(super) struct Plan<'v> {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) segments: Vec<&'v Segment>,
    pub(super) cells: u64,
}

impl<'v> Plan<'v> {
    pub(super) fn new(
        view: &'v MetricView,
        query: &Query,
        wanted: &impl Selection,
        cells_max: u64,
    ) -> Result<Self, QueryError> {
        if query.step.is_some() {
            return Err(QueryError::NoBuckets);
        }
        let end = query.end.unwrap_or(Timestamp::from_micros(i64::MAX));
        let start = query.start.unwrap_or(Timestamp::from_micros(i64::MIN));
        if start >= end {
            return Err(QueryError::EmptyRange { start, end });
        }
        let segments: Vec<_> = view.segments().map(|segment| &**segment).collect();
        let chunks = segments.iter().flat_map(|segment| segment.chunks());
        let visited = chunks.filter(|chunk| wanted.may_have(chunk.first..=chunk.last));
        let cells = visited.map(|chunk| u64::from(chunk.cells.max(chunk.len / CELL_BYTES))).sum();
        if cells > cells_max {
            return Err(QueryError::TooExpensive { cells, max: cells_max });
        }
        Ok(Self { start, end, segments, cells })
    }

    pub(super) fn has(&self, rule: LatestRule, time: Timestamp, now: Timestamp) -> bool {
        (self.start..self.end).contains(&time) && !rule.is_expired(time, now)
    }
}

/// The first bytes of a latest value cost no more than a cell does anyway.
const CELL_BYTES: u32 = 64;

pub(super) fn answer(
    rule: LatestRule,
    view: &MetricView,
    query: &Query,
    groups: Groups<'_>,
    from: From<'_>,
    rows_max: usize,
) -> Result<Answer, QueryError> {
    let plan = Plan::new(view, query, &groups, from.cells_max.saturating_sub(groups.shown.cells))?;
    let mut found = Vec::new();
    for (group, state) in grouped(rule, &plan, &groups, from, rows_max)? {
        found.extend(state.values.into_iter().map(|value| Found { group, time: value.time, value }));
    }
    let (member, descending) = (query.member.as_deref(), query.order.descending);
    let chosen = choose(
        found,
        &groups,
        query,
        |a, b| compare(a, b, member, descending),
        |found| {
            let LatestValue { json, id, .. } = found.value;
            (BucketCoverage::Complete, RowValue::Latest { json, id })
        },
    );
    Ok(told(query, groups, (from, plan.cells), chosen))
}

/// An answer without buckets: of the range that was asked for.
pub(super) fn told(query: &Query, groups: Groups<'_>, (from, cells): (From<'_>, u64), chosen: Chosen) -> Answer {
    let end = query.end.unwrap_or(from.now);
    let cells = cells + groups.shown.cells;
    let (dimensions, coverage) = (groups.dimensions, Vec::new());
    let Chosen { rows, total, truncated } = chosen;
    Answer { start: query.start, end, step: None, dimensions, rows, total, truncated, cells, coverage }
}

/// Numbers as numbers, the others by their text; numbers come first, also where the greatest do.
fn compare(a: &LatestValue, b: &LatestValue, member: Option<&str>, descending: bool) -> Ordering {
    let number = |value: &LatestValue| numbers::of(&value.json, member);
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| (&a.json, &a.id).cmp(&(&b.json, &b.id))),
        (None, None) => (&a.json, &a.id).cmp(&(&b.json, &b.id)),
        (x, y) if descending => x.is_some().cmp(&y.is_some()),
        (x, y) => x.is_none().cmp(&y.is_none()),
    }
}

/// States by group. A removal concerns its own series alone, so it is applied before groups are made.
fn grouped(
    rule: LatestRule,
    plan: &Plan<'_>,
    groups: &Groups<'_>,
    from: From<'_>,
    rows_max: usize,
) -> Result<FxHashMap<u32, LatestState>, QueryError> {
    let mut by_group: FxHashMap<u32, LatestState> = FxHashMap::default();
    let mut count = 0_usize;
    let as_said = by_series(rule, &plan.segments, groups, from)?.into_iter();
    let as_said = as_said.filter_map(|(series, state)| Some((groups.of(series)?, state)));
    for (group, mut state) in as_said.chain(groups.shown().map(|(group, state)| (group, state.clone()))) {
        // First the range, then the cut: what is outside must not push out what is inside.
        state.removed = None;
        state.values.retain(|value| plan.has(rule, value.time, from.now));
        if state.values.is_empty() {
            continue;
        }
        let kept = by_group.entry(group).or_default();
        count -= kept.values.len();
        rule.merge(kept, state);
        count += kept.values.len();
        if count > rows_max {
            return Err(QueryError::TooManyRows);
        }
    }
    Ok(by_group)
}

/// States of the series that are wanted.
pub(super) fn by_series(
    rule: LatestRule,
    segments: &[&Segment],
    wanted: &impl Selection,
    from: From<'_>,
) -> Result<FxHashMap<SeriesId, LatestState>, QueryError> {
    let mut states: FxHashMap<SeriesId, LatestState> = FxHashMap::default();
    let (mut held, mut is_full) = (Held::default(), false);
    for segment in segments {
        segment.for_each(rule, from.chunks, wanted, |cell| {
            is_full = is_full || !held.merge(rule, states.entry(cell.series).or_default(), cell.state);
        })?;
        if is_full {
            return Err(QueryError::TooManyRows);
        }
    }
    Ok(states)
}
