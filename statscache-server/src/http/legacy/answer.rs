//! How an answer is written: JSON, the same as a script (JSONP), or CSV.

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::page;
use crate::http::{negotiate, problem::Problem};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON, always under its own name, or a script if a callback is named.
    Json,
    /// CSV under the name that was asked for.
    Csv(&'static str),
}

impl Format {
    /// JSON and scripts, those first that are sent if the client takes several.
    pub(super) const SCRIPT: &'static [&'static str] =
        &["application/json", "text/json", "application/javascript", "text/javascript"];
    /// Those and CSV.
    pub(super) const ALL: &'static [&'static str] =
        &["application/json", "text/json", "application/javascript", "text/javascript", "application/csv", "text/csv"];

    /// What the client likes best of those offered; `None` if it takes none.
    pub(super) fn of(headers: &HeaderMap, offered: &'static [&'static str]) -> Option<Self> {
        let accept = negotiate::text(headers, &header::ACCEPT);
        let chosen = offered[negotiate::prefers(accept.as_deref(), offered)?];
        Some(match chosen {
            "application/csv" => Self::Csv("application/csv"),
            "text/csv" => Self::Csv("text/csv; charset=utf-8"),
            _ => Self::Json,
        })
    }
}

/// The most characters of a callback's name.
const CALLBACK_LEN_MAX: usize = 128;

/// The function that a script calls, if one is named.
pub(super) fn callback(parameters: &[(String, String)]) -> Result<Option<&str>, Problem> {
    let Some(name) = page::value(parameters, "callback") else { return Ok(None) };
    let allowed =
        format!("a name in JavaScript, or several with dots between them, at most {CALLBACK_LEN_MAX} characters");
    match name.len() <= CALLBACK_LEN_MAX && name.split('.').all(is_identifier) {
        true => Ok(Some(name)),
        false => Err(Problem::parameter("callback", Some(name), allowed)),
    }
}

fn is_identifier(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$');
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(is_part)
}

/// JSON, or a script that calls with it.
pub(super) fn json(value: &impl Serialize, callback: Option<&str>) -> Result<Response, Problem> {
    let json = serde_json::to_string(value).map_err(unwritten)?;
    Ok(match callback {
        None => typed("application/json", json),
        Some(name) => {
            // These end a line in older JavaScript, and none of its strings.
            let json = json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
            typed("application/javascript; charset=utf-8", format!("{name}({json})"))
        }
    })
}

pub(super) fn csv(kind: &'static str, text: String) -> Response {
    typed(kind, text)
}

/// A defect of this program: what is served was checked when it came in.
pub(super) fn unwritten(error: serde_json::Error) -> Problem {
    tracing::error!("an answer of the original API cannot be written: {error}");
    Problem::internal()
}

fn typed(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::VARY, "Accept")], text).into_response()
}
