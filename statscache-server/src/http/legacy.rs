//! `/api/`: the API of the original statscache, so that its clients run unchanged.
//!
//! It knows no plugin: what is found under which ident is what metrics declare as their `legacy`.
//! `docs/old-api.md` lists every intended difference; `tests/it/legacy.rs` compares with recorded answers
//! of the original and explains what differs by that list.

mod answer;
mod idents;
mod links;
mod page;
mod rows;
#[cfg(test)]
mod tests;

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;

use super::{AppState, problem::Problem, urlquery};
use answer::Format;
pub(super) use idents::{IdentDto, idents_of};
use links::Base;
use page::Page;

/// Everything below `/api`, but for what has routes of its own there.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api", get(to_index))
        .route("/api/", get(index))
        .route("/api/{ident}", get(rows))
        .route("/api/{ident}/layout", get(layout))
        .route("/plugins/{id}/layout", get(layout_of_plugin))
}

/// Relative, so that it is right behind a proxy that serves us below a path of its own.
async fn to_index(RawQuery(query): RawQuery) -> Response {
    let to = query.map_or_else(|| "api/".to_owned(), |query| format!("api/?{query}"));
    let to = HeaderValue::from_str(&to).unwrap_or_else(|_| HeaderValue::from_static("api/"));
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, to)]).into_response()
}

async fn index(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let Some(format) = Format::of(&headers, Format::ALL) else { return Ok(not_acceptable(None)) };
    let parameters = urlquery::parse(query.as_deref().unwrap_or_default())?;
    let idents = idents::all(&state.view.load());
    match format {
        Format::Json => answer::json(&idents, answer::callback(&parameters)?),
        Format::Csv(kind) => Ok(answer::csv(kind, idents.join("\n"))),
    }
}

async fn rows(
    State(state): State<AppState>,
    Path(ident): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    if idents::find(&state.view.load(), &ident).is_none() {
        return Ok(no_model(&ident));
    }
    let Some(format) = Format::of(&headers, Format::ALL) else { return Ok(not_acceptable(Some(&ident))) };
    let parameters = urlquery::parse(query.as_deref().unwrap_or_default())?;
    let page = Page::read(&parameters)?;
    let callback = match format {
        Format::Json => answer::callback(&parameters)?.map(str::to_owned),
        Format::Csv(_) => None,
    };
    let base = Base::of(&headers);
    let queries = state.queries.clone();
    let answered = queries.run(move || {
        let rows = rows::read(&state, &ident, &page)?;
        let number = page.check(rows.total)?;
        let response = match format {
            Format::Json => answer::json(&rows, callback.as_deref())?,
            Format::Csv(kind) => answer::csv(kind, rows.to_csv().map_err(answer::unwritten)?),
        };
        let link = base.links(&ident, &parameters, number);
        Ok(with_headers(response, &link, number, rows.is_narrowed))
    });
    answered.await?
}

async fn layout(
    State(state): State<AppState>,
    Path(ident): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    if Format::of(&headers, Format::SCRIPT).is_none() {
        return Ok(not_acceptable(Some(&ident)));
    }
    let view = state.view.load();
    let Some(layout) = idents::find(&view, &ident).and_then(|found| found.legacy.layout.as_ref()) else {
        return Ok(text(StatusCode::NOT_FOUND, format!("No such resource for {ident}")));
    };
    let parameters = urlquery::parse(query.as_deref().unwrap_or_default())?;
    answer::json(layout, answer::callback(&parameters)?)
}

/// `GET /plugins/{id}/layout`: the same to those who know the plugin and not its old ident.
async fn layout_of_plugin(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let view = state.view.load();
    let instance = state.instance(&view, &id)?;
    let layouts = instance.metrics.iter().filter_map(|metric| metric.descriptor.legacy.as_ref()?.layout.as_ref());
    let none = || Problem::not_found(format!("plugin `{id}` has no layout: none of its metrics declares one"));
    layouts.into_iter().next().cloned().map(Json).ok_or_else(none)
}

/// The headers that answers with rows have.
fn with_headers(mut response: Response, link: &str, number: page::Number, is_narrowed: bool) -> Response {
    let headers = response.headers_mut();
    // What a client sent is in it in an encoded form only.
    headers.insert(header::LINK, HeaderValue::from_str(link).unwrap_or(HeaderValue::from_static("")));
    headers.insert(HeaderName::from_static("x-link-count"), number.pages.into());
    headers.insert(HeaderName::from_static("x-link-number"), number.page.into());
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Accept, X-Forwarded-Host, X-Forwarded-Prefix, X-Forwarded-Proto"),
    );
    if is_narrowed {
        let warning = "299 statscache \"older rows are left out: all were too many for one answer; ask with start\"";
        headers.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    response
}

fn no_model(ident: &str) -> Response {
    // The original wrote a JSON text and called it HTML, which a browser would have run.
    text(StatusCode::NOT_FOUND, Value::from(format!("No such model for '{ident}'")).to_string())
}

fn not_acceptable(ident: Option<&str>) -> Response {
    let of = ident.map_or_else(String::new, |ident| format!(" for {ident}"));
    text(StatusCode::NOT_ACCEPTABLE, format!("Content-type(s) not available{of}"))
}

fn text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
