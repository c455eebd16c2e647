//! A value inside a body that has not been parsed yet.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Deserializer as _, Visitor};

use crate::error::PluginError;

/// The JSON text of a value, or nothing where the body has none at that place.
///
/// Reading costs nothing until one of the `as_` methods parses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<'a>(Option<&'a str>);

impl<'a> Json<'a> {
    /// The value with this JSON text.
    pub const fn from_raw(raw: &'a str) -> Self {
        Self(Some(raw))
    }

    pub(crate) const fn new(raw: Option<&'a str>) -> Self {
        Self(raw)
    }

    /// The text as it stands in the body.
    pub const fn raw(self) -> Option<&'a str> {
        self.0
    }

    /// Whether the body has nothing there. `null` is something.
    pub const fn is_missing(self) -> bool {
        self.0.is_none()
    }

    /// The string; `None` for anything else. Escapes that stand for half a character (a lone
    /// surrogate, legal on this bus) become U+FFFD.
    #[inline]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let raw = self.0?;
        let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
        if inner.as_bytes().contains(&b'\\') { unescape(raw).map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
    }

    /// What a scalar says as plain text, for a label or a key: the string without its quotes, a
    /// number, `true` or `false` as written. `None` for `null`, lists, objects, and nothing.
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let raw = self.0?;
        match raw.as_bytes().first()? {
            b'"' => self.as_str(),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(raw)),
        }
    }

    /// The same as a label or a key: without the blanks around it, and `None` where nothing is left.
    pub fn as_label(self) -> Option<Cow<'a, str>> {
        let text = match self.as_text()? {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The integer; `None` for anything else, and outside `i64`.
    pub fn as_i64(self) -> Option<i64> {
        self.to().ok()
    }

    /// The number; `None` for anything else, and where no finite `f64` comes near it.
    pub fn as_f64(self) -> Option<f64> {
        self.to().ok()
    }

    /// `true` or `false`; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        match self.0? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Any type that serde can read. A missing value reads as `null`.
    pub fn to<T: DeserializeOwned>(self) -> Result<T, PluginError> {
        Ok(serde_json::from_str(self.0.unwrap_or("null"))?)
    }
}

/// The text of a JSON string with escapes.
#[cold]
fn unescape(raw: &str) -> Option<String> {
    let mut parser = serde_json::Deserializer::from_str(raw);
    // As bytes, because serde_json refuses lone surrogates in a `str` only.
    let bytes = parser.deserialize_bytes(BytesVisitor).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        assert!(matches!(Json::new(Some("\"plain é\"")).as_str(), Some(Cow::Borrowed("plain é"))));
        for (raw, text) in [
            (r#""a\"b\n""#, Some("a\"b\n")),
            (r#""\u00e9\ud83d\ude00""#, Some("é😀")),
            (r#""x\ud83dy""#, Some("x\u{fffd}\u{fffd}\u{fffd}y")),
            ("12", None),
            ("null", None),
        ] {
            assert_eq!(Json::new(Some(raw)).as_str().as_deref(), text, "{raw}");
        }
    }

    #[test]
    fn scalars_have_a_text() {
        for (raw, text) in [
            (Some(r#""a\"b""#), Some("a\"b")),
            (Some("\"\""), Some("")),
            (Some("-1.50e3"), Some("-1.50e3")),
            (Some("99999999999999999999"), Some("99999999999999999999")),
            (Some("true"), Some("true")),
            (Some("false"), Some("false")),
            (Some("null"), None),
            (Some("[1]"), None),
            (Some("{}"), None),
            (None, None),
        ] {
            assert_eq!(Json::new(raw).as_text().as_deref(), text, "{raw:?}");
        }
    }

    #[test]
    fn a_label_says_something() {
        for (raw, label) in [
            (
                r#"" anna
""#,
                Some("anna"),
            ),
            (r#""anna""#, Some("anna")),
            ("7", Some("7")),
            (r#""  ""#, None),
            ("\"\"", None),
            ("null", None),
        ] {
            assert_eq!(Json::new(Some(raw)).as_label().as_deref(), label, "{raw}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        assert_eq!(Json::new(Some("12")).as_i64(), Some(12));
        assert_eq!(Json::new(Some("99999999999999999999")).as_i64(), None);
        assert_eq!(Json::new(Some("1.5")).as_i64(), None);
        assert_eq!(Json::new(Some("1e400")).as_f64(), None);
        assert_eq!(Json::new(None).as_i64(), None);
        assert_eq!(Json::new(None).to::<Option<u8>>(), Ok(None));
    }
}
