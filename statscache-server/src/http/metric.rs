//! `GET /plugins/{id}/{metric}`: the values.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use statscache_core::segment::ReadError;
use statscache_core::{
    query::{self, Answer, Query, QueryError},
    view::{InstanceView, MetricView, View},
};
use statscache_plugin_sdk::{MetricDescriptor, Resolution, Timestamp};

use super::{
    AppState, params,
    problem::Problem,
    rows::{Column, RowDto, columns, row_schema},
    time, urlquery,
};
use crate::health::Health;

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
    /// How much of the bus was seen in the range, in whole steps, those alike as one: with nothing in a complete
    /// step there was nothing, in a missing one nobody knows. Null for latest values.
    coverage: Option<Vec<CoverageDto>>,
    /// Columns of the rows.
    columns: Vec<Column>,
    /// The rows.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    rows: Vec<RowDto>,
}

/// What was seen of some steps.
#[derive(Serialize, JsonSchema)]
struct CoverageDto {
    /// Start of the first of them.
    start: String,
    /// End of the last of them, exclusive.
    end: String,
    /// `complete`: all of them; `partial`: of each a part; `missing`: nothing.
    coverage: &'static str,
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
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let question = || Question::read(&state, &id, &name, &parameters);
        Ok(Json(answer(question, &state.health)?).into_response())
    });
    answered.await.map_err(|_| Problem::internal())?
}

/// How often a question is put to a newer view. One is enough, unless a query takes longer than a minute.
pub(super) const VIEWS_MAX: usize = 3;

fn answer(question: impl Fn() -> Result<Question, Problem>, health: &Health) -> Result<MetricAnswer, Problem> {
    let mut gone = None;
    for _ in 0..VIEWS_MAX {
        let Question { view, instance, metric, query, now } = question()?;
        let coverage = instance.reading.seen_by(&view.coverage);
        let horizon = view.horizon.min(now);
        let from = query::From { chunks: &*view.chunks, coverage: &coverage, now, horizon };
        match query::run(&metric, &query, from) {
            Ok(answer) => return Ok(to_dto(&view, &instance, &metric, &query, answer)),
            Err(QueryError::Stale(key)) => gone = Some(key),
            Err(QueryError::Unreadable(ReadError::Damaged(key, ..))) => {
                gone = Some(key);
                break;
            }
            Err(error) => return Err(problem(error)),
        }
    }
    // The next commit looks at it; what is damaged is missing from then on, and the rest is answered.
    gone.into_iter().for_each(|key| health.doubt(key));
    Err(Problem::unavailable("part of the state does not read; it is looked at now, ask again in a second".to_owned()))
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

pub(super) fn problem(error: QueryError) -> Problem {
    match &error {
        QueryError::EmptyRange { start, .. } => {
            Problem::parameter("start", Some(&time::rfc3339(*start)), "a time before `end`, which is now if not given")
        }
        QueryError::Step { step, tiers } => {
            let allowed = format!("a multiple of the width of one of the metric's tiers: {tiers}");
            Problem::parameter("step", Some(&step.to_string()), allowed)
        }
        QueryError::NoBuckets => Problem::parameter("step", None, "no step: these are latest values"),
        QueryError::NoPath => Problem::parameter("rollup", None, "no rollup: use `by` and `step`"),
        QueryError::TooExpensive { .. } | QueryError::TooManyRows => Problem::too_expensive(error.to_string()),
        QueryError::NotKept { step, since, tiers } => {
            let allowed = format!(
                "a step for which the range is kept: such steps go back to {}; the tiers are {tiers}",
                time::rfc3339(*since)
            );
            Problem::parameter("step", Some(&step.to_string()), allowed)
        }
        QueryError::Stale(_) | QueryError::Damaged(_) | QueryError::Unreadable(_) => {
            tracing::error!("a query failed: {}", crate::health::describe(&error));
            Problem::internal()
        }
    }
}

fn to_dto(view: &View, instance: &InstanceView, metric: &MetricView, query: &Query, answer: Answer) -> MetricAnswer {
    let descriptor = &metric.descriptor;
    let is_bucket = descriptor.kind.is_bucketed();
    let names: Arc<[String]> = answer.dimensions.iter().map(|at| descriptor.dimensions[*at].clone()).collect();
    let coverage = answer.coverage.into_iter().map(|(start, end, coverage)| CoverageDto {
        start: time::rfc3339(start),
        end: time::rfc3339(end),
        coverage: coverage.as_str(),
    });
    MetricAnswer {
        as_of: time::rfc3339(view.as_of),
        watermark: Watermark::of(instance),
        partial: !view.is_whole(instance),
        start: answer.start.map(time::rfc3339),
        end: time::rfc3339(answer.end),
        step: answer.step.as_ref().map(Resolution::to_string),
        unit: descriptor.unit.clone(),
        truncated: answer.truncated,
        coverage: is_bucket.then(|| coverage.collect()),
        columns: columns(descriptor.kind, &names, query.rollup.is_some()),
        rows: answer.rows.into_iter().map(|row| RowDto { names: names.clone(), row, is_bucket }).collect(),
    }
}

/// JSON Schema of what a metric answers, with its own columns.
pub(super) fn answer_schema(metric: &MetricDescriptor) -> Schema {
    let mut schema = schemars::schema_for!(MetricAnswer);
    if let Some(rows) = schema.pointer_mut("/properties/rows") {
        rows["items"] = row_schema(metric).into();
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
