//! What a metric stands for in the API of the original statscache, below `/api/`, so that its clients
//! go on as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    descriptor::{MetricDescriptor, is_name},
    metric::Kind,
    time::{Resolution, ResolutionError},
};

/// Under which names clients of the original statscache find a metric, and what its columns are
/// called there. Counts are found under an ident for each step, latest values under one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Legacy {
    /// The ident of latest values; of counts, what comes before `-` and the step.
    pub ident: String,
    /// Steps in which a count is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Resolution>,
    /// Column of the value.
    pub column: String,
    /// Whether a value is there as text that holds its JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_json_text: bool,
    /// Columns of the labels that are called otherwise there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// What a dashboard needs to know to show it, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Value>,
    /// A step that could not be read.
    #[serde(skip)]
    unreadable: Option<ResolutionError>,
}

impl Legacy {
    /// The most characters of an ident, its step included.
    const IDENT_LEN_MAX: usize = 128;
    /// The most steps.
    const STEPS_MAX: usize = 16;
    /// Column of the time, which every row has.
    const TIME: &'static str = "timestamp";
    /// Parts of URLs below `/api/` that are no ident.
    const RESERVED: [&'static str; 1] = ["v1"];

    /// Latest values under this ident, each in this column.
    pub fn new(ident: impl Into<String>, column: impl Into<String>) -> Self {
        Self {
            ident: ident.into(),
            steps: Vec::new(),
            column: column.into(),
            is_json_text: false,
            columns: BTreeMap::new(),
            layout: None,
            unreadable: None,
        }
    }

    /// Of a count: the steps in which it is found, such as `["1s", "1m"]`, each under the ident with
    /// `-` and the step behind it. Each is a multiple of the width of a tier. A text that is no span is
    /// an error when the plugin starts.
    #[must_use]
    pub fn steps<const N: usize>(mut self, steps: [&str; N]) -> Self {
        for step in steps {
            match step.parse() {
                Ok(step) => self.steps.push(step),
                Err(error) => self.unreadable = Some(error),
            }
        }
        self
    }

    /// The column of a label, where it is not called like the label.
    #[must_use]
    pub fn column_of(mut self, label: &str, column: &str) -> Self {
        self.columns.insert(label.to_owned(), column.to_owned());
        self
    }

    /// The value is there as text that holds its JSON.
    #[must_use]
    pub fn json_text(mut self) -> Self {
        self.is_json_text = true;
        self
    }

    /// What a dashboard needs to know to show it: an object, as it is served. One metric of a plugin
    /// may have it.
    #[must_use]
    pub fn layout(mut self, layout: Value) -> Self {
        self.layout = Some(layout);
        self
    }

    /// The idents, each with its step.
    pub fn idents(&self) -> Vec<(String, Option<Resolution>)> {
        match self.steps.is_empty() {
            true => vec![(self.ident.clone(), None)],
            false => self.steps.iter().map(|step| (format!("{}-{step}", self.ident), Some(*step))).collect(),
        }
    }

    /// The column of a label.
    pub fn label_column<'l>(&'l self, label: &'l str) -> &'l str {
        self.columns.get(label).map_or(label, String::as_str)
    }

    /// Everything that is wrong with it, as that of this metric.
    pub(crate) fn problems(&self, metric: &MetricDescriptor) -> Vec<String> {
        let mut problems = self.name_problems(metric);
        problems.extend(self.kind_problem(metric.kind));
        problems.extend(self.unreadable.as_ref().map(ToString::to_string));
        if self.steps.len() > Self::STEPS_MAX {
            problems.push(format!("it has {} steps, the most is {}", self.steps.len(), Self::STEPS_MAX));
        }
        for (i, step) in self.steps.iter().enumerate() {
            if !metric.tiers.as_slice().iter().any(|tier| step.is_multiple_of(tier.resolution)) {
                problems.push(format!("step {step} is not a multiple of the width of any tier ({})", metric.tiers));
            }
            if self.steps[..i].contains(step) {
                problems.push(format!("step {step} is there twice"));
            }
        }
        if self.layout.as_ref().is_some_and(|layout| !layout.is_object()) {
            problems.push("its layout is not a JSON object".to_owned());
        }
        let of_metric = |problem| format!("metric `{}` in the original API: {problem}", metric.name);
        problems.into_iter().map(of_metric).collect()
    }

    fn name_problems(&self, metric: &MetricDescriptor) -> Vec<String> {
        let mut problems = Vec::new();
        for (ident, _) in self.idents().iter().filter(|(ident, _)| !is_ident(ident)) {
            problems.push(format!(
                "ident `{ident}` must be lower-case letters, digits, `-`, `_` and `.`, a letter or digit first, at \
                 most {}, and not {}",
                Self::IDENT_LEN_MAX,
                Self::RESERVED.join(", ")
            ));
        }
        for label in self.columns.keys().filter(|label| !metric.dimensions.contains(label)) {
            problems.push(format!("it names the column of `{label}`, which is no label of the metric"));
        }
        let labels = metric.dimensions.iter().map(|label| self.label_column(label));
        let columns: Vec<&str> = labels.chain([self.column.as_str()]).collect();
        for (i, column) in columns.iter().enumerate() {
            if !is_name(column) || *column == Self::TIME {
                problems
                    .push(format!("column `{column}` must be lower-case letters, digits and _, not {}", Self::TIME));
            }
            if columns[..i].contains(column) {
                problems.push(format!("two columns are called `{column}`"));
            }
        }
        problems
    }

    fn kind_problem(&self, kind: Kind) -> Option<String> {
        let problem = match kind {
            Kind::Count if self.steps.is_empty() && self.unreadable.is_none() => "a count needs steps",
            Kind::Count if self.is_json_text => "a count is a number, no JSON in a text",
            Kind::Latest { .. } if !self.steps.is_empty() => "latest values have no steps",
            Kind::Count | Kind::Latest { .. } => return None,
            _ => "only counts and latest values are found there: other kinds have no single value",
        };
        Some(problem.to_owned())
    }
}

/// Whether it can be part of a URL as it is, and no other part is called so.
fn is_ident(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    (1..=Legacy::IDENT_LEN_MAX).contains(&text.len())
        && text.bytes().all(is_part)
        && !text.starts_with(['-', '_', '.'])
        && !Legacy::RESERVED.contains(&text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Declare, Metric, PluginError};

    fn declared(declare: impl FnOnce(&mut Declare)) -> Result<crate::Declaration, PluginError> {
        let mut declaration = Declare::default();
        declare(&mut declaration);
        declaration.finish()
    }

    fn count(legacy: Legacy) -> impl FnOnce(&mut Declare) {
        |declare| _ = declare.count(Metric::new("x").by(["kind"]).tiers("1s for 2h, 1m forever").legacy(legacy))
    }

    fn latest(legacy: Legacy) -> impl FnOnce(&mut Declare) {
        |declare| _ = declare.latest(Metric::new("x").by(["a", "b"]).legacy(legacy))
    }

    #[test]
    fn idents_are_those_of_the_original() {
        let steps = Legacy::new("volume", "volume").steps(["1s", "90s", "1h", "7d"]);
        let idents: Vec<String> = steps.idents().into_iter().map(|(ident, _)| ident).collect();
        assert_eq!(idents, ["volume-1s", "volume-1m30s", "volume-1h", "volume-7d"]);
        assert_eq!(Legacy::new("log", "message").idents(), [("log".to_owned(), None)]);
    }

    #[test]
    fn it_survives_the_wire_and_is_left_out_where_there_is_none() {
        let legacy = Legacy::new("log", "message").column_of("b", "c").json_text().layout(json!({"groups": []}));
        let declaration = declared(latest(legacy.clone())).expect("sound");
        assert_eq!(declaration.metrics[0].legacy.as_ref(), Some(&legacy));
        let json = serde_json::to_string(&declaration).expect("JSON");
        assert_eq!(serde_json::from_str::<crate::Declaration>(&json).expect("its own"), declaration);
        let without = declared(|declare| _ = declare.count("x")).expect("sound");
        assert!(!serde_json::to_string(&without).expect("JSON").contains("legacy"));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let value = || Legacy::new("x", "value");
        let long = "x".repeat(126);
        for (result, words) in [
            (declared(count(value())), &["needs steps"][..]),
            (declared(count(value().steps(["soon"]))), &["`soon` is not a span"]),
            (declared(count(value().steps(["1s", "90s", "1s"]))), &["step 1s is there twice"]),
            (declared(count(Legacy::new("X", "value").steps(["1s"]))), &["ident `X-1s`", "lower-case"]),
            (declared(count(Legacy::new(long, "value").steps(["1s"]))), &["at most 128"]),
            (declared(count(Legacy::new("x", "kind").steps(["1s"]))), &["two columns are called `kind`"]),
            (declared(count(value().steps(["1s"]).json_text())), &["a count is a number"]),
            (declared(latest(value().steps(["1s"]))), &["no steps"]),
            (declared(latest(Legacy::new("-x", "value"))), &["ident `-x`"]),
            (declared(latest(Legacy::new("v1", "value"))), &["ident `v1`", "not v1"]),
            (declared(latest(Legacy::new("x", "timestamp"))), &["column `timestamp`"]),
            (declared(latest(value().column_of("a", "Value"))), &["column `Value`"]),
            (declared(latest(value().column_of("c", "d"))), &["`c`, which is no label"]),
            (declared(latest(value().layout(json!([])))), &["layout is not a JSON object"]),
            (declared(|declare| _ = declare.dist(Metric::new("x").legacy(value()))), &["only counts and latest"]),
        ] {
            let error = result.expect_err(words[0]).to_string();
            assert!(
                error.contains("metric `x`") && words.iter().all(|word| error.contains(word)),
                "{words:?}: {error}"
            );
        }
        let minutes = |declare: &mut Declare| {
            _ = declare.count(Metric::new("x").tiers("1m forever").legacy(value().steps(["90s", "2m"])));
        };
        let error = declared(minutes).expect_err("90s is no number of minutes").to_string();
        assert!(error.contains("step 1m30s is not a multiple") && !error.contains("step 2m"), "{error}");
        let sound = declared(count(Legacy::new("x".repeat(124), "value").steps(["1s", "15s", "1h"])));
        assert!(sound.is_ok(), "{sound:?}");
    }

    #[test]
    fn an_ident_and_the_layout_belong_to_one_metric() {
        let two = |a: Legacy, b: Legacy| {
            declared(|declare| {
                declare.latest(Metric::new("a").legacy(a));
                declare.count(Metric::new("b").legacy(b));
            })
        };
        let (log, counts) = (|| Legacy::new("x-1m", "value"), |ident| Legacy::new(ident, "n").steps(["1s", "1m"]));
        assert!(two(log().layout(json!({})), counts("y")).is_ok());
        let error = two(log(), counts("x")).expect_err("x-1m is there twice").to_string();
        assert!(error.contains("`a` and `b`") && error.contains("`x-1m`") && !error.contains("x-1s"), "{error}");
        let error = two(log().layout(json!({})), counts("y").layout(json!({}))).expect_err("two layouts").to_string();
        assert!(error.contains("`a` and `b`") && error.contains("layout"), "{error}");
    }
}
