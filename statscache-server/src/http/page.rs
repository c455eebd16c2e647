//! `GET /`: the page for people, or the index for programs; what the page is made of, below `/ui/`.
//!
//! Everything is in the binary, and the page asks nobody else for anything. The URLs of its parts have a hash over all
//! of them in it, so a browser keeps them for ever, and never mixes those of two versions.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use xxhash_rust::xxh3::Xxh3;

use super::{AppState, answers::is_known, index, negotiate, problem::Problem};

/// What `/` can be, the one for those who do not care first.
const OFFERED: [&str; 2] = ["application/json", "text/html"];

/// The page loads nothing from elsewhere, runs nothing that is written in it, and sends nothing anywhere. It may be shown
/// in frames: there is nothing on it to be tricked into pressing.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'";

/// Stands in the page for the folder of its parts.
const FOLDER: &str = "{ui}";

/// A part of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal: $content_type:expr,)*) => {
        [$(Asset { name: $name, content_type: $content_type, text: include_str!(concat!("../../ui/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static ASSETS: [Asset; 17] = assets! {
    "answer.js": SCRIPT,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "chart.js": SCRIPT,
    "dom.js": SCRIPT,
    "explore.js": SCRIPT,
    "form.js": SCRIPT,
    "format.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "live.js": SCRIPT,
    "plugins.js": SCRIPT,
    "series.js": SCRIPT,
    "spark.js": SCRIPT,
    "style.css": STYLE,
    "vendor/uPlot.LICENSE.txt": "text/plain; charset=utf-8",
    "vendor/uPlot.iife.min.js": SCRIPT,
    "vendor/uPlot.min.css": STYLE,
};

/// The page, and the hash over everything that it is made of.
struct Page {
    html: String,
    hash: String,
    /// The hash as a tag, of the page and of each part: their URLs tell them apart.
    tag: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = include_str!("../../ui/index.html");
    let mut hasher = Xxh3::new();
    hasher.update(html.as_bytes());
    for asset in &ASSETS {
        hasher.update(asset.name.as_bytes());
        hasher.update(asset.text.as_bytes());
    }
    let hash = format!("{:016x}", hasher.digest());
    let tag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    Page { html: html.replace(FOLDER, &format!("/ui/{hash}")), hash, tag }
});

/// The page, its parts, and where the page of the old daemon was.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(root))
        .route("/ui/{hash}/{*name}", get(asset))
        .route("/web", get(old_page))
        .route("/web/", get(old_page))
        .route("/web/{*rest}", get(old_page))
}

/// The page for whoever would rather have HTML than JSON, as browsers would.
async fn root(headers: HeaderMap) -> Response {
    let accept = negotiate::text(&headers, &header::ACCEPT);
    let is_html = negotiate::prefers(accept.as_deref(), &OFFERED) == Some(1);
    let mut response = if is_html { page(&headers) } else { index().await.into_response() };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn page(asked: &HeaderMap) -> Response {
    let head = [(header::ETAG, PAGE.tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if is_known(asked, &PAGE.tag) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    let more = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (head, more, PAGE.html.as_str()).into_response()
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|asset| asset.name == name).filter(|_| hash == PAGE.hash);
    let asset = found.ok_or_else(|| {
        Problem::not_found(format!("this version's page is not made of `{hash}/{name}`; load / again"))
    })?;
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::ETAG, PAGE.tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((head, asset.text).into_response())
}

/// 302, as the old daemon's clients may not know 307.
async fn old_page() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/")]).into_response()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Files below `ui/`, by their names there.
    fn files(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).expect("it is there") {
            let path = entry.expect("it can be read").path();
            let name = format!("{prefix}{}", path.file_name().expect("it has one").to_string_lossy());
            match path.is_dir() {
                true => files(&path, &format!("{name}/"), found),
                false => drop(found.insert(name)),
            }
        }
    }

    #[test]
    fn every_file_is_served() {
        let mut found = BTreeSet::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ui"), "", &mut found);
        let mut served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        served.extend(["index.html".to_owned(), "vendor/README.md".to_owned()]);
        assert_eq!(served, found);
    }

    #[test]
    fn the_page_names_its_parts_by_their_hash() {
        assert!(!PAGE.html.contains(FOLDER), "{}", PAGE.html);
        let folder = format!("\"/ui/{}/", PAGE.hash);
        let named: Vec<&str> =
            PAGE.html.split(folder.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.contains(&"app.js") && named.contains(&"style.css"), "{named:?}");
        for name in named {
            assert!(ASSETS.iter().any(|asset| asset.name == name), "{name}");
        }
    }
}
