//! `/healthz`, `/readyz`, `/metrics`, `/bus`: how the daemon itself is.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use statscache_plugin_sdk::Timestamp;

use super::{AppState, time};
use crate::{bus::EndpointSnapshot, health::Part, telemetry};

/// The part that is in trouble when nothing is published.
const INGEST: &str = "ingest";

#[derive(Serialize, JsonSchema)]
pub(super) struct HealthDto {
    status: &'static str,
}

/// It answers.
pub(super) async fn healthz() -> Response {
    Json(HealthDto { status: "ok" }).into_response()
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ReadyDto {
    /// Whether messages are accepted and made durable.
    ready: bool,
    /// What is wrong.
    trouble: Vec<TroubleDto>,
    /// Endpoints with a publisher.
    endpoints_connected: usize,
    /// Endpoints.
    endpoints: usize,
}

#[derive(Serialize, JsonSchema)]
struct TroubleDto {
    part: &'static str,
    detail: String,
}

/// It does its work: 503 and the reasons if not. A bus without publishers is not its fault.
pub(super) async fn readyz(State(state): State<AppState>) -> Response {
    let trouble = trouble(&state);
    let ready = trouble.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (endpoints_connected, endpoints) = (state.bus.connected(), state.bus.endpoints.len());
    (status, Json(ReadyDto { ready, trouble, endpoints_connected, endpoints })).into_response()
}

fn trouble(state: &AppState) -> Vec<TroubleDto> {
    let all = state.health.all().into_iter();
    let trouble: Vec<TroubleDto> = all.map(|(part, detail)| TroubleDto { part: part.as_str(), detail }).collect();
    // Commits that are refused and tried again explain why nothing is published.
    if trouble.is_empty() { standstill(state).into_iter().collect() } else { trouble }
}

/// No thread can report that a plugin does not return; that nothing is published any more, anybody sees.
fn standstill(state: &AppState) -> Option<TroubleDto> {
    let as_of = state.view.load().as_of;
    let age = state.clock.now().micros().saturating_sub(as_of.micros());
    let is_old = u128::try_from(age).is_ok_and(|age| age > state.view_age_max.as_micros());
    is_old.then(|| TroubleDto {
        part: INGEST,
        detail: format!(
            "nothing has been published since {}: a plugin does not return, or the disk does not answer",
            time::rfc3339(as_of)
        ),
    })
}

pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let (answers, pushed) = (state.answers.figures(), state.streams.figures());
    let mut text = state.telemetry.render(&state.view.load(), &state.bus, answers, pushed);
    let trouble = trouble(&state);
    let parts = Part::ALL.iter().map(|part| part.as_str()).chain([INGEST]);
    let parts: Vec<(&str, bool)> = parts.map(|part| (part, trouble.iter().any(|it| it.part == part))).collect();
    text.push_str(&telemetry::render_state(&parts, state.disk.free()));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The bus side: endpoints, queue, what was rejected.
#[derive(Serialize, JsonSchema)]
pub(super) struct BusDto {
    endpoints: Vec<EndpointDto>,
    queue: QueueDto,
    accepted: u64,
    duplicates: u64,
    rejected: serde_json::Map<String, serde_json::Value>,
    /// The last messages rejected, newest last.
    rejects: Vec<RejectDto>,
}

#[derive(Serialize, JsonSchema)]
struct EndpointDto {
    endpoint: String,
    client: &'static str,
    state: &'static str,
    peers: u64,
    /// ZMTP version of the last peer.
    peer_version: Option<String>,
    /// The address bound, where bound.
    local_address: Option<String>,
    connected_since: Option<String>,
    last_message: Option<String>,
    messages: u64,
    bytes: u64,
    dropped_messages: u64,
    rejected: u64,
    connects: u64,
    disconnects: u64,
    last_error: Option<String>,
    /// Where somebody is asked for numbered messages that did not come.
    replay: Option<ReplayDto>,
}

#[derive(Serialize, JsonSchema)]
struct ReplayDto {
    /// Who is asked.
    endpoint: String,
    /// The highest number so far.
    last_seq_id: Option<i64>,
    /// Times that numbers were passed over.
    gaps: u64,
    /// Numbers that were passed over.
    missing: u64,
    /// Of those, messages that were brought.
    replayed: u64,
    /// Of those, messages that could not be had.
    lost: u64,
    last_replay_error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct QueueDto {
    messages: u64,
    bytes: u64,
    bytes_peak: u64,
    limit_bytes: u64,
    dropped_messages: u64,
    dropped_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct RejectDto {
    kind: &'static str,
    endpoint: String,
    time: String,
    topic: String,
    topic_bytes: u64,
    /// Its first bytes.
    body: String,
    body_bytes: u64,
}

pub(super) async fn bus(State(state): State<AppState>) -> Response {
    let (queue, rejects) = (&state.bus.queue, &state.bus.rejects);
    let counters = state.telemetry.ingest().counters;
    let dto = BusDto {
        endpoints: state.bus.snapshot().into_iter().map(endpoint).collect(),
        queue: QueueDto {
            messages: queue.messages(),
            bytes: queue.bytes(),
            bytes_peak: queue.bytes_peak(),
            limit_bytes: queue.limit_bytes(),
            dropped_messages: queue.dropped_messages(),
            dropped_bytes: queue.dropped_bytes(),
        },
        accepted: counters.accepted,
        duplicates: counters.duplicates,
        rejected: rejects.counts().map(|(kind, count)| (kind.as_str().to_owned(), count.into())).collect(),
        rejects: rejects
            .last()
            .into_iter()
            .map(|reject| RejectDto {
                kind: reject.kind.as_str(),
                endpoint: reject.endpoint,
                time: micros(reject.at_us),
                topic: reject.topic,
                topic_bytes: reject.topic_bytes,
                body: reject.body,
                body_bytes: reject.body_bytes,
            })
            .collect(),
    };
    Json(dto).into_response()
}

fn endpoint(snapshot: EndpointSnapshot) -> EndpointDto {
    EndpointDto {
        endpoint: snapshot.endpoint,
        client: snapshot.client,
        state: snapshot.state.as_str(),
        peers: snapshot.peers,
        peer_version: snapshot.peer_version.map(|(major, minor)| format!("{major}.{minor}")),
        local_address: snapshot.local_address,
        connected_since: snapshot.connected_since_us.map(micros),
        last_message: snapshot.last_message_us.map(micros),
        messages: snapshot.messages,
        bytes: snapshot.bytes,
        dropped_messages: snapshot.dropped_messages,
        rejected: snapshot.rejected,
        connects: snapshot.connects,
        disconnects: snapshot.disconnects,
        last_error: snapshot.last_error,
        replay: snapshot.replay.map(|replay| ReplayDto {
            endpoint: replay.endpoint,
            last_seq_id: replay.last_seq_id,
            gaps: replay.gaps,
            missing: replay.missing,
            replayed: replay.replayed,
            lost: replay.lost,
            last_replay_error: replay.last_error,
        }),
    }
}

fn micros(micros: i64) -> String {
    time::rfc3339(Timestamp::from_micros(micros))
}
