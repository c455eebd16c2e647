//! Rows of an answer as JSON, and what their columns are.

use std::{borrow::Cow, sync::Arc};

use schemars::{JsonSchema, Schema, json_schema};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json, value::RawValue};
use statscache_core::query::{Dist, Rollup, Row, RowValue, Stat};
use statscache_plugin_sdk::{Kind, MetricDescriptor};

use super::{
    params::{Look, Shown},
    time::When,
};

/// A column.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Column {
    /// Key in the rows.
    pub(super) name: String,
    /// `time` (RFC 3339), `string`, `integer`, `number`, `object`, `array` or `json` (any value). The value may be
    /// null besides, with `fill=null`.
    pub(super) r#type: &'static str,
}

/// The columns of these rows with these labels.
pub(super) fn columns(
    kind: Kind,
    labels: &[String],
    rollup: Option<Rollup>,
    coverage: Shown,
    rows: &[Row],
) -> Vec<Column> {
    let column = |name: &str, r#type| Column { name: name.to_owned(), r#type };
    let mut columns = vec![column("time", "time")];
    columns.extend(labels.iter().map(|label| column(label, "string")));
    match kind {
        Kind::Latest { .. } if rollup.is_some() => {
            columns.extend([column("value", sum_type(rows)), column("values", "integer"), column("others", "integer")]);
        }
        Kind::Latest { .. } => columns.extend([column("value", "json"), column("id", "string")]),
        Kind::Count => columns.push(column("value", "integer")),
        Kind::Stat | Kind::Distinct | Kind::Dist => columns.push(column("value", "object")),
        Kind::Top { .. } => columns.push(column("value", "array")),
    }
    if kind.is_bucketed() && coverage == Shown::All {
        columns.push(column("coverage", "string"));
    }
    columns
}

/// JSON Schema of a row of this metric.
pub(super) fn row_schema(metric: &MetricDescriptor) -> Schema {
    let mut properties = serde_json::Map::new();
    for column in columns(metric.kind, &metric.dimensions, None, Shown::All, &[]) {
        let schema = match (column.name.as_str(), column.r#type) {
            ("value", "json") => json!({}),
            ("value", _) => json!({"anyOf": [value_schema(metric.kind), {"type": "null"}]}),
            ("coverage", _) => json!({"enum": ["complete", "partial", "missing"]}),
            (_, "time") => json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
            (_, other) => json!({"type": other}),
        };
        properties.insert(column.name, schema);
    }
    if !metric.kind.is_bucketed() {
        for (name, description) in
            [("values", "With `rollup`: values in the sum."), ("others", "With `rollup`: values without a number.")]
        {
            properties.insert(name.to_owned(), json!({"type": "integer", "description": description}));
        }
    }
    json_schema!({
        "type": "object",
        "description": "One row. With `by`, only the labels kept.",
        "properties": properties,
        "required": ["time", "value"],
        "additionalProperties": false,
    })
}

/// Names of what the values of these rows are made of, where all of them are objects.
pub(super) fn value_members(kind: Kind, rollup: Option<Rollup>, rows: &[Row]) -> Vec<Cow<'static, str>> {
    if kind.is_bucketed() {
        return members(kind, rollup).iter().map(|name| Cow::Borrowed(*name)).collect();
    }
    let mut names: Vec<Cow<'static, str>> = Vec::new();
    for row in rows {
        let RowValue::Sums { members, .. } = &row.value else { return Vec::new() };
        for (name, _) in members {
            if !names.iter().any(|known| **known == **name) {
                names.push(Cow::Owned(name.to_string()));
            }
        }
    }
    names
}

/// What sums are: numbers, objects, or some of both.
fn sum_type(rows: &[Row]) -> &'static str {
    let objects = rows.iter().filter(|row| matches!(row.value, RowValue::Sums { .. })).count();
    match rows.len() - objects {
        _ if objects == 0 => "number",
        0 => "object",
        _ => "json",
    }
}

/// Names of what a value is made of, where it is an object.
const fn members(kind: Kind, rollup: Option<Rollup>) -> &'static [&'static str] {
    match kind {
        Kind::Stat if rollup.is_some() => &["product", "parts", "missing"],
        Kind::Stat => &["n", "sum", "min", "max", "mean", "stddev"],
        Kind::Distinct => &["estimate", "error"],
        Kind::Dist => &["n", "min", "max", "p50", "p90", "p95", "p99"],
        Kind::Count | Kind::Top { .. } | Kind::Latest { .. } => &[],
    }
}

