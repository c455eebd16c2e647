//! Changed cells of one metric since the last commit, by kind.

use std::ops::Range;

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::{Kind, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    kind::{CountRule, DistRule, DistinctRule, LatestRule, Rule, StatRule, TopRule},
    series::SeriesId,
};

/// States of one rule, by series and start of the bucket in the finest tier that keeps it; kinds
/// without buckets have the epoch there.
pub(super) struct Cells<R: Rule> {
    pub(super) rule: R,
    pub(super) states: FxHashMap<(SeriesId, Timestamp), R::State>,
}

/// Changed cells, by kind.
pub(super) enum DeltaCells {
    Count(Cells<CountRule>),
    Stat(Cells<StatRule>),
    Distinct(Cells<DistinctRule>),
    Dist(Cells<DistRule>),
    Top(Cells<TopRule>),
    Latest(Cells<LatestRule>),
}

/// Evaluates `$body` with `$cells` bound to the cells, whichever rule they have.
macro_rules! each_cells {
    ($of:expr, $cells:ident => $body:expr) => {
        match $of {
            $crate::engine::cells::DeltaCells::Count($cells) => $body,
            $crate::engine::cells::DeltaCells::Stat($cells) => $body,
            $crate::engine::cells::DeltaCells::Distinct($cells) => $body,
            $crate::engine::cells::DeltaCells::Dist($cells) => $body,
            $crate::engine::cells::DeltaCells::Top($cells) => $body,
            $crate::engine::cells::DeltaCells::Latest($cells) => $body,
        }
    };
}
pub(super) use each_cells;

/// What an update does to a cell. Texts are places in [`Said::texts`].
pub(super) enum Change {
    Add(i64),
    Observe(f64),
    Insert(Range<usize>),
    Hit(Range<usize>, u64),
    Set(Range<usize>),
    Remove,
}

/// What the changes of one message share.
#[derive(Clone, Copy)]
pub(super) struct Said<'m> {
    /// Id of the message.
    pub(super) id: &'m str,
    /// Texts of its changes.
    pub(super) texts: &'m str,
}

/// About what a hash map takes for an entry besides the entry.
const ENTRY: usize = 40;

impl<R: Rule> Cells<R> {
    fn new(rule: R) -> Self {
        Self { rule, states: FxHashMap::default() }
    }

    /// Changes one cell; says how much more memory it takes, about.
    #[inline]
    fn change(&mut self, at: (SeriesId, Timestamp), change: impl FnOnce(R, &mut R::State)) -> usize {
        let before = self.states.len();
        let state = self.states.entry(at).or_default();
        let heap = self.rule.heap(state);
        change(self.rule, state);
        let grown = self.rule.heap(state).saturating_sub(heap);
        grown + (self.states.len() - before) * (ENTRY + size_of::<R::State>())
    }
}

impl DeltaCells {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count(Cells::new(CountRule)),
            Kind::Stat => Self::Stat(Cells::new(StatRule)),
            Kind::Distinct => Self::Distinct(Cells::new(DistinctRule)),
            Kind::Dist => Self::Dist(Cells::new(DistRule)),
            Kind::Top { k } => Self::Top(Cells::new(TopRule { k })),
            Kind::Latest { n, ttl } => Self::Latest(Cells::new(LatestRule { n, ttl })),
        }
    }

    /// The same without any.
    pub(super) fn take(&mut self) -> Self {
        fn empty<R: Rule>(cells: &Cells<R>) -> Cells<R> {
            Cells::new(cells.rule)
        }
        let empty = match &*self {
            Self::Count(cells) => Self::Count(empty(cells)),
            Self::Stat(cells) => Self::Stat(empty(cells)),
            Self::Distinct(cells) => Self::Distinct(empty(cells)),
            Self::Dist(cells) => Self::Dist(empty(cells)),
            Self::Top(cells) => Self::Top(empty(cells)),
            Self::Latest(cells) => Self::Latest(empty(cells)),
        };
        std::mem::replace(self, empty)
    }

    pub(super) fn is_empty(&self) -> bool {
        each_cells!(self, cells => cells.states.is_empty())
    }

    /// Applies the update with this number of its message; says how much more memory it takes, about.
    #[inline]
    pub(super) fn apply(
        &mut self,
        (series, start): (SeriesId, Timestamp),
        time: Timestamp,
        change: Change,
        said: Said<'_>,
        number: usize,
    ) -> usize {
        let at = (series, start);
        match (self, change) {
            (Self::Count(cells), Change::Add(n)) => cells.change(at, |_, state| *state = state.wrapping_add(n)),
            (Self::Stat(cells), Change::Observe(x)) => cells.change(at, |_, state| state.observe(x)),
            (Self::Dist(cells), Change::Observe(x)) => cells.change(at, |_, state| state.observe(x)),
            (Self::Distinct(cells), Change::Insert(member)) => {
                cells.change(at, |_, state| state.insert(&said.texts[member]))
            }
            (Self::Top(cells), Change::Hit(key, weight)) => {
                // The same update of the same message is the same event, whoever folds it and when.
                let event = xxh3_64_with_seed(said.id.as_bytes(), number as u64);
                cells.change(at, |rule, state| state.add(rule, &said.texts[key], weight, event))
            }
            (Self::Latest(cells), Change::Set(json)) => {
                cells.change(at, |rule, state| rule.set(state, time, said.id, &said.texts[json]))
            }
            (Self::Latest(cells), Change::Remove) => cells.change(at, |rule, state| rule.remove(state, time)),
            _ => unreachable!("changes were checked against the kind when they were recorded"),
        }
    }
}
