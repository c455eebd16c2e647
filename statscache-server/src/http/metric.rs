//! `GET /plugins/{id}/{metric}`: the values.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use statscache_core::{
    query::{self, Answer, Query, QueryError, Row, RowValue},
    view::{InstanceView, MetricView, View},
};
use statscache_plugin_sdk::{Kind, MetricDescriptor, Resolution, Timestamp};

use super::{AppState, params, problem::Problem, time, urlquery};

/// Values of a metric: rows are flat objects with one entry for each column.
#[derive(Serialize, JsonSchema)]
pub(super) struct MetricAnswer {
    /// When the view was published that this is read from.
    as_of: String,
    /// What is in the answer: everything accepted before that sequence.
    watermark: Watermark,
    /// Whether something accepted is not in the answer yet, or never will be: the plugin lags, is
    /// quarantined, or has missed messages.
    partial: bool,
    /// Start of the first bucket looked at, later than asked where older ones are not kept; null: from
    /// the beginning.
    start: Option<String>,
    /// End of the range looked at, exclusive.
    end: String,
    /// Width of the buckets; null for latest values.
    step: Option<String>,
    /// What a value counts.
    unit: String,
    /// Whether `limit` cut rows off.
    truncated: bool,
    /// Columns of the rows.
    columns: Vec<Column>,
    /// The rows.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    rows: Vec<RowDto>,
}

/// How far the plugin has got.
#[derive(Serialize, JsonSchema)]
pub(super) struct Watermark {
    /// Everything accepted up to and with this sequence is in.
    sequence: u64,
    /// Newest event time among that; null before the first message.
    time: Option<String>,
}

impl Watermark {
    pub(super) fn of(instance: &InstanceView) -> Self {
        Self { sequence: instance.cursor.next.saturating_sub(1), time: instance.cursor.watermark.map(time::rfc3339) }
    }
}

/// A column.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Column {
    /// Key in the rows.
    name: String,
    /// `time` (RFC 3339), `string`, `integer` or `json` (any value).
    r#type: &'static str,
}

struct RowDto {
    names: Arc<[String]>,
    row: Row,
}

impl Serialize for RowDto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &time::rfc3339(self.row.time))?;
        for (name, label) in self.names.iter().zip(self.row.labels.iter()) {
            map.serialize_entry(name, label)?;
        }
        match &self.row.value {
            RowValue::Number(n) => map.serialize_entry("value", n)?,
            RowValue::Latest { json, id } => {
                // What is stored was checked to be JSON when it came in.
                let value: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                map.serialize_entry("value", value)?;
                map.serialize_entry("id", id)?;
            }
        }
        map.end()
    }
}

pub(super) async fn values(
    State(state): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Problem> {
    let parameters = urlquery::parse(parameters.as_deref().unwrap_or_default())?;
    // What is wrong with it is said at once.
    Question::read(&state, &id, &name, &parameters)?;
    // A query is bounded, but may take a core for a second. It waits for its turn here, where it is
    // dropped with its connection and holds no view, and not among tokio's blocking tasks, which
    // nobody can call off.
    let turn = state.queries.turn().await?;
    let Question { view, instance, metric, query, now } = Question::read(&state, &id, &name, &parameters)?;
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let answer = query::run(&metric, &query, now).map_err(problem)?;
        Ok(Json(to_dto(&view, &instance, &metric, answer)).into_response())
    });
    answered.await.map_err(|_| Problem::internal())?
}

/// A question, with what answers it at this moment.
struct Question {
    view: Arc<View>,
    instance: Arc<InstanceView>,
    metric: Arc<MetricView>,
    query: Query,
    now: Timestamp,
}

impl Question {
    fn read(state: &AppState, id: &str, name: &str, parameters: &[(String, String)]) -> Result<Self, Problem> {
        let view = state.view.load_full();
        let instance = state.instance(&view, id)?.clone();
        let metric = instance.metric(name).cloned().ok_or_else(|| unknown_metric(id, name, &instance))?;
        let now = state.clock.now();
        let query = params::read(parameters, &metric.descriptor, state.rows_max, now)?;
        Ok(Self { view, instance, metric, query, now })
    }
}

