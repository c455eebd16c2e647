//! Where paths have gone: renamed, put below another path, or gone altogether.
//!
//! A metric may say that one of its labels is a path that another metric moves
//! ([`Moved`](statscache_plugin_sdk::Moved)). What was said about a path stays where it was said; **where it is
//! shown** is found when somebody asks: its path as it was at the value's time, then each move of that path or of
//! one above it, in order of time. So it does not matter which of them came in first, nothing is written anew
//! when a hundred thousand paths move at once, and a move that comes late moves what is there already.
//!
//! * A value counts as earlier than a move of its own instant: what is said about a path is said while it is there.
//! * Of moves of one instant the deepest comes first, which fits both orders in which a path and one above it can
//!   have moved; none is applied twice at one instant, so that no circle turns for ever.
//! * A move that is told twice, at one time to one place, is one.
//! * A path has at most [`MOVED_PATH_BYTES_MAX`] bytes and 64 parts that moves are looked for at, and goes at most 64
//!   ways; each look is charged as a cell. Where all of a metric's overflow is added up, nothing moves.
//! * Where two values meet at one path, the newest stays, as among values that were said about one path.

use std::{
    borrow::Cow,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use statscache_plugin_sdk::{Kind, Timestamp};

use super::{From, Query, QueryError, latest, select::Labels};
use crate::{
    bytes::Corrupt,
    kind::{LatestRule, LatestState, Rule},
    limits::{MOVED_PATH_BYTES_MAX, QUERY_STATE_BYTES_MAX},
    segment::{All, Selection},
    series::{OTHER, SeriesId},
    view::MetricView,
};

/// What a metric that moves paths says of one.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    to: Option<Cow<'a, str>>,
}

/// Something that happened to a path.
#[derive(Debug)]
struct Move {
    time: Timestamp,
    id: Box<str>,
    /// `None`: it is gone.
    to: Option<Box<str>>,
}

/// All moves, by the path that they concern, oldest first; and paths that something moved to, without any.
#[derive(Debug, Default)]
struct Moves(FxHashMap<Box<str>, Vec<Move>>);

impl Moves {
    fn read(view: &MetricView, from: From<'_>) -> Result<Self, QueryError> {
        let Kind::Latest { n, ttl } = view.descriptor.kind else { return Ok(Self::default()) };
        let segments: Vec<_> = view.segments().map(|segment| &**segment).collect();
        let mut states = latest::by_series(LatestRule { n, ttl }, &segments, &All, from)?;
        let (mut moves, mut series) = (Self::default(), 0);
        for chunk in &view.series {
            chunk.for_each(view.descriptor.dimensions.len(), |set| {
                if let (Some(state), [path]) = (states.remove(&series), set)
                    && *path != OTHER
                {
                    moves.add(path, state);
                }
                series += 1;
            })?;
        }
        Ok(moves)
    }

    fn add(&mut self, path: &str, state: LatestState) {
        for value in state.values {
            // What is of another shape says nothing about where it went.
            let Ok(Said { to }) = serde_json::from_str(&value.json) else { continue };
            if to.as_ref().is_some_and(|to| to.len() > MOVED_PATH_BYTES_MAX) {
                continue;
            }
            let to: Option<Box<str>> = to.map(|to| (&*to).into());
            if let Some(to) = &to {
                self.0.entry(to.clone()).or_default();
            }
            let moves = self.0.entry(path.into()).or_default();
            moves.push(Move { time: value.time, id: value.id.into(), to });
            moves.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
            moves.dedup_by(|a, b| (a.time, &a.to) == (b.time, &b.to));
        }
    }

    /// Whether something may have moved from or to this path or one above it.
    fn touches(&self, path: &str) -> bool {
        path != OTHER && prefixes(path).any(|prefix| self.0.contains_key(prefix))
    }

