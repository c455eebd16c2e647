//! Takes options out of a TOML tree, one typed call an option, and notes everything that is wrong on the way.
//!
//! Every call returns a value to go on with: the default where the option is absent or bad. Keys that nobody asked
//! for are unknown.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::json;
use super::problem::{Lines, Problem};
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// Entries of a list. Each is compared with all before it.
const LIST_LEN_MAX: usize = 1000;

/// What was found so far.
pub(super) struct Reader<'i> {
    lines: Lines<'i>,
    found: Vec<(usize, Problem)>,
    known: Vec<(&'static str, &'static str)>,
    unknown: Vec<Unknown>,
    absent: Vec<String>,
}

/// A key that nobody asked for. What it might have meant is known only once all have been asked for.
struct Unknown {
    table: &'static str,
    key: String,
    is_table: bool,
    span: Range<usize>,
}

/// Why a value is not taken.
pub(super) enum Refusal {
    /// What it must be instead; the value itself is added.
    Must(String),
    /// The same, and what to write.
    MustWrite(String, String),
    /// The whole sentence.
    Says(String),
}

impl Refusal {
    fn message(self, value: &DeValue<'_>) -> String {
        match self {
            Self::Must(what) => format!("must be {what}, not {}", show(value)),
            Self::MustWrite(what, hint) => format!("must be {what}, not {}; {hint}", show(value)),
            Self::Says(all) => all,
        }
    }
}

/// One table of the file, or an empty one in its place.
pub(super) struct Table<'r, 'i> {
    reader: &'r mut Reader<'i>,
    /// Empty for the top level.
    name: &'static str,
    entries: &'r DeTable<'i>,
    /// Where to point when something is missing.
    span: Range<usize>,
}

impl<'i> Reader<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self { lines: Lines::new(text), found: Vec::new(), known: Vec::new(), unknown: Vec::new(), absent: Vec::new() }
    }

    /// Notes a fault of syntax, in the order of the file, unless its line has one already: the parser tends to stumble over its own feet.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let message = match error.message() {
            "duplicate key" => {
                format!(
                    "`{}` is given a second time; keep one of the two",
                    self.lines.slice(span.clone()).escape_debug()
                )
            }
            message => format!("this is not TOML: {}", message.trim_end_matches(", expected nothing")),
        };
        let line = self.lines.line(span.start);
        if self.found.last().is_none_or(|(_, problem)| problem.line != line) {
            self.problem(span, String::new(), message);
        }
    }

    /// Reads the top level.
    pub(super) fn top<T>(&mut self, entries: &DeTable<'i>, read: impl FnOnce(&mut Table<'_, 'i>) -> T) -> T {
        self.table("", entries, 0..0, read)
    }

    /// Every problem, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for Unknown { table, key, is_table, span } in std::mem::take(&mut self.unknown) {
            let shown = key.escape_debug();
            let what = match (table, is_table) {
                ("", true) => format!("unknown section [{shown}]"),
                ("", false) => format!("unknown key `{shown}` at the top level"),
                _ => format!("unknown key `{shown}` in {}", header(table)),
            };
            let message = what + &self.hint(table, &key);
            self.problem(span, path(table, &key), message);
        }
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Options that were asked for and not in the file, such as `bus.queue`.
    #[cfg(test)]
    pub(super) fn absent(&self) -> &[String] {
        &self.absent
    }

    fn table<T>(
        &mut self,
        name: &'static str,
        entries: &DeTable<'i>,
        span: Range<usize>,
        read: impl FnOnce(&mut Table<'_, 'i>) -> T,
    ) -> T {
        let result = read(&mut Table { reader: self, name, entries, span });
        for (key, item) in entries.iter() {
            if !self.known.contains(&(name, key.get_ref().as_ref())) {
                let (key, span) = (key.get_ref().to_string(), key.span());
                self.unknown.push(Unknown { table: name, key, is_table: item.get_ref().is_table(), span });
            }
        }
        result
    }

    fn problem(&mut self, span: Range<usize>, key: String, message: String) {
        self.found.push((span.start, self.lines.problem(span, key, message)));
    }

    fn hint(&self, table: &str, key: &str) -> String {
        let here = self.known.iter().filter(|(owner, _)| *owner == table).map(|(_, known)| *known);
        let near =
            here.filter(|known| key.len() < 2 * known.len() + 2).map(|known| (distance(key, known), known)).min();
        let elsewhere = || self.known.iter().find(|(owner, known)| *known == key && !owner.is_empty());
        match near {
            Some((distance, known)) if distance <= (key.len().max(known.len()) / 3).max(1) => {
                format!("; did you mean `{known}`?")
            }
            _ => elsewhere().map_or(String::new(), |(owner, _)| format!("; it belongs in {}", header(owner))),
        }
    }
}

