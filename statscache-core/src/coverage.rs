//! Which time was seen: the difference between zero and unknown.
//!
//! A coverage gives every instant a level: nothing < [`Seen::Part`] < [`Seen::Whole`]. It is kept as
//! the instants at which the level changes, so that a year without trouble takes two of them.
//! Coverages that say the same have the same bytes, whatever they were made of.
//!
//! Laws: [`Coverage::merge`] (the higher level) and [`Coverage::meet`] (the lower one) are
//! associative, commutative and idempotent, as long as the bound on changes is not reached. Beyond
//! it, times where the level changes often become [`Seen::Part`] throughout, and then the order of
//! operations shows. It never makes anything whole.
//!
//! Pure: who saw what, and when, is the caller's to know.

use statscache_plugin_sdk::{Resolution, Timestamp};

use crate::{
    bytes::{Corrupt, Input, put_i64, put_u64},
    limits::COVERAGE_CHANGES_MAX,
};

mod reading;
mod runs;
#[cfg(test)]
mod tests;

pub use reading::Reading;
pub use runs::Runs;

/// How much of the bus was seen; what was not seen at all is `None` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Some publishers, or all and something was dropped.
    Part,
    /// All publishers, and nothing was dropped.
    Whole,
}

/// How much of a bucket was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BucketCoverage {
    /// All of it: what is not in it did not happen.
    Complete,
    /// Some of it: there may be more than what is in it.
    Partial,
    /// None of it: nothing is known.
    Missing,
}

impl BucketCoverage {
    /// The name shown to readers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }

    /// Of a time that has one level throughout.
    fn of_level(level: Level) -> Self {
        match level {
            None => Self::Missing,
            Some(Seen::Part) => Self::Partial,
            Some(Seen::Whole) => Self::Complete,
        }
    }
}

/// What somebody who watched the bus says about `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This much was seen.
    Seen(Timestamp, Timestamp, Seen),
    /// What was said before was too much: a part was seen at most.
    Doubted(Timestamp, Timestamp),
}

impl Claim {
    /// Puts it into a coverage, in the order in which claims are made.
    pub fn apply(self, coverage: &mut Coverage) {
        match self {
            Self::Seen(start, end, seen) => coverage.add(start, end, seen),
            Self::Doubted(start, end) => coverage.lower(start, end, Some(Seen::Part)),
        }
    }
}

type Level = Option<Seen>;

/// From this instant on, until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    at: i64,
    level: Level,
}

/// How much was seen at which time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In order of time. Each differs from the one before it, the first from nothing; the last is nothing.
    changes: Vec<Change>,
}

impl Coverage {
    /// Nothing was seen.
    pub const fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The intervals `[start, end)`, oldest first; those with the same level do not touch.
    pub fn intervals(&self) -> impl Iterator<Item = (Timestamp, Timestamp, Seen)> {
        self.changes.windows(2).filter_map(|pair| {
            let time = Timestamp::from_micros;
            pair[0].level.map(|seen| (time(pair[0].at), time(pair[1].at), seen))
        })
    }

    /// At least this much was seen in `[start, end)`. An empty interval is not an error.
    pub fn add(&mut self, start: Timestamp, end: Timestamp, seen: Seen) {
        self.edit(start, end, |level| level.max(Some(seen)));
    }

    /// At most this much was seen in `[start, end)`.
    pub fn lower(&mut self, start: Timestamp, end: Timestamp, to: Option<Seen>) {
        self.edit(start, end, |level| level.min(to));
    }

    /// What either has seen: at every instant the higher level.
    pub fn merge(&mut self, other: &Self) {
        if !other.is_empty() {
            *self = self.combine(other, Level::max);
        }
    }

    /// What both have seen: at every instant the lower level.
    pub fn meet(&self, other: &Self) -> Self {
        self.combine(other, Level::min)
    }

    /// What was seen within `[start, end)`, and nothing elsewhere.
    pub fn clamp(&self, start: Timestamp, end: Timestamp) -> Self {
        let (start, end) = (start.micros(), end.micros());
        if start >= end {
            return Self::new();
        }
        let first = self.changes.partition_point(|change| change.at <= start);
        let last = self.changes.partition_point(|change| change.at < end);
        let mut clamped = Builder::default();
        clamped.push(start, self.level_before(first));
        for change in &self.changes[first..last] {
            clamped.push(change.at, change.level);
        }
        clamped.push(end, None);
        // A change at either end stands for one that is outside: never more than there were.
        Self { changes: clamped.changes }
    }

    /// Forgets what was before this instant.
    pub fn forget_before(&mut self, time: Timestamp) {
        self.lower(Timestamp::from_micros(i64::MIN), time, None);
    }

    /// How much of `[start, end)` was seen; an empty interval is missing.
    pub fn of(&self, start: Timestamp, end: Timestamp) -> BucketCoverage {
        if start >= end {
            return BucketCoverage::Missing;
        }
        let next = self.changes.partition_point(|change| change.at <= start.micros());
        match self.changes.get(next) {
            // One of the two levels is more than nothing, and one is less than whole.
            Some(change) if change.at < end.micros() => BucketCoverage::Partial,
            _ => BucketCoverage::of_level(self.level_before(next)),
        }
    }