    /// Where something is now, or was before `end`, that was at this path at that time; `None`: it is gone. Counts
    /// the places that were looked at.
    fn resolve<'p>(
        &self,
        path: &'p str,
        mut time: Timestamp,
        end: Timestamp,
        looked: &mut u64,
    ) -> Option<Cow<'p, str>> {
        let mut path = Cow::Borrowed(path);
        let mut done: Vec<&Move> = Vec::new();
        for _ in 0..WAYS_MAX {
            *looked += prefixes(&path).count() as u64;
            let Some((len, next)) = self.next(&path, time, &done).filter(|(_, next)| next.time < end) else { break };
            let to = next.to.as_deref()?;
            if to.len() + path.len() - len > MOVED_PATH_BYTES_MAX {
                break;
            }
            if next.time > time {
                done.clear();
            }
            time = next.time;
            done.push(next);
            path = Cow::Owned(format!("{to}{}", &path[len..]));
        }
        Some(path)
    }

    /// The first move of this path or of one above it, with the length of what it moves.
    fn next(&self, path: &str, since: Timestamp, done: &[&Move]) -> Option<(usize, &Move)> {
        let of_each = prefixes(path).filter_map(|prefix| {
            let moves = self.0.get(prefix)?;
            let later = &moves[moves.partition_point(|moved| moved.time < since)..];
            let first = later.iter().find(|moved| !done.iter().any(|done| std::ptr::eq(*done, *moved)))?;
            Some((prefix.len(), first))
        });
        // Of several that are alike the first one, which is the deepest.
        of_each.min_by_key(|(_, moved)| moved.time)
    }
}

/// Moves of one value, one after the other; real ones are a few.
const WAYS_MAX: usize = 64;

/// Parts of a path, from the end, at which moves are looked for; real ones have a few.
const PARTS_MAX: usize = 64;

/// A path and those above it, the deepest first.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.rmatch_indices('/').map(|(end, _)| &path[..end])).take(PARTS_MAX)
}

/// Which label sets of a metric moves concern. Kept from one question to the next, since neither label sets nor
/// moves change with most commits.
#[derive(Debug, Default)]
pub struct MovedIndex(Mutex<Option<Arc<Index>>>);

#[derive(Debug, Default)]
struct Index {
    /// Number of the commit that changed the moves last.
    version: u64,
    moves: Arc<Moves>,
    /// Label sets that were looked at.
    series_count: u32,
    /// Those that are concerned, in order of their numbers.
    touched: Vec<(SeriesId, Labels)>,
}

impl MovedIndex {
    fn get(&self, view: &MetricView, label: usize, by: &MetricView, from: From<'_>) -> Result<Arc<Index>, QueryError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.filter(|index| index.version == by.version);
        if let Some(index) = known.as_ref().filter(|index| index.series_count >= view.series_count) {
            return Ok(index.clone());
        }
        let mut index = match known {
            Some(old) => Index {
                version: old.version,
                moves: old.moves.clone(),
                series_count: old.series_count,
                touched: old.touched.clone(),
            },
            None => Index { version: by.version, moves: Arc::new(Moves::read(by, from)?), ..Index::default() },
        };
        index.look_at_new(view, label)?;
        let index = Arc::new(index);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(index.clone());
        Ok(index)
    }
}

impl Index {
    fn look_at_new(&mut self, view: &MetricView, label: usize) -> Result<(), Corrupt> {
        if self.moves.0.is_empty() {
            self.series_count = view.series_count;
            return Ok(());
        }
        for chunk in &view.series {
            let mut series = chunk.first;
            if series + chunk.count()? <= self.series_count {
                continue;
            }
            chunk.for_each(view.descriptor.dimensions.len(), |set| {
                if series >= self.series_count && self.moves.touches(set[label]) {
                    self.touched.push((series, set.iter().map(|label| Box::from(*label)).collect()));
                }
                series += 1;
            })?;
        }
        self.series_count = view.series_count;
        Ok(())
    }
}

