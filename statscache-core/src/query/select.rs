//! Which series a question is about, and which of them it adds up.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use crate::{bytes::Corrupt, series::SeriesId, view::MetricView};

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
    fn fits(&self, label: &str) -> bool {
        self.patterns.iter().any(|pattern| glob(pattern, label))
    }
}

/// Series that are added up into one row each, with the labels that they keep.
pub(super) struct Groups<'v> {
    /// Group of each series; `NONE` for those that no filter lets through.
    of_series: Vec<u32>,
    labels: Vec<Box<[&'v str]>>,
    /// Dimensions kept, by position.
    pub(super) dimensions: Vec<usize>,
}

const NONE: u32 = u32::MAX;

impl<'v> Groups<'v> {
    pub(super) fn new(view: &'v MetricView, filters: &[Filter], by: Option<&[usize]>) -> Result<Self, Corrupt> {
        let count = view.descriptor.dimensions.len();
        let dimensions: Vec<usize> = by.map_or_else(|| (0..count).collect(), <[usize]>::to_vec);
        let mut of_series = Vec::with_capacity(view.series_count as usize);
        let mut labels = Vec::new();
        let mut known: HashMap<Box<[&str]>, u32> = HashMap::new();
        for set in view.series.iter().flat_map(|chunk| chunk.iter(count)) {
            let set = set?;
            if !filters.iter().all(|filter| filter.fits(set[filter.dimension])) {
                of_series.push(NONE);
                continue;
            }
            let kept: Box<[&str]> = dimensions.iter().map(|dimension| set[*dimension]).collect();
            let group = *known.entry(kept).or_insert_with_key(|kept| {
                labels.push(kept.clone());
                labels.len() as u32 - 1
            });
            of_series.push(group);
        }
        Ok(Self { of_series, labels, dimensions })
    }

    pub(super) fn of(&self, series: SeriesId) -> Option<u32> {
        self.of_series.get(series as usize).copied().filter(|group| *group != NONE)
    }

    /// Labels of a group for a row.
    pub(super) fn labels(&self, group: u32) -> Labels {
        self.labels[group as usize].iter().map(|label| Box::from(*label)).collect()
    }

    /// Order of groups by all labels kept.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        self.labels[a as usize].cmp(&self.labels[b as usize])
    }

    /// Order of groups by one dimension; if it is not kept they are alike.
    pub(super) fn compare_by(&self, dimension: usize, a: u32, b: u32) -> Ordering {
        let at = self.dimensions.iter().position(|kept| *kept == dimension);
        at.map_or(Ordering::Equal, |at| self.labels[a as usize][at].cmp(self.labels[b as usize][at]))
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
}
