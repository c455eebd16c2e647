//! Where a redirect leads (RFC 3986, section 5, as far as web sites use it).

use hyper::{Response, Uri, header, http::uri::PathAndQuery};

/// The place that the answer names, seen from where it came; `None` where nothing can be.
pub(super) fn target<B>(from: &Uri, response: &Response<B>) -> Option<Uri> {
    let place = response.headers().get(header::LOCATION)?.to_str().ok()?.trim();
    let place = place.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str()?;
    let to = if names_scheme(place) {
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

/// Whether it begins with a scheme, as `https:`; a colon further on, in a path or a query, says nothing.
fn names_scheme(place: &str) -> bool {
    place.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
    })
}

/// Path and query of a place that names no host.
fn path(from: &Uri, place: &str) -> String {
    let (folder, query) = place.find('?').map_or((place, ""), |at| place.split_at(at));
    let base = if from.path().is_empty() { "/" } else { from.path() };
    match folder.chars().next() {
        None if query.is_empty() => from.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
        None => format!("{base}{query}"),
        Some('/') => format!("{}{query}", without_dots(folder)),
        Some(_) => {
            let beside = &base[..base.rfind('/').map_or(0, |slash| slash + 1)];
            format!("{}{query}", without_dots(&format!("{beside}{folder}")))
        }
    }
}

/// The path, in which `.` is where it stands and `..` the folder above (section 5.2.4). Above the topmost there is none.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut words = path.split('/').skip(1).peekable();
    while let Some(word) = words.next() {
        match word {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(word),
        }
        if words.peek().is_none() && matches!(word, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
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
            ("http://a.example/x/y", "login?next=https://x/", Some("http://a.example/x/login?next=https://x/")),
            ("http://a.example/x/y", "?next=https://x/", Some("http://a.example/x/y?next=https://x/")),
            ("http://a.example/x/y", "to/https://x/", Some("http://a.example/x/to/https://x/")),
            ("http://a.example/x/y", "HTTPS://b.example/", Some("https://b.example/")),
            ("http://a.example/x/y/z", "../w?q=../v", Some("http://a.example/x/w?q=../v")),
            ("http://a.example/x/y/z", "./w/./v", Some("http://a.example/x/y/w/v")),
            ("http://a.example/x/y/z", "..", Some("http://a.example/x/")),
            ("http://a.example/x/y/z", ".", Some("http://a.example/x/y/")),
            ("http://a.example/x/y/z", "../../../../w", Some("http://a.example/w")),
            ("http://a.example/x/y", "/u/../w//v/", Some("http://a.example/w//v/")),
            ("http://a.example/x", "mailto:anna@a.example", None),
            ("http://a.example/x", "javascript:a(/1/)", None),
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