    /// How much was seen of the buckets that have a part in `[start, end)`, as runs of neighbours
    /// with the same answer: `(start of the first, end of the last, coverage)`. The buckets at both
    /// ends are judged as a whole. The work is that of the changes within, not of the buckets.
    pub fn runs(&self, start: Timestamp, end: Timestamp, step: Resolution) -> Runs<'_> {
        Runs::new(self, start, end, step)
    }

    /// Appends the bytes: number of changes; the first instant, then distances; a level after each.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.changes.len() as u64);
        let mut before = None;
        for change in &self.changes {
            match before {
                None => put_i64(out, change.at),
                // Later than the one before, so the difference is right even where it is beyond i64.
                Some(before) => put_u64(out, change.at.wrapping_sub(before) as u64),
            }
            put_u64(out, level_code(change.level));
            before = Some(change.at);
        }
    }

    /// Reads what [`Coverage::encode`] wrote, and nothing else: other bytes that say the same are refused.
    pub fn decode(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let bytes = input.0;
        let len = usize::try_from(input.u64()?).unwrap_or(usize::MAX);
        if len > COVERAGE_CHANGES_MAX {
            return Err(Corrupt("a coverage has too many changes"));
        }
        let mut decoded = Builder::default();
        for _ in 0..len {
            let at = match decoded.changes.last() {
                None => input.i64()?,
                Some(before) => {
                    let at = before.at.checked_add_unsigned(input.u64()?);
                    at.filter(|at| *at > before.at).ok_or(Corrupt("times of a coverage are not in order"))?
                }
            };
            decoded.push(at, level_of(input.u64()?)?);
        }
        if decoded.level().is_some() {
            return Err(Corrupt("a coverage has no end"));
        }
        let coverage = Self { changes: decoded.changes };
        // There may be changes that change nothing, and numbers written longer than need be.
        let mut again = Vec::new();
        coverage.encode(&mut again);
        if again != bytes[..bytes.len() - input.0.len()] {
            return Err(Corrupt("a coverage is not written as we do"));
        }
        Ok(coverage)
    }

    /// Level before the change with that number.
    fn level_before(&self, index: usize) -> Level {
        index.checked_sub(1).and_then(|before| self.changes.get(before)).and_then(|change| change.level)
    }

    /// Puts every level within `[start, end)` through `level`.
    fn edit(&mut self, start: Timestamp, end: Timestamp, level: impl Fn(Level) -> Level) {
        let (start, end) = (start.micros(), end.micros());
        if start >= end {
            return;
        }
        let first = self.changes.partition_point(|change| change.at < start);
        let within = self.changes.partition_point(|change| change.at <= start);
        let last = self.changes.partition_point(|change| change.at < end);
        let after = self.changes.partition_point(|change| change.at <= end);
        let mut edited = Builder::after(self.level_before(first));
        edited.push(start, level(self.level_before(within)));
        for change in &self.changes[within..last] {
            edited.push(change.at, level(change.level));
        }
        edited.push(end, self.level_before(after));
        self.changes.splice(first..after, edited.changes);
        self.bound(COVERAGE_CHANGES_MAX);
    }

    /// At every instant what `level` makes of both; of nothing and nothing it must make nothing.
    fn combine(&self, other: &Self, level: impl Fn(Level, Level) -> Level) -> Self {
        let (mut a, mut b) = (0, 0);
        let mut combined = Builder::default();
        loop {
            let next = |changes: &[Change], index: usize| changes.get(index).map(|change| change.at);
            let at = match (next(&self.changes, a), next(&other.changes, b)) {
                (Some(a), Some(b)) => a.min(b),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            a += usize::from(next(&self.changes, a) == Some(at));
            b += usize::from(next(&other.changes, b) == Some(at));
            combined.push(at, level(self.level_before(a), other.level_before(b)));
        }
        let mut combined = Self { changes: combined.changes };
        combined.bound(COVERAGE_CHANGES_MAX);
        combined
    }

    /// Leaves at most `max` changes (at least 2). To take a change away, the times on both sides of
    /// it become [`Seen::Part`]; the changes that go are those where that is wrong for the shortest
    /// time. A quarter more than must go does, so that this is seldom done.
    fn bound(&mut self, max: usize) {
        let len = self.changes.len();
        if len <= max {
            return;
        }
        let excess = len - (max - max / 4).max(2);
        // How long this level lasts, if it would be lost.
        let lost = |index: usize| match (self.changes[index], self.changes[index + 1]) {
            (Change { level: Some(Seen::Part), .. }, _) => 0,
            (change, next) => next.at.wrapping_sub(change.at) as u64,
        };
        // Not the first and the last: beyond them is all of time.
        let mut inner: Vec<(u64, usize)> =
            (1..len - 1).map(|index| (lost(index - 1).saturating_add(lost(index)), index)).collect();
        inner.select_nth_unstable(excess - 1);
        let mut bounded = self.changes.clone();
        for (_, index) in &inner[..excess] {
            bounded[index - 1].level = Some(Seen::Part);
            bounded[*index].level = Some(Seen::Part);
        }
        let mut canonical = Builder::default();
        for change in bounded {
            canonical.push(change.at, change.level);
        }
        self.changes = canonical.changes;
    }
}

fn level_code(level: Level) -> u64 {
    match level {
        None => 0,
        Some(Seen::Part) => 1,
        Some(Seen::Whole) => 2,
    }
}

fn level_of(code: u64) -> Result<Level, Corrupt> {
    match code {
        0 => Ok(None),
        1 => Ok(Some(Seen::Part)),
        2 => Ok(Some(Seen::Whole)),
        _ => Err(Corrupt("no such level of a coverage")),
    }
}

/// Changes in order of time, without those that change nothing.
#[derive(Default)]
struct Builder {
    before: Level,
    changes: Vec<Change>,
}

impl Builder {
    /// Goes on where the level is this one.
    fn after(before: Level) -> Self {
        Self { before, changes: Vec::new() }
    }

    fn level(&self) -> Level {
        self.changes.last().map_or(self.before, |change| change.level)
    }

    fn push(&mut self, at: i64, level: Level) {
        if level != self.level() {
            self.changes.push(Change { at, level });
        }
    }
}
