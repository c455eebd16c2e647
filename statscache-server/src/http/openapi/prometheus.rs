//! Prometheus' HTTP API, and the dashboards that ask it.

use serde_json::{Value, json};

use super::{Paths, operation::Operation, parameters::query};

const TEXT: &str = "As Prometheus answers it. Parameters that it does not need are passed over.";

/// Describes it.
pub(super) fn describe(paths: &mut Paths) {
    paths.own_schema("PrometheusError", error());
    let at = || query("time", "The moment: seconds since 1970 or RFC 3339; `as_of` if it is left out.", moment());
    both(paths, "query", "A query at one moment", vec![promql(), at()], value());
    let range = vec![
        promql(),
        needed(query("start", "The first moment.", moment())),
        needed(query("end", "The last moment, included.", moment())),
        needed(query("step", "From one to the next: seconds, or a span such as `1m`.", span())),
    ];
    both(paths, "query_range", "A query over a range", range, value());
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let sets = json!({"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}});
    both(paths, "series", "Label sets", vec![needed(matching()), limit()], sets);
    both(paths, "labels", "Names of labels", vec![matching(), limit()], texts());
    both(paths, "query_exemplars", "None: there are no exemplars", vec![], json!({"type": "array"}));

    let name = super::parameters::path("name", "Name of the label.", json!({"type": "string"}));
    get(paths, "label/{name}/values", "Values of a label", vec![name, matching(), limit()], texts());
    let metric = query("metric", "Only this one.", json!({"type": "string"}));
    get(paths, "metadata", "What each name is", vec![metric, limit()], json!({"type": "object"}));
    get(paths, "status/buildinfo", "Whose API this is", vec![], json!({"type": "object"}));
    get(paths, "rules", "None: there are no rules", vec![], json!({"type": "object"}));
    get(paths, "alerts", "None: there are no alerts", vec![], json!({"type": "object"}));
}

/// With `GET`, and with the same as a form.
fn both(paths: &mut Paths, name: &str, summary: &str, parameters: Vec<Value>, data: Value) {
    let form = form(&parameters);
    get(paths, name, summary, parameters, data.clone());
    let id = format!("prometheus.{name}.post");
    let operation = Operation::new(&id, "prometheus", summary).description(TEXT).form(form);
    paths.add("post", &format!("/api/v1/{name}"), with_answers(operation, data));
}

fn get(paths: &mut Paths, name: &str, summary: &str, parameters: Vec<Value>, data: Value) {
    let id = format!("prometheus.{}", name.replace(['/', '{', '}'], "_"));
    let operation = Operation::new(&id, "prometheus", summary).description(TEXT).parameters(parameters);
    paths.add("get", &format!("/api/v1/{name}"), with_answers(operation, data));
}

/// Parameters as the members of a form.
fn form(parameters: &[Value]) -> Value {
    let mut schema = json!({"type": "object", "properties": {}, "required": []});
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let of = &parameter["schema"];
        // One of several may stand alone.
        schema["properties"][name] = match of["type"] == "array" {
            true => json!({"anyOf": [of, of["items"]]}),
            false => of.clone(),
        };
        if let (true, Some(required)) = (parameter["required"] == true, schema["required"].as_array_mut()) {
            required.push(name.into());
        }
    }
    schema
}

fn with_answers(operation: Operation, data: Value) -> Operation {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let success = json!({
        "type": "object",
        "properties": {"status": {"const": "success"}, "data": data, "warnings": texts, "infos": texts},
        "required": ["status", "data"],
    });
    let error = json!({"$ref": "#/components/schemas/PrometheusError"});
    operation
        .json(200, "What was asked for.", success)
        .json(400, "`bad_data`: it cannot be read.", error.clone())
        .json(422, "`execution`: it cannot be answered.", error.clone())
        .json(500, "`internal`: the daemon's log says why.", error.clone())
        .json(503, "`unavailable`: ask again.", error)
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": {"const": "error"},
            "errorType": {"enum": ["bad_data", "execution", "unavailable", "internal"]},
            "error": {"type": "string"},
        },
        "required": ["status", "errorType", "error"],
    })
}

/// What a query tells: samples are a moment in seconds and a number as text.
fn value() -> Value {
    let kinds = json!(["scalar", "string", "vector", "matrix"]);
    json!({
        "type": "object",
        "properties": {"resultType": {"enum": kinds}, "result": {"type": "array"}},
        "required": ["resultType", "result"],
    })
}

fn promql() -> Value {
    let mut parameter = needed(query("query", "PromQL.", json!({"type": "string", "minLength": 1})));
    parameter["example"] = "1+1".into();
    parameter
}

fn needed(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}

fn moment() -> Value {
    // The end of the year 9999, and as long before 1970.
    let bound = 253_402_300_799_i64;
    json!({"anyOf": [
        {"type": "number", "minimum": -bound, "maximum": bound},
        {"type": "string", "format": "date-time"},
    ]})
}

fn span() -> Value {
    json!({"anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 3_162_240_000_i64},
        {"type": "string", "pattern": "^[1-9][0-9]{0,2}[smhdw]$"},
    ]})
}

fn matching() -> Value {
    query("match[]", "Selectors, of which one must hold.", json!({"type": "array", "items": {"type": "string"}}))
}

fn limit() -> Value {
    query("limit", "How many at most; 0: all.", json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}))
}
