//! Latest values that are numbers, or objects with numbers, added up along a path.

use std::{cell::RefCell, cmp::Ordering};

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::Timestamp;

use super::{
    Answer, From, Query, QueryError, RowValue,
    choose::{Found, choose},
    latest::{Plan, by_series, told},
    numbers::{ITSELF, Names, Number, Total},
    select::Groups,
};
use crate::{
    bytes::{Corrupt, Input},
    coverage::BucketCoverage,
    kind::{LatestRule, Rule},
    segment::Segment,
    series::SeriesId,
    view::MetricView,
};

/// The sum of the newest values of each group, as far as they are numbers or have some.
pub(super) fn answer(
    rule: LatestRule,
    view: &MetricView,
    query: &Query,
    groups: Groups<'_>,
    from: From<'_>,
) -> Result<Answer, QueryError> {
    let plan = Plan::new(view, query, &groups, from.cells_max.saturating_sub(groups.shown.cells))?;
    let said = RefCell::default();
    let leaves = Leaves { rule, plan: &plan, now: from.now, said: &said };
    // With an end, the newest before it may have fallen out for a newer one, which only all of a state tells.
    let newest = if query.end.is_none() { leaves.add_up(&groups, from)? } else { None };
    let mut sums = match newest {
        Some(sums) => sums,
        None => leaves.add_up_states(&groups, from)?,
    };
    let Said { mut names, mut numbers } = said.into_inner();
    for (group, state) in groups.shown() {
        let Some(newest) = state.values.first() else { continue };
        numbers.clear();
        names.read(&newest.json, &mut numbers);
        sums[group as usize].add(newest.time, &numbers);
    }
    names.check()?;
    Ok(tell(query, groups, (from, plan.cells), sums, &names))
}

fn tell(query: &Query, groups: Groups<'_>, cost: (From<'_>, u64), sums: Vec<Sum>, names: &Names) -> Answer {
    let (member, descending) = (query.member.as_deref(), query.order.descending);
    let leading = leading(&sums, names);
    let compared = |sum: &Sum| match member {
        Some(name) => names.find(name).and_then(|name| sum.total(name)),
        None if sum.objects > 0 => sum.total(leading),
        None => Some(sum.total(ITSELF).unwrap_or_default()),
    };
    let found = sums
        .iter()
        .enumerate()
        .filter_map(|(group, sum)| sum.newest.map(|time| Found { group: group as u32, time, value: compared(sum) }));
    let chosen = choose(
        found.collect(),
        &groups,
        query,
        |a, b| compare(*a, *b, descending),
        |found| (BucketCoverage::Complete, sums[found.group as usize].tell(names)),
    );
    told(query, groups, cost, chosen)
}

/// By which member groups with objects are compared where nobody says: that with the greatest sum of any group. The
/// order in which values came must not be seen.
fn leading(sums: &[Sum], names: &Names) -> u16 {
    let members = sums.iter().filter(|sum| sum.objects > 0).flat_map(Sum::members);
    let greatest = members.max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| names.name(b.0).cmp(&names.name(a.0))));
    greatest.map_or(ITSELF, |(name, _)| name)
}

/// What has no such member is last in both directions.
fn compare(a: Option<f64>, b: Option<f64>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) if descending => a.is_some().cmp(&b.is_some()),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

#[derive(Clone, Default)]
struct Sum {
    /// By number of the name; `None` for what no value has.
    totals: Vec<Option<Total>>,
    /// Values that are numbers themselves.
    numbers: u64,
    /// Objects with numbers.
    objects: u64,
    others: u64,
    newest: Option<Timestamp>,
}

impl Sum {
    fn add(&mut self, time: Timestamp, numbers: &[(u16, Number)]) {
        match numbers {
            [] => self.others += 1,
            [(ITSELF, _)] => self.numbers += 1,
            _ => self.objects += 1,
        }
        for (name, number) in numbers {
            let name = usize::from(*name);
            if self.totals.len() <= name {
                self.totals.resize_with(name + 1, || None);
            }
            self.totals[name].get_or_insert_default().add(*number);
        }
        self.newest = self.newest.max(Some(time));
    }

    fn total(&self, name: u16) -> Option<f64> {
        self.totals.get(usize::from(name))?.as_ref().map(Total::to_f64)
    }

    /// Totals of members, by the numbers of their names.
    fn members(&self) -> impl Iterator<Item = (u16, f64)> {
        let behind_itself = 1..self.totals.len() as u16;
        behind_itself.filter_map(|name| Some((name, self.total(name)?)))
    }

    /// Where there are objects, numbers among them belong to no member.
    fn tell(&self, names: &Names) -> RowValue {
        let (values, others) = (self.numbers, self.others);
        if self.objects == 0 {
            return RowValue::Sum { sum: self.total(ITSELF).unwrap_or_default(), values, others };
        }
        let mut members: Vec<_> = self.members().map(|(name, sum)| (names.name(name), sum)).collect();
        members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        RowValue::Sums { members, values: self.objects, others: others + values }
    }
}

