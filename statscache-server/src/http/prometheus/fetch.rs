//! What the core has for a selector: buckets of a range as sparse series, or newest values.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use statscache_core::{
    coverage::BucketCoverage,
    limits::QUERY_ROWS_MAX,
    query::{Answer, Dist, Labels, QUANTILES, Query, RowValue, Stat},
};
use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{
    answer::ApiError,
    families::{Family, Part},
    matchers::{NAME, Selector},
    source::{Failure, Source},
    value::{LabelSet, check_samples},
};

/// Buckets that one selector looks at.
pub(super) const BUCKETS_MAX: i64 = 100_000;

/// The labels that matter to who asks, where values add up: others need not be told apart.
#[derive(Clone, Debug)]
pub(super) enum Keep {
    /// Those.
    Only(Vec<String>),
    /// All but those.
    Except(Vec<String>),
}

impl Keep {
    fn has(&self, label: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|name| name == label),
            Self::Except(names) => names.iter().all(|name| name != label),
        }
    }
}

/// Buckets of one name in a range.
pub(super) struct Buckets {
    /// Start of the first.
    pub(super) start: i64,
    pub(super) width: i64,
    /// How many of those before each are known whole.
    known: Vec<u32>,
    /// Whether those are zero where a series has nothing.
    is_zero: bool,
    pub(super) series: Vec<Sparse>,
}

/// The buckets in which a series has something, by number.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) labels: LabelSet,
    pub(super) at: Vec<u32>,
    pub(super) values: Vec<f64>,
}

#[cfg(test)]
impl Buckets {
    /// From 0 on, for tests: which of them are known, and what one series has.
    pub(super) fn made(width: i64, known: &[bool], stored: impl Iterator<Item = (u32, f64)>) -> (Self, Sparse) {
        let mut counts = vec![0];
        counts.extend(known.iter().scan(0, |count, is_known| {
            *count += u32::from(*is_known);
            Some(*count)
        }));
        let (at, values) = stored.unzip();
        let series = Sparse { labels: LabelSet::default(), at, values };
        (Self { start: 0, width, known: counts, is_zero: true, series: Vec::new() }, series)
    }
}

impl Buckets {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len() - 1
    }

    /// Of `[from, until)`, how many are zero where a series has nothing.
    pub(super) fn zeros(&self, from: usize, until: usize) -> usize {
        let known = self.known[until] - self.known[from];
        if self.is_zero { known as usize } else { 0 }
    }

    /// The value of a series in a bucket.
    pub(super) fn value(&self, series: &Sparse, bucket: usize) -> Option<f64> {
        match series.at.binary_search(&(bucket as u32)) {
            Ok(at) => Some(series.values[at]),
            Err(_) => (self.zeros(bucket, bucket + 1) == 1).then_some(0.0),
        }
    }
}

/// Asks for buckets of that width in `[start, end)`.
pub(super) fn buckets(
    source: &Source,
    family: &Family,
    selector: &Selector,
    (start, end): (i64, i64),
    width: Resolution,
    keep: Option<&Keep>,
) -> Result<Option<Buckets>, Failure> {
    let (filters, undecided) = selector.filters(family);
    let by = keep.filter(|_| family.part.adds_up()).map(|keep| {
        let is_kept = |at: &usize| keep.has(&family.labels[*at]) || undecided.contains(at);
        (0..family.labels.len()).filter(is_kept).collect()
    });
    let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(end));
    let range = Query { start: Some(start), end: Some(end), step: Some(width), ..Query::default() };
    let is_open = filters.is_empty();
    let Some(answer) = source.ask(family, &Query { filters, by, limit: QUERY_ROWS_MAX, ..range })? else {
        return Ok(None);
    };
    let start = answer.start.map_or(start, |since| since.max(start)).micros();
    let known = known(&answer, start, width.micros())?;
    let mut buckets =
        Buckets { start, width: width.micros(), known, is_zero: family.part.is_zero_of_nothing(), series: Vec::new() };
    add_rows(&mut buckets, family, selector, &answer)?;
    if answer.dimensions.is_empty() && is_open && buckets.is_zero && buckets.series.is_empty() {
        // It has its one series, whatever has been said yet.
        buckets.series.push(Sparse { labels: named(family), ..Sparse::default() });
    }
    Ok(Some(buckets))
}

