//! Documents that somebody posts: each becomes a message, or the answer says why not.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::{json, value::RawValue};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    Args,
    bus::{Bus, Full},
    envelope::{Envelopes, Origin, is_word},
};

/// Headers in which senders say which event it is, so that one that is sent again is the same.
const KEYS: [&str; 3] = ["idempotency-key", "webhook-id", "x-github-delivery"];
/// Connections at a time; more wait until one of them ends.
const CONNECTIONS_MAX: usize = 256;
/// Time for the head of a request, which is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a document.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(60);
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

    /// Answers for ever.
    pub(crate) async fn serve(mut self) -> anyhow::Result<()> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&connections).acquire_owned().await.context("the webhook is closed")?;
            let (stream, _) = Listener::accept(&mut self.listener).await;
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                answer(stream, shared).await;
                drop(place);
            });
        }
    }
}

/// Answers what comes on one connection, until it ends or is too slow.
async fn answer(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let taken = shared.take(request.map(Body::new)).await;
            Ok::<_, Infallible>(match taken {
                Ok(()) => StatusCode::NO_CONTENT.into_response(),
                Err(problem) => problem.into_response(),
            })
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // Whoever is at the other end knows how it ended.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    async fn take(&self, request: Request<Body>) -> Result<(), Problem> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "documents are posted"));
        }
        self.admit(&parts.headers)?;
        let words = words(parts.uri.path())?;
        let document = self.document(body).await?;
        let key = KEYS.iter().find_map(|name| parts.headers.get(*name)?.to_str().ok());
        let origin = Origin { time: Timestamp::now().as_microsecond(), key };
        let envelope = self.envelopes.of(&words, &document, origin);
        self.bus.try_take(envelope).map_err(|Full| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too much waits for a subscriber; send it again later")
        })
    }

    /// Who has the token; where there is none, whoever can come here, but not the pages that their browsers show.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match &self.token {
            Some(token) if !has_token(headers, token) => {
                let why = "the token is missing or wrong; send it as X-Gitlab-Token or as Authorization: Bearer";
                Err(Problem::new(StatusCode::UNAUTHORIZED, why))
            }
            None if headers.contains_key(header::ORIGIN) => {
                let why = "pages in browsers may not post here, because any page could: start it with --token-file";
                Err(Problem::new(StatusCode::FORBIDDEN, why))
            }
            _ => Ok(()),
        }
    }

    async fn document(&self, body: Body) -> Result<Box<RawValue>, Problem> {
        let body = timeout(DOCUMENT_TIMEOUT, to_bytes(body, self.bytes_max)).await.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the document took over {DOCUMENT_TIMEOUT:?}"))
        })?;
        let body = body.map_err(|_| {
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// For what must come.
    const SOON: Duration = Duration::from_secs(30);
    const POST: &str = "POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n";

    /// Where a webhook is that has this token.
    async fn webhook(token: Option<&str>) -> SocketAddr {
        let (bus, publishing) = Bus::bind("tcp://127.0.0.1:0").await.expect("a free port");
        tokio::spawn(publishing);
        let args = Args::parse_from(["bridge", "--topic", "a"]);
        let envelopes = Envelopes::new(&args.topic, &[]).expect("a topic");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let Webhook { listener, shared } = Webhook::bind(address, &args, envelopes, bus).await.expect("a free port");
        let Some(shared) = Arc::into_inner(shared) else { panic!("it is shared already") };
        let shared = Arc::new(Shared { token: token.map(str::to_owned), ..shared });
        let address = listener.local_addr().expect("bound");
        tokio::spawn(Webhook { listener, shared }.serve());
        address
    }

    /// The status of the answer to a request with these headers.
    async fn post(address: SocketAddr, headers: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(format!("{POST}{headers}\r\n{{}}").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("soon").expect("an answer");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn without_a_token_no_page_in_a_browser_may_post() {
        let (open, closed) = (webhook(None).await, webhook(Some("sesame")).await);
        for (address, headers, status) in [
            (open, "", "204"),
            (open, "origin: https://evil.example\r\n", "403"),
            (open, "origin: null\r\n", "403"),
            (open, "origin: null\r\nx-gitlab-token: sesame\r\n", "403"),
            (closed, "origin: null\r\n", "401"),
            (closed, "origin: null\r\nx-gitlab-token: sesame\r\n", "204"),
        ] {
            assert_eq!(post(address, headers).await, status, "{headers}");
        }
    }

    #[tokio::test]
    async fn more_connections_than_there_are_places_wait() {
        let address = webhook(None).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.expect("it listens"));
        }
        let mut waiting = std::pin::pin!(post(address, ""));
        let answered = timeout(Duration::from_millis(200), waiting.as_mut()).await;
        assert!(answered.is_err(), "there is no place");
        idle.pop();
        assert_eq!(waiting.await, "204");
    }
}