fn value_schema(kind: Kind) -> Value {
    let object = |numbers: &[&str], least: &[&str]| {
        let mut properties = serde_json::Map::new();
        for name in numbers {
            properties.insert((*name).to_owned(), json!({"type": "number"}));
        }
        for name in least {
            properties.insert((*name).to_owned(), json!({"type": ["number", "null"]}));
        }
        json!({"type": "object", "properties": properties})
    };
    match kind {
        Kind::Count => json!({"type": "integer"}),
        // With `rollup=product` the last three instead.
        Kind::Stat => object(&["n", "sum", "product", "parts", "missing"], &["min", "max", "mean", "stddev"]),
        Kind::Distinct => object(&["estimate", "error"], &[]),
        Kind::Dist => object(&["n"], &["min", "max", "p50", "p90", "p95", "p99"]),
        Kind::Top { .. } => json!({"type": "array", "items": {"type": "object", "properties": {
            "key": {"type": "string"}, "count": {"type": "integer"}, "error": {"type": "integer"}
        }}}),
        Kind::Latest { .. } => json!({}),
    }
}

/// A row as a flat object.
pub(super) struct RowDto {
    /// Names of the labels.
    pub(super) names: Arc<[String]>,
    pub(super) row: Row,
    pub(super) look: Look,
    /// Whether it tells its coverage.
    pub(super) has_coverage: bool,
}

impl Serialize for RowDto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &When(self.row.time, self.look.time))?;
        for (name, label) in self.names.iter().zip(self.row.labels.iter()) {
            map.serialize_entry(name, label)?;
        }
        map.serialize_entry("value", &ValueDto(&self.row.value))?;
        match &self.row.value {
            RowValue::Latest { id, .. } => map.serialize_entry("id", id)?,
            RowValue::Sum { values, others, .. } | RowValue::Sums { values, others, .. } => {
                map.serialize_entry("values", values)?;
                map.serialize_entry("others", others)?;
            }
            _ => {}
        }
        if self.has_coverage {
            map.serialize_entry("coverage", self.row.coverage.as_str())?;
        }
        map.end()
    }
}

/// The value of a row.
pub(super) struct ValueDto<'v>(pub(super) &'v RowValue);

impl Serialize for ValueDto<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Key<'k> {
            key: &'k str,
            count: u64,
            error: u64,
        }
        match self.0 {
            RowValue::Number(n) => serializer.serialize_i64(*n),
            RowValue::Stat(Stat { n, sum, min, max, mean, stddev }) => {
                let mut map = serializer.serialize_map(Some(6))?;
                map.serialize_entry("n", n)?;
                map.serialize_entry("sum", &Number(*sum))?;
                for (name, value) in [("min", min), ("max", max), ("mean", mean), ("stddev", stddev)] {
                    map.serialize_entry(name, &value.map(Number))?;
                }
                map.end()
            }
            RowValue::Distinct { estimate, error } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("estimate", estimate)?;
                map.serialize_entry("error", &Number(*error))?;
                map.end()
            }
            RowValue::Dist(Dist { n, min, max, quantiles: [p50, p90, p95, p99] }) => {
                let mut map = serializer.serialize_map(Some(7))?;
                map.serialize_entry("n", n)?;
                for (name, value) in
                    [("min", min), ("max", max), ("p50", p50), ("p90", p90), ("p95", p95), ("p99", p99)]
                {
                    map.serialize_entry(name, &value.map(Number))?;
                }
                map.end()
            }
            RowValue::Top(keys) => serializer.collect_seq(keys.iter().map(|entry| Key {
                key: &entry.key,
                count: entry.count,
                error: entry.error,
            })),
            RowValue::Latest { json, .. } => {
                // What is stored was checked to be JSON when it came in.
                let json = in_one_line(json);
                let value: &RawValue = serde_json::from_str(&json).map_err(serde::ser::Error::custom)?;
                value.serialize(serializer)
            }
            RowValue::Sum { sum, .. } => Number(*sum).serialize(serializer),
            RowValue::Sums { members, .. } => {
                serializer.collect_map(members.iter().map(|(name, sum)| (&**name, Number(*sum))))
            }
            RowValue::Product { product, parts, missing } => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("product", &Number(*product))?;
                map.serialize_entry("parts", parts)?;
                map.serialize_entry("missing", missing)?;
                map.end()
            }
            RowValue::Unknown => serializer.serialize_none(),
        }
    }
}

/// JSON without line breaks, which end a row of NDJSON and the data of an event. They stand only between tokens:
/// texts have them as `\n`.
fn in_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.replace(['\n', '\r'], " ").into(),
        false => json.into(),
    }
}

/// Whole numbers without `.0`, as they mostly came in.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() == 0.0 && self.0.abs() <= EXACT {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_came_in_lines_is_told_in_one() {
        let json = "{\r\n  \"a\": \"b\\n\",\n  \"c\": 1.50\n}".to_owned();
        let value = RowValue::Latest { json, id: String::new() };
        let told = serde_json::to_string(&ValueDto(&value)).expect("JSON");
        assert_eq!(told, r#"{    "a": "b\n",   "c": 1.50 }"#);
    }
}
