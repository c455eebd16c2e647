//! `POST /query`: many questions at once, answered from one view.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::{self, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use statscache_core::{
    limits::{QUERY_CELLS_MAX, QUERY_ROWS_MAX},
    query::QueryError,
    view::View,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    AppState,
    answers::{Draft, Variant, ViewId},
    format::Format,
    metric::MetricAnswer,
    negotiate::Encoding,
    params::WHERE,
    problem::Problem,
    question::{self, Failure, Question, on_view},
    time::{TimeForm, When},
};

/// Questions of one request.
const QUERIES_MAX: usize = 100;
/// Bytes of a request.
const BODY_MAX: usize = 256 << 10;

/// Questions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// From 1 to 100.
    #[schemars(with = "Vec<BatchQuery>", length(min = 1, max = QUERIES_MAX))]
    queries: Vec<Map<String, Value>>,
}

/// A question: the parameters of `GET /plugins/{plugin}/{metric}` by the same names.
#[derive(Deserialize, JsonSchema)]
struct BatchQuery {
    /// Id of the instance.
    plugin: String,
    /// Name of the metric.
    metric: String,
    /// Patterns by label, as `where.LABEL` in a URL.
    #[serde(default)]
    r#where: BTreeMap<String, Texts>,
    /// Labels to keep.
    by: Option<Texts>,
    /// `start`, `end`, `step` and all others.
    #[serde(flatten)]
    others: BTreeMap<String, Scalar>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    /// As if it was not there.
    Nothing(()),
    #[schemars(skip)]
    Other(Value),
}

impl Texts {
    fn iter(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
        .iter()
    }
}

impl BatchQuery {
    /// As a URL would have them.
    fn parameters(&self) -> Result<Vec<(String, String)>, Problem> {
        let mut parameters = Vec::new();
        for (name, value) in &self.others {
            if name == "format" {
                return Err(Problem::parameter(name, Some("…"), "nothing: answers to several questions are JSON"));
            }
            let value = match value {
                Scalar::Text(text) => text.clone(),
                Scalar::Number(number) => number.to_string(),
                Scalar::Nothing(()) => continue,
                Scalar::Other(value) => return Err(not_scalar(name, value)),
            };
            parameters.push((name.clone(), value));
        }
        let by = self.by.iter().flat_map(Texts::iter).map(|label| ("by".to_owned(), label.clone()));
        let kept_none = matches!(&self.by, Some(Texts::Many(labels)) if labels.is_empty());
        parameters.extend(by.chain(kept_none.then(|| ("by".to_owned(), String::new()))));
        for (label, patterns) in &self.r#where {
            parameters.extend(patterns.iter().map(|pattern| (format!("{WHERE}{label}"), pattern.clone())));
        }
        Ok(parameters)
    }
}