/// What values say: names, and numbers of those that are at hand.
#[derive(Default)]
struct Said {
    names: Names,
    numbers: Vec<(u16, Number)>,
}

/// Reads of each series the newest numbers alone, without a copy of its texts.
#[derive(Clone, Copy)]
struct Leaves<'p> {
    rule: LatestRule,
    plan: &'p Plan<'p>,
    now: Timestamp,
    said: &'p RefCell<Said>,
}

/// The newest value of a series in the range.
#[derive(Clone, Debug, Default, PartialEq)]
struct Newest {
    removed: Option<Timestamp>,
    at: Option<Timestamp>,
    /// First bytes of the id, which decides between values of one time.
    id: u128,
    /// Where its numbers are.
    numbers: (u32, u32),
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
            (self.at, self.id, self.numbers) = (from.at, from.id, from.numbers);
        }
    }
}

/// Sums by group while they are made.
struct Adding<'g, 'v> {
    groups: &'g Groups<'v>,
    sums: Vec<Sum>,
    is_tied: bool,
}

impl Adding<'_, '_> {
    fn add(&mut self, series: SeriesId, newest: &Newest, numbers: &[(u16, Number)]) {
        self.is_tied |= newest.is_tied;
        if let (Some(group), Some(time)) = (self.groups.of(series), newest.time()) {
            let (start, end) = newest.numbers;
            self.sums[group as usize].add(time, &numbers[start as usize..end as usize]);
        }
    }
}

impl Leaves<'_> {
    /// Most series are in one large segment, and of these nothing is kept but the sum. `None` where more has
    /// to be read to tell which value is the newest.
    fn add_up(self, groups: &Groups<'_>, from: From<'_>) -> Result<Option<Vec<Sum>>, QueryError> {
        let mut adding = Adding { groups, sums: vec![Sum::default(); groups.len()], is_tied: false };
        let largest = self.plan.segments.iter().max_by_key(|segment| segment.cells());
        let is_other = |segment: &&Segment| !largest.is_some_and(|largest| std::ptr::eq(*largest, *segment));
        let mut newer = self.read(self.plan.segments.iter().copied().filter(is_other), groups, from)?;
        let held = self.said.borrow().numbers.len();
        if let Some(largest) = largest {
            largest.for_each(self, from.chunks, groups, |mut cell| {
                if let Some(newer) = newer.remove(&cell.series) {
                    self.merge(&mut cell.state, newer);
                }
                let mut said = self.said.borrow_mut();
                adding.add(cell.series, &cell.state, &said.numbers);
                said.numbers.truncate(held);
            })?;
        }
        let said = self.said.borrow();
        for (series, newest) in newer {
            adding.add(series, &newest, &said.numbers);
        }
        Ok((!adding.is_tied).then_some(adding.sums))
    }

    /// By series.
    fn read<'s>(
        self,
        segments: impl Iterator<Item = &'s Segment>,
        groups: &Groups<'_>,
        from: From<'_>,
    ) -> Result<FxHashMap<SeriesId, Newest>, QueryError> {
        let mut newest: FxHashMap<SeriesId, Newest> = FxHashMap::default();
        for segment in segments {
            segment.for_each(self, from.chunks, groups, |cell| {
                self.merge(newest.entry(cell.series).or_default(), cell.state);
            })?;
        }
        Ok(newest)
    }

    /// From all of the states.
    fn add_up_states(self, groups: &Groups<'_>, from: From<'_>) -> Result<Vec<Sum>, QueryError> {
        let mut sums = vec![Sum::default(); groups.len()];
        let mut said = self.said.borrow_mut();
        let Said { names, numbers } = &mut *said;
        for (series, state) in by_series(self.rule, &self.plan.segments, groups, from)? {
            let newest = state.values.iter().find(|value| self.plan.has(self.rule, value.time, self.now));
            if let (Some(group), Some(newest)) = (groups.of(series), newest) {
                numbers.clear();
                names.read(&newest.json, numbers);
                sums[group as usize].add(newest.time, numbers);
            }
        }
        Ok(sums)
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
        let mut newest = None;
        for _ in 0..len {
            let (time, id, json) = LatestRule::decode_value(input)?;
            if self.plan.has(self.rule, time, self.now) {
                let before = (state.at, state.id);
                state.offer(Newest { at: Some(time), id: prefix(id), ..Newest::default() });
                if (state.at, state.id) != before {
                    newest = Some(json);
                }
            }
        }
        if let Some(json) = newest {
            let mut said = self.said.borrow_mut();
            let Said { names, numbers } = &mut *said;
            let start = numbers.len() as u32;
            names.read(json, numbers);
            state.numbers = (start, numbers.len() as u32);
        }
        Ok(state)
    }
}

/// The first bytes, as a number of the same order.
fn prefix(id: &str) -> u128 {
    let mut bytes = [0; 16];
    let known = id.len().min(16);
    bytes[..known].copy_from_slice(&id.as_bytes()[..known]);
    u128::from_be_bytes(bytes)
}
