//! JSON as it is on this bus: what Python writes and JSON has not is read, and every text stays as it came.

use std::borrow::Cow;

use statscache_core::non_numbers;
use statscache_plugin_sdk::{Json, Timestamp, host::FieldSet};
use xxhash_rust::xxh3::Xxh3;

/// The text with `NaN`, `Infinity` and `-Infinity` replaced by numbers of the same length, so that what a parser finds
/// in it is at the same place in the original. The text itself if there are none.
pub(super) fn readable(text: &str) -> Cow<'_, str> {
    let number = |token| match token {
        "NaN" => "0  ",
        "Infinity" => "0       ",
        _ => "0        ",
    };
    non_numbers::replaced(text, number).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The part of `original` that `part` is of `readable`, which has the same length.
pub(super) fn same_part<'o>(original: &'o str, readable: &str, part: &str) -> &'o str {
    let start = part.as_ptr().addr() - readable.as_ptr().addr();
    &original[start..start + part.len()]
}

/// What a history service knows of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head<'t> {
    pub(super) topic: Cow<'t, str>,
    /// When it happened, if it says so.
    pub(super) time: Option<Timestamp>,
    /// As it is written in the message.
    pub(super) msg_id: Option<Cow<'t, str>>,
    /// Two messages with the same key are the same.
    pub(super) key: u128,
}

/// Reads heads of messages.
pub(super) struct HeadReader {
    fields: FieldSet,
}

impl HeadReader {
    pub(super) fn new() -> Self {
        let mut fields = FieldSet::default();
        for pointer in ["/topic", "/timestamp", "/msg_id", "/msg"] {
            fields.insert(pointer);
        }
        Self { fields }
    }

    /// The head of a readable text; `None` if it is no JSON object with a topic.
    pub(super) fn read<'t>(&self, text: &'t str) -> Option<Head<'t>> {
        let mut found = [None; 4];
        self.fields.extract(text, &mut found).ok()?;
        let [topic, time, msg_id, msg] = found;
        let text_of = |raw: &'t str| Json::from_raw(raw).as_str();
        let topic = text_of(topic?)?;
        let msg_id = msg_id.and_then(text_of).filter(|id| !id.is_empty());
        let key = match &msg_id {
            // An archive may show other fields of a message differently each time.
            Some(id) => key([id.as_bytes(), topic.as_bytes(), msg.unwrap_or_default().as_bytes()]),
            None => key([text.as_bytes()]),
        };
        Some(Head { topic, time: time.and_then(read_time), msg_id, key })
    }
}

fn key<const N: usize>(parts: [&[u8]; N]) -> u128 {
    let mut hasher = Xxh3::with_seed(N as u64);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

/// Seconds since 1970, whole or with a fraction.
fn read_time(raw: &str) -> Option<Timestamp> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    let secs: f64 = raw.parse().ok().filter(|secs| (0.0..YEAR_10000).contains(secs))?;
    Some(Timestamp::from_micros((secs * 1e6).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_numbers_become_readable_in_place() {
        for (text, expect) in [
            (r#"{"a":NaN,"b":-Infinity,"c":Infinity}"#, r#"{"a":0  ,"b":0        ,"c":0       }"#),
            (r#"{"NaN":"Infinity \" NaN","b":-1}"#, r#"{"NaN":"Infinity \" NaN","b":-1}"#),
            (r#"["é",NaN,"é"]"#, r#"["é",0  ,"é"]"#),
            ("", ""),
            ("\"\\", "\"\\"),
        ] {
            let readable = readable(text);
            assert_eq!((&*readable, readable.len()), (expect, text.len()));
        }
        let text = r#"{"a":NaN,"m":{"x":[NaN]}}"#;
        let readable = readable(text);
        let part = &readable[13..24];
        assert_eq!(same_part(text, &readable, part), r#"{"x":[NaN]}"#);
    }

    #[test]
    fn heads_are_read_and_keys_go_by_id_and_content() {
        let reader = HeadReader::new();
        let head = |text: &'static str| reader.read(text).expect(text);
        let first = head(r#"{"topic":"a.b","timestamp":1700000000.25,"msg_id":"2023-x","msg":{"n":1}}"#);
        assert_eq!((&*first.topic, first.msg_id.as_deref()), ("a.b", Some("2023-x")));
        assert_eq!(first.time, Some(Timestamp::from_micros(1_700_000_000_250_000)));
        // Other fields, in another order.
        assert_eq!(head(r#"{"users":["x"],"msg":{"n":1},"msg_id":"2023-x","topic":"a.b"}"#).key, first.key);
        for other in [
            r#"{"topic":"a.b","timestamp":1700000000.25,"msg_id":"2023-y","msg":{"n":1}}"#,
            r#"{"topic":"a.b","timestamp":1700000000.25,"msg_id":"2023-x","msg":{"n":2}}"#,
            r#"{"topic":"a.c","timestamp":1700000000.25,"msg_id":"2023-x","msg":{"n":1}}"#,
            r#"{"topic":"a.b","timestamp":1700000000.25,"msg":{"n":1}}"#,
            r#"{"topic":"a.b","timestamp":1700000001.25,"msg":{"n":1}}"#,
        ] {
            assert_ne!(head(other).key, first.key, "{other}");
        }
        let strange = head(r#"{"topic":"a","timestamp":"soon","msg_id":null,"msg":"\ud83d"}"#);
        assert_eq!((strange.time, strange.msg_id), (None, None));
        for text in ["", "[]", "{}", r#"{"topic":5}"#, r#"{"topic":null}"#, r#"{"topic":"a""#] {
            assert_eq!(reader.read(text), None, "{text}");
        }
    }
}
