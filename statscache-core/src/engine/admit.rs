//! From the bytes of a message to what the engine needs of it: text, time, identity, fields.
//! Pure; the same bytes give the same result on the bus and from the journal.

use std::borrow::Cow;

use statscache_plugin_sdk::{Json, Timestamp, TopicPattern, host::FieldSet};

use super::holders::Parts;
use crate::{
    identity::{self, Identity, Naming},
    journal::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES_MAX},
    non_numbers,
};

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The topic is not UTF-8.
    TopicNotUtf8,
    /// The body is not UTF-8.
    BodyNotUtf8,
    /// The body is not one JSON text.
    BodyNotJson,
    /// Topic and body are longer than a record of the journal may be.
    TooLong,
}

/// Room for topic and body in a record of the journal, beside what else is in it.
const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES_MAX;

/// Where the value of a field is in the body; empty for none (no JSON value is empty).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    start: u32,
    len: u32,
}

impl Slot {
    fn new(body: &str, value: Option<&str>) -> Self {
        let Some(value) = value else { return Self::default() };
        let start = value.as_ptr().addr() - body.as_ptr().addr();
        Self { start: start as u32, len: value.len() as u32 }
    }

    pub(super) fn of(self, body: &str) -> Option<&str> {
        (self.len > 0).then(|| &body[self.start as usize..(self.start + self.len) as usize])
    }
}

/// A message that may go into the journal.
#[derive(Debug)]
pub(super) struct Admitted<'b> {
    pub(super) topic: &'b str,
    pub(super) id: Cow<'b, str>,
    pub(super) time: Timestamp,
    pub(super) body: Cow<'b, str>,
    /// The body as it came, which is what the journal keeps.
    pub(super) original: &'b str,
    pub(super) identity: Identity,
    /// Its fields begin here.
    pub(super) first_slot: usize,
    /// It says that it happens too far in the future: it is quarantined, kept and handed to nobody.
    pub(super) is_future: bool,
    /// It says when it happens; otherwise its time is that of its arrival.
    pub(super) is_stamped: bool,
    /// Its id is its own; otherwise it is made of its identity.
    pub(super) has_id: bool,
    /// For whom it is; nothing where that is the same for all of its batch.
    pub(super) parts: Parts,
    /// Sequence of the first of its records.
    pub(super) sequence: u64,
}

impl Admitted<'_> {
    pub(super) fn is_repaired(&self) -> bool {
        matches!(self.body, Cow::Owned(_))
    }

    /// How many records of the journal it takes.
    pub(super) fn records(&self) -> usize {
        self.parts.len().max(1)
    }

    /// What plugins see as its id, if its identity was found before.
    pub(super) fn id_of(&self, identity: Identity) -> Cow<'_, str> {
        if self.has_id { Cow::Borrowed(&self.id) } else { identity::to_text(identity) }
    }
}

/// Fields that the engine itself reads.
pub(super) struct OwnSlots {
    msg_id: usize,
    timestamp: usize,
    id_fields: Vec<usize>,
    id_topics: Vec<TopicPattern>,
}

pub(super) fn register(fields: &mut FieldSet, naming: &Naming) -> OwnSlots {
    OwnSlots {
        msg_id: fields.insert("/msg_id"),
        timestamp: fields.insert("/timestamp"),
        id_fields: naming.pointers.iter().map(|pointer| fields.insert(pointer)).collect(),
        id_topics: naming.topics.clone(),
    }
}

/// Reads messages.
pub(super) struct Admission {
    fields: FieldSet,
    own: OwnSlots,
    /// How far an event may lie ahead, microseconds.
    ahead_max: i64,
}

impl Admission {
    pub(super) fn new(fields: FieldSet, own: OwnSlots, ahead_max: i64) -> Self {
        Self { fields, own, ahead_max }
    }