/// How many buckets before each were seen whole.
fn known(answer: &Answer, start: i64, width: i64) -> Result<Vec<u32>, ApiError> {
    let len = answer.end.micros().saturating_sub(start).max(0) / width;
    if len > BUCKETS_MAX {
        return Err(ApiError::execution(format!(
            "that range has {len} buckets, the most is {BUCKETS_MAX}; ask for a shorter range or a greater step"
        )));
    }
    let mut known = vec![0_u32];
    let mut runs = answer.coverage.iter().peekable();
    for bucket in 0..len {
        let at = start + bucket * width;
        while runs.next_if(|(_, end, _)| end.micros() <= at).is_some() {}
        let is_known =
            runs.peek().is_some_and(|(from, _, seen)| from.micros() <= at && *seen == BucketCoverage::Complete);
        known.push(known.last().copied().unwrap_or(0) + u32::from(is_known));
    }
    Ok(known)
}

fn named(family: &Family) -> LabelSet {
    let mut labels = LabelSet::default();
    labels.set(&NAME.into(), family.name.clone());
    labels
}

fn add_rows(buckets: &mut Buckets, family: &Family, selector: &Selector, answer: &Answer) -> Result<(), Failure> {
    let mut known = Known { family, selector, answer, by_labels: HashMap::new() };
    let mut samples = 0;
    // In order of time, so each series is.
    for row in &answer.rows {
        let bucket = ((row.time.micros() - buckets.start) / buckets.width) as u32;
        told(family.part, &row.value, |extra, value| {
            if let Some(series) = known.find(&row.labels, extra, &mut buckets.series) {
                samples += 1;
                series.at.push(bucket);
                series.values.push(value);
            }
        });
        if samples > QUERY_ROWS_MAX {
            check_samples(samples, 1)?;
        }
    }
    Ok(())
}

/// What a number is called besides the dimensions: a quantile, a key, a member of an object.
type Field = Option<String>;

/// Series by the labels of a row and what is told of it.
struct Known<'a> {
    family: &'a Family,
    selector: &'a Selector,
    answer: &'a Answer,
    /// `None`: not wanted.
    by_labels: HashMap<(Labels, Field), Option<usize>>,
}

impl Known<'_> {
    fn find<'s>(
        &mut self,
        labels: &Labels,
        extra: Option<&str>,
        series: &'s mut Vec<Sparse>,
    ) -> Option<&'s mut Sparse> {
        let at = match self.by_labels.entry((labels.clone(), extra.map(str::to_owned))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let set = wanted(self.family, self.selector, &self.answer.dimensions, (labels, extra));
                let at = set.map(|labels| {
                    series.push(Sparse { labels, ..Sparse::default() });
                    series.len() - 1
                });
                *new.insert(at)
            }
        };
        at.and_then(|at| series.get_mut(at))
    }
}

/// The label set of a row, if it is wanted. `dimensions`: those that the row has labels of.
pub(super) fn wanted(
    family: &Family,
    selector: &Selector,
    dimensions: &[usize],
    (labels, extra): (&[Box<str>], Option<&str>),
) -> Option<LabelSet> {
    let extra_name = family.part.label();
    let is_wanted = selector.fits(|name| match family.dimension(name) {
        Some(dimension) => dimensions.iter().position(|kept| *kept == dimension).map(|at| &*labels[at]),
        None if extra_name == Some(name) => Some(extra.unwrap_or_default()),
        None => Some(""),
    });
    is_wanted.then(|| {
        let mut set = named(family);
        for (dimension, label) in dimensions.iter().zip(labels) {
            set.set(&family.labels[*dimension], Arc::from(&**label));
        }
        if let (Some(name), Some(extra)) = (extra_name, extra) {
            set.set(&name.into(), extra.into());
        }
        set
    })
}

