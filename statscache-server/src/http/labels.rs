//! `GET /plugins/{id}/{metric}/labels/{name}`: what a filter can be chosen from, a page at a time.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::{
    limits::QUERY_PATTERNS_MAX,
    query::{self, Filter, LabelQuery},
};
use statscache_plugin_sdk::MetricDescriptor;

use super::{
    AppState,
    params::{self, WHERE},
    problem::Problem,
    question::{self, unknown_metric},
    time, urlquery,
};

/// Values on a page, if nobody says how many.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// The most on a page.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Values of one label.
#[derive(Serialize, JsonSchema)]
pub(super) struct LabelAnswer {
    /// When the view was published that this is read from.
    as_of: String,
    /// The label.
    label: String,
    /// Its values among all label sets that there have been, in order of their bytes, each once.
    values: Vec<String>,
    /// Whether there are more; then the header `Link` leads to them.
    truncated: bool,
}

/// Where the values of a label are.
pub(super) fn path(id: &str, metric: &str, label: &str) -> String {
    format!("/plugins/{id}/{metric}/labels/{label}")
}

pub(super) async fn values(
    State(state): State<AppState>,
    Path((id, name, label)): Path<(String, String, String)>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Problem> {
    let parameters = urlquery::parse(parameters.as_deref().unwrap_or_default())?;
    let view = state.view.load_full();
    let instance = state.instance(&view, &id)?;
    let metric = instance.metric(&name).cloned().ok_or_else(|| unknown_metric(&id, &name, instance))?;
    let question = read(&parameters, &label, &metric.descriptor)?;
    // One look at a hundred thousand label sets takes milliseconds: that is work for another thread.
    let found = state.queries.run(move || query::label_values(&metric, &question)).await?.map_err(question::problem)?;
    let next = found.values.last().filter(|_| found.truncated);
    let next = next.map(|last| next_page(&path(&id, &name, &label), &parameters, last));
    let answer =
        LabelAnswer { as_of: time::rfc3339(view.as_of), label, values: found.values, truncated: found.truncated };
    let mut response = Json(answer).into_response();
    if let Some(link) = next.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The header `Link` to what follows the last value, with the other parameters as they are.
fn next_page(path: &str, parameters: &[(String, String)], last: &str) -> String {
    let others = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let query = urlquery::encode(others.filter(|(name, _)| *name != "after").chain([("after", last)]));
    format!("<{path}?{query}>; rel=\"next\"")
}

fn read(parameters: &[(String, String)], label: &str, metric: &MetricDescriptor) -> Result<LabelQuery, Problem> {
    let dimension = params::dimension(label, metric).ok_or_else(|| unknown_label(metric, label))?;
    let mut matching = Filter { dimension, patterns: Vec::new() };
    let mut query = LabelQuery { dimension, filters: Vec::new(), after: None, limit: LIMIT_DEFAULT };
    let mut seen: Vec<&str> = Vec::new();
    let mut patterns = 0;
    for (name, value) in parameters {
        let bad = |allowed: &str| Problem::parameter(name, Some(value), allowed);
        let is_once = matches!(name.as_str(), "after" | "limit");
        if is_once && seen.contains(&name.as_str()) {
            return Err(bad("one value; it is given twice"));
        }
        seen.push(name);
        patterns += usize::from(!is_once);
        if patterns > QUERY_PATTERNS_MAX {
            return Err(bad(&format!("at most {QUERY_PATTERNS_MAX} patterns; `*` in one stands for any text")));
        }
        match name.as_str() {
            "match" => matching.patterns.push(value.clone()),
            "after" => query.after = Some(value.clone()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                query.limit = limit.ok_or_else(|| bad(&format!("a whole number from 1 to {LIMIT_MAX}")))?;
            }
            _ => match name.strip_prefix(WHERE).and_then(|label| params::dimension(label, metric)) {
                Some(dimension) => params::add_filter(&mut query.filters, dimension, value),
                None => return Err(Problem::parameter(name, None, known(metric))),
            },
        }
    }
    if !matching.patterns.is_empty() {
        query.filters.push(matching);
    }
    Ok(query)
}

fn unknown_label(metric: &MetricDescriptor, label: &str) -> Problem {
    let labels = match metric.dimensions.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", metric.dimensions.join(", ")),
    };
    Problem::not_found(format!("metric `{}` has no label `{label}`; {labels}", metric.name))
}

/// Parameters of such a question.
pub(super) fn known(metric: &MetricDescriptor) -> String {
    let filters = metric.dimensions.iter().map(|label| format!("{WHERE}{label}"));
    ["match", "limit", "after"].map(str::to_owned).into_iter().chain(filters).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_what_was_asked() {
        let parameters = urlquery::parse("match=a%26b*&after=x&limit=1&where.of=%C3%BC+>").expect("fine");
        let link = next_page("/plugins/a/b/labels/c", &parameters, "=& \"é");
        let expected = "</plugins/a/b/labels/c?match=a%26b*&limit=1&where.of=%C3%BC%20%3E\
                        &after=%3D%26%20%22%C3%A9>; rel=\"next\"";
        assert_eq!(link, expected);
    }
}
