//! Which series a question is about, and which of them it adds up.

use std::{
    cmp::Ordering,
    hash::{BuildHasher, Hash, Hasher},
    ops::RangeInclusive,
    sync::Arc,
};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use statscache_plugin_sdk::Declaration;

use super::moves::Shown;
use crate::{bytes::Corrupt, kind::LatestState, segment::Selection, series::SeriesId, view::MetricView};

/// Label values of a row.
pub type Labels = Arc<[Box<str>]>;

/// A label must fit one of these patterns; `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Position of the dimension.
    pub dimension: usize,
    /// Texts, `*` for any part.
    pub patterns: Vec<String>,
}

impl Filter {
    /// With several `*` in a row as one, which they mean: each takes time for each label.
    pub(super) fn short(&self) -> Self {
        let mut short = self.clone();
        for pattern in &mut short.patterns {
            let mut before = None;
            pattern.retain(|c| before.replace(c) != Some('*') || c != '*');
        }
        short
    }

    /// Whether a label set has a label that fits.
    pub(super) fn admits(&self, set: &[&str]) -> bool {
        set.get(self.dimension).is_some_and(|label| self.fits(label))
    }

    fn fits(&self, label: &str) -> bool {
        self.patterns.iter().any(|pattern| glob(pattern, label))
    }
}

/// A label that is a path, of which only the first parts are kept: `a/b/c` is `a` at depth 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Position of the dimension.
    pub dimension: usize,
    /// Parts kept; 0: none.
    pub depth: usize,
}

impl Path {
    fn cut(self, label: &str) -> &str {
        if self.depth == 0 {
            return "";
        }
        let end = label.bytes().enumerate().filter(|(_, byte)| *byte == b'/').nth(self.depth - 1);
        end.map_or(label, |(end, _)| &label[..end])
    }
}

/// Series that are added up into one row each, with the labels that they keep.
pub(super) struct Groups<'v> {
    /// Group of each series; `NONE` for those that no filter lets through, and those that are shown elsewhere.
    of_series: Vec<u32>,
    /// What moved, and the group of each of its label sets.
    pub(super) shown: &'v Shown,
    of_shown: Vec<u32>,
    /// The only series wanted, ascending, where they are few.
    few: Option<Vec<SeriesId>>,
    /// Labels of all groups, one group after the other.
    labels: Vec<&'v str>,
    count: u32,
    /// Dimensions kept, by position.
    pub(super) dimensions: Vec<usize>,
}

const NONE: u32 = u32::MAX;

/// So many series are looked up one by one in the directory of a segment, and chunks without any are not read.
const FEW: usize = 1 << 16;

impl<'v> Groups<'v> {
    pub(super) fn new(
        view: &'v MetricView,
        filters: &[Filter],
        by: Option<&[usize]>,
        path: Option<Path>,
        shown: &'v Shown,
    ) -> Result<Self, Corrupt> {
        let count = view.descriptor.dimensions.len();
        let filters: Vec<Filter> = filters.iter().map(Filter::short).collect();
        let dimensions: Vec<usize> = by.map_or_else(|| (0..count).collect(), <[usize]>::to_vec);
        // With all labels kept as they are every series is a group of its own.
        let is_whole = path.is_none() && (0..count).all(|dimension| dimensions.contains(&dimension));
        let mut groups = Self {
            of_series: Vec::with_capacity(view.series_count as usize),
            shown,
            of_shown: Vec::with_capacity(shown.sets.len()),
            few: Some(Vec::new()),
            labels: Vec::new(),
            count: 0,
            dimensions,
        };
        let mut known = HashTable::new();
        let admits = |set: &[&str]| filters.iter().all(|filter| filter.admits(set));
        let mut group_of = |groups: &mut Self, set: &[&'v str]| match is_whole {
            true => groups.push(set, None),
            false => groups.find(set, path, &mut known),
        };
        for chunk in &view.series {
            chunk.for_each(count, |set| {
                if shown.has(groups.of_series.len() as SeriesId) || !admits(set) {
                    groups.of_series.push(NONE);
                    return;
                }
                let group = group_of(&mut groups, set);
                groups.want(group);
            })?;
        }
        for (labels, _) in &shown.sets {
            let set: Vec<&str> = labels.iter().map(|label| &**label).collect();
            let group = if admits(&set) { group_of(&mut groups, &set) } else { NONE };
            groups.of_shown.push(group);
        }
        if groups.dimensions.is_empty() && groups.count == 0 && filters.is_empty() {
            // Nothing has been said yet, and about what is known: the one group.
            groups.count = 1;
        }
        Ok(groups)
    }

