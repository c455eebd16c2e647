//! What the original counted, compared row by row: real messages of seven years, and its rows of every ident.
//!
//! The messages and rows are not part of this repository. Without them this is skipped, and says so.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use serde_json::Value;
use statscache_fedmsg_meta::{Explainer, Rules};
use statscache_plugin_sdk::Timestamp;

use super::{
    DIFFERENCES, Shown,
    model::{LOG, Model},
    past::Past,
    reference,
    rows::{Row, Sent, seconds},
};
use crate::support::TestPublisher;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// What was sent, and the rows that the original made of it.
struct Corpus {
    messages: Vec<Sent>,
    rows: Value,
    idents: Vec<String>,
}

impl Corpus {
    fn read() -> Option<Self> {
        let recorded: Value = serde_json::from_str(&reference("statscache_rows.json")?).expect("JSON");
        let messages = reference("messages.jsonl").expect("what was sent is beside the rows");
        let rules = Explainer::new(&Rules::with(Vec::new()).expect("the shipped rules"));
        let messages: Vec<Sent> = messages.lines().filter_map(|line| sent(line, &rules)).collect();
        assert_eq!(recorded["messages"], messages.len());
        let rows = recorded["rows"].clone();
        let idents = rows.as_object().expect("rows by ident").keys().cloned().collect();
        Some(Self { messages, rows, idents })
    }

