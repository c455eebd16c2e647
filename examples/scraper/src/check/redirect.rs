//! Where a redirect leads (RFC 3986, section 5, as far as web sites use it).

use hyper::{Response, Uri, header, http::uri::PathAndQuery};

/// The place that the answer names, seen from where it came; `None` where nothing can be.
pub(super) fn target<B>(from: &Uri, response: &Response<B>) -> Option<Uri> {
    let place = response.headers().get(header::LOCATION)?.to_str().ok()?.trim();
    let place = place.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str()?;
    let to = if place.contains("://") && !place.starts_with(['/', '?']) {
        place.parse().ok()?
    } else if place.starts_with("//") {
        format!("{scheme}:{place}").parse().ok()?
    } else {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(path(from, place).parse::<PathAndQuery>().ok()?);
        Uri::from_parts(parts).ok()?
    };
    let is_web = matches!(to.scheme_str(), Some("http" | "https"));
    (is_web && to.host().is_some_and(|host| !host.is_empty())).then_some(to)
}

/// The path of a place that names no host.
fn path(from: &Uri, place: &str) -> String {
    if place.starts_with('/') {
        return place.to_owned();
    }
    let path = if from.path().is_empty() { "/" } else { from.path() };
    match place.chars().next() {
        None => from.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        Some('?') => format!("{path}{place}"),
        Some(_) => {
            let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
            format!("{folder}{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_seen_from_where_they_are_named() {
        for (from, place, expected) in [
            ("http://a.example/x/y?q=1", "https://b.example/z?w=2", Some("https://b.example/z?w=2")),
            ("http://a.example/x/y?q=1", "https://b.example", Some("https://b.example/")),
            ("https://a.example:8443/x/y", "//b.example/z", Some("https://b.example/z")),
            ("http://a.example:8080/x/y?q=1", "/z?w=2", Some("http://a.example:8080/z?w=2")),
            ("http://a.example/x/y?q=1", "z", Some("http://a.example/x/z")),
            ("http://a.example/x/y?q=1", "?w=2", Some("http://a.example/x/y?w=2")),
            ("http://a.example/x/y?q=1", "", Some("http://a.example/x/y?q=1")),
            ("http://a.example/x", "#top", Some("http://a.example/x")),
            ("http://a.example", "login", Some("http://a.example/login")),
            ("http://a.example/", "/back?to=http://a.example/", Some("http://a.example/back?to=http://a.example/")),
            ("http://a.example/", "ftp://a.example/", None),
            ("http://a.example/", "http:///x", None),
            ("http://a.example/", "http://a b/", None),
            ("http://a.example/", "/a b", None),
        ] {
            let response = Response::builder().header(header::LOCATION, place).body(()).expect("a response");
            let target = target(&from.parse().expect("a URI"), &response).map(|to| to.to_string());
            assert_eq!(target.as_deref(), expected, "{place:?} from {from}");
        }
        let silent = Response::new(());
        assert_eq!(target(&Uri::from_static("http://a.example/"), &silent), None);
    }
}
