//! What a document becomes: a fedmsg envelope. Pure, but for a counter: the time is an argument.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{bail, ensure};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use xxhash_rust::xxh3::xxh3_128;

/// A message as it goes on the wire.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
}

impl Envelope {
    /// Room that it takes, never 0.
    pub(crate) fn kib(&self) -> u32 {
        (self.body.len() / 1024 + 1) as u32
    }
}

/// Makes envelopes.
#[derive(Clone)]
pub(crate) struct Envelopes {
    topic: String,
    time_pointers: Vec<String>,
    count: Arc<AtomicU64>,
}

/// When something happened that does not say so itself, and what tells it from others that are alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// Microseconds since 1970.
    pub(crate) time: i64,
    /// What the sender calls this very event: the same key is the same event.
    pub(crate) key: Option<&'a str>,
}

#[derive(Serialize)]
struct Body<'a> {
    topic: &'a str,
    msg: &'a RawValue,
    timestamp: f64,
    msg_id: String,
    i: u64,
}

impl Envelopes {
    /// For this topic, and those below it.
    pub(crate) fn new(topic: &str, time_pointers: &[String]) -> anyhow::Result<Self> {
        ensure!(
            topic.split('.').all(is_word),
            "--topic {topic:?}: write words with dots between them, such as org.example.prod.storage.project"
        );
        if let Some(pointer) = time_pointers.iter().find(|pointer| !pointer.starts_with('/')) {
            bail!("--time-pointer {pointer:?}: a JSON pointer begins with a slash, such as /updated_at");
        }
        Ok(Self { topic: topic.to_owned(), time_pointers: time_pointers.to_vec(), count: Arc::default() })
    }

    /// The envelope of a document: its topic is that of the bridge with these words behind it.
    pub(crate) fn of(&self, words: &[&str], document: &RawValue, origin: Origin<'_>) -> Envelope {
        let mut topic = self.topic.clone();
        for word in words {
            topic.push('.');
            topic.push_str(word);
        }
        let time = self.time_of(document).unwrap_or(origin.time);
        let i = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let msg_id = match origin.key {
            Some(key) => id(time, &[topic.as_bytes(), key.as_bytes()]),
            None => id(time, &[topic.as_bytes(), &time.to_be_bytes(), document.get().as_bytes()]),
        };
        let body = Body { topic: &topic, msg: document, timestamp: time as f64 / 1e6, msg_id, i };
        // Texts and numbers are always JSON.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        Envelope { topic, body }
    }

    /// What the document itself says, in microseconds.
    fn time_of(&self, document: &RawValue) -> Option<i64> {
        if self.time_pointers.is_empty() {
            return None;
        }
        let document: Value = serde_json::from_str(document.get()).ok()?;
        self.time_pointers.iter().find_map(|pointer| read_time(document.pointer(pointer)?))
    }
}

/// Whether it can stand between the dots of a topic.
pub(crate) fn is_word(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !word.is_empty() && word.len() <= 100 && word.chars().all(is_plain)
}

/// RFC 3339, the forms of GitLab (`2026-01-31 12:00:00 UTC`, `2026-01-31 12:00:00 +0100`), or seconds since 1970.
fn read_time(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_f64() {
        const YEAR_10000: f64 = 253_402_300_800.0;
        return (0.0..YEAR_10000).contains(&seconds).then_some((seconds * 1e6).round() as i64);
    }
    let text = value.as_str()?.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let (date, offset) = text.rsplit_once(' ')?;
    if offset == "UTC" {
        let date: civil::DateTime = date.parse().ok()?;
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond());
    }
    Some(format!("{date}{offset}").parse::<Timestamp>().ok()?.as_microsecond())
}

/// A `msg_id` in the form of the bus, which follows from these texts.
fn id(time: i64, parts: &[&[u8]]) -> String {
    let mut all = Vec::new();
    for part in parts {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(*part);
    }
    let hash = format!("{:032x}", xxh3_128(&all));
    let year = Timestamp::from_microsecond(time).map_or(1970, |time| time.to_zoned(TimeZone::UTC).year());
    let (a, b, c, d, e) = (&hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..]);
    format!("{year:04}-{a}-{b}-4{c}-8{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Origin<'static> = Origin { time: 1_767_225_600_000_000, key: None };

    fn envelopes(pointers: &[&str]) -> Envelopes {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        Envelopes::new("org.example.prod.storage", &pointers).expect("a topic")
    }

    fn of(envelopes: &Envelopes, document: &str, origin: Origin<'_>) -> Value {
        let document = RawValue::from_string(document.to_owned()).expect("JSON");
        let envelope = envelopes.of(&["hook"], &document, origin);
        assert_eq!(envelope.topic, "org.example.prod.storage.hook");
        serde_json::from_slice(&envelope.body).expect("JSON")
    }

    #[test]
    fn an_envelope_has_what_the_bus_expects() {
        let body = of(&envelopes(&[]), r#"{"a": [1, "größer"]}"#, AT);
        assert_eq!(body["msg"]["a"][1], "größer");
        assert_eq!((body["timestamp"].as_f64(), body["i"].as_u64()), (Some(1_767_225_600.0), Some(1)));
        let id = body["msg_id"].as_str().expect("a text");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert!(id.starts_with("2026-") && lengths == [4, 8, 4, 4, 4, 12], "{id}");
    }

    #[test]
    fn the_same_event_has_the_same_id_and_another_has_not() {
        let id = |envelopes: &Envelopes, document: &str, origin: Origin<'_>| {
            of(envelopes, document, origin)["msg_id"].clone()
        };
        let plain = envelopes(&[]);
        let document = r#"{"at": "2026-01-31T12:00:00Z"}"#;
        let later = Origin { time: AT.time + 1, ..AT };
        assert_eq!(id(&plain, document, AT), id(&plain, document, AT));
        assert_ne!(id(&plain, document, AT), id(&plain, document, later));
        assert_ne!(id(&plain, document, AT), id(&plain, "{}", AT));
        // It says itself when it was.
        let timed = envelopes(&["/nowhere", "/at"]);
        assert_eq!(id(&timed, document, AT), id(&timed, document, later));
        // The sender knows.
        let (key, other) = (Origin { key: Some("7"), ..AT }, Origin { key: Some("8"), ..AT });
        assert_eq!(id(&plain, document, key), id(&plain, "{}", Origin { key: Some("7"), ..later }));
        assert_ne!(id(&plain, document, key), id(&plain, document, other));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let noon = 1_769_860_800_000_000;
        for text in [
            r#""2026-01-31T12:00:00Z""#,
            r#""2026-01-31T13:00:00+01:00""#,
            r#""2026-01-31 12:00:00 UTC""#,
            r#""2026-01-31 13:00:00 +0100""#,
            "1769860800",
            "1769860800.0",
        ] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read_time(&value), Some(noon), "{text}");
        }
        for text in [r#""yesterday""#, r#""""#, "null", "-1", "1e300", r#""2026-01-31""#, "[]"] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read_time(&value), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for topic in ["", ".", "org..x", "org.*", "org.exam ple", "org.#"] {
            assert!(Envelopes::new(topic, &[]).is_err(), "{topic:?}");
        }
        assert!(Envelopes::new("org.example", &["at".to_owned()]).is_err());
    }
}
