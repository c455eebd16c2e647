//! Documents that somebody posts: each becomes a message, or the answer says why not.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{json, value::RawValue};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Args,
    bus::{Bus, Full},
    envelope::{Envelopes, Origin, is_word},
};

/// Headers in which senders say which event it is, so that one that is sent again is the same.
const KEYS: [&str; 3] = ["idempotency-key", "webhook-id", "x-github-delivery"];
/// Words of a path at most.
const WORDS_MAX: usize = 8;

/// A listener for POST requests.
pub(crate) struct Webhook {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    envelopes: Envelopes,
    bus: Bus,
    token: Option<String>,
    bytes_max: usize,
}

impl Webhook {
    pub(crate) async fn bind(address: SocketAddr, args: &Args, envelopes: Envelopes, bus: Bus) -> anyhow::Result<Self> {
        let token = match &args.token_file {
            Some(path) => {
                let token = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read --token-file {}", path.display()))?;
                let token = token.trim().to_owned();
                anyhow::ensure!(!token.is_empty(), "--token-file {} is empty", path.display());
                Some(token)
            }
            None => None,
        };
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on --webhook {address}"))?;
        eprintln!("taking POST requests at http://{}/", listener.local_addr()?);
        let shared = Shared { envelopes, bus, token, bytes_max: args.max_bytes as usize };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Until it is told to stop; requests under way are answered.
    pub(crate) async fn serve(self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let router = Router::new().fallback(take).with_state(self.shared);
        let stopped = async move {
            // An error means that nobody could stop us any more: stop, too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        axum::serve(self.listener, router).with_graceful_shutdown(stopped).await.context("the webhook failed")
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match shared.take(request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

impl Shared {
    async fn take(&self, request: Request) -> Result<(), Problem> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "documents are posted"));
        }
        if self.token.as_ref().is_some_and(|token| !has_token(&parts.headers, token)) {
            let why = "the token is missing or wrong; send it as X-Gitlab-Token or as Authorization: Bearer";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, why));
        }
        let words = words(parts.uri.path())?;
        let document = self.document(body).await?;
        let key = KEYS.iter().find_map(|name| parts.headers.get(*name)?.to_str().ok());
        let origin = Origin { time: Timestamp::now().as_microsecond(), key };
        let envelope = self.envelopes.of(&words, &document, origin);
        self.bus.try_take(envelope).map_err(|Full| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too much waits for a subscriber; send it again later")
        })
    }

    async fn document(&self, body: Body) -> Result<Box<RawValue>, Problem> {
        let body = to_bytes(body, self.bytes_max).await.map_err(|_| {
            let why = format!("more than {} bytes, see --max-bytes; or the connection ended early", self.bytes_max);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why)
        })?;
        let refused = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
        let text = std::str::from_utf8(&body).map_err(|error| refused(format!("the body is not UTF-8: {error}")))?;
        let document: Box<RawValue> =
            serde_json::from_str(text).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
        match document.get().starts_with('{') {
            true => Ok(document),
            false => Err(refused("the body is JSON, but no object".to_owned())),
        }
    }
}

/// The path's words, which stand behind the topic.
fn words(path: &str) -> Result<Vec<&str>, Problem> {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    if words.len() <= WORDS_MAX && words.iter().all(|word| is_word(word)) {
        return Ok(words);
    }
    let why = format!("the path is the end of the topic: up to {WORDS_MAX} words of letters, digits, `-` and `_`");
    Err(Problem::new(StatusCode::NOT_FOUND, why))
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let plain = headers.get("x-gitlab-token").map(|value| value.as_bytes());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    plain.into_iter().chain(bearer).any(|shown| is_same(shown, token.as_bytes()))
}

/// In a time that does not tell how much of it is right.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Why a document was not taken, as RFC 9457 has it.
struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body =
            json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail});
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                drop(headers.insert(header::ALLOW, header::HeaderValue::from_static("POST")))
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("30"));
            }
            _ => {}
        }
        response
    }
}
