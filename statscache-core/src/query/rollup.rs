//! Latest values that are numbers, added up along a path.

use statscache_plugin_sdk::Timestamp;

use super::{
    Answer, From, Query, QueryError, RowValue,
    choose::{Found, choose},
    latest::{Plan, by_series, told},
    select::Groups,
};
use crate::{
    bytes::{Corrupt, Input},
    coverage::BucketCoverage,
    kind::{Exact, LatestRule, Rule},
    series::SeriesId,
    view::MetricView,
};

/// The sum of the newest values of each group, as far as they are numbers.
pub(super) fn answer(
    rule: LatestRule,
    view: &MetricView,
    query: &Query,
    groups: Groups<'_>,
    from: From<'_>,
) -> Result<Answer, QueryError> {
    let plan = Plan::new(view, query, &groups, from.cells_max)?;
    let mut sums = vec![Sum::default(); groups.len()];
    let mut add = |series, time, number| {
        if let Some(group) = groups.of(series) {
            sums[group as usize].add(time, number);
        }
    };
    let leaves = Leaves { rule, plan: &plan, now: from.now };
    // With an end, the newest before it may have fallen out for a newer one, which only all of a state tells.
    let newest = if query.end.is_none() { leaves.read(view, &groups, from)? } else { None };
    match newest {
        Some(newest) => newest.into_iter().enumerate().for_each(|(series, newest)| {
            if let Some(time) = newest.time() {
                add(series as SeriesId, time, newest.number);
            }
        }),
        None => {
            for (series, state) in by_series(rule, &plan, &groups, from)? {
                if let Some(newest) = state.values.iter().find(|value| plan.has(rule, value.time, from.now)) {
                    add(series, newest.time, number_in(&newest.json));
                }
            }
        }
    }
    let found = sums.into_iter().enumerate().filter_map(|(group, sum)| {
        sum.newest.map(|time| Found { group: group as u32, time, value: (sum.sum.to_f64(), sum.values, sum.others) })
    });
    let chosen = choose(
        found.collect(),
        &groups,
        query,
        |a, b| a.0.total_cmp(&b.0),
        |found| {
            let (sum, values, others) = found.value;
            (BucketCoverage::Complete, RowValue::Sum { sum, values, others })
        },
    );
    Ok(told(query, groups, (from, plan.cells), chosen))
}

#[derive(Clone, Default)]
struct Sum {
    sum: Exact,
    values: u64,
    others: u64,
    newest: Option<Timestamp>,
}

impl Sum {
    fn add(&mut self, time: Timestamp, number: Option<f64>) {
        match number {
            Some(number) => {
                self.sum.add(number);
                self.values += 1;
            }
            None => self.others += 1,
        }
        self.newest = self.newest.max(Some(time));
    }
}

fn number_in(json: &str) -> Option<f64> {
    json.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads of each series the newest number alone, without a copy of its texts: a hundred thousand
/// leaves in milliseconds.
#[derive(Clone, Copy)]
struct Leaves<'p> {
    rule: LatestRule,
    plan: &'p Plan<'p>,
    now: Timestamp,
}

/// The newest value of a series in the range.
#[derive(Clone, Debug, Default, PartialEq)]
struct Newest {
    removed: Option<Timestamp>,
    at: Option<Timestamp>,
    /// First bytes of the id, which decides between values of one time.
    id: u128,
    number: Option<f64>,
    /// Two values of one time have ids that begin alike.
    is_tied: bool,
}

impl Newest {
    fn time(&self) -> Option<Timestamp> {
        self.at.filter(|at| Some(*at) > self.removed)
    }

    fn offer(&mut self, from: Self) {
        let (mine, other) = ((self.at, self.id), (from.at, from.id));
        self.is_tied |= from.is_tied || (mine == other && from.at.is_some());
        if other > mine {
            (self.at, self.id, self.number) = (from.at, from.id, from.number);
        }
    }
}

impl Leaves<'_> {
    /// By series. `None` where more has to be read to tell which value is the newest.
    fn read(self, view: &MetricView, groups: &Groups<'_>, from: From<'_>) -> Result<Option<Vec<Newest>>, QueryError> {
        let mut newest = vec![Newest::default(); view.series_count as usize];
        for segment in &self.plan.segments {
            segment.for_each(self, from.chunks, groups, |cell| {
                if let Some(into) = newest.get_mut(cell.series as usize) {
                    self.merge(into, cell.state);
                }
            })?;
        }
        Ok((!newest.iter().any(|newest| newest.is_tied)).then_some(newest))
    }
}

impl std::fmt::Debug for Leaves<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rule.fmt(f)
    }
}

/// Reads what [`LatestRule`] has written; writes nothing.
impl Rule for Leaves<'_> {
    type State = Newest;

    fn merge(self, into: &mut Newest, from: Newest) {
        into.removed = into.removed.max(from.removed);
        into.offer(from);
    }

    fn encode(self, _: &Newest, _: &mut Vec<u8>) {
        unreachable!("leaves are only read");
    }

    fn decode(self, input: &mut Input<'_>) -> Result<Newest, Corrupt> {
        let (removed, len) = LatestRule::decode_head(input)?;
        let mut state = Newest { removed, ..Newest::default() };
        for _ in 0..len {
            let (time, id, json) = LatestRule::decode_value(input)?;
            if self.plan.has(self.rule, time, self.now) {
                let mut prefix = [0; 16];
                let known = id.len().min(16);
                prefix[..known].copy_from_slice(&id.as_bytes()[..known]);
                let id = u128::from_be_bytes(prefix);
                state.offer(Newest { at: Some(time), id, number: number_in(json), ..Newest::default() });
            }
        }
        Ok(state)
    }
}
