//! `/dashboards/`: the example dashboards, as they are in `examples/dashboards`, where they work from files, too.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use xxhash_rust::xxh3::Xxh3;

use super::{AppState, answers::is_known, page::POLICY, problem::Problem};

/// Where they are.
pub(super) const PATH: &str = "/dashboards/";

/// What is shown where no page is named.
const INDEX: &str = "index.html";

macro_rules! files {
    ($($name:literal,)*) => {
        [$(($name, include_str!(concat!("../../../examples/dashboards/", $name)))),*]
    };
}

/// Names and texts.
static FILES: [(&str, &str); 23] = files! {
    "chart.js",
    "contributions.html",
    "contributions.js",
    "dashboard.css",
    "dashboard.js",
    "icon.svg",
    "index.html",
    "index.js",
    "membership.html",
    "membership.js",
    "releng-legacy.html",
    "releng-legacy.js",
    "releng.html",
    "releng.js",
    "show.js",
    "storage.html",
    "storage.js",
    "uptime.html",
    "uptime.js",
    "usage.html",
    "usage.js",
    "volume.html",
    "volume.js",
};

/// A tag over all files: a page and its scripts are of one version, or are loaded again.
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = Xxh3::new();
    for (name, text) in &FILES {
        hasher.update(name.as_bytes());
        hasher.update(text.as_bytes());
    }
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.digest())).unwrap_or(HeaderValue::from_static("\"\""))
});

/// The pages, and the way to them for those who leave out the slash.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/dashboards", get((StatusCode::FOUND, [(header::LOCATION, "dashboards/")])))
        .route(PATH, get(|headers: HeaderMap| async move { file(INDEX, &headers) }))
        .route(
            "/dashboards/{name}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { file(&name, &headers) }),
        )
}

/// A file, unless it is known already: whoever has it asks each time, and is told in a few bytes.
fn file(name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| Problem::not_found(format!("there is no dashboard `{name}`; see {PATH}")))?;
    let head = [(header::ETAG, TAG.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if is_known(asked, &TAG) {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let more = [
        (header::CONTENT_TYPE, content_type(name)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    Ok((head, more, *text).into_response())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "image/svg+xml",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_file_is_served() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/dashboards");
        let names = fs::read_dir(dir)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("a name in UTF-8"));
        let mut served: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        served.insert("README.md".to_owned());
        assert_eq!(served, names.collect());
    }

    #[test]
    fn pages_run_nothing_that_is_written_in_them() {
        // The policy would stop it, and then in the console alone.
        for (name, text) in FILES.iter().filter(|(name, _)| name.ends_with(".html")) {
            for word in ["<style", " style=", "<script>", " onclick=", " onload=", "javascript:"] {
                assert!(!text.contains(word), "{word} in {name}");
            }
        }
    }
}
