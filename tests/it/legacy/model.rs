//! The original API as a small model, with each intended difference as a switch: with all of them off it answers as
//! the original did when its answers were recorded, with all of them on as this daemon does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::rows::{Row, Sent};

/// An answer, as far as clients can rely on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub status: u16,
    /// Those of [`HEADERS`] that it has.
    pub headers: BTreeMap<&'static str, String>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// As [`settled`].
    Json(Value),
    /// The function that is called, and with what.
    Script(String, Value),
    /// The first line, and the others in order of their times, those of one time in order of their text.
    Csv(String, Vec<String>),
    Text(String),
    /// So many rows, of which the first and the last are known: long ones were recorded like that.
    Cut(usize, Vec<Value>, Vec<Value>),
    /// For people; with no words that a program could look for.
    Page,
    None,
}

/// What is compared.
pub const HEADERS: [&str; 8] = [
    "content-type",
    "link",
    "x-link-count",
    "x-link-number",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "location",
];

impl Seen {
    /// What an answer says, whoever gave it. `rows`: how many it has, if its body is not whole.
    pub fn of(status: u16, header: impl Fn(&str) -> Option<String>, body: &str, rows: usize) -> Self {
        let mut headers: BTreeMap<&str, String> =
            HEADERS.iter().filter_map(|name| Some((*name, header(name)?))).collect();
        for list in ["allow", "access-control-expose-headers"] {
            headers.entry(list).and_modify(|list| *list = sorted(list));
        }
        let kind = headers.get("content-type").map_or("", |kind| kind.split(';').next().unwrap_or_default());
        let json = |text: &str| settled(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")));
        let body = match kind {
            _ if body.is_empty() => Body::None,
            "application/json" if body.contains(CUT) => cut(body, rows),
            "application/json" => Body::Json(json(body)),
            "application/javascript" => {
                let call = body.strip_suffix(')').and_then(|body| body.split_once('('));
                let (name, argument) = call.unwrap_or_else(|| panic!("no call: {body}"));
                Body::Script(name.to_owned(), json(argument))
            }
            "text/csv" | "application/csv" => csv(body),
            "application/problem+json" => Body::Page,
            _ if body.starts_with("<!DOCTYPE") => Body::Page,
            _ => Body::Text(body.to_owned()),
        };
        Self { status, headers, body }
    }

    /// The same, cut where the other one is.
    pub fn cut_as(mut self, other: &Self) -> Self {
        if let (Body::Json(Value::Array(rows)), Body::Cut(_, first, last)) = (&self.body, &other.body) {
            let from = rows.len().saturating_sub(last.len());
            let first = rows.iter().take(first.len()).cloned().collect();
            self.body = Body::Cut(rows.len(), first, rows[from..].to_vec());
        }
        self
    }
}

/// Where something of a body was left out.
const CUT: &str = " ... ";

fn cut(body: &str, rows: usize) -> Body {
    let (first, last) = body.split_once(CUT).expect("it was just seen");
    let first = first.rfind("}, {").map_or("[]".to_owned(), |end| format!("{}]", &first[..=end]));
    let last = last.find('{').map_or("[]".to_owned(), |start| format!("[{}", &last[start..]));
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Body::Cut(rows, parse(&first), parse(&last))
}

fn sorted(list: &str) -> String {
    let names: BTreeSet<&str> = list.split(',').map(str::trim).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn csv(text: &str) -> Body {
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    if !first.starts_with("timestamp") {
        // Idents, in no order.
        lines.push(first);
        lines.sort();
        return Body::Csv(String::new(), lines);
    }
    let time = |line: &String| line.split(',').next().unwrap_or_default().to_owned();
    lines.chunk_by_mut(|a, b| time(a) == time(b)).for_each(<[String]>::sort);
    Body::Csv(first, lines)
}

/// With what has no order in one: texts, rows of one time, and JSON within texts.
fn settled(mut json: Value) -> Value {
    let Some(rows) = json.as_array_mut() else { return json };
    for row in rows.iter_mut() {
        if let Some(message) = row.get("message").and_then(Value::as_str) {
            row["message"] = serde_json::from_str(message).expect("JSON in a text");
        }
    }
    let text = |row: &Value| row.to_string();
    match rows.iter().all(Value::is_string) {
        true => rows.sort_by_key(text),
        false => rows.chunk_by_mut(|a, b| a["timestamp"] == b["timestamp"]).for_each(|tied| tied.sort_by_key(text)),
    }
    json
}

/// What is asked.
pub struct Request<'r> {
    pub method: &'r str,
    pub path: &'r str,
    pub query: Vec<(&'r str, &'r str)>,
    pub accept: Option<&'r str>,
}

impl<'r> Request<'r> {
    pub fn new(method: &'r str, target: &'r str, accept: Option<&'r str>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self { method, path, query: pairs.collect(), accept }
    }

