//! What the author of a dashboard has to know of a metric, beside its numbers: steps, columns, labels with values that
//! there are, and questions that work.

use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::{query, view::MetricView};
use statscache_plugin_sdk::{Keep, Kind, MetricDescriptor, Resolution, Tier};

use super::{
    labels, metric,
    params::{Shown, WHOLE},
    rows::{Column, columns},
    urlquery,
};

/// Values of each label that are shown.
const VALUES_SHOWN: usize = 5;

/// A width of buckets, and how long those are kept.
#[derive(Serialize, JsonSchema)]
pub(super) struct StepDto {
    /// As in `step=`; every multiple will do as well.
    step: String,
    /// The same in seconds.
    seconds: i64,
    /// How long they are kept; null: for ever.
    kept_for: Option<String>,
    /// The same in seconds.
    kept_seconds: Option<i64>,
}

impl StepDto {
    fn of(tier: &Tier) -> Self {
        let seconds = |span: Resolution| span.micros() / 1_000_000;
        let keep = match tier.keep {
            Keep::For(span) => Some(span),
            Keep::Forever => None,
        };
        Self {
            step: tier.resolution.to_string(),
            seconds: seconds(tier.resolution),
            kept_for: keep.map(|span| span.to_string()),
            kept_seconds: keep.map(seconds),
        }
    }
}

/// A column of the answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct ColumnDto {
    #[serde(flatten)]
    column: Column,
    /// What is counted or measured; null where that has no meaning.
    unit: Option<String>,
}

/// A label, and some of its values.
#[derive(Serialize, JsonSchema)]
pub(super) struct LabelDto {
    /// Its name, as in `by=` and `where.NAME=`.
    name: String,
    /// Some of its values, those that came first.
    examples: Vec<String>,
    /// Where all of them are.
    values: String,
}

/// A question that works.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExampleDto {
    /// What it asks for.
    title: String,
    /// Where the answer is.
    url: String,
}

/// What there is to know of a metric.
#[derive(Serialize, JsonSchema)]
pub(super) struct Guide {
    /// Widths of its buckets, finest first; null for latest values.
    steps: Option<Vec<StepDto>>,
    /// What is in its rows.
    columns: Vec<ColumnDto>,
    /// Its labels, in the order of the columns.
    label_values: Vec<LabelDto>,
    /// Questions that work.
    examples: Vec<ExampleDto>,
}

impl Guide {
    /// That of a metric of this instance.
    pub(super) fn of(id: &str, metric: &MetricView) -> Self {
        let descriptor = &metric.descriptor;
        let samples = query::label_samples(metric, VALUES_SHOWN);
        let tiers = descriptor.tiers.as_slice();
        Self {
            steps: descriptor.kind.is_bucketed().then(|| tiers.iter().map(StepDto::of).collect()),
            columns: columns_of(descriptor),
            examples: examples(id, descriptor, &samples),
            label_values: descriptor
                .dimensions
                .iter()
                .zip(samples)
                .map(|(name, examples)| LabelDto {
                    name: name.clone(),
                    examples,
                    values: labels::path(id, &descriptor.name, name),
                })
                .collect(),
        }
    }
}

fn columns_of(metric: &MetricDescriptor) -> Vec<ColumnDto> {
    let unit = |column: &Column| (column.name == "value" && !metric.unit.is_empty()).then(|| metric.unit.clone());
    let columns = columns(metric.kind, &metric.dimensions, None, Shown::All, &[]).into_iter();
    columns.map(|column| ColumnDto { unit: unit(&column), column }).collect()
}

/// Questions that work, whatever has been counted so far.
fn examples(id: &str, metric: &MetricDescriptor, samples: &[Vec<String>]) -> Vec<ExampleDto> {
    let base = format!("/plugins/{id}/{}", metric.name);
    let first = metric::example(id, metric);
    let mut examples = Vec::new();
    let mut add = |title: &str, url: String| examples.push(ExampleDto { title: title.to_owned(), url });
    match metric.kind {
        Kind::Latest { .. } => {
            add("The newest values", first.clone());
            for (label, values) in metric.dimensions.iter().zip(samples) {
                if values.iter().any(|value| value.contains('/')) {
                    let url = format!("{base}?rollup=sum&path={label}&depth=1");
                    add(&format!("Sums along the path `{label}`"), url);
                }
            }
        }
        _ => {
            add("The last hour", first.clone());
            add("The last day, in at most a hundred buckets", format!("{base}?start=now-1d&max_points=100"));
            if !metric.dimensions.is_empty() {
                add("The last hour, all labels together", format!("{first}&by="));
                add("The ten greatest of a day", format!("{base}?start=now-1d&step={WHOLE}&order=-value&limit=10"));
            }
        }
    }
    for label in metric.dimensions.iter().filter(|_| metric.dimensions.len() > 1) {
        add(&format!("By `{label}` alone"), format!("{first}&by={label}"));
    }
    let sample = metric.dimensions.iter().zip(samples).find_map(|(label, values)| Some((label, values.first()?)));
    if let Some((label, value)) = sample {
        let filter = format!("where.{label}");
        let url = format!("{first}&{}", urlquery::encode([(filter.as_str(), value.as_str())]));
        add(&format!("Where `{label}` is `{value}`"), url);
    }
    add("The same as CSV", format!("{first}&format=csv"));
    examples
}
