//! `POST /admin/…`: what changes what runs. With a token that the operator has put into a file; without one, nothing is
//! here.

use std::{hint::black_box, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::JsonRejection},
    http::{Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::view::InstanceState;

use super::{AppState, plugins::LagDto, problem::Problem, time};
use crate::{
    history::progress::{BackfillRequest, BackfillStatus},
    ingest::{CommandError, Commands},
    reload::{ReloadError, Reloaded, Reloader},
};

/// How long the thread that feeds the journal may take to do something.
const CALL_MAX: Duration = Duration::from_secs(10);

/// What orders need.
#[derive(Clone)]
pub struct Admin {
    /// What requests must show; none: all are refused.
    pub token: Option<String>,
    /// Where orders go.
    pub commands: Commands,
    /// Loads plugins anew.
    pub reloader: Arc<Reloader>,
}

/// Everything below `/admin`.
pub(super) fn router(state: AppState) -> Router<AppState> {
    Router::new()
        .route("/reload", post(reload))
        .route("/backfill", get(backfill_status).post(backfill))
        .route("/plugins/{id}/promote", post(promote))
        .fallback(not_found)
        .method_not_allowed_fallback(only_post)
        .layer(middleware::from_fn_with_state(state, authorize))
}

/// Lets those through who know the token.
async fn authorize(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(token) = &state.admin.token else {
        let detail = "administration over HTTP is off; name a file with a token in [admin] token_file and restart";
        return Err(Problem::not_found(detail.to_owned()));
    };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown =
        shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if !shown.is_some_and(|(_, shown)| is_same(shown.trim().as_bytes(), token.as_bytes())) {
        return Err(Problem::unauthorized());
    }
    let is_look = request.method() == Method::GET && request.uri().path().ends_with("/backfill");
    if request.method() != Method::POST && !is_look {
        return Err(Problem::only_post());
    }
    Ok(next.run(request).await)
}

/// Compares in a time that does not tell where two texts differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
    a.len() == b.len() && differing == 0
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!(
        "there is nothing at {uri}; there are /admin/reload, /admin/backfill and /admin/plugins/{{id}}/promote"
    ))
}

async fn only_post() -> Problem {
    Problem::only_post()
}

/// Reads the configuration and loads the plugins anew.
async fn reload(State(state): State<AppState>) -> Result<Json<Reloaded>, Problem> {
    let reloader = state.admin.reloader.clone();
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload()).await.map_err(|_| Problem::internal())?;
    reloaded.map(Json).map_err(|error| match &error {
        ReloadError::Config(_) | ReloadError::Plugins(_) => Problem::unprocessable(error.to_string()),
        ReloadError::NotNow(_) => Problem::conflict(error.to_string()),
        ReloadError::Gone => Problem::unavailable(error.to_string()),
    })
}

/// What was built, on its way to the place of what serves.
#[derive(Serialize, JsonSchema)]
pub(super) struct Promoted {
    /// The instance.
    plugin: String,
    /// What it has yet to read before it takes the place.
    lag: LagDto,
}

async fn promote(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Promoted>, Problem> {
    let cards = state.cards();
    super::card(&cards, &id)?;
    let view = state.view.load_full();
    let nothing = || {
        Problem::conflict(format!(
            "nothing is built for plugin `{id}`: it serves what its configuration says; see /plugins/{id}"
        ))
    };
    let built = view.building.get(&id).ok_or_else(nothing)?;
    if let InstanceState::Quarantined { reason, since } = &built.state {
        return Err(Problem::conflict(format!(
            "what is built for plugin `{id}` has failed too often (since {}) and would not go on: {reason}; mend it \
             and reload",
            time::rfc3339(*since)
        )));
    }
    let order = id.clone();
    let called = state.admin.commands.call(move |intake| intake.release(&order));
    let gone = |error: CommandError| Problem::unavailable(error.to_string());
    let called = tokio::time::timeout(CALL_MAX, called).await.map_err(|_| Problem::busy())?;
    if !called.map_err(gone)? {
        return Err(nothing());
    }
    tracing::info!(id, "what was built takes the place of what serves, as soon as it has caught up");
    Ok(Json(Promoted { plugin: id, lag: LagDto::of(&view, built) }))
}

/// How far filling from the history service is.
async fn backfill_status(State(state): State<AppState>) -> Json<BackfillStatus> {
    Json(state.backfill.status())
}

/// Asks for what is missing of a span of time.
async fn backfill(
    State(state): State<AppState>,
    body: Result<Json<BackfillRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<BackfillStatus>), Problem> {
    let Json(BackfillRequest { from, to }) = body.map_err(|error| Problem::unprocessable(error.body_text()))?;
    if !state.backfill.is_configured() {
        let detail = "there is no history service to ask; name one in [history] url and restart";
        return Err(Problem::conflict(detail.to_owned()));
    }
    let now = state.clock.now();
    let read = |name: &str, text: &str| {
        time::parse(text, now)
            .ok_or_else(|| Problem::parameter(name, Some(text), "a time such as 2026-01-31T00:00:00Z"))
    };
    let (start, end) = (read("from", &from)?, read("to", &to)?);
    if start >= end {
        return Err(Problem::parameter("from", Some(&from), "a time before `to`"));
    }
    state.backfill.ask(start, end).map_err(|error| {
        Problem::unavailable(format!("it cannot be remembered what was asked for: {}", crate::health::describe(&error)))
    })?;
    Ok((StatusCode::ACCEPTED, Json(state.backfill.status())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_as_a_whole() {
        assert!(is_same(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secret1", b"Secret", b"secreT", b"xxxxxx"] {
            assert!(!is_same(other, b"secret"), "{other:?}");
        }
    }
}
