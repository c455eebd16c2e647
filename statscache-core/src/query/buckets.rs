//! Answers of kinds that live in time buckets.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::Timestamp;

use super::{
    Answer, Fill, From, Query, QueryError, RowValue,
    choose::{Chosen, Found, choose},
    plan::{Held, Plan, check_cost},
    select::Groups,
    value::Told,
};
use crate::{
    bucket,
    coverage::{BucketCoverage, Coverage, Seen},
    limits::PARTITION_BUCKETS,
    segment::Segment,
    view::MetricView,
};

pub(super) fn answer<R: Told>(
    rule: R,
    view: &MetricView,
    query: &Query,
    groups: Groups<'_>,
    from: From<'_>,
    rows_max: usize,
) -> Result<Answer, QueryError> {
    let plan = Plan::new(&view.descriptor.tiers, query, (from.now, from.horizon))?;
    let (mut found, visited) = merged(rule, view, &plan, &groups, from, rows_max)?;
    let covered = Covered::new(view, &plan, from.coverage);
    match query.fill {
        Fill::None => {}
        fill => fill_up::<R>(&mut found, &plan, &groups, &covered, fill, rows_max)?,
    }
    let Chosen { rows, total, truncated } = choose(
        found,
        &groups,
        query,
        |a, b| compare(rule, a, b),
        |found| {
            let is_empty = found.value.as_ref().is_none_or(|state| rule.is_neutral(state));
            (covered.of(found.time, is_empty), found.value.map_or(RowValue::Unknown, |state| rule.tell(state)))
        },
    );
    let (start, end, step) = (Some(plan.start), plan.end, Some(plan.step));
    let (dimensions, coverage) = (groups.dimensions, covered.runs);
    Ok(Answer { start, end, step, dimensions, rows, total, truncated, cells: visited, coverage })
}

/// States by group and step, and how many cells were visited for them.
type Merged<S> = (Vec<Found<Option<S>>>, u64);

/// Merges what is in the range.
pub(super) fn merged<R: Told>(
    rule: R,
    view: &MetricView,
    plan: &Plan,
    groups: &Groups<'_>,
    from: From<'_>,
    rows_max: usize,
) -> Result<Merged<R::State>, QueryError> {
    let segments = plan.segments(&view.tiers[plan.tier_number]);
    let visited = check_cost(segments.iter().map(|(_, segment)| *segment), groups, from.cells_max)?;
    let cells = segments.iter().map(|(_, segment)| segment.cells()).sum();
    let mut sums = Sums::new(rule, plan, groups, cells, rows_max);
    for (partition, segment) in segments {
        sums.add(partition, segment, from)?;
    }
    let found = sums.found();
    if found.len() > rows_max { Err(QueryError::TooManyRows) } else { Ok((found, visited)) }
}

/// The coverage without what was damaged and is set aside, if there is such.
fn without_set_aside(view: &MetricView, plan: &Plan, coverage: &Coverage) -> Option<Coverage> {
    let (tier, resolution) = (&view.tiers[plan.tier_number], plan.tier.resolution);
    let mut rest = (!tier.set_aside.is_empty()).then(|| coverage.clone())?;
    for partition in &tier.set_aside {
        let (start, end) =
            (bucket::start_of(*partition, 0, resolution), bucket::start_of(partition + 1, 0, resolution));
        // Something of it may still be there.
        let is_empty = !tier.partitions.contains_key(partition);
        rest.lower(start, end, if is_empty { None } else { Some(Seen::Part) });
    }
    Some(rest)
}

/// What is not known is the least.
fn compare<R: Told>(rule: R, a: &Option<R::State>, b: &Option<R::State>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => rule.compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// States by group and step.
struct Sums<'p, R: Told> {
    rule: R,
    plan: &'p Plan,
    groups: &'p Groups<'p>,
    steps: u64,
    states: States<R::State>,
    rows_max: usize,
    held: Held,
    is_full: bool,
}

/// Where cells would be dense in it, a table is several times faster than a map.
enum States<S> {
    Table(Vec<S>),
    Map(FxHashMap<u64, S>),
}

/// Bytes of such a table.
const TABLE_BYTES_MAX: u64 = 32 << 20;

impl<'p, R: Told> Sums<'p, R> {
    fn new(rule: R, plan: &'p Plan, groups: &'p Groups<'p>, cells: u64, rows_max: usize) -> Self {
        let steps = plan.steps();
        let slots = steps.saturating_mul(groups.len() as u64);
        let bytes = slots.saturating_mul(size_of::<R::State>() as u64);
        let is_dense = slots <= 4096 + 2 * cells && bytes <= TABLE_BYTES_MAX;
        let states = match is_dense {
            true => States::Table(vec![R::State::default(); slots as usize]),
            false => States::Map(FxHashMap::default()),
        };
        Self { rule, plan, groups, steps, states, rows_max, held: Held::default(), is_full: false }
    }