/// Answers to several questions, in the order of the questions.
#[derive(Serialize, JsonSchema)]
pub(super) struct BatchAnswer {
    /// When the view was published that all are read from.
    as_of: When,
    answers: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Item {
    Answer(Box<MetricAnswer>),
    /// Why there is none.
    Problem {
        problem: Problem,
    },
}

pub(super) async fn query(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    let body = body::to_bytes(body, BODY_MAX).await.map_err(|_| Problem::too_large(BODY_MAX))?;
    let batch = read(&body)?;
    let view = ViewId::of(&state.view.load());
    let variant = Variant { format: Format::Json, encoding: Encoding::of(&parts.headers) };
    // Dashboards that many people look at ask the same.
    let target = format!("POST /query\n{}", String::from_utf8_lossy(&body));
    let making = state.clone();
    let make = move || {
        let answer = on_view(&making, |view| answer(&making, view, &batch))?;
        draft(&answer.0, answer.1)
    };
    let answer = state.answers.get(&state.queries, (&target, variant, view), make).await?;
    let mut response = answer.respond(&HeaderMap::new());
    // Both are about what a URL names.
    response.headers_mut().remove(header::ETAG);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json");
    if is_json { Ok(()) } else { Err(Problem::unsupported_type("application/json")) }
}

/// The questions. What the document of this API does not allow is refused, with its place.
fn read(body: &Bytes) -> Result<Vec<BatchQuery>, Problem> {
    let batch: Batch = serde_json::from_slice(body).map_err(|error| Problem::unreadable_body(&error.to_string()))?;
    let count = batch.queries.len();
    if !(1..=QUERIES_MAX).contains(&count) {
        let allowed = format!("from 1 to {QUERIES_MAX} questions");
        return Err(Problem::parameter("queries", Some(&count.to_string()), allowed));
    }
    batch.queries.iter().enumerate().map(|(place, query)| read_one(place, query)).collect()
}

fn read_one(place: usize, query: &Map<String, Value>) -> Result<BatchQuery, Problem> {
    let read = BatchQuery::deserialize(query)
        .map_err(|error| Problem::unreadable_body(&format!("queries[{place}]: {error}")))?;
    let odd = read.others.iter().find_map(|(name, value)| match value {
        Scalar::Other(value) => Some(not_scalar(&format!("queries[{place}].{name}"), value)),
        _ => None,
    });
    odd.map_or(Ok(read), Err)
}

fn not_scalar(name: &str, value: &Value) -> Problem {
    Problem::parameter(name, Some(&value.to_string()), "a text, a number or null")
}

/// What the questions of a request may cost together: as much as one alone.
struct Budget {
    /// Cells visited, rows made, and labels matched, which take about as long.
    work: u64,
    /// Rows told.
    rows: usize,
}

impl Budget {
    fn answer(&mut self, mut question: Question) -> Result<MetricAnswer, Failure> {
        let patterns: usize = question.query.filters.iter().map(|filter| filter.patterns.len()).sum();
        let matching = u64::from(question.metric.series_count) * patterns as u64;
        self.work = self.work.checked_sub(matching).ok_or_else(Self::spent)?;
        question.query.limit = question.query.limit.min(self.rows);
        let answer = question.run_within(self.work);
        let done = match &answer {
            Ok(answer) => answer.cells + answer.total as u64,
            Err(QueryError::TooManyRows) => QUERY_ROWS_MAX as u64,
            Err(_) => 0,
        };
        self.work = self.work.saturating_sub(done);
        let answer = answer?;
        self.rows -= answer.rows.len().min(self.rows);
        Ok(MetricAnswer::new(&question, answer))
    }

    fn spent() -> Problem {
        Problem::too_expensive("the questions of this request cost too much together; ask fewer at once".to_owned())
    }
}

fn answer(state: &AppState, view: &Arc<View>, batch: &[BatchQuery]) -> Result<(BatchAnswer, ViewId), Failure> {
    let mut budget = Budget { work: QUERY_CELLS_MAX, rows: state.rows_max };
    let mut answers = Vec::with_capacity(batch.len());
    for query in batch {
        let asked = query
            .parameters()
            .and_then(|parameters| Question::read(state, view, (&query.plugin, &query.metric), &parameters));
        answers.push(match asked.map_err(Failure::from).and_then(|question| budget.answer(question)) {
            Ok(answer) => Item::Answer(Box::new(answer)),
            Err(Failure::Problem(problem)) => Item::Problem { problem },
            // Nobody may see two views in one answer.
            Err(Failure::Query(error @ (QueryError::Stale(_) | QueryError::Unreadable(_)))) => return Err(error.into()),
            Err(Failure::Query(error)) => Item::Problem { problem: question::problem(error) },
        });
    }
    Ok((BatchAnswer { as_of: When(view.as_of, TimeForm::Rfc3339), answers }, ViewId::of(view)))
}

fn draft(answer: &BatchAnswer, view: ViewId) -> Result<Draft, Problem> {
    let body = serde_json::to_vec(answer).map_err(|error| {
        tracing::error!("an answer could not be written: {error}");
        Problem::internal()
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::Json.content_type()));
    Ok(Draft { view, fingerprint: xxh3_64(&body), body, headers })
}
