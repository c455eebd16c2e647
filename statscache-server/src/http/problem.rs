//! Errors as clients see them: RFC 9457 problem details.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Content type of problems.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

const BUSY: &str = "urn:statscache:busy";
const UNAUTHORIZED: &str = "urn:statscache:unauthorized";

/// A problem.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem(Box<Details>);

/// What a client gets: `type` names the problem for programs, `detail` tells it to people.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Details {
    /// URN of the kind of problem.
    r#type: &'static str,
    /// What kind of problem it is.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What is wrong in this case, and what to do.
    detail: String,
    /// The query parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// What is allowed instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
}

impl Problem {
    fn new(r#type: &'static str, title: &'static str, status: StatusCode, detail: String) -> Self {
        let status = status.as_u16();
        Self(Box::new(Details { r#type, title, status, detail, parameter: None, value: None, allowed: None }))
    }

    pub(crate) fn not_found(detail: String) -> Self {
        Self::new("urn:statscache:not-found", "Not found", StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this is not done here; the header `Allow` says what is".to_owned();
        Self::new("urn:statscache:method-not-allowed", "Method not allowed", StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// Of what is below `/admin`.
    pub(super) fn only_post() -> Self {
        let detail = "everything below /admin is ordered with POST".to_owned();
        Self::new("urn:statscache:method-not-allowed", "Method not allowed", StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "show the token of [admin] token_file: `Authorization: Bearer <token>`".to_owned();
        Self::new(UNAUTHORIZED, "Unauthorized", StatusCode::UNAUTHORIZED, detail)
    }

    /// Not as things are.
    pub(super) fn conflict(detail: String) -> Self {
        Self::new("urn:statscache:conflict", "Conflict", StatusCode::CONFLICT, detail)
    }

    /// What is asked for is wrong in itself.
    pub(super) fn unprocessable(detail: String) -> Self {
        Self::new("urn:statscache:unprocessable", "Unprocessable", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn parameter(name: &str, value: Option<&str>, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let detail = match value {
            Some(value) => format!("parameter `{name}` is `{value}`; allowed: {allowed}"),
            None => format!("parameter `{name}` is not known here; allowed: {allowed}"),
        };
        let title = "Bad parameter";
        let mut problem = Self::new("urn:statscache:bad-parameter", title, StatusCode::BAD_REQUEST, detail);
        problem.0.parameter = Some(name.to_owned());
        problem.0.value = value.map(str::to_owned);
        problem.0.allowed = Some(allowed);
        problem
    }

    /// The client takes nothing that there is.
    pub(crate) fn not_acceptable(offered: &[&str]) -> Self {
        let detail = format!("`Accept` names nothing that there is here: {}", offered.join(", "));
        Self::new("urn:statscache:not-acceptable", "Not acceptable", StatusCode::NOT_ACCEPTABLE, detail)
    }

    /// The body of a request is longer than it may be.
    pub(super) fn too_large(max: usize) -> Self {
        let detail = format!("the body of this request may have {max} bytes");
        Self::new("urn:statscache:too-large", "Too large", StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// The body of a request is of a type that nobody reads.
    pub(super) fn unsupported_type(allowed: &str) -> Self {
        let detail = format!("`Content-Type` must be {allowed}");
        Self::new("urn:statscache:unsupported-type", "Unsupported type", StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// The body of a request does not read.
    pub(super) fn unreadable_body(why: &str) -> Self {
        let detail = format!("the body cannot be read: {why}");
        Self::new("urn:statscache:unreadable-body", "Unreadable body", StatusCode::BAD_REQUEST, detail)
    }

    /// A URL that no route can read.
    pub(crate) fn unreadable() -> Self {
        let detail = "path and query must be UTF-8, other characters than those of URLs as %XX".to_owned();
        Self::new("urn:statscache:unreadable", "Unreadable URL", StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn too_expensive(detail: String) -> Self {
        Self::new("urn:statscache:too-expensive", "Too expensive", StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unavailable(detail: String) -> Self {
        Self::new("urn:statscache:unavailable", "Unavailable", StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Too many others ask at once.
    pub(crate) fn busy() -> Self {
        let detail = "other queries take all the time there is; ask again in a second, or for less".to_owned();
        Self::new(BUSY, "Busy", StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// As many as there may be do something that lasts.
    pub(super) fn full(detail: &str) -> Self {
        Self::new(BUSY, "Busy", StatusCode::SERVICE_UNAVAILABLE, detail.to_owned())
    }

    /// Whether it is over soon, and says nothing about the question.
    pub(super) fn is_busy(&self) -> bool {
        self.0.r#type == BUSY
    }

    /// As clients get it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // It is text and a number, which can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn internal() -> Self {
        let detail = "the answer could not be made; the daemon's log says why".to_owned();
        Self::new("urn:statscache:internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (is_busy, is_unauthorized) = (self.0.r#type == BUSY, self.0.r#type == UNAUTHORIZED);
        let mut response = (status, Json(*self.0)).into_response();
        if is_busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if is_unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let json = HeaderValue::from_static(CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}
