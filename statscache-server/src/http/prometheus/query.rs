//! `/query` and `/query_range`.

use std::collections::BTreeMap;

use axum::extract::State;
use promql_parser::parser::Expr;
use serde::Serialize;

use super::{
    super::AppState,
    answer::{ApiError, Sample, Success, TextSample},
    eval::{Evaluator, Matrix},
    guard,
    params::Form,
    source::{self, Failure, Source},
    value::{LabelSet, Series, Value},
    window::Steps,
};

/// Steps of a range from its first point on, as in Prometheus.
const POINTS_MAX: i64 = 11_000;

/// What a query tells.
#[derive(Serialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum QueryData {
    Scalar(Sample),
    String(TextSample),
    Vector(Vec<OneValue>),
    Matrix(Vec<ManyValues>),
}

/// A series at one moment.
#[derive(Serialize)]
pub(super) struct OneValue {
    metric: BTreeMap<String, String>,
    value: Sample,
}

/// A series at many.
#[derive(Serialize)]
pub(super) struct ManyValues {
    metric: BTreeMap<String, String>,
    values: Vec<Sample>,
}

/// Labels as JSON.
pub(super) fn metric(labels: &LabelSet) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// One moment.
pub(super) async fn instant(State(state): State<AppState>, form: Form) -> Result<Success<QueryData>, ApiError> {
    let at = form.get("time").map(|_| form.time("time")).transpose()?;
    answer(state, form, move |source, expr| {
        let start = at.unwrap_or(source.as_of());
        let steps = Steps { start, step: 1, count: 1, is_instant: true };
        evaluated(source, steps, |evaluator| match expr {
            Expr::MatrixSelector(selector) => Ok(matrix(evaluator.matrix(selector)?)),
            expr => Ok(at_once(evaluator.eval(expr, None)?, start)),
        })
    })
    .await
}

/// Many moments.
pub(super) async fn range(State(state): State<AppState>, form: Form) -> Result<Success<QueryData>, ApiError> {
    let (start, end, step) = (form.time("start")?, form.time("end")?, form.step()?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    if (end - start) / step > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let count = ((end - start) / step + 1) as usize;
    let steps = Steps { start, step, count, is_instant: false };
    answer(state, form, move |source, expr| {
        evaluated(source, steps, |evaluator| match evaluator.eval(expr, None)? {
            Value::Text(_) => {
                Err(ApiError::bad_data("a text has no range; ask for a scalar or an instant vector").into())
            }
            Value::Scalar(numbers) => {
                let samples = numbers.into_iter().map(Some).collect();
                Ok(over_time(vec![Series { labels: LabelSet::default(), samples }], steps))
            }
            Value::Vector(series) => Ok(over_time(series, steps)),
        })
    })
    .await
}

/// Reads the query and does the work in its turn.
async fn answer<D: Send + 'static>(
    state: AppState,
    form: Form,
    work: impl Fn(&Source, &Expr) -> Result<Success<D>, Failure> + Send + 'static,
) -> Result<Success<D>, ApiError> {
    source::work(state, move |source| work(source, &guard::parse(form.needed("query"))?)).await
}

fn evaluated(
    source: &Source,
    steps: Steps,
    eval: impl FnOnce(&mut Evaluator<'_>) -> Result<QueryData, Failure>,
) -> Result<Success<QueryData>, Failure> {
    let mut evaluator = Evaluator { source, steps, infos: Default::default(), made: (0, 0) };
    let data = eval(&mut evaluator)?;
    Ok(Success::with(data, Vec::new(), evaluator.infos.into_iter().collect()))
}

fn at_once(value: Value, at: i64) -> QueryData {
    match value {
        Value::Scalar(numbers) => QueryData::Scalar(Sample(at, numbers.first().copied().unwrap_or(f64::NAN))),
        Value::Text(text) => QueryData::String(TextSample(at, text)),
        Value::Vector(series) => QueryData::Vector(
            series
                .iter()
                .filter_map(|series| {
                    let value = series.samples.first().copied().flatten()?;
                    Some(OneValue { metric: metric(&series.labels), value: Sample(at, value) })
                })
                .collect(),
        ),
    }
}

/// In order of labels, as Prometheus tells ranges.
fn over_time(mut all: Vec<Series>, steps: Steps) -> QueryData {
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let told = all.into_iter().map(|series| {
        let there = steps.all().zip(series.samples).filter_map(|(at, value)| Some(Sample(at, value?)));
        (series.labels, there.collect())
    });
    matrix(told.collect())
}

fn matrix(all: Matrix) -> QueryData {
    let all = all.into_iter().filter(|(_, values)| !values.is_empty());
    QueryData::Matrix(all.map(|(labels, values)| ManyValues { metric: metric(&labels), values }).collect())
}