    fn get(&self, name: &str) -> Option<&'r str> {
        self.query.iter().find(|(its, _)| *its == name).map(|(_, value)| *value)
    }
}

pub struct Model<'m> {
    /// Ids of the differences that are on.
    pub on: BTreeSet<&'static str>,
    /// Scheme and host.
    pub base: &'m str,
    /// What clients hold for the present.
    pub now: i64,
    /// What was sent, in order of arrival.
    pub messages: &'m [Sent],
    /// The original's idents, its layout, and its rows of the event log.
    pub idents: &'m [String],
    pub layout: &'m Value,
    pub log: &'m Value,
}

/// What scripts of other origins may read of any answer here.
const EXPOSED: &str = "ETag, Link, Retry-After, Statscache-As-Of, Statscache-Partial, Statscache-Total, Statscache-Truncated, Statscache-Watermark, X-Link-Count, X-Link-Number";
pub const LOG: &str = "release-engineering-event-logs";
const BY_TOPIC: [&str; 3] = ["volume-by-topic-1s", "volume-by-topic-5s", "volume-by-topic-1m"];

/// As Python has it.
fn floor_div(a: i64, b: i64) -> i64 {
    (a as f64 / b as f64).floor() as i64
}

impl Model<'_> {
    pub fn is(&self, difference: &str) -> bool {
        self.on.contains(difference)
    }

    fn idents(&self) -> Vec<String> {
        let more = BY_TOPIC.iter().filter(|_| self.is("by-topic")).map(|ident| (*ident).to_owned());
        self.idents.iter().cloned().chain(more).collect()
    }

    pub fn answer(&self, request: &Request<'_>) -> Seen {
        let parts: Vec<&str> = request.path.split('/').skip(1).collect();
        let mut seen = match parts[..] {
            [""] => self.front(),
            ["api", ..] if !matches!(request.method, "GET" | "HEAD") => {
                self.error(405, "allow", if self.is("allow") { "GET, HEAD" } else { "GET, HEAD, OPTIONS" })
            }
            ["api", ""] => self.index(request),
            ["api", ident] => self.table(request, ident),
            ["api", ident, "layout"] => self.layout(request, ident),
            _ if self.is("problems") => self.error(404, "", ""),
            _ => self.text(404, "text/plain; charset=utf-8", "No such resource"),
        };
        if self.is("cors") {
            seen.headers.insert("access-control-allow-origin", "*".to_owned());
            seen.headers.insert("access-control-expose-headers", sorted(EXPOSED));
        }
        if request.method == "HEAD" {
            seen.body = Body::None;
        }
        seen
    }

    fn front(&self) -> Seen {
        match self.is("front") {
            // What is there is for other tests.
            true => Seen { status: 200, headers: BTreeMap::new(), body: Body::None },
            false => {
                let mut seen = self.typed(302, "text/html; charset=utf-8", Body::Page);
                seen.headers.insert("location", format!("{}/web/getting-started", self.base));
                seen
            }
        }
    }

    fn typed(&self, status: u16, kind: &str, body: Body) -> Seen {
        Seen { status, headers: BTreeMap::from([("content-type", kind.to_owned())]), body }
    }

    fn text(&self, status: u16, kind: &str, text: &str) -> Seen {
        self.typed(status, kind, Body::Text(text.to_owned()))
    }

    /// An error in words of the framework's, or of ours; with a header, if it has a name.
    fn error(&self, status: u16, header: &'static str, value: &str) -> Seen {
        let kind = if self.is("problems") { "application/problem+json" } else { "text/html; charset=utf-8" };
        let mut seen = self.typed(status, kind, Body::Page);
        if !header.is_empty() {
            seen.headers.insert(header, value.to_owned());
        }
        seen
    }

    /// A mistake of the client's that the original did not expect.
    fn unexpected(&self) -> Seen {
        self.error(if self.is("numbers") { 400 } else { 500 }, "", "")
    }

    fn format<'r>(&self, request: &Request<'r>) -> Option<&'r str> {
        match request.accept {
            None => self.is("no-accept").then_some("application/json"),
            Some("text/html" | "image/png") => None,
            Some("*/*" | "application/javascript") => Some("application/json"),
            Some("text/csv") => Some("text/csv; charset=utf-8"),
            Some("application/csv") => Some("application/csv"),
            Some(other) => panic!("{other} was not recorded"),
        }
    }

    fn not_acceptable(&self, of: &str) -> Seen {
        self.text(406, "text/plain; charset=utf-8", &format!("Content-type(s) not available{of}"))
    }

    fn json(&self, request: &Request<'_>, json: Value) -> Seen {
        match request.get("callback") {
            None => self.typed(200, "application/json", Body::Json(settled(json))),
            Some(name) => {
                let script = Body::Script(name.to_owned(), settled(json));
                self.typed(200, "application/javascript; charset=utf-8", script)
            }
        }
    }

    fn index(&self, request: &Request<'_>) -> Seen {
        match self.format(request) {
            None => self.not_acceptable(""),
            Some("application/json") => self.json(request, json!(self.idents())),
            Some(kind) => self.typed(200, kind, csv(&self.idents().join("\n"))),
        }
    }

    fn layout(&self, request: &Request<'_>, ident: &str) -> Seen {
        if self.format(request).is_none_or(|kind| kind != "application/json") {
            return self.not_acceptable(&format!(" for {ident}"));
        }
        if ident != LOG {
            return self.text(404, "text/plain; charset=utf-8", &format!("No such resource for {ident}"));
        }
        let mut layout = self.layout.clone();
        if self.is("epel") {
            let components = layout["groups"].as_array_mut().expect("groups").iter_mut();
            let components = components.flat_map(|group| group["components"].as_array_mut().expect("components"));
            components.filter(|it| it["id"] == "updates-epel").for_each(|it| it["name"] = json!("Repo Updates (EPEL)"));
        }
        self.json(request, layout)
    }

    fn table(&self, request: &Request<'_>, ident: &str) -> Seen {
        if !self.idents().iter().any(|its| its == ident) {
            let kind = if self.is("plain-404") { "text/plain; charset=utf-8" } else { "text/html; charset=utf-8" };
            return self.text(404, kind, &format!("\"No such model for '{ident}'\""));
        }
        let Some(kind) = self.format(request) else { return self.not_acceptable(&format!(" for {ident}")) };
        let Some((rows, page, pages)) = self.page(request, ident) else { return self.unexpected() };
        let Some(rows) = rows else { return self.error(400, "", "") };
        let mut seen = match kind {
            "application/json" => self.json(request, rows.iter().map(Row::json).collect()),
            kind => self.typed(200, kind, csv(&self.csv_text(&rows))),
        };
        let expose = "Link, X-Link-Number, X-Link-Count";
        for (name, value) in [
            ("access-control-allow-origin", "*".to_owned()),
            ("access-control-expose-headers", sorted(expose)),
            ("link", self.links(request, ident, (page, pages))),
            ("x-link-count", pages.to_string()),
            ("x-link-number", page.to_string()),
        ] {
            seen.headers.insert(name, value);
        }
        seen
    }

    /// A number of the query; an error where there is something else.
    fn number(&self, request: &Request<'_>, name: &str, default: i64) -> Result<i64, ()> {
        match request.get(name) {
            None => Ok(default),
            Some("") if self.is("empty") || name == "limit" => Ok(default),
            Some(text) => text.parse::<f64>().map(|number| number as i64).map_err(|_| ()),
        }
    }

    /// Rows of a page, its number, and how many there are. Nothing: a number cannot be read; no rows: the page is
    /// beyond the end.
    fn page(&self, request: &Request<'_>, ident: &str) -> Option<(Option<Vec<Row>>, i64, i64)> {
        let number = |name: &str, default: i64| self.number(request, name, default).ok();
        let (page, len) = (number("page", 1)?, number("rows_per_page", 100)?.min(100));
        let stop = number("stop", self.now)?;
        // Times of rows are whole seconds.
        let start = match request.get("start") {
            Some(text) if text.contains('.') => number("start", 0)? + 1,
            _ => number("start", 0)?,
        };
        let mut rows: Vec<Row> =
            self.rows(ident).into_iter().filter(|row| (start..=stop).contains(&row.time)).collect();
        rows.sort_by_key(|row| match request.get("order") == Some("asc") {
            true => row.time,
            false => -row.time,
        });
        if self.is("ties") {
            rows.chunk_by_mut(|a, b| a.time == b.time).for_each(|tied| tied.sort_by_key(|row| row.json().to_string()));
        }
        let there = rows.len() as i64;
        let limit = number("limit", there)?;
        let count = if self.is("limit") { limit.min(there) } else { limit };
        if self.is("numbers") && (page < 1 || len < 1) {
            return None;
        }
        let pages = floor_div(count, len) + i64::from(count - floor_div(count, len) * len > 0);
        let offset = (page - 1) * len;
        if offset > count {
            return Some((None, page, pages));
        }
        let taken = match self.is("pages") {
            true => len.min(count - offset),
            // The end where a number should be: and a number below zero is all, to SQLite.
            false => len.min(count - offset) - offset,
        };
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        let rows = rows.into_iter().skip(usize::try_from(offset).unwrap_or(0)).take(taken).collect();
        Some((Some(rows), page, pages))
    }

    fn links(&self, request: &Request<'_>, ident: &str, (page, pages): (i64, i64)) -> String {
        let link = |page: i64, relation: &str| {
            let kept = request.query.iter().filter(|(name, _)| *name != "page");
            let query: String = match self.is("links") {
                true => kept.map(|(name, value)| format!("{name}={value}&")).collect(),
                false => format!("ident={ident}&"),
            };
            format!("<{}/api/{ident}?{query}page={page}>; rel=\"{relation}\"", self.base)
        };
        let previous = (page > 1).then(|| link(page - 1, "previous"));
        let next = (page < pages).then(|| link(page + 1, "next"));
        previous.into_iter().chain(next).collect::<Vec<_>>().join(", ")
    }

    fn csv_text(&self, rows: &[Row]) -> String {
        let names: Vec<&str> = rows.first().map_or_else(Vec::new, |row| row.columns.iter().map(|it| it.0).collect());
        let mut lines = vec![format!("timestamp,{}", names.join(","))];
        for row in rows {
            let fields: Vec<String> = row.columns.iter().map(|(_, value)| self.csv_field(value)).collect();
            lines.push(format!("{:.1},{}", row.time as f64, fields.join(",")));
        }
        lines.join("\n")
    }

    fn csv_field(&self, value: &Value) -> String {
        let Some(text) = value.as_str() else {
            return if value.is_null() { "None".to_owned() } else { value.to_string() };
        };
        match serde_json::from_str::<Value>(text) {
            Ok(json) if self.is("csv") => format!("\"{}\"", json.to_string().replace('"', "\"\"")),
            _ => text.to_owned(),
        }
    }
}