    /// Appends the message's fields to `slots`. `found` is scratch. The times are that of its arrival and
    /// the latest of any so far.
    pub(super) fn read<'b>(
        &self,
        (topic, text): (&'b str, &'b str),
        received: (Timestamp, Timestamp),
        slots: &mut Vec<Slot>,
        found: &mut Vec<Option<&'b str>>,
    ) -> Result<Admitted<'b>, Rejection> {
        if topic.len() + text.len() > MESSAGE_BYTES_MAX {
            return Err(Rejection::TooLong);
        }
        found.resize(self.fields.len(), None);
        let first_slot = slots.len();
        if self.fields.extract(text, found).is_ok() {
            slots.extend(found.iter().map(|value| Slot::new(text, *value)));
            return Ok(self.admitted(topic, text, found, received, first_slot));
        }
        let repaired = non_numbers::replaced(text, |_| "null").ok_or(Rejection::BodyNotJson)?;
        let mut found = vec![None; self.fields.len()];
        self.fields.extract(&repaired, &mut found).map_err(|_| Rejection::BodyNotJson)?;
        slots.extend(found.iter().map(|value| Slot::new(&repaired, *value)));
        let message = self.admitted(topic, text, &found, received, first_slot);
        let id = Cow::Owned(message.id.into_owned());
        let Admitted { time, identity, is_future, is_stamped, has_id, .. } = message;
        let body = Cow::Owned(repaired);
        let (parts, sequence) = (Parts::default(), 0);
        Ok(Admitted {
            topic,
            id,
            time,
            body,
            original: text,
            identity,
            first_slot,
            is_future,
            is_stamped,
            has_id,
            parts,
            sequence,
        })
    }

    fn admitted<'b>(
        &self,
        topic: &'b str,
        text: &'b str,
        found: &[Option<&'b str>],
        (received, arrived): (Timestamp, Timestamp),
        first_slot: usize,
    ) -> Admitted<'b> {
        let (identity, id, has_id) = self.identity(topic, text, found);
        let said = found[self.own.timestamp].and_then(read_time);
        let (time, is_stamped) = (said.unwrap_or(received), said.is_some());
        let is_future = self.is_future(time, arrived);
        let (body, original) = (Cow::Borrowed(text), text);
        let (parts, sequence) = (Parts::default(), 0);
        Admitted {
            topic,
            id,
            time,
            body,
            original,
            identity,
            first_slot,
            is_future,
            is_stamped,
            has_id,
            parts,
            sequence,
        }
    }

    /// `arrived` is the latest time of arrival so far.
    pub(super) fn is_future(&self, time: Timestamp, arrived: Timestamp) -> bool {
        time > arrived.plus_micros(self.ahead_max)
    }

    fn identity<'b>(&self, topic: &str, body: &str, found: &[Option<&'b str>]) -> (Identity, Cow<'b, str>, bool) {
        let by_fields = || {
            let values = self.own.id_fields.iter().map(|slot| found[*slot].and_then(identifying));
            let values: Vec<Cow<'_, str>> = values.collect::<Option<_>>()?;
            (!values.is_empty()).then(|| identity::of_fields(values.iter().map(|value| &**value)))
        };
        let own = || found[self.own.msg_id].and_then(read_msg_id);
        let anyhow = self.own.id_topics.iter().any(|pattern| pattern.matches(topic)).then(by_fields).flatten();
        let identity = match (anyhow, own()) {
            (Some(identity), _) => identity,
            (None, Some(id)) => return (identity::of_id(&id), id, true),
            (None, None) => by_fields().unwrap_or_else(|| identity::of_bytes(topic.as_bytes(), body.as_bytes())),
        };
        (identity, identity::to_text(identity), false)
    }
}

/// What a field says towards a message's identity, however its publisher spells it: `"\u00e9"` as
/// `"é"`, `1.0` as `1`. Nothing if it is null.
fn identifying(raw: &str) -> Option<Cow<'_, str>> {
    let json = Json::from_raw(raw);
    if raw == "null" {
        return None;
    }
    if let Some(text) = json.as_str() {
        return Some(Cow::Owned(format!("\"{text}")));
    }
    match json.as_f64() {
        Some(number) if json.as_i64().is_none() => Some(Cow::Owned(number.to_string())),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// A `msg_id` that is a text with something in it.
fn read_msg_id(raw: &str) -> Option<Cow<'_, str>> {
    let id = match Json::from_raw(raw).as_str()? {
        Cow::Borrowed(id) => Cow::Borrowed(identity::normalize_msg_id(id)),
        Cow::Owned(id) => Cow::Owned(identity::normalize_msg_id(&id).to_owned()),
    };
    (!id.is_empty()).then_some(id)
}

