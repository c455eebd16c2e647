//! An answer of `/raw`, of datagrepper 0.x and 1.x alike: only what is needed of it is read, and loosely.

use std::str;

use serde_json::value::RawValue;
use statscache_plugin_sdk::host::FieldSet;

use super::{
    client::Fetched,
    text::{HeadReader, readable, same_part},
};

/// A page of an answer.
#[derive(Debug)]
pub(super) struct Page {
    /// Pages in all.
    pub(super) pages: u64,
    /// Messages on all pages. With one page it is that page's number, and nothing can be told from it.
    pub(super) total: u64,
    pub(super) rows: Vec<Row>,
    /// Entries that are no message with a topic.
    pub(super) unreadable: u64,
}

/// A message, and what makes it the same as another.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: u128,
    pub(super) message: Fetched,
}

/// Reads answers.
pub(super) struct AnswerReader {
    fields: FieldSet,
    heads: HeadReader,
}

impl AnswerReader {
    pub(super) fn new() -> Self {
        let mut fields = FieldSet::default();
        for pointer in ["/pages", "/total", "/raw_messages", "/error"] {
            fields.insert(pointer);
        }
        Self { fields, heads: HeadReader::new() }
    }

    /// The page, or what is wrong with it. Messages stay as they are written in it, byte by byte.
    pub(super) fn read(&self, body: &[u8]) -> Result<Page, String> {
        let original = str::from_utf8(body).map_err(|error| format!("it is not UTF-8: {error}"))?;
        let text = readable(original);
        let mut found = [None; 4];
        self.fields.extract(&text, &mut found).map_err(|error| format!("it is not JSON: {error}"))?;
        let [pages, total, messages, error] = found;
        let number = |raw: Option<&str>, name: &str| {
            let number = raw.and_then(|raw| raw.parse::<f64>().ok()).filter(|number| *number >= 0.0);
            number.map(|number| number as u64).ok_or_else(|| format!("it has no number `{name}`"))
        };
        let Some(messages) = messages else {
            let says = error.map_or(String::new(), |error| format!("; it says {error}"));
            return Err(format!("it has no `raw_messages`{says}"));
        };
        let messages: Vec<&RawValue> =
            serde_json::from_str(messages).map_err(|error| format!("`raw_messages` is no list: {error}"))?;
        let mut page = Page {
            pages: number(pages, "pages")?,
            total: number(total, "total")?,
            rows: Vec::with_capacity(messages.len()),
            unreadable: 0,
        };
        for message in messages {
            match self.heads.read(message.get()) {
                Some(head) => {
                    let body = same_part(original, &text, message.get()).to_owned();
                    let message = Fetched { topic: head.topic.into_owned(), body, time: head.time };
                    page.rows.push(Row { key: head.key, message });
                }
                None => page.unreadable += 1,
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Page, String> {
        AnswerReader::new().read(body.as_bytes())
    }

    #[test]
    fn messages_stay_as_they_came() {
        let messages = [
            r#"{"topic":"a.b","msg":{"n":NaN,"m":-Infinity},"timestamp":1e9}"#,
            r#"{ "msg" : {"x": "\ud83d", "big": 123456789012345678901234567890, "e": 1.50} , "topic":"\u0061.c", "headers": {} }"#,
            r#"{"topic":"é","topic":"z","msg_id":"x","timestamp":null}"#,
        ];
        let body = format!(
            "{{\"arguments\": {{\"start\": 1.0, \"x\": NaN}}, \"count\": 3, \"pages\": 1.0,\n \"raw_messages\": [{} , {},{}], \
             \"total\": 3}}\n",
            messages[0], messages[1], messages[2]
        );
        let page = read(&body).expect("an answer");
        assert_eq!((page.pages, page.total, page.unreadable), (1, 3, 0));
        let found: Vec<(&str, &str)> =
            page.rows.iter().map(|row| (row.message.topic.as_str(), row.message.body.as_str())).collect();
        assert_eq!(found, [("a.b", messages[0]), ("a.c", messages[1]), ("z", messages[2])]);
        assert_eq!(page.rows[0].message.time.map(|time| time.micros()), Some(1_000_000_000_000_000));
        assert_eq!(page.rows[1].message.time, None);
    }

    #[test]
    fn what_is_no_message_is_counted() {
        let page = read(r#"{"pages":2,"total":101,"raw_messages":[5,{"msg":{}},{"topic":1},{"topic":"a"}]}"#);
        let page = page.expect("an answer");
        assert_eq!((page.rows.len(), page.unreadable, page.pages, page.total), (1, 3, 2, 101));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (body, words) in [
            ("", "not JSON"),
            ("<html>", "not JSON"),
            (r#"{"pages":1,"total":1,"raw_messages":[{"topic":"a"}"#, "not JSON"),
            (r#"{"error":"not_found"}"#, "no `raw_messages`; it says \"not_found\""),
            ("[]", "no `raw_messages`"),
            (r#"{"pages":1,"total":1,"raw_messages":{}}"#, "no list"),
            (r#"{"pages":"x","total":1,"raw_messages":[]}"#, "no number `pages`"),
            (r#"{"pages":1,"raw_messages":[]}"#, "no number `total`"),
        ] {
            let error = read(body).expect_err(body);
            assert!(error.contains(words), "{body}: {error}");
        }
        assert!(AnswerReader::new().read(b"\xff").expect_err("bytes").contains("not UTF-8"));
    }
}