    fn want(&mut self, group: u32) {
        let series = self.of_series.len() as SeriesId;
        self.of_series.push(group);
        match &mut self.few {
            Some(few) if few.len() < FEW => few.push(series),
            few => *few = None,
        }
    }

    fn push(&mut self, set: &[&'v str], path: Option<Path>) -> u32 {
        for dimension in &self.dimensions {
            self.labels.push(kept(set, *dimension, path));
        }
        self.count += 1;
        self.count - 1
    }

    fn find(&mut self, set: &[&'v str], path: Option<Path>, known: &mut HashTable<u32>) -> u32 {
        let hash = |labels: &mut dyn Iterator<Item = &str>| {
            let mut hasher = FxBuildHasher.build_hasher();
            labels.for_each(|label| label.hash(&mut hasher));
            hasher.finish()
        };
        let mut labels = [""; Declaration::DIMENSIONS_MAX];
        let width = self.dimensions.len();
        for (label, dimension) in labels.iter_mut().zip(&self.dimensions) {
            *label = kept(set, *dimension, path);
        }
        let labels = &labels[..width];
        let hashed = hash(&mut labels.iter().copied());
        let of = |group: &u32| &self.labels[*group as usize * width..(*group as usize + 1) * width];
        if let Some(group) = known.find(hashed, |group| of(group) == labels) {
            return *group;
        }
        let group = self.push(set, path);
        let all = &self.labels;
        known.insert_unique(hashed, group, |group| {
            hash(&mut all[*group as usize * width..(*group as usize + 1) * width].iter().copied())
        });
        group
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn of(&self, series: SeriesId) -> Option<u32> {
        self.of_series.get(series as usize).copied().filter(|group| *group != NONE)
    }

    /// What moved and is wanted, with its group.
    pub(super) fn shown(&self) -> impl Iterator<Item = (u32, &'v LatestState)> {
        let sets = self.of_shown.iter().zip(&self.shown.sets);
        sets.filter(|(group, _)| **group != NONE).map(|(group, (_, state))| (*group, state))
    }

    fn labels_of(&self, group: u32) -> &[&'v str] {
        let width = self.dimensions.len();
        &self.labels[group as usize * width..(group as usize + 1) * width]
    }

    /// Labels of a group for a row.
    pub(super) fn labels(&self, group: u32) -> Labels {
        self.labels_of(group).iter().map(|label| Box::from(*label)).collect()
    }

    /// Order of groups by all labels kept.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        self.labels_of(a).cmp(self.labels_of(b))
    }

    /// Order of groups by one dimension; if it is not kept they are alike.
    pub(super) fn compare_by(&self, dimension: usize, a: u32, b: u32) -> Ordering {
        let at = self.dimensions.iter().position(|kept| *kept == dimension);
        at.map_or(Ordering::Equal, |at| self.labels_of(a)[at].cmp(self.labels_of(b)[at]))
    }
}

fn kept<'v>(set: &[&'v str], dimension: usize, path: Option<Path>) -> &'v str {
    match path {
        Some(path) if path.dimension == dimension => {
            let label = set[dimension];
            &label[..path.cut(label).len()]
        }
        _ => set[dimension],
    }
}

impl Selection for Groups<'_> {
    #[inline]
    fn has(&self, series: SeriesId) -> bool {
        self.of(series).is_some()
    }

    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool {
        let Some(few) = &self.few else { return true };
        few.get(few.partition_point(|series| series < range.start())).is_some_and(|series| series <= range.end())
    }
}

/// Whether the text fits the pattern, in which `*` stands for any text, also none.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("git", "git", true),
            ("git", "gitx", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("*b*b*", "ab", false),
            ("*é", "xé", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn stars_in_a_row_are_one() {
        for (pattern, kept) in
            [("", ""), ("*", "*"), ("***", "*"), ("**a**b*c", "*a*b*c"), ("a", "a"), ("**é**", "*é*")]
        {
            let filter = Filter { dimension: 0, patterns: vec![pattern.to_owned()] };
            assert_eq!(filter.short().patterns, [kept], "{pattern}");
        }
    }

    #[test]
    fn paths_are_cut_between_parts() {
        for (depth, label, expected) in [
            (0, "a/b", ""),
            (1, "a/b/c", "a"),
            (2, "a/b/c", "a/b"),
            (3, "a/b/c", "a/b/c"),
            (9, "a", "a"),
            (1, "/a", ""),
            (1, "", ""),
            (1, "é/ü", "é"),
        ] {
            assert_eq!(Path { dimension: 0, depth }.cut(label), expected, "{label} at {depth}");
        }
    }
}
