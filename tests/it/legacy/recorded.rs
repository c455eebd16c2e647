//! What the original answered, replayed: 43 exchanges that were recorded of it, after the same messages.
//!
//! The recording is not part of this repository. Without it this is skipped, and says so.

use std::{
    collections::BTreeSet,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::Method;
use serde_json::Value;
use statscache_plugin_sdk::Timestamp;
use statscache_server::{app::App, clock::ManualClock, config::Config};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use super::{
    DIFFERENCES, Shown,
    model::{Body, Model, Request, Seen},
};
use crate::support::{PublishProcess, SOON, fetch, look, note};

/// The recording, and what had been sent before.
struct Recording {
    input: PathBuf,
    /// Each with what was asked.
    exchanges: Vec<(String, String, Option<String>, Seen)>,
    idents: Vec<String>,
    now: i64,
    messages: Vec<(i64, String)>,
    layout: Value,
    log: Value,
}

impl Recording {
    fn read() -> Option<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let dir = env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from).join("fedmsg");
        let path = dir.join("statscache_http.json");
        let Ok(text) = fs::read_to_string(&path) else {
            note(&format!("SKIPPED: there is no {}: nothing was compared with the original API", path.display()));
            return None;
        };
        let recorded: Value = serde_json::from_str(&text).expect("JSON");
        let input = dir.join("statscache_http_input.jsonl");
        let lines = fs::read_to_string(&input).expect("what was sent is beside the recording");
        let message = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("JSON");
            let time = message["timestamp"].as_f64().expect("a time").floor();
            (time as i64, message["topic"].as_str().expect("a topic").to_owned())
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

/// A daemon for which it is always the time of the recording.
struct Past {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<anyhow::Result<()>>>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Past {
    /// Listens to this publisher.
    fn start(endpoint: &str, now: i64) -> Self {
        let dir = tempfile::Builder::new().prefix("statscache-it-").tempdir().expect("a temporary folder");
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[bus]\nendpoints = [{endpoint:?}]\n[data]\ndir = {:?}\n\
             commit_interval = \"100ms\"\n",
            dir.path().join("data")
        );
        let config = Config::parse(&config, "the test's").expect("a configuration");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(now)));
        let app = runtime.block_on(App::build(&config, statscache_server::bundled_plugins!(), clock));
        let app = app.unwrap_or_else(|error| panic!("{error:#}"));
        let address = app.address();
        let (stop, stopping) = oneshot::channel::<()>();
        let ended = runtime.spawn(app.run(async {
            let _ = stopping.await;
        }));
        Self { address, stop: Some(stop), ended: Some(ended), runtime, _dir: dir }
    }

    fn json(&self, path: &str) -> Value {
        fetch(self.address, Method::GET, path, &[]).expect(path).json()
    }

    fn wait_processed(&self, messages: usize) {
        let is_in = |plugin: &Value| {
            plugin["id"] != "volume" || plugin["counters"]["processed"].as_u64() == Some(messages as u64)
        };
        let seen = look(SOON, || {
            let list = self.json("/plugins");
            let plugins = list["plugins"].as_array().cloned().unwrap_or_default();
            plugins.iter().all(|plugin| plugin["lag"]["messages"] == 0 && is_in(plugin)).then_some(())
        });
        assert!(seen.is_some(), "not all {messages} messages are in: {:#}", self.json("/plugins"));
    }

    fn ask(&self, request: &Request<'_>, target: &str) -> Seen {
        let accept: Vec<(&str, &str)> = request.accept.map(|accept| ("accept", accept)).into_iter().collect();
        let method = request.method.parse().expect("a method");
        let answer = fetch(self.address, method, target, &accept).unwrap_or_else(|error| panic!("{target}: {error:#}"));
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        Seen::of(answer.status, header, &answer.body, 0)
    }

    fn stop(mut self) {
        drop(self.stop.take());
        let ended = self.ended.take().expect("only this takes it");
        self.runtime.block_on(ended).expect("no panic").expect("it stops well");
    }
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
    let daemon = Past::start(&publisher.address, recording.now);
    publisher.finish();
    daemon.wait_processed(recording.messages.len());
    let base = format!("http://{}", daemon.address);
    let model = recording.model(DIFFERENCES.iter().map(|(id, _)| *id), &base);
    for ((what, request, _), (_, target, ..)) in recording.requests().zip(&recording.exchanges) {
        let mut seen = daemon.ask(&request, target);
        if request.path == "/" {
            // What the front page shows is for other tests.
            seen.body = Body::None;
            seen.headers.remove("content-type");
        }
        assert_eq!(seen, model.answer(&request), "{what}");
    }
    daemon.stop();
}
