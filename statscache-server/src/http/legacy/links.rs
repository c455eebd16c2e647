//! `Link`: the pages before and after, with everything else that was asked.

use axum::http::{HeaderMap, header};

use super::page::Number;
use crate::http::urlquery;

/// What the client called us: scheme, host and the path before ours; empty if it did not.
pub(super) struct Base(String);

impl Base {
    /// A proxy in front of us tells by `X-Forwarded-Proto`, `-Host` and `-Prefix` what it was called. They are
    /// taken from whoever sends them: they come back to the same client, and the answer varies by them.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let get = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            value.split(',').next().map(str::trim)
        };
        let host = get("x-forwarded-host").filter(|host| is_host(host));
        let host = host.or_else(|| get(header::HOST.as_str()).filter(|host| is_host(host)));
        let scheme = match get("x-forwarded-proto") {
            Some(https) if https.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        let prefix = get("x-forwarded-prefix").map(|prefix| prefix.trim_end_matches('/'));
        let prefix = prefix.filter(|prefix| is_prefix(prefix)).unwrap_or_default();
        Self(host.map_or_else(String::new, |host| format!("{scheme}://{host}{prefix}")))
    }

    /// Links to the pages that there are, `previous` first; empty if there is but one.
    pub(super) fn links(&self, ident: &str, parameters: &[(String, String)], number: Number) -> String {
        let others: Vec<(&str, &str)> = parameters
            .iter()
            .filter(|(name, _)| name != "page")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let link = |page: usize, relation: &str| {
            let page = page.to_string();
            let query = urlquery::encode(others.iter().copied().chain([("page", page.as_str())]));
            format!("<{}/api/{ident}?{query}>; rel=\"{relation}\"", self.0)
        };
        let previous = (number.page > 1).then(|| link(number.page - 1, "previous"));
        let next = (number.page < number.pages).then(|| link(number.page + 1, "next"));
        let links: Vec<String> = previous.into_iter().chain(next).collect();
        links.join(", ")
    }
}

/// A path of plain words.
fn is_prefix(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/'))
}

/// A name or an address, perhaps with a port: nothing that could end the link or be another part of it.
fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']'))
}
