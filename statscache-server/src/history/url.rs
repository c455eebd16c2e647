//! Where a history service is.

use axum::http::Uri;

/// Base address of a history service, such as `https://apps.fedoraproject.org/datagrepper`: what stands before `/raw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryUrl(String);

/// A text that is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of a history service: {why}; write what stands before `/raw`, such as \
     \"https://apps.fedoraproject.org/datagrepper\""
)]
pub struct HistoryUrlError {
    text: String,
    why: &'static str,
}

impl HistoryUrl {
    /// Reads an address; `/raw` and slashes at its end may be there or not.
    pub fn parse(text: &str) -> Result<Self, HistoryUrlError> {
        let error = |why| HistoryUrlError { text: text.to_owned(), why };
        if text.contains('#') {
            return Err(error("it has a `#`"));
        }
        let uri: Uri = text.parse().map_err(|_| error("it cannot be read as a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(error("it does not begin with http:// or https://"));
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| error("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(error("it has a user name, and none is sent"));
        }
        if uri.query().is_some() {
            return Err(error("it has parameters"));
        }
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/raw").unwrap_or(base);
        Ok(Self(base.trim_end_matches('/').to_owned()))
    }

    /// The address, without `/raw` and without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for HistoryUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_read_with_and_without_its_end() {
        for (text, base) in [
            ("https://apps.example.org/datagrepper", "https://apps.example.org/datagrepper"),
            ("https://apps.example.org/datagrepper/", "https://apps.example.org/datagrepper"),
            ("https://apps.example.org/datagrepper/raw", "https://apps.example.org/datagrepper"),
            ("https://apps.example.org/datagrepper/raw/", "https://apps.example.org/datagrepper"),
            ("http://[::1]:8889", "http://[::1]:8889"),
            ("http://localhost:8889/raw", "http://localhost:8889"),
            ("http://localhost/draw", "http://localhost/draw"),
        ] {
            assert_eq!(HistoryUrl::parse(text).expect(text).as_str(), base, "{text}");
        }
    }

    #[test]
    fn what_is_no_base_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "cannot be read"),
            ("apps.example.org", "http://"),
            ("/datagrepper", "http://"),
            ("ftp://apps.example.org", "http://"),
            ("https://", "cannot be read"),
            ("https://me:secret@apps.example.org", "user name"),
            ("https://apps.example.org/raw?delta=1", "parameters"),
            ("https://apps.example.org/#x", "`#`"),
        ] {
            let error = HistoryUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("before `/raw`"), "{text}: {error}");
        }
    }
}
