//! What there is, and questions to any metric.

use serde_json::{Value, json};
use statscache_core::view::View;

use super::super::{
    batch::{Batch, BatchAnswer},
    diff::Diff,
    metric::MetricAnswer,
    plugins::{PluginDto, PluginList, Schemas},
};
use super::{Paths, metrics, operation::Operation, parameters, streams};
use crate::host::Cards;

/// Describes them.
pub(super) fn describe(paths: &mut Paths, cards: &Cards, view: &View) {
    let ids: Vec<&str> = cards.all().iter().filter(|card| card.plugin.is_some()).map(|card| card.id.as_str()).collect();
    let id = parameters::path("id", "Id of an instance.", any_of(ids));
    lists(paths, &id);
    let metric = names(view);
    streams::describe_any(paths, [id.clone(), metric.clone()], view);
    values(paths, [id, metric]);
    batch(paths, view);
}

/// One of these, if there are any.
fn any_of(mut names: Vec<&str>) -> Value {
    names.sort_unstable();
    names.dedup();
    match names.is_empty() {
        true => json!({"type": "string"}),
        false => json!({"type": "string", "enum": names}),
    }
}

/// The parameter `metric`.
fn names(view: &View) -> Value {
    let metrics = view.instances.values().flat_map(|instance| &instance.metrics);
    let names = metrics.map(|metric| metric.descriptor.name.as_str()).collect();
    parameters::path("metric", "Name of one of its metrics.", any_of(names))
}

fn lists(paths: &mut Paths, id: &Value) {
    let list = paths.schema::<PluginList>();
    let operation = Operation::new("plugins", "plugins", "All instances: state, counters, metrics, and where to go on")
        .json(200, "The instances.", list)
        .with_headers(200, &["Link"]);
    paths.add("get", "/plugins", operation);

    let one = paths.schema::<PluginDto>();
    let operation = Operation::new("plugin", "plugins", "One instance")
        .parameters([id.clone()])
        .json(200, "The instance.", one)
        .problems(&[400, 404]);
    paths.add("get", "/plugins/{id}", operation);

    let schemas = paths.schema::<Schemas>();
    let operation = Operation::new("schema", "plugins", "JSON Schema of an instance's configuration and answers")
        .parameters([id.clone()])
        .json(200, "The schemas.", schemas)
        .problems(&[400, 404]);
    paths.add("get", "/plugins/{id}/schema", operation);

    let operation = Operation::new("layout", "plugins", "How a dashboard shows an instance, where the plugin says so")
        .parameters([id.clone()])
        .json(200, "What the plugin says.", json!({}))
        .problems(&[400, 404, 503]);
    paths.add("get", "/plugins/{id}/layout", operation);

    let operation = Operation::new("grafana", "plugins", "A dashboard for Grafana, which asks the Prometheus API")
        .parameters([id.clone()])
        .json(200, "To be imported.", json!({"type": "object"}))
        .problems(&[400, 404, 503]);
    paths.add("get", "/plugins/{id}/grafana.json", operation);

    let diff = paths.schema::<Diff>();
    let operation =
        Operation::new("diff", "plugins", "What is built to replace an instance, compared with what serves")
            .parameters([id.clone()])
            .parameters(parameters::of_diff(paths.rows_max))
            .json(200, "What is different.", diff)
            .problems(&[400, 404, 500, 503]);
    paths.add("get", "/plugins/{id}/diff", operation);
}

fn values(paths: &mut Paths, [id, metric]: [Value; 2]) {
    let answer = paths.schema::<MetricAnswer>();
    let text = "Which parameters there are besides depends on the metric: each has a path of its own in this document.";
    let operation = Operation::new("values", "values", "Values of a metric")
        .description(text)
        .parameters([id.clone(), metric.clone()])
        .parameters(parameters::of_any(paths.rows_max))
        .problems(&metrics::REFUSED);
    paths.add("get", "/plugins/{id}/{metric}", metrics::with_values(operation, answer));

    let name = parameters::path("name", "Name of the label.", json!({"type": "string"}));
    let operation = metrics::label_operation(paths, "labels", "Values of a label")
        .parameters([id, metric, name])
        .parameters(parameters::of_label(&[]));
    paths.add("get", "/plugins/{id}/{metric}/labels/{name}", operation);
}

fn batch(paths: &mut Paths, view: &View) {
    let first = view.instances.iter().find_map(|(id, instance)| Some((id, instance.metrics.first()?)));
    let (plugin, metric) = first.map_or(("volume", "messages"), |(id, metric)| (id, &metric.descriptor.name));
    let example = json!({"queries": [
        {"plugin": plugin, "metric": metric, "start": "now-1d", "limit": 10},
        {"plugin": plugin, "metric": metric, "order": "-value", "limit": 1, "time": "epoch"},
    ]});
    let (request, answer) = (paths.request_schema::<Batch>(), paths.schema::<BatchAnswer>());
    let text = "In the order of the questions; what cannot be answered has a `problem` instead. All are of one view.";
    let operation = Operation::new("query", "values", "Many questions at once")
        .description(text)
        .body(request, example)
        .json(200, "The answers.", answer)
        .problems(&[400, 413, 415, 500, 503]);
    paths.add("post", "/query", operation);
}
