//! What all routes have in common: headers of every answer, `OPTIONS`, and packing of what is not packed yet.

use axum::{
    body::{self, Body, HttpBody},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, response::Parts},
    response::{IntoResponse, Response},
};

use super::{
    encode::{self, WORTH_BYTES},
    negotiate::Encoding,
    problem::Problem,
};

/// Headers of every answer. The figures are public to whoever can reach them, so pages of other origins may read them.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "ETag, Link, Retry-After, Statscache-As-Of, Statscache-Watermark, Statscache-Partial, Statscache-Total, Statscache-Truncated, X-Link-Count, X-Link-Number",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Sets the headers of every answer.
pub(super) fn set_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}

/// What a response must be told of its request.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    is_options: bool,
    is_head: bool,
    encoding: Encoding,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            is_options: request.method() == Method::OPTIONS,
            is_head: request.method() == Method::HEAD,
            encoding: Encoding::of(request.headers()),
        }
    }
}

/// Makes of what a route says what a client gets.
pub(super) async fn finish(Asked { is_options, is_head, encoding }: Asked, mut response: Response) -> Response {
    // Of all errors only this one is the framework's own, in its own words.
    if response.status() == StatusCode::BAD_REQUEST && response.headers().get(header::CONTENT_TYPE).is_none_or(is_text)
    {
        response = Problem::unreadable().into_response();
    }
    // The framework names the methods in `Allow`, and nothing else.
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = if is_options { options(response.headers()) } else { refused(response.headers()) };
    }
    if is_head && encoding.name().is_some() {
        // A GET may be packed, and nobody knows how long that would be.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let mut response = packed(response, encoding).await;
    let headers = response.headers_mut();
    set_headers(headers);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

fn is_text(kind: &HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"text/plain")
}

fn refused(refusal: &HeaderMap) -> Response {
    let mut response = Problem::method_not_allowed().into_response();
    response.headers_mut().extend(refusal.get(header::ALLOW).map(|allow| (header::ALLOW, allow.clone())));
    response
}

/// What can be done with a path, from the refusal to do something else; and what pages of other origins may send.
fn options(refusal: &HeaderMap) -> Response {
    let allowed = refusal.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or("GET,HEAD");
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(allow) = HeaderValue::from_str(&format!("{allowed},OPTIONS")) {
        headers.insert(header::ALLOW, allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
    }
    let sent = HeaderValue::from_static("Accept, Content-Type, If-None-Match, Last-Event-ID");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, sent);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Packs what is text, is worth it and is not packed yet. Streams are left alone: nobody knows how long they are.
async fn packed(response: Response, encoding: Encoding) -> Response {
    let Some(name) = encoding.name() else { return response };
    let headers = response.headers();
    let is_done = headers.contains_key(header::CONTENT_ENCODING);
    let is_long = response.body().size_hint().exact().is_some_and(|size| size >= WORTH_BYTES as u64);
    if is_done || !is_long || !headers.get(header::CONTENT_TYPE).is_some_and(packs_well) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = body::to_bytes(body, usize::MAX).await else { return Problem::internal().into_response() };
    match encode::pack(&bytes, encoding) {
        Ok(packed) => {
            say_packed(&mut parts, name);
            Response::from_parts(parts, Body::from(packed))
        }
        Err(_) => Response::from_parts(parts, Body::from(bytes)),
    }
}

fn say_packed(parts: &mut Parts, name: &'static str) {
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    // Other bytes under the same tag: it means the same thing, no longer the same bytes.
    let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&format!("W/{tag}")).ok()) {
        headers.insert(header::ETAG, tag);
    }
}

fn packs_well(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/") && kind != "text/event-stream"
        || ["json", "xml", "javascript", "ndjson"].iter().any(|end| kind.ends_with(end))
}