/// Seconds since the epoch, whole or with a fraction, from 1970 to 9999; else the message counts
/// as having no time.
fn read_time(raw: &str) -> Option<Timestamp> {
    const YEAR_10000: i64 = 253_402_300_800;
    if let Ok(secs) = raw.parse::<i64>() {
        return (0..YEAR_10000).contains(&secs).then(|| Timestamp::from_secs(secs));
    }
    let secs: f64 = raw.parse().ok().filter(|secs| (0.0..YEAR_10000 as f64).contains(secs))?;
    Some(Timestamp::from_micros((secs * 1e6).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: Timestamp = Timestamp::from_secs(1_600_000_000);

    fn check(body: &str, expect: impl FnOnce(Result<(&Admitted<'_>, Vec<Option<&str>>), Rejection>)) {
        check_on("a.b", body, expect);
    }

    fn check_on(topic: &str, body: &str, expect: impl FnOnce(Result<(&Admitted<'_>, Vec<Option<&str>>), Rejection>)) {
        let mut fields = FieldSet::default();
        let pointers = vec!["/msg/url".to_owned(), "/msg/at".to_owned()];
        let topics = vec!["#.check".parse().expect("a pattern")];
        let own = register(&mut fields, &Naming { pointers, topics });
        let admission = Admission::new(fields, own, 86_400_000_000);
        let mut slots = Vec::new();
        match admission.read((topic, body), (RECEIVED, RECEIVED), &mut slots, &mut Vec::new()) {
            Ok(message) => {
                let values = slots.iter().map(|slot| slot.of(&message.body)).collect();
                expect(Ok((&message, values)));
            }
            Err(rejection) => expect(Err(rejection)),
        }
    }

    #[test]
    fn time_is_read_or_that_of_arrival() {
        for (raw, secs) in [
            ("1379638157.759283", 1_379_638_157.759_283),
            ("1379638157", 1_379_638_157.0),
            ("1.379638157e9", 1_379_638_157.0),
            ("0", 0.0),
            ("-1", 1.6e9),
            ("253402300800", 1.6e9),
            ("null", 1.6e9),
            ("\"2015\"", 1.6e9),
            ("1e400", 1.6e9),
            ("NaN", 1.6e9),
            ("99999999999999999999", 1.6e9),
        ] {
            let micros = (secs * 1e6_f64).round() as i64;
            check(&format!("{{\"timestamp\": {raw}}}"), |message| {
                assert_eq!(message.map(|(message, _)| message.time.micros()), Ok(micros), "{raw}");
            });
        }
    }

    #[test]
    fn the_same_message_has_the_same_identity() {
        let identity = |body: &str| {
            let mut identity = None;
            check(body, |message| {
                identity = message.ok().map(|(message, _)| (message.identity, message.id.to_string()))
            });
            identity.expect("admitted")
        };
        assert_eq!(identity(r#"{"msg_id": "2015-ab", "i": 1}"#), identity(r#"{"i": 2, "msg_id": "ab"}"#));
        assert_eq!(identity(r#"{"msg_id": "2015-ab"}"#).1, "ab");
        assert_eq!(
            identity(r#"{"msg": {"url": "x", "at": 1}, "i": 1}"#),
            identity(r#"{"msg": {"url": "x", "at": 1}}"#)
        );
        assert_ne!(identity(r#"{"msg": {"url": "x"}, "i": 1}"#), identity(r#"{"msg": {"url": "x"}}"#));
        assert_eq!(
            identity(r#"{"msg": {"url": "é", "at": 1}}"#),
            identity(r#"{"msg": {"url": "\u00e9", "at": 1.0}, "i": 1}"#)
        );
        assert_ne!(identity(r#"{"msg": {"url": "1", "at": 1}}"#), identity(r#"{"msg": {"url": 1, "at": 1}}"#));
        let nulls = |i: u32| identity(&format!(r#"{{"msg": {{"url": null, "at": 1}}, "i": {i}}}"#));
        assert_ne!(nulls(1), nulls(2), "null identifies nothing");
        assert_ne!(identity(r#"{"msg_id": "", "i": 1}"#), identity(r#"{"msg_id": "", "i": 2}"#));
    }

    #[test]
    fn on_some_topics_an_id_is_not_asked_for() {
        let identity = |topic: &str, body: &str| {
            let mut identity = None;
            check_on(topic, body, |message| {
                identity = message.ok().map(|(message, _)| (message.identity, message.has_id));
            });
            identity.expect("admitted")
        };
        let (one, other) = (
            r#"{"msg_id": "a", "msg": {"url": "x", "at": 1, "seconds": 0.1}}"#,
            r#"{"msg_id": "b", "msg": {"url": "x", "at": 1, "seconds": 0.2}}"#,
        );
        assert_eq!(identity("x.check", one), identity("x.check", other));
        assert!(!identity("x.check", one).1, "two that differ otherwise are the same");
        assert_ne!(identity("a.b", one), identity("a.b", other));
        let nameless = r#"{"msg_id": "a", "msg": {"url": "x"}}"#;
        assert_eq!(identity("x.check", nameless), identity("a.b", nameless), "the id decides where a value is missing");
    }

    #[test]
    fn what_python_writes_and_json_has_not_is_null() {
        check(r#"{"msg": {"url": [NaN, -Infinity, "NaN \" Infinity", 1e400], "at": Infinity}}"#, |message| {
            let (message, values) = message.expect("admitted");
            assert!(message.is_repaired());
            assert_eq!(values[2..], [Some(r#"[null, null, "NaN \" Infinity", 1e400]"#), Some("null")]);
        });
        check(r#"{"msg": "\ud83d", "n": 123456789012345678901234567890}"#, |message| {
            assert!(!message.expect("admitted").0.is_repaired());
        });
    }

    #[test]
    fn what_is_no_json_is_rejected() {
        for body in ["", "hello", "{", "{\"a\": NAN}", "{} {}", "{\"a\": Nan}"] {
            check(body, |message| assert_eq!(message.map(|_| ()), Err(Rejection::BodyNotJson), "{body:?}"));
        }
        for body in ["[]", "12", "\"text\"", "null"] {
            check(body, |message| assert!(message.is_ok(), "{body:?}"));
        }
    }
}