    fn add(&mut self, partition: bucket::Partition, segment: &Segment, from: From<'_>) -> Result<(), QueryError> {
        let (plan, groups, rule, steps) = (self.plan, self.groups, self.rule, self.steps);
        let width = plan.tier.resolution.micros();
        let base = bucket::start_of(partition, 0, plan.tier.resolution).micros();
        // Places of this partition that are in the range.
        let place = |time: i64| time.saturating_sub(base).div_euclid(width);
        let first = place(plan.start.micros()).clamp(0, PARTITION_BUCKETS) as u32;
        let last = place(plan.end.micros() - 1).clamp(-1, PARTITION_BUCKETS - 1);
        let buckets_per_step = plan.step.micros() / width;
        let offset = ((i128::from(base) - i128::from(plan.start.micros())) / i128::from(width)) as i64;
        segment.for_each(rule, from.chunks, groups, |cell| {
            if cell.place < first || i64::from(cell.place) > last {
                return;
            }
            let Some(group) = groups.of(cell.series) else { return };
            let step = ((offset + i64::from(cell.place)) / buckets_per_step) as u64;
            let slot = u64::from(group) * steps + step;
            let into = match &mut self.states {
                States::Table(states) => &mut states[slot as usize],
                States::Map(states) => {
                    if states.len() >= self.rows_max && !states.contains_key(&slot) {
                        self.is_full = true;
                        return;
                    }
                    states.entry(slot).or_default()
                }
            };
            self.is_full |= !self.held.merge(rule, into, cell.state);
        })?;
        match self.is_full {
            true => Err(QueryError::TooManyRows),
            false => Ok(()),
        }
    }

    fn found(self) -> Vec<Found<Option<R::State>>> {
        let Self { rule, plan, steps, states, .. } = self;
        let row = |slot: u64, state: R::State| {
            let (group, step) = ((slot / steps) as u32, slot % steps);
            (!rule.is_neutral(&state)).then(|| Found { group, time: plan.start_of(step), value: Some(state) })
        };
        match states {
            States::Table(states) => {
                states.into_iter().enumerate().filter_map(|(slot, state)| row(slot as u64, state)).collect()
            }
            States::Map(states) => states.into_iter().filter_map(|(slot, state)| row(slot, state)).collect(),
        }
    }
}

/// Adds a row for each step of each group that has none.
fn fill_up<R: Told>(
    found: &mut Vec<Found<Option<R::State>>>,
    plan: &Plan,
    groups: &Groups<'_>,
    covered: &Covered,
    fill: Fill,
    rows_max: usize,
) -> Result<(), QueryError> {
    let mut there: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for row in found.iter() {
        there.entry(row.group).or_default().push(row.time);
    }
    // A metric without labels, or of which none is kept, has its one row, whatever has been said yet.
    if groups.dimensions.is_empty() && groups.len() == 1 {
        there.entry(0).or_default();
    }
    if plan.steps().saturating_mul(there.len() as u64) > rows_max as u64 {
        return Err(QueryError::TooManyRows);
    }
    for (group, mut times) in there {
        times.sort_unstable();
        for time in (0..plan.steps()).map(|step| plan.start_of(step)) {
            if times.binary_search(&time).is_err() {
                let is_known = fill == Fill::Zero || covered.of(time, true) == BucketCoverage::Complete;
                found.push(Found { group, time, value: is_known.then(R::State::default) });
            }
        }
    }
    Ok(())
}

/// What was seen of the steps.
pub(super) struct Covered {
    pub(super) runs: Vec<(Timestamp, Timestamp, BucketCoverage)>,
    /// Where the one step is the whole range; the runs are the tier's buckets then.
    whole: Option<BucketCoverage>,
}

impl Covered {
    pub(super) fn new(view: &MetricView, plan: &Plan, coverage: &Coverage) -> Self {
        let damaged = without_set_aside(view, plan, coverage);
        let coverage = damaged.as_ref().unwrap_or(coverage);
        let width = if plan.is_whole { plan.tier.resolution } else { plan.step };
        let runs = coverage.runs(plan.start, plan.end, width).collect();
        Self { runs, whole: plan.is_whole.then(|| coverage.of(plan.start, plan.end)) }
    }

    /// Of one step. Where there is something, something was seen.
    pub(super) fn of(&self, time: Timestamp, is_empty: bool) -> BucketCoverage {
        let run = self.runs.partition_point(|(_, end, _)| *end <= time);
        let of_run = || self.runs.get(run).map_or(BucketCoverage::Missing, |(_, _, coverage)| *coverage);
        match self.whole.unwrap_or_else(of_run) {
            BucketCoverage::Missing if !is_empty => BucketCoverage::Partial,
            coverage => coverage,
        }
    }
}
