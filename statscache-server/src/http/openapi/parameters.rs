//! Parameters of questions to metrics, as schemas: the names and bounds that `params.rs` reads.

use serde_json::{Value, json};
use statscache_core::limits::{QUERY_PATTERNS_MAX, QUERY_ROWS_MAX};
use statscache_plugin_sdk::{MetricDescriptor, Resolution};

use super::super::{
    format::Format,
    labels,
    params::{POINTS_MAX, SHOWN, WHERE, WHOLE, rollup_of},
    time::TimeForm,
};

/// Units of a span of time, the narrowest first.
const UNITS: [(&str, i64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

/// Those that are the same everywhere, for `components`.
pub(super) fn shared() -> Value {
    let time = |name: &str, text: &str, example: &str| {
        let mut parameter = query(name, text, time_schema());
        parameter["example"] = example.into();
        parameter
    };
    let offset = json!({"type": "integer", "minimum": 0, "maximum": QUERY_ROWS_MAX, "default": 0});
    let tag = json!({
        "name": "If-None-Match", "in": "header", "schema": {"type": "string"},
        "description": "The `ETag` of an answer that you have: 304 if it is still that.",
    });
    json!({
        "start": time("start", "The first instant; an hour before `end` if it is left out, for latest values: all.", "now-1h"),
        "end": time("end", "The first instant that is not in it; now, which is `as_of`, if it is left out.", "now"),
        "offset": query("offset", "Rows to pass over; `Link` leads from page to page.", offset),
        "time": query("time", "How times are written in the answer.", choice(&TimeForm::ALL, "rfc3339")),
        "format": query("format", "What the answer is; if it is left out, what `Accept` says.", choice(&Format::ALL, "json")),
        "coverage": query("coverage", "What is told of it: in rows and in runs, in runs alone, nothing.", choice(&SHOWN, "all")),
        "If-None-Match": tag,
    })
}

/// One of these names.
fn choice<T>(all: &[(&str, T)], default: &str) -> Value {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    json!({"type": "string", "enum": names, "default": default})
}

/// `start` and `end`.
pub(super) fn range() -> [Value; 2] {
    [reference("start"), reference("end")]
}

/// A reference to one of [`shared`].
fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

/// A moment: all forms that are read, as far as a schema can tell them.
fn time_schema() -> Value {
    json!({"anyOf": [
        {"type": "string", "pattern": "^now([+-][1-9][0-9]{0,2}[smhdw])?$"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"description": "Seconds since 1970, but nothing that may be meant as a year or a date.", "anyOf": [
            {"type": "integer", "minimum": -62_167_219_200_i64, "maximum": 1899},
            {"type": "integer", "minimum": 2101, "maximum": 18_999_999},
            {"type": "integer", "minimum": 21_010_000, "maximum": 253_402_300_799_i64},
            {"type": "string", "pattern": "^-?[0-9]{1,10}\\.[0-9]{1,6}$"},
        ]},
    ]})
}

/// A parameter in the query.
pub(super) fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

/// A part of the path.
pub(super) fn path(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
}

/// What a question to this metric may say.
pub(super) fn of_metric(metric: &MetricDescriptor, rows_max: usize) -> Vec<Value> {
    let mut parameters = of_any(rows_max);
    if metric.kind.is_bucketed() {
        parameters.extend(bucketed(metric));
    } else {
        parameters.extend(latest(metric));
    }
    if !metric.dimensions.is_empty() {
        let schema = json!({"type": "array", "items": {"enum": metric.dimensions}});
        let text =
            "Labels to keep, separated by commas or in several `by`; values are merged over the others. Empty: none.";
        parameters.push(query("by", text, schema));
    }
    parameters.push(order(metric));
    parameters.extend(filters(&metric.dimensions));
    parameters
}

/// What a question to any metric may say.
pub(super) fn of_any(rows_max: usize) -> Vec<Value> {
    let shared = ["offset", "time", "format", "If-None-Match"].map(reference);
    range().into_iter().chain([limit(rows_max)]).chain(shared).collect()
}

/// What a comparison may say.
pub(super) fn of_diff(rows_max: usize) -> Vec<Value> {
    let step = json!({"type": "string", "pattern": "^[1-9][0-9]{0,2}[smhdw]$"});
    let [start, end] = range();
    vec![start, end, limit(rows_max), query("step", "Width of the buckets that are compared.", step)]
}

fn limit(rows_max: usize) -> Value {
    let text =
        format!("Rows at most; `truncated` says whether there were more. 10000 if it is left out, at most {rows_max}.");
    query("limit", &text, json!({"type": "integer", "minimum": 1, "maximum": rows_max}))
}

/// `where.LABEL`, for each label.
fn filters(labels: &[String]) -> impl Iterator<Item = Value> + '_ {
    labels.iter().map(|label| {
        let text = format!("Only rows whose `{label}` is one of these; `*` stands for any characters.");
        query(
            &format!("{WHERE}{label}"),
            &text,
            json!({"type": "array", "items": {"type": "string"}, "maxItems": QUERY_PATTERNS_MAX}),
        )
    })
}

fn order(metric: &MetricDescriptor) -> Value {
    let keys = ["time", "value"].into_iter().chain(metric.dimensions.iter().map(String::as_str));
    let mut orders: Vec<String> = keys.flat_map(|key| [key.to_owned(), format!("-{key}")]).collect();
    orders.extend(["asc", "desc"].map(str::to_owned));
    let text = "What rows are ordered by; with `-` in front the greatest first.";
    if metric.kind.is_bucketed() {
        return query("order", text, json!({"enum": orders}));
    }
    let text = format!("{text} `value.MEMBER`: by that member of values that are objects.");
    query("order", &text, json!({"anyOf": [{"enum": orders}, {"type": "string", "pattern": "^-?value\\.[a-z]+$"}]}))
}

fn bucketed(metric: &MetricDescriptor) -> Vec<Value> {
    let tiers = &metric.tiers;
    let text = format!(
        "Width of the buckets: a multiple of one of the metric's tiers ({tiers}). What fits the range, if it is left out. Also by ISO 8601, `PT1M`. `{WHOLE}`: one bucket over the whole range."
    );
    let schema = json!({"anyOf": [step_schema(metric), {"const": WHOLE}]});
    let mut step = query("step", &text, schema);
    step["example"] = tiers.finest().resolution.to_string().into();
    let fill = json!({"enum": ["none", "null", "zero"], "default": "none"});
    let text = "Where nothing was counted: `none`: no row; `null`: a row with 0 where the bucket is complete, else null; `zero`: 0.";
    let points = json!({"type": "integer", "minimum": 1, "maximum": POINTS_MAX});
    let points = query("max_points", "Buckets at most; the step is chosen so. Only without `step`.", points);
    let product = rollup_of(metric.kind).map(|rollup| {
        let text = "`product`: of the means of the label sets that `by` merges, their product; without `fill`.";
        query("rollup", text, json!({"enum": [rollup]}))
    });
    [step, points, query("fill", text, fill), reference("coverage")].into_iter().chain(product).collect()
}

/// Spans that are multiples of the finest tier: all of its unit and wider ones, where the tier is one unit wide.
fn step_schema(metric: &MetricDescriptor) -> Value {
    let finest = metric.tiers.finest().resolution;
    let is_wide = |(_, seconds): &&(&str, i64)| Resolution::is_multiple_of(span(*seconds), finest);
    let units: Vec<&str> = UNITS.iter().filter(is_wide).map(|(unit, _)| *unit).collect();
    match units.is_empty() {
        true => {
            json!({"enum": metric.tiers.as_slice().iter().map(|tier| tier.resolution.to_string()).collect::<Vec<_>>()})
        }
        false => json!({"type": "string", "pattern": format!("^[1-9][0-9]{{0,2}}[{}]$", units.concat())}),
    }
}

fn span(seconds: i64) -> Resolution {
    u64::try_from(seconds).ok().and_then(Resolution::from_secs).unwrap_or(Resolution::SECOND)
}

fn latest(metric: &MetricDescriptor) -> Vec<Value> {
    if metric.dimensions.is_empty() {
        return Vec::new();
    }
    let path = json!({"enum": metric.dimensions});
    vec![
        query(
            "rollup",
            "`sum`: of values that are numbers, their sum along a path such as `a/b/c`; of objects, that of each member.",
            json!({"enum": ["sum"]}),
        ),
        query(
            "depth",
            "With `rollup`: parts of the path that are kept; 1 if it is left out.",
            json!({"type": "integer", "minimum": 0, "maximum": 1000}),
        ),
        query("path", "With `rollup`: which label the path is; the first if it is left out.", path),
    ]
}

/// What a question for the values of a label may say.
pub(super) fn of_label(dimensions: &[String]) -> Vec<Value> {
    let pattern = json!({"type": "array", "items": {"type": "string"}, "maxItems": QUERY_PATTERNS_MAX});
    let limit =
        json!({"type": "integer", "minimum": 1, "maximum": labels::LIMIT_MAX, "default": labels::LIMIT_DEFAULT});
    let mut parameters = vec![
        query("match", "Only values like one of these; `*` stands for any characters.", pattern),
        query("after", "Only values behind this one.", json!({"type": "string"})),
        query("limit", "Values at most.", limit),
    ];
    parameters.extend(filters(dimensions));
    parameters
}
