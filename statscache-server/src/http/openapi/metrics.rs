//! Each metric of each instance: its values, the values of its labels, and its stream.

use serde_json::{Value, json};
use statscache_plugin_sdk::MetricDescriptor;

use super::super::{labels::LabelAnswer, metric::MetricAnswer, rows::row_schema};
use super::{Paths, operation::Operation, parameters, streams};

/// Statuses of questions that a metric may refuse.
pub(super) const REFUSED: [u16; 4] = [400, 404, 500, 503];

/// Headers of answers.
const HEADERS: [&str; 5] = ["ETag", "Link", "Statscache-As-Of", "Statscache-Watermark", "Statscache-Partial"];

/// Describes one.
pub(super) fn describe(paths: &mut Paths, id: &str, metric: &MetricDescriptor) {
    let name = format!("{id}.{}", metric.name);
    let base = format!("/plugins/{id}/{}", metric.name);
    let answer = answer_schema(paths, &name, metric);
    let operation = Operation::new(&name, "metrics", &summary(id, metric))
        .description(&metric.description)
        .parameters(parameters::of_metric(metric, paths.rows_max))
        .problems(&REFUSED);
    streams::describe(paths, id, metric, answer.clone());
    paths.add("get", &base, with_values(operation, answer));
    for label in &metric.dimensions {
        let summary = format!("Values of `{label}` in {id}/{}", metric.name);
        let operation = label_operation(paths, &format!("{name}.labels.{label}"), &summary);
        let operation = operation.parameters(parameters::of_label(&metric.dimensions));
        paths.add("get", &format!("{base}/labels/{label}"), operation);
    }
}

/// Values of a label, whichever.
pub(super) fn label_operation(paths: &mut Paths, id: &str, summary: &str) -> Operation {
    let schema = paths.schema::<LabelAnswer>();
    Operation::new(id, "metrics", summary)
        .json(200, "The values, in order.", schema)
        .with_headers(200, &["Link"])
        .problems(&REFUSED)
}

/// Answers to a question to a metric, in each format.
pub(super) fn with_values(operation: Operation, answer: Value) -> Operation {
    let text = |text: &str| json!({"schema": {"type": "string", "description": text}});
    let content = json!({
        "application/json": {"schema": answer},
        "application/x-ndjson": text("The rows, an object a line."),
        "text/csv": text("The rows as a table with a head; `value.mean` where values are objects."),
    });
    operation
        .answer(200, "The values.", content)
        .with_headers(200, &HEADERS)
        .empty(304, "What you have is still the answer.")
        .problems(&[406])
}

fn summary(id: &str, metric: &MetricDescriptor) -> String {
    let unit = if metric.unit.is_empty() { String::new() } else { format!(", in {}", metric.unit) };
    let labels = match metric.dimensions.is_empty() {
        true => String::new(),
        false => format!(" by {}", metric.dimensions.join(", ")),
    };
    format!("{id}/{}: {}{labels}{unit}", metric.name, metric.kind.as_str())
}

/// What all answers have, with rows of its own.
fn answer_schema(paths: &mut Paths, name: &str, metric: &MetricDescriptor) -> Value {
    let rows = json!({"properties": {"rows": {"type": "array", "items": row_schema(metric)}}});
    let any = paths.schema::<MetricAnswer>();
    paths.own_schema(&format!("{name}.answer"), json!({"allOf": [any, rows]}))
}
