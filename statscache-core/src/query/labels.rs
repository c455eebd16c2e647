//! Values of one label: what a filter can be chosen from.

use std::collections::BTreeSet;

use super::{Filter, QueryError};
use crate::view::MetricView;

/// Label sets that are looked at for samples.
const SETS_SAMPLED: usize = 100;

/// A question for the values of one label of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelQuery {
    /// Position of the dimension.
    pub dimension: usize,
    /// All must hold of a label set for its value to count, whether they are of this dimension or of others.
    pub filters: Vec<Filter>,
    /// Only values behind this one.
    pub after: Option<String>,
    /// Values at most.
    pub limit: usize,
}

/// Values of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelValues {
    /// In order of their bytes, each once.
    pub values: Vec<String>,
    /// Whether the limit cut values off.
    pub truncated: bool,
}

/// Values of a label among all label sets that there have been. One pass over them, which holds one value more than
/// the limit and no copy.
pub fn label_values(view: &MetricView, query: &LabelQuery) -> Result<LabelValues, QueryError> {
    let filters: Vec<Filter> = query.filters.iter().map(Filter::short).collect();
    let mut found = Lowest { values: BTreeSet::new(), limit: query.limit, truncated: false };
    for chunk in &view.series {
        chunk.for_each(view.descriptor.dimensions.len(), |set| {
            let Some(value) = set.get(query.dimension) else { return };
            // Cheap refusals first: most label sets repeat a value, or are behind all that is wanted.
            let is_behind = query.after.as_deref().is_none_or(|after| *value > after);
            if is_behind && found.wants(value) && filters.iter().all(|filter| filter.admits(set)) {
                found.insert(value);
            }
        })?;
    }
    Ok(LabelValues { values: found.values.into_iter().map(str::to_owned).collect(), truncated: found.truncated })
}

/// Some values of each label, in order of dimensions: the first ones of the first label sets that there were. Looks at
/// a bounded number of those, so that it costs next to nothing.
pub fn label_samples(view: &MetricView, values_max: usize) -> Vec<Vec<String>> {
    let dimensions = view.descriptor.dimensions.len();
    let mut samples = vec![Vec::new(); dimensions];
    let sets = view.series.iter().flat_map(|chunk| chunk.iter(dimensions));
    for set in sets.take(SETS_SAMPLED).flatten() {
        for (values, value) in samples.iter_mut().zip(set) {
            if values.len() < values_max && !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
        }
    }
    samples
}

/// The lowest of all texts that it is given.
struct Lowest<'v> {
    values: BTreeSet<&'v str>,
    limit: usize,
    /// Whether there were more.
    truncated: bool,
}

impl<'v> Lowest<'v> {
    /// Whether this text would change anything.
    fn wants(&self, value: &str) -> bool {
        let may_stay = !self.truncated || self.values.last().is_some_and(|last| value < *last);
        may_stay && !self.values.contains(value)
    }

    fn insert(&mut self, value: &'v str) {
        self.values.insert(value);
        if self.values.len() > self.limit {
            self.values.pop_last();
            self.truncated = true;
        }
    }
}
