//! What the original answered, replayed: 43 exchanges that were recorded of it, after the same messages.
//!
//! The recording is not part of this repository. Without it this is skipped, and says so.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use statscache_plugin_sdk::Timestamp;

use super::{
    DIFFERENCES, Shown,
    model::{Body, Model, Request, Seen},
    past::Past,
    reference, reference_dir,
    rows::Sent,
};
use crate::support::PublishProcess;

/// The recording, and what had been sent before.
struct Recording {
    input: PathBuf,
    /// Each with what was asked.
    exchanges: Vec<(String, String, Option<String>, Seen)>,
    idents: Vec<String>,
    now: i64,
    messages: Vec<Sent>,
    layout: Value,
    log: Value,
}

impl Recording {
    fn read() -> Option<Self> {
        let recorded: Value = serde_json::from_str(&reference("statscache_http.json")?).expect("JSON");
        let input = reference_dir().join("statscache_http_input.jsonl");
        let lines = fs::read_to_string(&input).expect("what was sent is beside the recording");
        let message = |line: &str| {
            // Nothing was asked of users and packages.
            Sent::new(serde_json::from_str(line).expect("JSON"), Vec::new(), Vec::new()).expect("a time and a topic")
        };
        let body_of = |path: &str| {
            let found = recorded["exchanges"].as_array().expect("exchanges").iter();
            let mut found = found.filter(|it| it["request"]["path"] == path && it["request"]["accept"] == "*/*");
            let body = found.next().expect(path)["body"].as_str().expect("a text").to_owned();
            serde_json::from_str(&body).expect("JSON")
        };
        Some(Self {
            exchanges: recorded["exchanges"].as_array().expect("exchanges").iter().map(exchange).collect(),
            idents: serde_json::from_value(recorded["idents"].clone()).expect("idents"),
            now: recorded["now"].as_i64().expect("a time"),
            messages: lines.lines().map(message).collect(),
            layout: body_of("/api/release-engineering-event-logs/layout"),
            log: body_of("/api/release-engineering-event-logs"),
            input,
        })
    }

    fn model<'m>(&'m self, on: impl IntoIterator<Item = &'static str>, base: &'m str) -> Model<'m> {
        Model {
            on: on.into_iter().collect(),
            base,
            now: self.now,
            messages: &self.messages,
            idents: &self.idents,
            layout: &self.layout,
            log: &self.log,
        }
    }

    fn requests(&self) -> impl Iterator<Item = (String, Request<'_>, &Seen)> {
        self.exchanges.iter().enumerate().map(|(number, (method, target, accept, seen))| {
            let what = format!("exchange {number}: {method} {target}, Accept: {accept:?}");
            (what, Request::new(method, target, accept.as_deref()), seen)
        })
    }
}

fn exchange(recorded: &Value) -> (String, String, Option<String>, Seen) {
    let text = |name: &str| recorded["request"][name].as_str().map(str::to_owned);
    let headers = recorded["headers"].as_object().expect("headers");
    let header = |name: &str| {
        let found = headers.iter().find(|(its, _)| its.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str().expect("text").to_owned())
    };
    let status = recorded["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
    let rows = recorded["rows"].as_u64().map_or(0, |rows| rows as usize);
    let seen = Seen::of(status, header, recorded["body"].as_str().expect("a text"), rows);
    (text("method").expect("a method"), text("path").expect("a path"), text("accept"), seen)
}

fn ask(daemon: &Past, request: &Request<'_>, target: &str) -> Seen {
    let accept: Vec<(&str, &str)> = request.accept.map(|accept| ("accept", accept)).into_iter().collect();
    let answer = daemon.ask(request.method.parse().expect("a method"), target, &accept);
    let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    Seen::of(answer.status, header, &answer.body, 0)
}

/// The model answers as the original did. So what a difference changes in it is what it changes in the original.
#[test]
fn the_model_is_the_original() {
    let Some(recording) = Recording::read() else { return };
    assert_eq!(recording.exchanges.len(), 43);
    let model = recording.model([], "http://localhost");
    for (what, request, recorded) in recording.requests() {
        assert_eq!(&model.answer(&request).cut_as(recorded), recorded, "{what}");
    }
}

#[test]
fn every_recorded_difference_shows() {
    let Some(recording) = Recording::read() else { return };
    let all: BTreeSet<&str> =
        DIFFERENCES.iter().filter(|(_, shown)| matches!(shown, Shown::Recorded)).map(|(id, _)| *id).collect();
    let whole = recording.model(all.iter().copied(), "x");
    for id in &all {
        let without = recording.model(all.iter().copied().filter(|other| other != id), "x");
        let shows = recording.requests().any(|(_, request, _)| whole.answer(&request) != without.answer(&request));
        assert!(shows, "`{id}` explains nothing of what was recorded");
    }
}

/// This daemon answers as the original did, but for the differences in the table.
#[test]
fn answers_are_those_of_the_original_but_for_what_is_explained() {
    let Some(recording) = Recording::read() else { return };
    let publisher = PublishProcess::start(&recording.input, &[]);
    let daemon = Past::start(&publisher.address, Timestamp::from_secs(recording.now));
    publisher.finish();
    daemon.wait_processed(recording.messages.len());
    let base = format!("http://{}", daemon.address());
    let model = recording.model(DIFFERENCES.iter().map(|(id, _)| *id), &base);
    for ((what, request, _), (_, target, ..)) in recording.requests().zip(&recording.exchanges) {
        let mut seen = ask(&daemon, &request, target);
        if request.path == "/" {
            // What the front page shows is for other tests.
            seen.body = Body::None;
            seen.headers.remove("content-type");
        }
        assert_eq!(seen, model.answer(&request), "{what}");
    }
    daemon.stop();
}
