//! Answers as text: JSON, one row a line (NDJSON), or a table (CSV, RFC 4180).

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use serde_json::value::RawValue;

use super::{metric::MetricAnswer, negotiate, problem::Problem};

/// A format of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// One object with everything.
    #[default]
    Json,
    /// The rows, one object a line.
    Ndjson,
    /// The rows as a table with a head.
    Csv,
}

/// As [`Format::of`] offers them.
const OFFERED: [(&str, Format); 4] = [
    ("application/json", Format::Json),
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
    ("text/csv", Format::Csv),
];

impl Format {
    /// All of them, by the names that `format=` knows.
    pub(super) const ALL: [(&'static str, Self); 3] =
        [("json", Self::Json), ("ndjson", Self::Ndjson), ("csv", Self::Csv)];

    /// What the client's `Accept` prefers; a problem if it is none of these.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(header::ACCEPT).map(|accept| accept.as_bytes()) {
            None | Some(b"*/*" | b"application/json") => Ok(Self::Json),
            Some(_) => {
                let accept = negotiate::text(headers, &header::ACCEPT);
                let offered = OFFERED.map(|(name, _)| name);
                let place = negotiate::prefers(accept.as_deref(), &offered);
                place.map(|place| OFFERED[place].1).ok_or_else(|| Problem::not_acceptable(&offered))
            }
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The text of an answer.
    pub(super) fn write(self, answer: &MetricAnswer) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Json => serde_json::to_vec(answer),
            Self::Ndjson => ndjson(answer),
            Self::Csv => csv(answer),
        }
    }
}

fn ndjson(answer: &MetricAnswer) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in &answer.rows {
        serde_json::to_writer(&mut text, row)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// An object, its values as they are written.
type Fields<'r> = BTreeMap<&'r str, &'r RawValue>;

/// Values that are objects take a column for each of their members, `value.mean`; arrays and what plugins set freely are
/// JSON in their cell, texts as they are. Null is an empty cell.
fn csv(answer: &MetricAnswer) -> serde_json::Result<Vec<u8>> {
    let mut table = Table::default();
    let members = &answer.value_members;
    let names = answer.columns.iter().map(|column| column.name.as_str());
    for name in names.clone() {
        match name {
            "value" if !members.is_empty() => members.iter().for_each(|member| table.text(&format!("value.{member}"))),
            name => table.text(name),
        }
    }
    table.end();
    for row in &answer.rows {
        let row = serde_json::to_string(row)?;
        let row: Fields<'_> = serde_json::from_str(&row)?;
        for name in names.clone() {
            match row.get(name) {
                Some(value) if name == "value" && !members.is_empty() => {
                    // Null where nobody knows.
                    let value: Option<Fields<'_>> = serde_json::from_str(value.get())?;
                    members
                        .iter()
                        .for_each(|member| table.cell(value.as_ref().and_then(|value| value.get(&**member)).copied()));
                }
                value => table.cell(value.copied()),
            }
        }
        table.end();
    }
    Ok(table.into_text().into_bytes())
}

/// A table as RFC 4180 has it.
#[derive(Default)]
pub(super) struct Table {
    text: String,
    in_row: bool,
}

impl Table {
    /// A cell with a JSON value.
    pub(super) fn cell(&mut self, value: Option<&RawValue>) {
        let json = value.map_or("null", RawValue::get);
        match json.as_bytes().first() {
            Some(b'n') => self.raw(""),
            Some(b'"') => self.text(&serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())),
            Some(b'{' | b'[') => self.text(json),
            // As it was written, however many digits it has.
            _ => self.raw(json),
        }
    }

    /// A cell with a text. Spreadsheets take one that begins like a formula for a formula; an apostrophe in front keeps
    /// them from it.
    pub(super) fn text(&mut self, text: &str) {
        match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            true => self.raw(&format!("'{text}")),
            false => self.raw(text),
        }
    }

    fn raw(&mut self, text: &str) {
        if std::mem::replace(&mut self.in_row, true) {
            self.text.push(',');
        }
        match text.contains(['"', ',', '\r', '\n']) {
            true => {
                self.text.push('"');
                self.text.push_str(&text.replace('"', "\"\""));
                self.text.push('"');
            }
            false => self.text.push_str(text),
        }
    }

    /// The end of a row.
    pub(super) fn end(&mut self) {
        self.in_row = false;
        self.text.push_str("\r\n");
    }

    /// All of it.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        for (accept, format) in [
            (None, Some(Format::Json)),
            (Some("*/*"), Some(Format::Json)),
            (Some("application/json"), Some(Format::Json)),
            (Some("text/csv"), Some(Format::Csv)),
            (Some("application/x-ndjson"), Some(Format::Ndjson)),
            (Some("application/ndjson;q=0.9, text/csv;q=0.1"), Some(Format::Ndjson)),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(Format::Json)),
            (Some("text/html"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(Format::of(&headers).ok(), format, "{accept:?}");
        }
    }

    #[test]
    fn cells_are_quoted_where_they_must_be_and_no_formulas() {
        let mut table = Table::default();
        for json in [
            "null",
            "12",
            "-5",
            "1e999",
            "123456789012345678901234567890",
            "true",
            r#""plain""#,
            r#""a,b""#,
            r#""say \"hi\"""#,
            r#""two\nlines""#,
            r#""=1+1""#,
            r#""-x""#,
            r#""+x""#,
            r#""@x""#,
            r#""\tx""#,
            r#""""#,
            r#"{"a":[1,"b"]}"#,
            "[1]",
        ] {
            let value: &RawValue = serde_json::from_str(json).expect(json);
            table.cell(Some(value));
        }
        table.cell(None);
        table.end();
        table.text("é");
        table.end();
        assert_eq!(
            table.into_text(),
            ",12,-5,1e999,123456789012345678901234567890,true,plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",'=1+1,'-x,'+x,'@x,\
             '\tx,,\"{\"\"a\"\":[1,\"\"b\"\"]}\",[1],\r\né\r\n"
        );
    }
}