impl<'r, 'i> Table<'r, 'i> {
    /// Line of the table, from 1.
    pub(super) fn line(&self) -> usize {
        self.reader.lines.line(self.span.start)
    }

    /// Whether the file has the option.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Notes a problem with an option; without it in the file, with the table.
    pub(super) fn complain(&mut self, key: &str, message: &str) {
        let span = self.entries.get(key).map_or(self.span.clone(), Spanned::span);
        self.complain_at(span, key, message);
    }

    /// A table within the top level.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_, 'i>) -> T) -> T {
        let empty = DeTable::new();
        let (entries, span) = match self.find(key).map(|item| (item.get_ref(), item.span())) {
            Some((DeValue::Table(table), span)) => (table, span),
            Some((other, span)) => {
                let message = format!("`{key}` must be a table, written [{key}], not {}", show(other));
                self.reader.problem(span.clone(), key.to_owned(), message);
                (&empty, span)
            }
            None => (&empty, 0..0),
        };
        self.reader.table(key, entries, span, read)
    }

    /// An array of tables within the top level.
    pub(super) fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Table<'_, 'i>) -> T) -> Vec<T> {
        let Some(item) = self.find(key) else { return Vec::new() };
        let message = |found| format!("`{key}` must be a list of tables, each written [[{key}]], not {}", show(found));
        let DeValue::Array(items) = item.get_ref() else {
            self.reader.problem(item.span(), key.to_owned(), message(item.get_ref()));
            return Vec::new();
        };
        let mut results = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => results.push(self.reader.table(key, table, item.span(), &mut read)),
                other => self.reader.problem(item.span(), key.to_owned(), message(other)),
            }
        }
        results
    }

    /// A table whose keys are free, as JSON; an empty object by default.
    pub(super) fn json(&mut self, key: &'static str) -> serde_json::Value {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        let Some(item) = self.find(key) else { return empty() };
        match item.get_ref() {
            DeValue::Table(table) => {
                let mut refused = Vec::new();
                let object = json::object(table, &mut |span, why| refused.push((span, why)));
                for (span, why) in refused {
                    self.complain_at(span, key, &why);
                }
                object
            }
            other => {
                let message =
                    format!("must be a table, written [{}.{key}] or {{ key = value }}, not {}", self.name, show(other));
                self.complain(key, &message);
                empty()
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.option(key, default, |value| value.as_bool().ok_or_else(|| must("true or false")))
    }

    /// A whole number.
    pub(super) fn count(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        self.option(key, default, |value| {
            let number = value.as_integer().and_then(json::integer).and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| range.contains(number));
            number.ok_or_else(|| must(format!("a whole number from {} to {}", range.start(), range.end())))
        })
    }

    /// A size in bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.option(key, default, |value| {
            let size = match value {
                DeValue::Integer(number) => json::integer(number).and_then(|number| u64::try_from(number).ok()),
                value => value.as_str().and_then(parse_size),
            };
            match size {
                Some(size) if range.contains(&size) => Ok(size),
                Some(_) => Err(must(format!("from {} to {}", show_size(*range.start()), show_size(*range.end())))),
                None => Err(must("a size such as \"64MiB\", \"10MB\" or 1500 (bytes)")),
            }
        })
    }

    /// A size in bytes of memory.
    pub(super) fn memory(&mut self, key: &'static str, default: usize, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.size(key, default as u64, range)).unwrap_or(usize::MAX)
    }

    /// A span of time.
    pub(super) fn span(&mut self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.option(key, default, |value| match value.as_str().and_then(parse_duration) {
            Some(span) if range.contains(&span) => Ok(span),
            Some(_) => Err(must(format!("from {} to {}", show_duration(*range.start()), show_duration(*range.end())))),
            None => Err(must("a span of time such as \"15s\", \"1m30s\", \"250ms\" or \"7d\"")),
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.option(key, default, |value| {
            let chosen = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
            chosen.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                let (last, others) = words.split_last().expect("a choice of nothing");
                must(format!("{} or {last}", others.join(", ")))
            })
        })
    }

    /// A text, checked.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> T {
        self.option(key, default, |value| check(value.as_str().ok_or_else(|| must("a text in quotes"))?))
    }

    /// A list of texts, each checked; none may come twice. The default, if one of them is refused.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        check: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Vec<T> {
        let Some(item) = self.find(key) else { return default };
        let DeValue::Array(items) = item.get_ref() else {
            self.complain(key, &must("a list of texts, [\"…\", \"…\"]").message(item.get_ref()));
            return default;
        };
        if items.len() > LIST_LEN_MAX {
            self.complain(key, &format!("must have at most {LIST_LEN_MAX} entries, not {}", items.len()));
            return default;
        }
        let mut list = Vec::new();
        let found = self.reader.found.len();
        for item in items.iter() {
            let text = item.get_ref().as_str().ok_or_else(|| must("a list of texts in quotes"));
            match text.and_then(&check) {
                Ok(value) if list.contains(&value) => {
                    self.complain_at(item.span(), key, &format!("{} is in the list already", show(item.get_ref())));
                }
                Ok(value) => list.push(value),
                Err(refusal) => self.complain_at(item.span(), key, &refusal.message(item.get_ref())),
            }
        }
        if self.reader.found.len() == found { list } else { default }
    }

    /// A table of texts by texts, all checked alike, in the order of its keys; no two keys may mean the same. Empty by
    /// default, and if one of them is refused.
    pub(super) fn pairs<T: PartialEq>(
        &mut self,
        key: &'static str,
        check: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Vec<(T, T)> {
        let Some(item) = self.find(key) else { return Vec::new() };
        let DeValue::Table(entries) = item.get_ref() else {
            self.complain(key, &must("a table, { \"…\" = \"…\" }").message(item.get_ref()));
            return Vec::new();
        };
        let mut pairs = Vec::new();
        let found = self.reader.found.len();
        for (name, item) in entries.iter() {
            let value = item.get_ref().as_str().ok_or_else(|| must("a table of texts in quotes")).and_then(&check);
            let value = value.map_err(|refusal| refusal.message(item.get_ref()));
            let name_text = DeValue::String(name.get_ref().clone());
            let known = check(name.get_ref()).map_err(|refusal| refusal.message(&name_text));
            match (known, value) {
                (Ok(known), Ok(_)) if pairs.iter().any(|(other, _)| *other == known) => {
                    self.complain_at(name.span(), key, &format!("{} is in the table already", show(&name_text)));
                }
                (Ok(known), Ok(value)) => pairs.push((known, value)),
                (known, value) => {
                    known.err().into_iter().for_each(|why| self.complain_at(name.span(), key, &why));
                    value.err().into_iter().for_each(|why| self.complain_at(item.span(), key, &why));
                }
            }
        }
        if self.reader.found.len() == found { pairs } else { Vec::new() }
    }

    fn option<T>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl FnOnce(&DeValue<'i>) -> Result<T, Refusal>,
    ) -> T {
        let Some(item) = self.find(key) else { return default };
        check(item.get_ref()).unwrap_or_else(|refusal| {
            self.complain(key, &refusal.message(item.get_ref()));
            default
        })
    }

    fn find(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'i>>> {
        if !self.reader.known.contains(&(self.name, key)) {
            self.reader.known.push((self.name, key));
        }
        let entries: &'r DeTable<'i> = self.entries;
        let item = entries.get(key);
        if item.is_none() {
            self.reader.absent.push(path(self.name, key));
        }
        item
    }

    fn complain_at(&mut self, span: Range<usize>, key: &str, message: &str) {
        let message = format!("{} {key}: {message}", header(self.name));
        self.reader.problem(span, path(self.name, key), message);
    }
}

/// Why a value is not taken: it must be this.
pub(super) fn must(what: impl Into<String>) -> Refusal {
    Refusal::Must(what.into())
}

fn path(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

fn header(table: &str) -> String {
    if table == "instance" { format!("[[{table}]]") } else { format!("[{table}]") }
}

/// A value in the words of an error.
fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() > 60 => {
            format!("{:?}…", text.chars().take(60).collect::<String>())
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// How many bytes must be added, removed or replaced, or neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_typing() {
        for (a, b, expect) in [
            ("", "", 0),
            ("", "abc", 3),
            ("bus", "bsu", 1),
            ("endpoint", "endpoints", 1),
            ("kitten", "sitting", 3),
            ("ab", "cd", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expect, expect), "{a} {b}");
        }
    }
}