    fn model(&self, on: impl IntoIterator<Item = &'static str>) -> Model<'_> {
        Model {
            on: on.into_iter().collect(),
            base: "",
            now: i64::MAX,
            messages: &self.messages,
            idents: &self.idents,
            layout: &Value::Null,
            log: &self.rows[LOG],
        }
    }

    /// The messages of each hour, hours in order.
    fn hours(&self) -> BTreeMap<i64, Vec<&Sent>> {
        let mut hours: BTreeMap<i64, Vec<&Sent>> = BTreeMap::new();
        for sent in &self.messages {
            hours.entry(sent.micros.div_euclid(HOUR * 1_000_000)).or_default().push(sent);
        }
        hours
    }
}

/// Messages of which rules tell other users than the original did: it asked who has a nick or an address, or had no
/// rule for them.
const BY_RULES: [&str; 6] = [
    "fedoracollege.content.added",
    "fedoracollege.content.edit",
    "io.pagure.prod.pagure.git.receive",
    "org.fedoraproject.prod.bugzilla.bug.update",
    "org.fedoraproject.prod.meetbot.meeting.item.help",
    "org.release-monitoring.prod.anitya.project.version.update",
];

/// A line of the file; nothing if its message has no time.
fn sent(line: &str, rules: &Explainer) -> Option<Sent> {
    let line: Value = serde_json::from_str(line).expect("JSON");
    // What could not be found without a network is an object that says so.
    let names = |key: &str| serde_json::from_value(line[key].clone()).unwrap_or_default();
    let mut sent = Sent::new(line["message"].clone(), names("oracle_usernames"), names("oracle_packages"))?;
    if BY_RULES.contains(&&*sent.topic) {
        let (_, said) = rules.explain(&sent.envelope.to_string()).expect("an envelope");
        sent.users_by_rules = Some(said.users.names.into_iter().map(|name| name.name).collect());
    }
    Some(sent)
}

/// Rows without an order: of one time they have none, and JSON within texts has none either.
fn settled(rows: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .into_iter()
        .map(|mut row| {
            if let Some(message) = row["message"].as_str() {
                row["message"] = serde_json::from_str(message).expect("JSON in a text");
            }
            row.to_string()
        })
        .collect();
    rows.sort_unstable();
    rows
}

fn rows_of_model(model: &Model<'_>, ident: &str) -> Vec<String> {
    settled(model.rows(ident).iter().map(Row::json))
}

/// What is in only one of them; nothing if they are the same.
fn difference(what: &str, seen: &[String], expected: &[String]) -> Option<String> {
    let without = |a: &[String], b: &[String]| -> Vec<String> {
        let b: BTreeSet<&String> = b.iter().collect();
        a.iter().filter(|row| !b.contains(row)).cloned().collect()
    };
    let (more, missing) = (without(seen, expected), without(expected, seen));
    (seen != expected).then(|| format!("{what}: {} rows; surplus: {more:#?}; missing: {missing:#?}", seen.len()))
}

/// The model makes the rows of the original. So what a difference changes in it is what it changes in the original.
#[test]
fn the_model_makes_the_rows_of_the_original() {
    let Some(corpus) = Corpus::read() else { return };
    let model = corpus.model([]);
    for ident in &corpus.idents {
        let recorded = corpus.rows[ident].as_array().cloned().expect("rows");
        assert!(!recorded.is_empty(), "{ident}");
        assert_eq!(difference(ident, &rows_of_model(&model, ident), &settled(recorded)), None);
    }
}

#[test]
fn every_difference_of_rows_shows() {
    let Some(corpus) = Corpus::read() else { return };
    let all: BTreeSet<&str> = DIFFERENCES.iter().map(|(id, _)| *id).collect();
    let whole = corpus.model(all.iter().copied());
    for (id, _) in DIFFERENCES.iter().filter(|(_, shown)| matches!(shown, Shown::Rows)) {
        let without = corpus.model(all.iter().copied().filter(|other| other != id));
        let shows = |ident: &String| rows_of_model(&whole, ident) != rows_of_model(&without, ident);
        assert!(corpus.idents.iter().any(shows), "`{id}` explains nothing of the rows that were recorded");
    }
}

/// All rows of an ident, page by page.
fn ask(daemon: &Past, ident: &str, range: (i64, i64)) -> Vec<Value> {
    let (mut rows, mut page, mut pages) = (Vec::new(), 0, 1);
    while page < pages {
        page += 1;
        let path = format!("/api/{ident}?order=asc&start={}&stop={}&page={page}", range.0, range.1);
        let answer = daemon.ask(Method::GET, &path, &[]);
        pages = answer.header("x-link-count").parse().unwrap_or_else(|_| panic!("{path}: {}", answer.body));
        rows.extend(super::rows(&answer));
    }
    rows
}

/// This daemon makes them as well, but for the differences in the table. It lives through the hours of those seven
/// years in which something was said, so that each is asked for while its seconds are kept.
#[test]
fn rows_are_those_of_the_original_but_for_what_is_explained() {
    let Some(corpus) = Corpus::read() else { return };
    let model = corpus.model(DIFFERENCES.iter().map(|(id, _)| *id));
    let mut publisher = TestPublisher::start();
    let hours = corpus.hours();
    let at = |hour: i64| Timestamp::from_secs(hour * HOUR);
    let (first, last) = (*hours.keys().next().expect("messages"), *hours.keys().last().expect("messages"));
    let daemon = Past::start(&publisher.address, at(first));
    publisher.is_heard(|| daemon.json("/bus"));
    let is_long = |ident: &&String| **ident == LOG || seconds(ident) > HOUR;
    let mut seen: BTreeMap<&String, Vec<Value>> = BTreeMap::new();
    let mut identities = BTreeSet::new();
    for (hour, messages) in hours {
        daemon.set_time(at(hour + 1));
        for sent in messages {
            publisher.send_body(&sent.topic, &sent.envelope.to_string());
            identities.insert(sent.identity());
        }
        daemon.wait_processed(identities.len());
        for ident in corpus.idents.iter().filter(|ident| !is_long(ident)) {
            let rows = ask(&daemon, ident, (hour * HOUR + 1, (hour + 1) * HOUR));
            seen.entry(ident).or_default().extend(rows);
        }
    }
    for ident in corpus.idents.iter().filter(is_long) {
        seen.insert(ident, ask(&daemon, ident, (0, (last + 1) * HOUR + DAY)));
    }
    let compare = |ident: &String| {
        let rows = settled(seen.remove(ident).expect("it was asked for"));
        difference(ident, &rows, &rows_of_model(&model, ident))
    };
    let differences: Vec<String> = corpus.idents.iter().filter_map(compare).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let there: Vec<String> = serde_json::from_value(daemon.json("/api/")).expect("idents");
    assert_eq!(there.iter().collect::<BTreeSet<_>>(), corpus.idents.iter().collect(), "these idents and no others");
    daemon.stop();
}