/// What a part tells of a bucket's value.
pub(super) fn told(part: Part, value: &RowValue, mut tell: impl FnMut(Option<&str>, f64)) {
    let mut maybe = |value: Option<f64>| value.into_iter().for_each(|value| tell(None, value));
    match (part, value) {
        (Part::Count, RowValue::Number(count)) => tell(None, *count as f64),
        (Part::Number, RowValue::Stat(Stat { n, .. }) | RowValue::Dist(Dist { n, .. })) => tell(None, *n as f64),
        (Part::Sum, RowValue::Stat(stat)) => tell(None, stat.sum),
        (Part::Min, RowValue::Stat(Stat { min, .. }) | RowValue::Dist(Dist { min, .. })) => maybe(*min),
        (Part::Max, RowValue::Stat(Stat { max, .. }) | RowValue::Dist(Dist { max, .. })) => maybe(*max),
        (Part::Avg, RowValue::Stat(stat)) => maybe(stat.mean),
        (Part::Stddev, RowValue::Stat(stat)) => maybe(stat.stddev),
        (Part::Estimate, RowValue::Distinct { estimate, .. }) => tell(None, *estimate as f64),
        (Part::Quantiles, RowValue::Dist(dist)) => {
            for (quantile, value) in QUANTILES.iter().zip(dist.quantiles) {
                value.into_iter().for_each(|value| tell(Some(&quantile.to_string()), value));
            }
        }
        (Part::Keys, RowValue::Top(keys)) => keys.iter().for_each(|key| tell(Some(&key.key), key.count as f64)),
        (Part::Newest, RowValue::Latest { json, .. }) => numbers(json, tell),
        _ => {}
    }
}

/// The number that a JSON text is, or the numbers that an object has by name.
fn numbers(json: &str, mut tell: impl FnMut(Option<&str>, f64)) {
    if let Some(number) = json.parse().ok().filter(|number: &f64| number.is_finite()) {
        return tell(None, number);
    }
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).unwrap_or_default();
    for (name, value) in &object {
        value.as_f64().into_iter().for_each(|number| tell(Some(name), number));
    }
}

/// Values of one label set, oldest first, each with what is told of it.
pub(super) struct Newest {
    pub(super) values: Vec<(i64, Vec<(Field, f64)>)>,
    /// A label set for each name under which something is told.
    pub(super) series: Vec<(Field, LabelSet)>,
}

/// Asks for newest values.
pub(super) fn newest(source: &Source, family: &Family, selector: &Selector) -> Result<Vec<Newest>, Failure> {
    let (filters, _) = selector.filters(family);
    let all = Query { filters, limit: QUERY_ROWS_MAX, ..Query::default() };
    let Some(answer) = source.ask(family, &all)? else { return Ok(Vec::new()) };
    let mut groups: BTreeMap<&[Box<str>], Newest> = BTreeMap::new();
    for row in &answer.rows {
        let group = groups.entry(&*row.labels).or_insert_with(|| Newest { values: Vec::new(), series: Vec::new() });
        let mut numbers = Vec::new();
        told(family.part, &row.value, |field, number| numbers.push((field.map(str::to_owned), number)));
        for (field, _) in &numbers {
            if !group.series.iter().any(|(other, _)| other == field) {
                let labels = (&*row.labels, field.as_deref());
                let set = wanted(family, selector, &answer.dimensions, labels);
                group.series.extend(set.map(|set| (field.clone(), set)));
            }
        }
        group.values.push((row.time.micros(), numbers));
    }
    Ok(groups.into_values().collect())
}