/// What moves concern, as it is shown. It is read first, and left out where the rest is read.
#[derive(Default)]
pub(super) struct Shown {
    touched: Touched,
    /// Label sets with what is shown there; nothing of it is out of the range or too old.
    pub(super) sets: Vec<(Labels, LatestState)>,
    /// Cells visited, about.
    pub(super) cells: u64,
}

impl Shown {
    /// Empty for metrics whose paths do not move.
    pub(super) fn new(view: &MetricView, query: &Query, from: From<'_>) -> Result<Self, QueryError> {
        let (Kind::Latest { n, ttl }, Some(by), Some(moved)) =
            (view.descriptor.kind, from.moves, &view.descriptor.moved)
        else {
            return Ok(Self::default());
        };
        let Some(label) = view.descriptor.dimensions.iter().position(|name| *name == moved.label) else {
            return Ok(Self::default());
        };
        let index = view.moved.get(view, label, by, from)?;
        // An older view has fewer of them.
        let touched = &index.touched[..index.touched.partition_point(|(series, _)| *series < view.series_count)];
        if touched.is_empty() {
            return Ok(Self::default());
        }
        let mut shown = Self { touched: Touched::new(touched), ..Self::default() };
        let rule = LatestRule { n, ttl };
        let plan = latest::Plan::new(view, query, &shown.touched, from.cells_max)?;
        let mut states = latest::by_series(rule, &plan.segments, &shown.touched, from)?;
        let mut sets: FxHashMap<Labels, LatestState> = FxHashMap::default();
        let (mut cells, mut bytes) = (plan.cells, 0);
        for (series, labels) in touched {
            let Some(state) = states.remove(series) else { continue };
            for value in state.values.into_iter().filter(|value| plan.has(rule, value.time, from.now)) {
                let path = index.moves.resolve(&labels[label], value.time, plan.end, &mut cells);
                if cells > from.cells_max {
                    return Err(QueryError::TooExpensive { cells, max: from.cells_max });
                }
                let Some(path) = path else { continue };
                bytes += path.len() + value.json.len();
                if bytes > QUERY_STATE_BYTES_MAX {
                    return Err(QueryError::TooManyRows);
                }
                let set = if *path == *labels[label] { labels.clone() } else { with(labels, label, &path) };
                rule.merge(sets.entry(set).or_default(), LatestState { removed: None, values: vec![value] });
            }
        }
        shown.sets = sets.into_iter().collect();
        shown.cells = cells;
        Ok(shown)
    }

    /// Whether a label set is left out where it was said, since it is among these.
    #[inline]
    pub(super) fn has(&self, series: SeriesId) -> bool {
        self.touched.has(series)
    }
}

/// The same labels but for one.
fn with(labels: &Labels, position: usize, label: &str) -> Labels {
    labels.iter().enumerate().map(|(i, old)| if i == position { Box::from(label) } else { old.clone() }).collect()
}

/// A bit for each label set.
#[derive(Default)]
struct Touched {
    bits: Vec<u64>,
    first: SeriesId,
    last: SeriesId,
}

impl Touched {
    fn new(of: &[(SeriesId, Labels)]) -> Self {
        let (Some((first, _)), Some((last, _))) = (of.first(), of.last()) else { return Self::default() };
        let mut bits = vec![0; *last as usize / 64 + 1];
        for (series, _) in of {
            bits[*series as usize / 64] |= 1 << (series % 64);
        }
        Self { bits, first: *first, last: *last }
    }
}

impl Selection for Touched {
    #[inline]
    fn has(&self, series: SeriesId) -> bool {
        self.bits.get(series as usize / 64).is_some_and(|bits| bits >> (series % 64) & 1 == 1)
    }

    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool {
        let range = *range.start().max(&self.first)..=*range.end().min(&self.last);
        range.into_iter().any(|series| self.has(series))
    }
}
