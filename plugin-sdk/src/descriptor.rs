//! What the daemon knows of a plugin before its first message: JSON on the wire of the ABI.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    legacy::Legacy,
    metric::{Kind, Tiers},
    topic::TopicPattern,
};

/// What is true of a plugin whatever its configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// One line: what it keeps statistics about.
    pub summary: String,
    /// As long as it needs to be; Markdown.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the configuration.
    pub config_schema: Value,
}

/// What an instance declares when it is created with its configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    /// Messages with one of these topics are handed to it; empty: all.
    #[serde(default)]
    pub topics: Vec<TopicPattern>,
    /// JSON pointers (RFC 6901) into the body that it reads; the position is the slot.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Its metrics; the position is the metric's number in updates.
    pub metrics: Vec<MetricDescriptor>,
    /// Label values that it refers to by position.
    #[serde(default)]
    pub interned_labels: Vec<String>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricDescriptor {
    /// Last part of its URL: lower-case letters, digits and `_`.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// Names of its labels.
    #[serde(default)]
    pub dimensions: Vec<String>,
    /// What one of its values counts, in plural: `messages`, `bytes`, `seconds`.
    #[serde(default)]
    pub unit: String,
    /// What it tells, for people.
    #[serde(default)]
    pub description: String,
    /// How its buckets are kept; without meaning for kinds that have none.
    #[serde(default)]
    pub tiers: Tiers,
    /// What it stands for in the API of the original statscache. Words about it, as its description is:
    /// its numbers are the same with other ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<Legacy>,
    /// Where the paths that one of its labels holds have gone. What is kept is the same without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// A label that is a path, and the metric that says where paths went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Name of the label.
    pub label: String,
    /// Name of a metric of the same plugin: latest values with one label, the old path, and values
    /// `{"to": "new/path"}`, or `{"to": null}` where everything at the path and below it is gone.
    pub metric: String,
}

impl Declaration {
    /// The most labels that a metric has.
    pub const DIMENSIONS_MAX: usize = 8;
    /// The most metrics that a plugin has.
    pub const METRICS_MAX: usize = 256;
    /// The most fields that a plugin reads.
    pub const FIELDS_MAX: usize = 1024;

    /// Checks what types cannot: names, numbers, bounds. Says every problem it finds.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.metrics.is_empty() {
            problems.push("it declares no metric".to_owned());
        }
        if self.metrics.len() > Self::METRICS_MAX {
            problems.push(format!("it declares {} metrics, the most is {}", self.metrics.len(), Self::METRICS_MAX));
        }
        if self.fields.len() > Self::FIELDS_MAX {
            problems.push(format!("it reads {} fields, the most is {}", self.fields.len(), Self::FIELDS_MAX));
        }
        for field in self.fields.iter().filter(|field| !is_pointer(field)) {
            problems.push(format!("`{field}` is not a JSON pointer: it starts with / and has ~0 for ~, ~1 for /"));
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            if self.metrics[..i].iter().any(|other| other.name == metric.name) {
                problems.push(format!("two metrics are called `{}`", metric.name));
            }
            problems.extend(metric.problems());
        }
        problems.extend(self.legacy_problems());
        problems.extend(self.metrics.iter().filter_map(|metric| self.moved_problem(metric)));
        problems
    }

    /// What is wrong with where its paths go.
    fn moved_problem(&self, metric: &MetricDescriptor) -> Option<String> {
        let Moved { label, metric: by } = metric.moved.as_ref()?;
        let is_latest = |metric: &MetricDescriptor| !metric.kind.is_bucketed();
        let mover = self.metrics.iter().find(|other| other.name == *by);
        let problem = match mover {
            _ if !is_latest(metric) => "only latest values are moved".to_owned(),
            _ if !metric.dimensions.contains(label) => format!("`{label}` is none of its labels"),
            None => format!("there is no metric `{by}`"),
            Some(mover) if mover.name == metric.name => "a metric does not move itself".to_owned(),
            Some(mover) if !is_latest(mover) || mover.dimensions.len() != 1 => {
                format!("`{by}` must be latest values with one label")
            }
            Some(_) => return None,
        };
        Some(format!("metric `{}` is moved by `{by}`: {problem}", metric.name))
    }

    /// What two metrics both claim in the API of the original statscache.
    fn legacy_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (i, metric) in self.metrics.iter().enumerate() {
            let Some(its) = &metric.legacy else { continue };
            for (other, others) in self.metrics[..i].iter().filter_map(|other| Some((other, other.legacy.as_ref()?))) {
                let others_idents = others.idents();
                let is_taken = |ident: &str| others_idents.iter().any(|(other, _)| other == ident);
                for (ident, _) in its.idents().iter().filter(|(ident, _)| is_taken(ident)) {
                    problems.push(format!("`{}` and `{}` have the same old ident, `{ident}`", other.name, metric.name));
                }
                if its.layout.is_some() && others.layout.is_some() {
                    problems.push(format!("`{}` and `{}` have a layout; a plugin has one", other.name, metric.name));
                }
            }
        }
        problems
    }
}

impl MetricDescriptor {
    /// Names of query parameters and answer columns that a label would hide.
    const RESERVED: [&str; 6] = ["time", "value", "id", "coverage", "values", "others"];
    /// Parts of a plugin's URL that are no metric.
    const RESERVED_NAMES: [&str; 5] = ["schema", "stream", "diff", "layout", "labels"];

    fn problems(&self) -> Vec<String> {
        let name = &self.name;
        let mut problems = self.legacy.as_ref().map_or_else(Vec::new, |legacy| legacy.problems(self));
        if !is_name(name) {
            problems.push(format!("metric name `{name}` must be lower-case letters, digits and _, at most 64"));
        }
        if Self::RESERVED_NAMES.contains(&name.as_str()) {
            problems.push(format!("a metric cannot be called `{name}`: that part of the URL is something else"));
        }
        if self.dimensions.len() > Declaration::DIMENSIONS_MAX {
            let (n, max) = (self.dimensions.len(), Declaration::DIMENSIONS_MAX);
            problems.push(format!("metric `{name}` has {n} dimensions, the most is {max}"));
        }
        for (i, label) in self.dimensions.iter().enumerate() {
            if !is_name(label) || Self::RESERVED.contains(&label.as_str()) {
                problems.push(format!(
                    "dimension `{label}` of metric `{name}` must be lower-case letters, digits and _, \
                     at most 64, and none of {}",
                    Self::RESERVED.join(", ")
                ));
            }
            if self.dimensions[..i].contains(label) {
                problems.push(format!("metric `{name}` has two dimensions called `{label}`"));
            }
        }
        match self.kind {
            Kind::Latest { n, .. } if !(1..=1000).contains(&n) => {
                problems.push(format!("metric `{name}` keeps {n} values per label set; it must be 1 to 1000"));
            }
            Kind::Top { k } if !(1..=1000).contains(&k) => {
                problems.push(format!("metric `{name}` is a top {k}; it must be 1 to 1000"));
            }
            _ => {}
        }
        problems
    }
}

/// Whether the text can be an id or a name in a URL without escaping.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}
