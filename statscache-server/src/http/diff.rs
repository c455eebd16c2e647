//! `GET /plugins/{id}/diff`: what is being built beside what serves, row by row.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeMap};
use statscache_core::{
    limits::QUERY_CELLS_MAX,
    query::{Labels, Query, QueryError, Row, RowValue},
    view::{InstanceView, MetricView, View},
};
use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{
    AppState,
    metric::Watermark,
    problem::Problem,
    question::{self, on_view},
    rows::ValueDto,
    time::{self, TimeForm},
    urlquery,
};

/// Rows that differ and are shown, if nobody says how many.
const LIMIT_DEFAULT: usize = 100;

/// What is different in what is built.
#[derive(Serialize, JsonSchema)]
pub(super) struct Diff {
    /// When the view was published that this is read from.
    as_of: String,
    /// What is in the one that serves.
    old: Watermark,
    /// What is in the one that is built.
    new: Watermark,
    /// Whether one of them has yet to read something: rows may differ because of that.
    partial: bool,
    /// Metrics that both have, with the same kind and labels.
    metrics: Vec<MetricDiff>,
    /// Metrics that only the one that serves has like that.
    only_old: Vec<String>,
    /// Metrics that only the one that is built has like that.
    only_new: Vec<String>,
}

/// One metric.
#[derive(Serialize, JsonSchema)]
struct MetricDiff {
    name: String,
    /// Width of the buckets compared; null for latest values.
    step: Option<String>,
    /// Rows that are the same.
    equal: usize,
    /// Rows that are not, or are in one only.
    different: usize,
    /// Whether there are more rows than are compared; ask for a shorter range or a coarser step.
    truncated: bool,
    /// Why it is not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Rows that differ, in order of time and labels; as many as `limit` leaves to this metric.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    rows: Vec<RowDiff>,
}

/// A row that differs: time, labels, `old` and `new`, of which one may be null.
struct RowDiff {
    names: Arc<[String]>,
    old: Option<Row>,
    new: Option<Row>,
}

impl Serialize for RowDiff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(row) = self.old.as_ref().or(self.new.as_ref()) {
            map.serialize_entry("time", &time::rfc3339(row.time))?;
            for (name, label) in self.names.iter().zip(row.labels.iter()) {
                map.serialize_entry(name, label)?;
            }
        }
        map.serialize_entry("old", &self.old.as_ref().map(|row| ValueDto(&row.value)))?;
        map.serialize_entry("new", &self.new.as_ref().map(|row| ValueDto(&row.value)))?;
        map.end()
    }
}

pub(super) async fn diff(
    State(state): State<AppState>,
    Path(id): Path<String>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Problem> {
    let parameters = urlquery::parse(parameters.as_deref().unwrap_or_default())?;
    let view = state.view.load_full();
    let range = Range::read(&parameters, state.rows_max, view.as_of)?;
    Pair::of(&state, &view, &id)?;
    let queries = state.queries.clone();
    let answered = queries.run(move || {
        let compare = |view: &_| Ok(compare_metrics(&Pair::of(&state, view, &id)?, &range, state.rows_max)?);
        Ok(Json(on_view(&state, compare)?).into_response())
    });
    answered.await?
}

/// What is asked.
struct Range {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    step: Option<Resolution>,
    limit: usize,
}

impl Range {
    fn read(parameters: &[(String, String)], rows_max: usize, now: Timestamp) -> Result<Self, Problem> {
        let mut range = Self { start: None, end: None, step: None, limit: LIMIT_DEFAULT.min(rows_max) };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in parameters {
            let bad = |allowed: &str| Problem::parameter(name, Some(value), allowed);
            if seen.contains(&name.as_str()) {
                return Err(bad("one value; it is given twice"));
            }
            seen.push(name);
            match name.as_str() {
                "start" => range.start = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?),
                "end" => range.end = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?),
                "step" => range.step = Some(time::parse_span(value).ok_or_else(|| bad(time::SPANS))?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=rows_max).contains(limit));
                    range.limit = limit.ok_or_else(|| bad(&format!("a whole number from 1 to {rows_max}")))?;
                }
                _ => return Err(Problem::parameter(name, None, "start, end, step, limit")),
            }
        }
        Ok(range)
    }
}

/// What serves and what is built, of one view.
struct Pair {
    view: Arc<View>,
    old: Arc<InstanceView>,
    new: Arc<InstanceView>,
}

impl Pair {
    fn of(state: &AppState, view: &Arc<View>, id: &str) -> Result<Self, Problem> {
        let old = state.instance(view, id)?.clone();
        let new = view.building.get(id).cloned().ok_or_else(|| {
            Problem::not_found(format!(
                "nothing is built beside plugin `{id}`, so there is nothing to compare; [plugins] hold or \
                 `statscache run --hold` keeps what is built from taking its place at once"
            ))
        })?;
        Ok(Self { view: view.clone(), old, new })
    }
}

