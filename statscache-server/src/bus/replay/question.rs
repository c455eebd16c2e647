//! What is said to a replay endpoint of fedmsg, and how its answers are read. Pure.
//!
//! A question is a JSON object; an answer is a frame a message, each the whole envelope with its `seq_id`, or a single
//! frame `error: '…'`. That there is no such message is an error, too.

use statscache_plugin_sdk::host::FieldSet;

use crate::bus::status::shortened;

/// In the text of the error that says that there is no such message.
const NO_MATCH: &str = "no match";

/// How messages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By the first and the last. The store that comes with fedmsg answers every such question with an error.
    Range,
    /// One by one.
    List,
}

impl Form {
    /// Messages in one question.
    pub fn span_max(self) -> i64 {
        match self {
            Self::Range => 500,
            Self::List => 100,
        }
    }

    /// Asks for the messages with these numbers, both included.
    pub fn question(self, first: i64, last: i64) -> String {
        match self {
            Self::Range => serde_json::json!({ "seq_id_range": [first, last] }).to_string(),
            Self::List => serde_json::json!({ "seq_ids": (first..=last).collect::<Vec<_>>() }).to_string(),
        }
    }
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed<'f> {
    pub seq_id: i64,
    pub topic: String,
    /// The envelope.
    pub body: &'f str,
}

/// An answer without messages.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it has none of the messages")]
    NoMatch,
    #[error("it answered {0:?}")]
    Error(String),
    #[error("its answer is no message: {0:?}")]
    Garbage(String),
}

/// Reads an answer. Frames that are no message with a number are passed over if others are.
pub(super) fn read(frames: &[Vec<u8>]) -> Result<Vec<Replayed<'_>>, Refusal> {
    let fields = Fields::new(&["/seq_id", "/topic"]);
    let messages: Vec<_> = frames.iter().filter_map(|frame| fields.message(frame)).collect();
    if !messages.is_empty() {
        return Ok(messages);
    }
    let text = frames.first().map(|frame| shortened(&String::from_utf8_lossy(frame))).unwrap_or_default();
    match text.strip_prefix("error:") {
        Some(error) if error.to_lowercase().contains(NO_MATCH) => Err(Refusal::NoMatch),
        Some(error) => Err(Refusal::Error(error.trim().to_owned())),
        None => Err(Refusal::Garbage(text)),
    }
}

/// Reads some members of an envelope.
#[derive(Debug)]
pub(super) struct Fields(FieldSet);

impl Fields {
    pub fn new(pointers: &[&str]) -> Self {
        let mut set = FieldSet::default();
        for pointer in pointers {
            set.insert(pointer);
        }
        Self(set)
    }

    /// The number of a message, with the pointer `/seq_id` alone. `None` if it has none that is a whole number from 0.
    pub fn seq_id(&self, body: &[u8]) -> Option<i64> {
        let mut slots = [None];
        self.0.extract(std::str::from_utf8(body).ok()?, &mut slots).ok()?;
        number(slots[0]?)
    }

    fn message<'f>(&self, frame: &'f [u8]) -> Option<Replayed<'f>> {
        let body = std::str::from_utf8(frame).ok()?;
        let mut slots = [None; 2];
        self.0.extract(body, &mut slots).ok()?;
        let topic: String = serde_json::from_str(slots[1]?).ok()?;
        Some(Replayed { seq_id: number(slots[0]?)?, topic, body })
    }
}

fn number(token: &str) -> Option<i64> {
    token.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_those_of_fedmsg() {
        assert_eq!(Form::Range.question(3, 5), r#"{"seq_id_range":[3,5]}"#);
        assert_eq!(Form::List.question(3, 5), r#"{"seq_ids":[3,4,5]}"#);
        assert_eq!(Form::List.question(7, 7), r#"{"seq_ids":[7]}"#);
    }

    #[test]
    fn an_answer_is_messages_or_says_why_not() {
        let read_of = |frames: &[&str]| {
            let frames: Vec<Vec<u8>> = frames.iter().map(|frame| frame.as_bytes().to_vec()).collect();
            read(&frames).map(|all| all.iter().map(|it| (it.seq_id, it.topic.clone())).collect::<Vec<_>>())
        };
        let (one, two) = (r#"{"seq_id": 1, "topic": "a.b"}"#, r#"{"topic":"\u00e9", "msg":{"seq_id":9},"seq_id":2}"#);
        assert_eq!(read_of(&[one, "{", "error: 'x'", two]), Ok(vec![(1, "a.b".to_owned()), (2, "é".to_owned())]));
        assert_eq!(read_of(&["error: 'There was no match for the given query'"]), Err(Refusal::NoMatch));
        let broken = "error: 'Unsupported field: \"key\"'";
        assert_eq!(read_of(&[broken]), Err(Refusal::Error(broken[7..].to_owned())));
        for garbage in ["", "{}", "[1]", r#"{"seq_id":"1","topic":"a"}"#, r#"{"seq_id":1}"#, r#"{"topic":"a"}"#] {
            assert_eq!(read_of(&[garbage]), Err(Refusal::Garbage(garbage.to_owned())));
        }
        assert_eq!(read_of(&[]), Err(Refusal::Garbage(String::new())));
    }

    #[test]
    fn numbers_are_whole_and_at_the_top() {
        let fields = Fields::new(&["/seq_id"]);
        for (body, expect) in [
            (r#"{"seq_id":0}"#, Some(0)),
            (r#"{"a":[{}],"seq_id":9223372036854775807}"#, Some(i64::MAX)),
            (r#"{"seq_id":9223372036854775808}"#, None),
            (r#"{"seq_id":-1}"#, None),
            (r#"{"seq_id":1.0}"#, None),
            (r#"{"seq_id":null}"#, None),
            (r#"{"msg":{"seq_id":1}}"#, None),
            ("{\"seq_id\":1", None),
            ("\u{fffd}", None),
        ] {
            assert_eq!(fields.seq_id(body.as_bytes()), expect, "{body}");
        }
        assert_eq!(fields.seq_id(b"{\"seq_id\":1,\"a\":\"\xff\"}"), None);
    }
}
