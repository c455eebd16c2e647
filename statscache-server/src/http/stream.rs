//! `GET /plugins/{id}/{metric}/stream` and `GET /stream`: server-sent events, each time that the answer to a question
//! has changed.
//!
//! One task for each question answers it, once for each view, whoever and however many its readers are; they share the
//! bytes. A reader has no queue: it takes the newest answer when it is ready for it, and who is slow misses those
//! between. Events have ids that tell what was sent: a client that comes back with `Last-Event-ID` is not sent again what
//! it has.

mod body;
mod commits;
mod event;
mod followed;
mod hub;
mod question;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};

use super::{AppState, problem::Problem, urlquery};
use body::{EventStream, Feed};
use commits::Commits;
use followed::Followed;
pub(super) use hub::Streams;
use question::Question;

/// Questions that one connection may follow: the panels of a large dashboard.
pub(super) const QUESTIONS_PER_STREAM_MAX: usize = 32;

/// Proxies that hold answers back until they are complete are asked not to.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One question.
pub(super) async fn metric(
    State(state): State<AppState>,
    Path(names): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let question = Question::of_stream(uri.path(), names, uri.query());
    question.check(&state)?;
    let permit = state.streams.permit()?;
    let mut answer = state.streams.subscribe(&state, Arc::new(question))?;
    hub::first(&mut answer).await?;
    let feed = Feed::Answers(Followed::one(answer, last_event_id(&headers)));
    Ok(respond(EventStream::new(feed, state.streams.stopping(), permit)))
}

/// Several questions, or without any what each commit has changed.
pub(super) async fn several(
    State(state): State<AppState>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = read(&urlquery::parse(parameters.as_deref().unwrap_or_default())?)?;
    let permit = state.streams.permit()?;
    let last = last_event_id(&headers);
    let feed = if asked.is_empty() {
        Feed::Commits(Commits::new(state.view.clone(), last))
    } else {
        let subscribe = |(text, question)| Ok((text, state.streams.subscribe(&state, Arc::new(question))?));
        Feed::Answers(Followed::named(asked.into_iter().map(subscribe).collect::<Result<_, Problem>>()?, last))
    };
    Ok(respond(EventStream::new(feed, state.streams.stopping(), permit)))
}

/// The questions, each with the text that asks it.
fn read(parameters: &[(String, String)]) -> Result<Vec<(String, Question)>, Problem> {
    let mut questions = Vec::new();
    for (name, value) in parameters {
        if name != "q" {
            return Err(Problem::parameter(name, None, "q"));
        }
        if questions.len() == QUESTIONS_PER_STREAM_MAX {
            let allowed = format!("at most {QUESTIONS_PER_STREAM_MAX} questions for one connection");
            return Err(Problem::parameter(name, Some(value), allowed));
        }
        questions.push((value.clone(), Question::read(value)?));
    }
    Ok(questions)
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()
}

fn respond(stream: EventStream) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::new(stream)).into_response()
}

#[cfg(test)]
mod tests;
