//! The history service over the daemon's own journal, where it is on: datagrepper's API.

use serde_json::{Value, json};

use super::{Paths, operation::Operation, parameters};

/// Describes it.
pub(super) fn describe(paths: &mut Paths) {
    for (path, id) in [("/raw", "raw"), ("/raw/", "rawSlash")] {
        let operation = Operation::new(id, "history", "Messages of a span of time, as the journal keeps them")
            .parameters(of_raw())
            .json(200, "A page of messages.", page())
            .answer(
                413,
                "The messages of one page have too many bytes.",
                json!({"text/plain": {"schema": {"type": "string"}}}),
            )
            .problems(&[400, 500]);
        paths.add("get", path, operation);
    }
    let mut id = parameters::query("id", "Its `msg_id`.", json!({"type": "string"}));
    id["required"] = true.into();
    let operation = Operation::new("message", "history", "One message")
        .parameters([id])
        .json(200, "The message.", json!({"type": "object"}))
        .problems(&[400, 404, 500]);
    paths.add("get", "/id", operation);

    let count = json!({
        "type": "object", "properties": {"messagecount": {"type": "integer"}}, "required": ["messagecount"]
    });
    let operation = Operation::new("messageCount", "history", "How many messages the journal holds")
        .json(200, "The number.", count)
        .problems(&[500]);
    paths.add("get", "/messagecount", operation);
}

fn of_raw() -> Vec<Value> {
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let [start, end] = parameters::range();
    let delta = json!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 999_999_999_999_i64},
        {"type": "string", "pattern": "^[0-9]{0,6}([1-9]\\.[0-9]{1,3}|0\\.[0-9]{0,2}[1-9])$"},
    ]});
    let rows = json!({"type": "integer", "minimum": 1, "maximum": 100});
    vec![
        start,
        end,
        parameters::query("delta", "Seconds, where `start` or `end` is left out.", delta),
        parameters::query(
            "page",
            "Which page, from 1 on.",
            json!({"type": "integer", "minimum": 1, "maximum": u64::MAX}),
        ),
        parameters::query("rows_per_page", "Messages of a page.", rows),
        parameters::query("order", "By time.", json!({"enum": ["asc", "desc"]})),
        parameters::query("topic", "Only these topics.", texts()),
        parameters::query("category", "Only these categories: the fourth word of a topic.", texts()),
        parameters::query("not_topic", "None of these topics.", texts()),
        parameters::query("not_category", "None of these categories.", texts()),
    ]
}

fn page() -> Value {
    let number = json!({"type": "integer"});
    json!({
        "type": "object",
        "properties": {
            "arguments": {"type": "object"},
            "count": number,
            "pages": number,
            "raw_messages": {"type": "array", "items": {"type": "object"}},
            "total": number,
        },
        "required": ["arguments", "count", "pages", "raw_messages", "total"],
    })
}
