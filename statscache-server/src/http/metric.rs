//! `GET /plugins/{id}/{metric}`: the values.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{Path, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use statscache_core::{
    query::{Answer, Query},
    view::InstanceView,
};
use statscache_plugin_sdk::{MetricDescriptor, Resolution};
use xxhash_rust::xxh3::Xxh3;

use super::{
    AppState,
    answers::{Draft, Rendered, Variant, ViewId},
    format::Format,
    params::Shown,
    problem::Problem,
    question::{Question, on_view},
    rows::{self, Column, RowDto, columns, row_schema},
    time::{self, TimeForm, When},
    urlquery,
};

/// Values of a metric: rows are flat objects with one entry for each column.
#[derive(Serialize, JsonSchema)]
pub(super) struct MetricAnswer {
    /// When the view was published that this is read from, which is what `now` means in the question.
    as_of: When,
    /// What is in the answer: everything accepted before that sequence.
    watermark: Watermark,
    /// Whether something accepted is not in the answer yet, or never will be: the plugin lags, is
    /// quarantined, or has missed messages.
    partial: bool,
    /// Start of the first bucket looked at, later than asked where older ones are not kept; null: from
    /// the beginning.
    start: Option<When>,
    /// End of the range looked at, exclusive; null: whatever there is.
    end: Option<When>,
    /// Width of the buckets; null for latest values.
    step: Option<String>,
    /// What a value counts.
    unit: String,
    /// Rows that there are, with those before `offset` and behind `limit`.
    total: usize,
    /// Whether `limit` cut rows off.
    truncated: bool,
    /// How much of the bus was seen in the range, in whole steps, those alike as one: with nothing in a complete
    /// step there was nothing, in a missing one nobody knows. Null for latest values, and where it is not asked for.
    coverage: Option<Vec<CoverageDto>>,
    /// Columns of the rows.
    pub(super) columns: Vec<Column>,
    /// The rows.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub(super) rows: Vec<RowDto>,
    /// Names of what a value is made of, where it is an object.
    #[serde(skip)]
    pub(super) value_members: Vec<Cow<'static, str>>,
}

/// What was seen of some steps.
#[derive(Serialize, JsonSchema)]
struct CoverageDto {
    /// Start of the first of them.
    start: When,
    /// End of the last of them, exclusive.
    end: When,
    /// `complete`: all of them; `partial`: of each a part; `missing`: nothing.
    #[schemars(extend("enum" = ["complete", "partial", "missing"]))]
    coverage: &'static str,
}

/// How far the plugin has got.
#[derive(Serialize, JsonSchema)]
pub(super) struct Watermark {
    /// Everything accepted up to and with this sequence is in.
    sequence: u64,
    /// Newest event time among that; null before the first message.
    time: Option<When>,
}

impl Watermark {
    pub(super) fn of(instance: &InstanceView, form: TimeForm) -> Self {
        let time = instance.cursor.watermark.map(|time| When(time, form));
        Self { sequence: instance.cursor.next.saturating_sub(1), time }
    }
}

pub(super) async fn values(
    State(state): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let variant = match Variant::of(request.headers()) {
        Ok(variant) => variant,
        // The URL says which, whatever the client likes best.
        Err(_) if query.as_deref().is_some_and(names_format) => Variant::default(),
        Err(problem) => return Err(problem),
    };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let answer = answer(&state, target, (id, name), query.as_deref().unwrap_or_default(), variant).await?;
    Ok(answer.respond(request.headers()))
}

fn names_format(query: &str) -> bool {
    query.split('&').any(|part| part.starts_with("format="))
}

/// The answer to a question with this path and query, made once for all who ask it.
pub(super) async fn answer(
    state: &AppState,
    target: &str,
    (id, name): (String, String),
    query: &str,
    variant: Variant,
) -> Result<Arc<Rendered>, Problem> {
    let parameters = urlquery::parse(query)?;
    // What is wrong with it is said at once.
    let view = state.view.load_full();
    Question::read(state, &view, (&id, &name), &parameters)?;
    let making = state.clone();
    let make = move || {
        on_view(&making, |view| {
            let question = Question::read(&making, view, (&id, &name), &parameters)?;
            let answer = MetricAnswer::new(&question, question.run()?);
            Ok(draft(&making, &question, &answer, (&parameters, variant))?)
        })
    };
    state.answers.get(&state.queries, (target, variant, ViewId::of(&view)), make).await
}

fn draft(
    state: &AppState,
    question: &Question,
    answer: &MetricAnswer,
    (parameters, variant): (&[(String, String)], Variant),
) -> Result<Draft, Problem> {
    let format = question.look.format.unwrap_or(variant.format);
    let body = format.write(answer).map_err(|error| {
        tracing::error!("an answer could not be written: {error}");
        Problem::internal()
    })?;
    let fingerprint = fingerprint(&body, format);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CACHE_CONTROL, state.caching.of(question, answer));
    if format != Format::Json {
        headers.extend(answer.in_headers());
    }
    if let Some(links) = pages(&question.query, answer, parameters) {
        headers.insert(header::LINK, links);
    }
    Ok(Draft { view: ViewId::of(&question.view), body, fingerprint, headers })
}