fn unknown_metric(id: &str, name: &str, instance: &InstanceView) -> Problem {
    let metrics: Vec<&str> = instance.metrics.iter().map(|metric| metric.descriptor.name.as_str()).collect();
    Problem::not_found(format!("plugin `{id}` has no metric `{name}`; it has {}", metrics.join(", ")))
}

fn problem(error: QueryError) -> Problem {
    match &error {
        QueryError::EmptyRange { start, .. } => {
            Problem::parameter("start", Some(&time::rfc3339(*start)), "a time before `end`, which is now if not given")
        }
        QueryError::Step { step, tiers } => {
            let allowed = format!("a multiple of the width of one of the metric's tiers: {tiers}");
            Problem::parameter("step", Some(&step.to_string()), allowed)
        }
        QueryError::NoBuckets => Problem::parameter("step", None, "no step: these are latest values"),
        QueryError::TooExpensive { .. } | QueryError::TooManyRows => Problem::too_expensive(error.to_string()),
        QueryError::Damaged(_) => {
            tracing::error!("a query failed: {}", crate::health::describe(&error));
            Problem::internal()
        }
    }
}

fn to_dto(view: &View, instance: &InstanceView, metric: &MetricView, answer: Answer) -> MetricAnswer {
    let descriptor = &metric.descriptor;
    let names: Arc<[String]> = answer.dimensions.iter().map(|at| descriptor.dimensions[*at].clone()).collect();
    MetricAnswer {
        as_of: time::rfc3339(view.as_of),
        watermark: Watermark::of(instance),
        partial: !view.is_whole(instance),
        start: answer.start.map(time::rfc3339),
        end: time::rfc3339(answer.end),
        step: answer.step.as_ref().map(Resolution::to_string),
        unit: descriptor.unit.clone(),
        truncated: answer.truncated,
        columns: columns(descriptor.kind, &names),
        rows: answer.rows.into_iter().map(|row| RowDto { names: names.clone(), row }).collect(),
    }
}

fn columns(kind: Kind, labels: &[String]) -> Vec<Column> {
    let column = |name: &str, r#type| Column { name: name.to_owned(), r#type };
    let mut columns = vec![column("time", "time")];
    columns.extend(labels.iter().map(|label| column(label, "string")));
    match kind {
        Kind::Count => columns.push(column("value", "integer")),
        Kind::Latest { .. } => columns.extend([column("value", "json"), column("id", "string")]),
    }
    columns
}

/// JSON Schema of what a metric answers, with its own columns.
pub(super) fn answer_schema(metric: &MetricDescriptor) -> Schema {
    let columns = columns(metric.kind, &metric.dimensions);
    let mut properties = serde_json::Map::new();
    for column in &columns {
        let schema = match column.r#type {
            "time" => serde_json::json!({"type": "string", "format": "date-time"}),
            "json" => serde_json::json!({}),
            other => serde_json::json!({"type": other}),
        };
        properties.insert(column.name.clone(), schema);
    }
    let row = json_schema!({
        "type": "object",
        "description": "One row. With `by`, only the labels kept.",
        "properties": properties,
        "required": ["time", "value"],
        "additionalProperties": false,
    });
    let mut schema = schemars::schema_for!(MetricAnswer);
    if let Some(rows) = schema.pointer_mut("/properties/rows") {
        rows["items"] = row.into();
    }
    schema
}

/// An example of a question that works.
pub(super) fn example(id: &str, metric: &MetricDescriptor) -> String {
    let base = format!("/plugins/{id}/{}", metric.name);
    match metric.kind.is_bucketed() {
        true => format!(
            "{base}?start=now-1h&step={}",
            metric.tiers.as_slice().get(1).unwrap_or(&metric.tiers.finest()).resolution
        ),
        false => format!("{base}?limit=20"),
    }
}
