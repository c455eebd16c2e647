//! The API of the original statscache.

use serde_json::{Value, json};

use super::{Paths, operation::Operation, parameters};

const TEXT: &str = "For clients of the original statscache. Parameters that nobody knows are passed over, of one that is \
                    given twice the first counts, and an empty one is not given.";

/// Describes it.
pub(super) fn describe(paths: &mut Paths) {
    let about = |id: &str, summary: &str| Operation::new(id, "original", summary).description(TEXT);
    let operation =
        about("originalRedirect", "Leads to `/api/`").empty(308, "Elsewhere.").with_headers(308, &["Location"]);
    paths.add("get", "/api", operation);

    let idents = json!({"type": "array", "items": {"type": "string"}});
    let operation = about("originalIdents", "The idents").parameters([callback()]);
    let operation = in_formats(operation, "The idents.", idents, true).problems(&[400]);
    paths.add("get", "/api/", operation);

    let ident = || parameters::path("ident", "One of those that `/api/` tells.", json!({"type": "string"}));
    let row = json!({
        "type": "object", "properties": {"timestamp": {"type": "number"}}, "required": ["timestamp"],
    });
    let operation = about("originalRows", "Rows, newest first").parameters([ident()]).parameters(of_rows());
    let operation = in_formats(operation, "A page of rows.", json!({"type": "array", "items": row}), true)
        .with_headers(200, &["Link", "X-Link-Count", "X-Link-Number", "Warning"])
        .answer(404, "There is no such ident.", plain())
        .problems(&[400, 500, 503]);
    paths.add("get", "/api/{ident}", operation);

    let operation = about("originalLayout", "How a dashboard shows them").parameters([ident(), callback()]);
    let operation = in_formats(operation, "What the plugin says.", json!({}), false)
        .answer(404, "There is none.", plain())
        .problems(&[400]);
    paths.add("get", "/api/{ident}/layout", operation);
}

fn of_rows() -> Vec<Value> {
    let seconds = || json!({"type": "number"});
    let number = |least: u32| json!({"type": "integer", "minimum": least, "maximum": usize::MAX});
    vec![
        parameters::query("start", "Only rows with that `timestamp`, or a later one.", seconds()),
        parameters::query(
            "stop",
            "Only rows with that `timestamp`, or an earlier one; now, if it is left out.",
            seconds(),
        ),
        parameters::query("order", "`asc`: oldest first; anything else: newest first.", json!({"type": "string"})),
        parameters::query("limit", "Rows on all pages together.", number(0)),
        parameters::query("rows_per_page", "Rows of a page: 100 if it is left out, and at most.", number(1)),
        parameters::query("page", "Which page, from 1 on.", number(1)),
        callback(),
    ]
}

fn callback() -> Value {
    let schema =
        json!({"type": "string", "pattern": "^([A-Za-z_$][A-Za-z0-9_$]{0,50}(\\.[A-Za-z_$][A-Za-z0-9_$]{0,50})?)?$"});
    parameters::query("callback", "JSONP: the answer is a script that calls this.", schema)
}

fn in_formats(operation: Operation, text: &str, schema: Value, has_csv: bool) -> Operation {
    let string = || json!({"schema": {"type": "string"}});
    let mut content = json!({"application/json": {"schema": schema}, "application/javascript": string()});
    if has_csv {
        content["text/csv"] = string();
        content["application/csv"] = string();
    }
    operation.answer(200, text, content).answer(406, "Not in any of the formats that `Accept` asks for.", plain())
}

fn plain() -> Value {
    json!({"text/plain": {"schema": {"type": "string"}}})
}