/// Hash of what an answer says, whenever it says that: without the time of the view, how far the plugin had got, and
/// the ends of the range, which move with the view.
fn fingerprint(body: &[u8], format: Format) -> u64 {
    let find = |what: &[u8]| body.windows(what.len()).position(|window| window == what);
    let moving = match format {
        // In the order of the fields of a `MetricAnswer`; nothing before them can look like them.
        Format::Json => find(b"\"partial\":").zip(find(b"\"start\":")).zip(find(b"\"step\":")),
        Format::Ndjson | Format::Csv => None,
    };
    let mut hash = Xxh3::new();
    match moving {
        Some(((partial, start), step)) => {
            hash.update(&body[partial..start]);
            hash.update(&body[step..]);
        }
        None => hash.update(body),
    }
    hash.digest()
}

/// Where the rows before and behind these are (RFC 8288), relative to the URL of the question.
fn pages(query: &Query, answer: &MetricAnswer, parameters: &[(String, String)]) -> Option<HeaderValue> {
    let to = |offset: usize, limit: usize, relation: &str| {
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let others = parameters.iter().filter(|(name, _)| name != "offset" && name != "limit");
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        let query = urlquery::encode(others.chain([("limit", limit.as_str()), ("offset", offset.as_str())]));
        format!("<?{query}>; rel=\"{relation}\"")
    };
    let first = (query.offset > 0).then(|| to(0, query.limit, "first"));
    let previous =
        (query.offset > 0).then(|| to(query.offset.saturating_sub(query.limit), query.limit.min(query.offset), "prev"));
    let next = answer.truncated.then(|| to(query.offset + query.limit, query.limit, "next"));
    let links: Vec<String> = [first, previous, next].into_iter().flatten().collect();
    (!links.is_empty()).then(|| HeaderValue::from_str(&links.join(", ")).ok())?
}

/// How long answers stay true for caches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caching {
    /// Seconds from one view to the next.
    pub(super) interval: u64,
}

impl Caching {
    /// An answer is as old as the view; one about days that are over changes only when something comes late or is
    /// fetched from history.
    fn of(self, question: &Question, answer: &MetricAnswer) -> HeaderValue {
        const OVER_MICROS: i64 = 86_400_000_000;
        const HISTORY_SECS: u64 = 300;
        let Question { view, query, look, .. } = question;
        let is_over =
            answer.step.is_some() && query.end.is_some_and(|end| end <= view.horizon.plus_micros(-OVER_MICROS));
        let text = match is_over && look.is_fixed && !answer.partial {
            true => format!("public, max-age={HISTORY_SECS}, stale-while-revalidate=86400"),
            false => format!("public, max-age={0}, stale-while-revalidate={0}", self.interval),
        };
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("no-cache"))
    }
}

impl MetricAnswer {
    pub(super) fn new(question: &Question, answer: Answer) -> Self {
        let Question { view, instance, metric, query, look } = question;
        let descriptor = &metric.descriptor;
        let is_bucketed = descriptor.kind.is_bucketed();
        let names: Arc<[String]> = answer.dimensions.iter().map(|at| descriptor.dimensions[*at].clone()).collect();
        let when = |time| When(time, look.time);
        let coverage = answer.coverage.into_iter().map(|(start, end, coverage)| CoverageDto {
            start: when(start),
            end: when(end),
            coverage: coverage.as_str(),
        });
        let has_coverage = is_bucketed && look.coverage == Shown::All;
        let row = |row| RowDto { names: names.clone(), row, look: *look, has_coverage };
        Self {
            as_of: when(view.as_of),
            watermark: Watermark::of(instance, look.time),
            partial: !view.is_whole(instance),
            start: answer.start.map(when),
            end: (is_bucketed || query.end.is_some()).then(|| when(answer.end)),
            step: answer.step.as_ref().map(Resolution::to_string),
            unit: descriptor.unit.clone(),
            total: answer.total,
            truncated: answer.truncated,
            coverage: (is_bucketed && look.coverage != Shown::None).then(|| coverage.collect()),
            columns: columns(descriptor.kind, &names, query.rollup, look.coverage, &answer.rows),
            value_members: rows::value_members(descriptor.kind, query.rollup, &answer.rows),
            rows: answer.rows.into_iter().map(row).collect(),
        }
    }

    /// How fresh and how whole it is, for forms that hold rows alone.
    fn in_headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let watermark = self.watermark.time.as_ref().map(|time| time::rfc3339(time.0));
        let texts = [
            ("statscache-as-of", Some(time::rfc3339(self.as_of.0))),
            ("statscache-watermark", watermark),
            ("statscache-partial", Some(self.partial.to_string())),
            ("statscache-total", Some(self.total.to_string())),
            ("statscache-truncated", Some(self.truncated.to_string())),
        ];
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((HeaderName::from_static(name), HeaderValue::from_str(&text?).ok()?)))
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
        true => {
            let mut steps = metric.tiers.as_slice().iter().map(|tier| tier.resolution).take(2);
            let step = steps.rfind(|step| *step <= Resolution::HOUR).unwrap_or(metric.tiers.finest().resolution);
            format!("{base}?start=now-1h&step={step}")
        }
        false => format!("{base}?limit=20"),
    }
}
