//! What expressions are made of while they are worked out: a value for each step of the question.

use std::{collections::BTreeMap, sync::Arc};

use super::{answer::ApiError, matchers::NAME};

/// Samples that a question holds at a time, and gives: about as many bytes of JSON as a browser bears.
pub(super) const SAMPLES_MAX: usize = 1_000_000;

/// Labels by name; one that is empty is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LabelSet(BTreeMap<Arc<str>, Arc<str>>);

impl LabelSet {
    /// Sets one; an empty value removes it.
    pub(super) fn set(&mut self, name: &Arc<str>, value: Arc<str>) {
        match value.is_empty() {
            true => drop(self.0.remove(name)),
            false => drop(self.0.insert(name.clone(), value)),
        }
    }

    /// One of them, empty if it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value)
    }

    /// Only those, or all but those.
    pub(super) fn kept(&self, names: &[String], is_kept: bool) -> Self {
        let labels = self.0.iter().filter(|(name, _)| names.iter().any(|other| **other == ***name) == is_kept);
        Self(labels.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Without the name.
    pub(super) fn without_name(&self) -> Self {
        let mut rest = self.clone();
        rest.0.remove(NAME);
        rest
    }

    /// In order of names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter()
    }
}

/// One series: a sample for each step that has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: LabelSet,
    pub(super) samples: Vec<Option<f64>>,
}

/// What an expression is.
#[derive(Debug)]
pub(super) enum Value {
    /// A number for each step.
    Scalar(Vec<f64>),
    /// Series, in the order that they are told in.
    Vector(Vec<Series>),
    /// A text.
    Text(String),
}

impl Value {
    /// As a vector.
    pub(super) fn vector(self) -> Result<Vec<Series>, ApiError> {
        match self {
            Self::Vector(series) => Ok(series),
            _ => Err(ApiError::bad_data("an instant vector is expected; vector(…) makes one of a number")),
        }
    }

    /// As a number for each step.
    pub(super) fn scalar(self) -> Result<Vec<f64>, ApiError> {
        match self {
            Self::Scalar(numbers) => Ok(numbers),
            _ => Err(ApiError::bad_data("a number is expected; scalar(…) makes one of a vector with one series")),
        }
    }

    /// As a text.
    pub(super) fn text(self) -> Result<String, ApiError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(ApiError::bad_data("a text is expected")),
        }
    }
}

/// Refuses more samples than a question may hold, before there is room for them.
pub(super) fn check_samples(series: usize, each: usize) -> Result<(), ApiError> {
    match series.saturating_mul(each) {
        0..=SAMPLES_MAX => Ok(()),
        samples => Err(ApiError::execution(format!(
            "{series} series with {each} samples each are {samples}, the most is {SAMPLES_MAX}; add matchers, \
             aggregate with `sum by (…)`, or ask for a shorter range or a greater step"
        ))),
    }
}

/// Refuses what Prometheus cannot tell apart, and leaves out series without samples.
pub(super) fn told_apart(mut series: Vec<Series>) -> Result<Vec<Series>, ApiError> {
    series.retain(|series| series.samples.iter().any(Option::is_some));
    let mut seen: std::collections::HashSet<&LabelSet> = std::collections::HashSet::with_capacity(series.len());
    match series.iter().find(|series| !seen.insert(&series.labels)) {
        Some(twice) => Err(ApiError::execution(format!(
            "vector cannot contain metrics with the same labelset: {{{}}}",
            twice.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(", ")
        ))),
        None => Ok(series),
    }
}