fn compare_metrics(pair: &Pair, range: &Range, rows_max: usize) -> Result<Diff, QueryError> {
    let Pair { view, old, new } = pair;
    let like = |metric: &MetricView, other: &InstanceView| {
        let found = other.metric(&metric.descriptor.name)?;
        let (a, b) = (&found.descriptor, &metric.descriptor);
        (a.kind == b.kind && a.dimensions == b.dimensions).then(|| found.clone())
    };
    let only = |these: &InstanceView, others: &InstanceView| -> Vec<String> {
        let alone = these.metrics.iter().filter(|metric| like(metric, others).is_none());
        alone.map(|metric| metric.descriptor.name.clone()).collect()
    };
    let mut room = range.limit;
    let mut metrics = Vec::new();
    for metric in &old.metrics {
        let Some(built) = like(metric, new) else { continue };
        let compared = match compare_metric(pair, (metric, &built), (range, rows_max), room) {
            Err(error @ (QueryError::Step { .. } | QueryError::NotKept { .. })) => {
                MetricDiff::not_compared(metric, &error)
            }
            Err(error @ (QueryError::TooExpensive { .. } | QueryError::TooManyRows)) => {
                MetricDiff::not_compared(metric, &error)
            }
            compared => compared?,
        };
        room -= compared.rows.len();
        metrics.push(compared);
    }
    Ok(Diff {
        as_of: time::rfc3339(view.as_of),
        old: Watermark::of(old, TimeForm::Rfc3339),
        new: Watermark::of(new, TimeForm::Rfc3339),
        partial: !view.is_whole(old) || !view.is_whole(new),
        metrics,
        only_old: only(old, new),
        only_new: only(new, old),
    })
}

fn compare_metric(
    pair: &Pair,
    (old, new): (&MetricView, &MetricView),
    (range, rows_max): (&Range, usize),
    room: usize,
) -> Result<MetricDiff, QueryError> {
    let is_bucketed = old.descriptor.kind.is_bucketed();
    let step = range.step.filter(|_| is_bucketed);
    let query = Query { start: range.start, end: range.end, step, limit: rows_max, ..Query::default() };
    let ask = |instance, metric, query: &Query| question::ask(&pair.view, (instance, metric), query, QUERY_CELLS_MAX);
    let before = ask(&pair.old, old, &query)?;
    // What fits the tiers of the one may not be what fits those of the other.
    let query = Query { step: before.step, ..query };
    let after = ask(&pair.new, new, &query)?;
    let truncated = before.truncated || after.truncated;
    let (equal, different) = pair_up(before.rows, after.rows);
    let names: Arc<[String]> = old.descriptor.dimensions.clone().into();
    let count = different.len();
    let rows = different.into_iter().take(room).map(|(old, new)| RowDiff { names: names.clone(), old, new });
    Ok(MetricDiff {
        name: old.descriptor.name.clone(),
        step: before.step.as_ref().map(Resolution::to_string),
        equal,
        different: count,
        truncated,
        error: None,
        rows: rows.collect(),
    })
}

impl MetricDiff {
    fn not_compared(metric: &MetricView, error: &QueryError) -> Self {
        Self {
            name: metric.descriptor.name.clone(),
            step: None,
            equal: 0,
            different: 0,
            truncated: false,
            error: Some(error.to_string()),
            rows: Vec::new(),
        }
    }
}

/// Rows of the one and the other with the same time and labels.
type Twins = (Option<Row>, Option<Row>);

/// How many rows are the same, and those that are not. Of latest values several may have one time and label set: the
/// first is compared with the first, and so on.
fn pair_up(old: Vec<Row>, new: Vec<Row>) -> (usize, Vec<Twins>) {
    let mut places: BTreeMap<(Timestamp, Labels, usize), Twins> = BTreeMap::new();
    for (is_old, row) in old.into_iter().map(|row| (true, row)).chain(new.into_iter().map(|row| (false, row))) {
        let mut key = (row.time, row.labels.clone(), 0);
        let place = loop {
            match places.entry(key.clone()) {
                Entry::Occupied(taken) if (if is_old { &taken.get().0 } else { &taken.get().1 }).is_some() => {
                    key.2 += 1
                }
                entry => break entry.or_default(),
            }
        };
        *(if is_old { &mut place.0 } else { &mut place.1 }) = Some(row);
    }
    let value = |row: &Option<Row>| -> Option<RowValue> { row.as_ref().map(|row| row.value.clone()) };
    let all = places.len();
    let different: Vec<Twins> = places.into_values().filter(|(old, new)| value(old) != value(new)).collect();
    (all - different.len(), different)
}
