//! Server-sent events: the same answers, again each time that they have changed.

use serde_json::{Value, json};
use statscache_core::view::View;
use statscache_plugin_sdk::MetricDescriptor;

use super::super::metric::MetricAnswer;
use super::{Paths, metrics::REFUSED, operation::Operation, parameters};

/// What all of them tell.
const TEXT: &str = "Server-sent events. The first one comes at once, unless `Last-Event-ID` is that of what would be sent; \
                    each `data` is one line of JSON.";

/// Describes the stream of one metric.
pub(super) fn describe(paths: &mut Paths, id: &str, metric: &MetricDescriptor, answer: Value) {
    let operation = Operation::new(
        &format!("{id}.{}.stream", metric.name),
        "streams",
        &format!("{id}/{}, as it changes", metric.name),
    )
    .description(TEXT)
    .parameters(of_stream(parameters::of_metric(metric, paths.rows_max)));
    paths.add(
        "get",
        &format!("/plugins/{id}/{}/stream", metric.name),
        with_events(operation, &[("answer", answer), problem()]),
    );
}

/// Describes the stream of any metric, and that of several.
pub(super) fn describe_any(paths: &mut Paths, [id, metric]: [Value; 2], view: &View) {
    let answer = paths.schema::<MetricAnswer>();
    let operation = Operation::new("stream", "streams", "Values of a metric, as they change")
        .description(TEXT)
        .parameters([id, metric])
        .parameters(of_stream(parameters::of_any(paths.rows_max)));
    paths.add("get", "/plugins/{id}/{metric}/stream", with_events(operation, &[("answer", answer.clone()), problem()]));

    let text = "Of each `q` an event `answer` with `{\"q\": …, \"answer\": …}`; without any, after each commit an event \
                `commit` with `{\"as_of\": …, \"version\": …, \"changed\": [\"volume/messages\", …]}`.";
    let operation = Operation::new("streams", "streams", "Several questions on one connection, or what commits change")
        .description(&format!("{TEXT}\n\n{text}"))
        .parameters([questions(view), last_event_id()]);
    let one = json!({
        "type": "object", "properties": {"q": {"type": "string"}, "answer": answer}, "required": ["q", "answer"],
    });
    let commit = json!({
        "type": "object",
        "properties": {
            "as_of": {"type": "string", "format": "date-time"},
            "version": {"type": "integer"},
            "changed": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["as_of", "version", "changed"],
    });
    let failed = json!({
        "type": "object",
        "properties": {"q": {"type": "string"}, "problem": {"$ref": "#/components/schemas/Problem"}},
        "required": ["q", "problem"],
    });
    paths.add("get", "/stream", with_events(operation, &[("answer", one), ("commit", commit), ("problem", failed)]));
}

fn questions(view: &View) -> Value {
    let first = view.instances.iter().find_map(|(id, instance)| Some((id, instance.metrics.first()?)));
    let example = first.map_or_else(Vec::new, |(id, metric)| vec![format!("/plugins/{id}/{}", metric.descriptor.name)]);
    // Of what is percent-encoded once more ASCII, which is always text.
    let items = json!({
        "type": "string",
        "pattern": "^/plugins/([^/?%]|%[0-7][0-9A-Fa-f])+/([^/?%]|%[0-7][0-9A-Fa-f])+(\\?([^%]|%[0-7][0-9A-Fa-f])*)?$",
    });
    let schema = json!({"type": "array", "items": items, "maxItems": super::super::stream::QUESTIONS_PER_STREAM_MAX});
    let mut parameter = parameters::query("q", "Path of a metric with its query, percent-encoded.", schema);
    parameter["example"] = example.into();
    parameter
}

/// The same questions, but for what is about answers to be kept and read at once.
fn of_stream(parameters: Vec<Value>) -> impl Iterator<Item = Value> {
    let is_other = |parameter: &Value| {
        let name = parameter["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        !matches!(name, Some("format" | "If-None-Match"))
    };
    parameters.into_iter().filter(is_other).chain([last_event_id()])
}

fn last_event_id() -> Value {
    json!({
        "name": "Last-Event-ID", "in": "header", "schema": {"type": "string"},
        "description": "`id` of the last event that you have: nothing is sent until there is another.",
    })
}

/// The schema is that of one event, whose `data` is JSON as a text.
fn with_events(operation: Operation, events: &[(&str, Value)]) -> Operation {
    let event = |(name, data): &(&str, Value)| {
        let data = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": data});
        json!({
            "type": "object",
            "properties": {"event": {"const": name}, "id": {"type": "string"}, "data": data},
            "required": ["event", "data"],
        })
    };
    let events = json!({"anyOf": events.iter().map(event).collect::<Vec<_>>()});
    let content = json!({"text/event-stream": {"schema": events}});
    operation.answer(200, "Events, until either side ends it.", content).problems(&REFUSED)
}

/// The event that is sent when a question cannot be answered any more.
fn problem() -> (&'static str, Value) {
    ("problem", json!({"$ref": "#/components/schemas/Problem"}))
}
