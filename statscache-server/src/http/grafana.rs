//! `GET /plugins/{id}/grafana.json`: a dashboard of an instance, made of what it declares, to be imported into
//! Grafana with this daemon as a Prometheus data source.
//!
//! Its queries are PromQL that `prometheus` answers. Bars are `increase(…[$__interval])`, so that each message is in
//! one bar: with `BARS` of them at most the interval is wide enough for the tier that keeps the range.

mod panels;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use statscache_core::view::InstanceView;
use statscache_plugin_sdk::{Kind, MetricDescriptor};

use super::{
    AppState,
    problem::Problem,
    prometheus::{Part, hourly, label_of, name_of},
};
use panels::{Grid, Panel};

/// The name under which the dashboard asks for its data source.
const SOURCE: &str = "DS_STATSCACHE";
/// Layout of dashboards since Grafana 10.3; newer ones read it.
const SCHEMA_VERSION: u32 = 39;

pub(super) async fn dashboard(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let view = state.view.load_full();
    let instance = state.instance(&view, &id)?;
    Ok(Json(of_instance(&id, instance)))
}

fn of_instance(id: &str, instance: &InstanceView) -> Value {
    let metrics: Vec<&MetricDescriptor> = instance.metrics.iter().map(|metric| &metric.descriptor).collect();
    let mut grid = Grid::default();
    for metric in &metrics {
        grid.row(metric);
        panels_of(id, metric).into_iter().for_each(|panel| grid.add(panel));
    }
    let needs = |kind, id, name| json!({"type": kind, "id": id, "name": name, "version": "10.3.0"});
    json!({
        "__inputs": [{
            "name": SOURCE, "label": "statscache", "type": "datasource",
            "description": "a Prometheus data source with the URL of the daemon",
            "pluginId": "prometheus", "pluginName": "Prometheus",
        }],
        "__requires": [
            needs("grafana", "grafana", "Grafana"),
            needs("datasource", "prometheus", "Prometheus"),
            needs("panel", "bargauge", "Bar gauge"),
            needs("panel", "stat", "Stat"),
            needs("panel", "table", "Table"),
            needs("panel", "text", "Text"),
            needs("panel", "timeseries", "Time series"),
        ],
        "title": format!("statscache: {id}"),
        "description": format!("What `{id}` counts. Zero and unknown differ: where there is nothing, the bus was not seen."),
        "tags": ["statscache"],
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "templating": {"list": variables(id, &metrics)},
        "panels": grid.panels,
    })
}

/// One for each label that a metric has.
fn variables(id: &str, metrics: &[&MetricDescriptor]) -> Vec<Value> {
    let mut found: Vec<(String, String)> = Vec::new();
    for metric in metrics {
        let name = name_of(id, &metric.name, Part::of(metric.kind)[0]);
        for dimension in &metric.dimensions {
            let label = label_of(metric.kind, dimension);
            if !found.iter().any(|(other, _)| *other == label) {
                found.push((label, name.clone()));
            }
        }
    }
    let variable = |(label, name): (String, String)| {
        let query = format!("label_values({name}, {label})");
        json!({
            "name": label, "label": label, "type": "query", "datasource": source(),
            "query": {"query": query, "refId": "variable"}, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        })
    };
    found.into_iter().map(variable).collect()
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": format!("${{{SOURCE}}}")})
}

/// A metric as PromQL sees it.
struct Names<'m> {
    id: &'m str,
    metric: &'m MetricDescriptor,
    labels: Vec<String>,
}

impl Names<'_> {
    /// A selector of a part, with the variables, and other matchers.
    fn selector(&self, part: Part, more: &[String]) -> String {
        let variables = self.labels.iter().map(|label| format!("{label}=~\"${label}\""));
        let matchers: Vec<String> = variables.chain(more.iter().cloned()).collect();
        let name = name_of(self.id, &self.metric.name, part);
        if matchers.is_empty() { name } else { format!("{name}{{{}}}", matchers.join(",")) }
    }

    /// By all labels.
    fn by(&self) -> String {
        format!("by ({})", self.labels.join(", "))
    }

    /// All labels in a legend.
    fn legend(&self, more: Option<&str>) -> String {
        let labels = more.into_iter().chain(self.labels.iter().map(String::as_str));
        let parts: Vec<String> = labels.map(|label| format!("{{{{{label}}}}}")).collect();
        if parts.is_empty() { self.metric.name.clone() } else { parts.join(" ") }
    }

    /// A matcher for the widest buckets of an hour at most, which do not change while one looks.
    fn wide(&self) -> String {
        format!("__step__=\"{}\"", hourly(&self.metric.tiers))
    }
}

fn panels_of(id: &str, metric: &MetricDescriptor) -> Vec<Panel> {
    let labels = metric.dimensions.iter().map(|dimension| label_of(metric.kind, dimension)).collect();
    let names = Names { id, metric, labels };
    match metric.kind {
        Kind::Count => of_count(&names),
        Kind::Stat => of_stat(&names),
        Kind::Distinct => of_buckets(&names, Part::Estimate, None),
        Kind::Dist => of_buckets(&names, Part::Quantiles, Some("quantile")),
        Kind::Top { .. } => of_buckets(&names, Part::Keys, Some("key")),
        Kind::Latest { .. } => {
            let newest = format!("topk(100, {})", names.selector(Part::Newest, &[]));
            vec![Panel::table(metric, "newest values that are numbers", &newest)]
        }
    }
}

fn of_count(names: &Names<'_>) -> Vec<Panel> {
    let (metric, selector) = (names.metric, names.selector(Part::Count, &[]));
    let has_labels = !names.labels.is_empty();
    let over = |span: &str| match has_labels {
        true => format!("topk(10, sum {} (increase({selector}[{span}])))", names.by()),
        false => format!("sum(increase({selector}[{span}]))"),
    };
    let mut panels = vec![Panel::bars(metric, "over time", &[(over("$__interval"), names.legend(None))])];
    if has_labels {
        panels.push(Panel::top(metric, "most in this range", (&over("$__range"), &names.legend(None))));
    }
    panels.push(Panel::stat(metric, "in this range", &format!("sum(increase({selector}[$__range]))")));
    panels
}

fn of_stat(names: &Names<'_>) -> Vec<Panel> {
    let metric = names.metric;
    let sum = |part, span| format!("sum(increase({}[{span}]))", names.selector(part, &[]));
    let mean = |span| format!("{} / {}", sum(Part::Sum, span), sum(Part::Number, span));
    let lines = [
        (mean("$__interval"), "mean".to_owned()),
        (format!("min(min_over_time({}[$__interval]))", names.selector(Part::Min, &[])), "least".to_owned()),
        (format!("max(max_over_time({}[$__interval]))", names.selector(Part::Max, &[])), "greatest".to_owned()),
    ];
    vec![
        Panel::lines(metric, "over time", &lines),
        Panel::stat(metric, "mean in this range", &mean("$__range")),
        Panel::stat(metric, "sum in this range", &sum(Part::Sum, "$__range")),
    ]
}

/// Of values that do not add up: each bucket as it is, and the newest wide one.
fn of_buckets(names: &Names<'_>, part: Part, extra: Option<&str>) -> Vec<Panel> {
    let legend = names.legend(extra);
    let over_time = format!("topk(10, {})", names.selector(part, &[]));
    let newest = format!("topk(10, {})", names.selector(part, &[names.wide()]));
    vec![
        Panel::lines(names.metric, "over time", &[(over_time, legend.clone())]),
        Panel::top(names.metric, "newest whole bucket", (&newest, &legend)),
    ]
}
