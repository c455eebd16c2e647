//! What is inside a list or an object whose text was found before.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The JSON texts of the elements of a list, with empty keys, or of the values of an object, with theirs. Nothing for
/// anything else.
pub(crate) fn entries(raw: &str) -> Vec<(Cow<'_, str>, &str)> {
    if !raw.starts_with(['[', '{']) {
        return Vec::new();
    }
    serde_json::Deserializer::from_str(raw).deserialize_any(Entries).unwrap_or_default()
}

struct Entries;

impl<'m> Visitor<'m> for Entries {
    type Value = Vec<(Cow<'m, str>, &'m str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_seq<A: SeqAccess<'m>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            entries.push((Cow::Borrowed(""), item.get()));
        }
        Ok(entries)
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            entries.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(entries)
    }
}

/// A key, read as bytes: half a character (a lone surrogate) is legal in one here.
struct Key;

impl<'m> DeserializeSeed<'m> for Key {
    type Value = Cow<'m, str>;

    fn deserialize<D: Deserializer<'m>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_bytes(self)
    }
}

impl<'m> Visitor<'m> for Key {
    type Value = Cow<'m, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E>(self, key: &'m [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(key))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(key).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_objects_and_nothing() {
        assert_eq!(entries(r#"[1, {"a": 2}, "x"]"#), [("".into(), "1"), ("".into(), r#"{"a": 2}"#), ("".into(), "\"x\"")]);
        assert_eq!(entries(r#"{"a": 1e400, "\u00e9": []}"#), [("a".into(), "1e400"), ("é".into(), "[]")]);
        assert_eq!(entries(r#"{"\ud83d": 1}"#).len(), 1);
        for raw in ["1", "\"[1]\"", "null", "", "[1", "{"] {
            assert_eq!(entries(raw), [], "{raw}");
        }
    }
}
