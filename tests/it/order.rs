//! For every shipped plugin: any shuffle, duplication, split across workers and replay of a corpus leaves the same
//! state, compared as the lines of an export. Through the real engine and the real libraries, in memory.
//!
//! What an export says of the order itself is left out: numbers of label sets and of namespaces, cursors' places, and
//! buckets older than their tier keeps, which are there if they came in before what made them old.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};
use statscache_core::{
    bucket,
    engine::{Committer, Engine, InstanceSpec},
    identity::Naming,
    journal::{Journal, JournalConfig, SimulatedDir},
    kind::{CountRule, LatestRule, LatestState, LatestValue, Rule},
    limits::Limits,
    store::{MemoryBackend, Store, export::export},
};
use statscache_plugin_sdk::{Tiers, Timestamp};
use statscache_server::{config::Config, host::Host};
use tempfile::TempDir;

use crate::support::note;

/// When generated messages end: 2026-01-01.
const END: i64 = 1_767_225_600;

/// Topic and body.
type Sent = (String, String);

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// The messages of a real bus, where they are beside this repository.
fn real() -> Option<Vec<Sent>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from).join("fedmsg/messages.jsonl");
    let Ok(lines) = fs::read_to_string(&path) else {
        note(&format!("SKIPPED: there is no {}: order was not tested with messages of a real bus", path.display()));
        return None;
    };
    let message = |line: &str| {
        let message = serde_json::from_str::<Value>(line).expect("JSON")["message"].take();
        (message["topic"].as_str().unwrap_or("org.example.without.topic").to_owned(), message.to_string())
    };
    Some(lines.lines().map(message).collect())
}

/// Messages of the plugins that know Fedora's bus, in all tiers; some with one time, some with one id.
fn generated() -> Vec<Sent> {
    const DAY: usize = 86_400;
    let mut random = Random(1);
    let message = |n: usize| {
        let (age, word) = (random.below(5), random.below(4));
        let age = random.below([7000, 7 * DAY, 300 * DAY, 900 * DAY, 60][age]);
        let topic = match random.below(8) {
            0 => format!("compose.rawhide.mash.{}", ["start", "complete"][word % 2]),
            1 => format!("bodhi.updates.{}.sync", ["fedora", "epel"][word % 2]),
            2 => "fedimg.image.test".to_owned(),
            3 => "buildsys.task.state.change".to_owned(),
            4 => "pagure.issue.new".to_owned(),
            _ => format!("service{}.event{word}", random.below(6)),
        };
        let prefix = if topic.starts_with("pagure") { "io.pagure" } else { "org.fedoraproject" };
        let topic = format!("{prefix}.prod.{topic}");
        let id = if random.below(40) == 0 { n / 40 } else { 1_000_000 + n };
        let arch = ["x86_64", "armhfp"][random.below(2)];
        let msg = json!({
            "agent": format!("user{word}"), "project": {"name": format!("project{word}")}, "n": n, "arch": arch, "release": format!("f{word}"), "repo": "updates",
            "status": "completed", "image_name": format!("Fedora-Cloud-Base-{word}"), "destination": "EC2 (eu-west-1)",
            "owner": "masher", "method": "livecd", "srpm": format!("spin{word}-x86_64"), "new": "OPEN", "id": n,
        });
        let time = END - age as i64;
        let body = json!({"topic": topic, "timestamp": time, "msg_id": format!("2025-{id:08x}-0000-4000"), "msg": msg});
        (topic, body.to_string())
    };
    (0..1500).map(message).collect()
}

fn config() -> &'static Config {
    static DIR: OnceLock<(TempDir, Config)> = OnceLock::new();
    let (_, config) = DIR.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("statscache-it-").tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.data.dir = dir.path().to_owned();
        instances(&config);
        (dir, config)
    });
    config
}

fn instances(config: &Config) -> Vec<InstanceSpec> {
    Host::new(statscache_server::bundled_plugins!()).instances(config, &[], &BTreeSet::new()).specs
}

/// An engine with the shipped plugins, its journal and store in memory.
struct Fold {
    /// When everything comes in.
    now: Timestamp,
    engine: Engine,
    committer: Committer,
    journal: SimulatedDir,
    store: MemoryBackend,
}

impl Fold {
    fn new(now: Timestamp) -> Self {
        Self::open(SimulatedDir::new(), MemoryBackend::default(), now)
    }

    fn open(dir: SimulatedDir, backend: MemoryBackend, now: Timestamp) -> Self {
        let (journal, _) = Journal::open(Arc::new(dir.clone()), JournalConfig::default()).expect("the journal opens");
        let opened = Store::open(Box::new(backend.clone())).expect("the store opens");
        let specs = instances(config());
        assert_eq!(specs.len(), statscache_server::bundled_plugins!().len(), "all shipped plugins start");
        let (engine, committer) = Engine::start(journal, opened, specs, &Naming::default(), Limits::default(), now)
            .expect("the engine starts");
        Self { now, engine, committer, journal: dir, store: backend }
    }

    fn feed(&mut self, messages: &[Sent]) {
        for batch in messages.chunks(64) {
            let batch = batch.iter().map(|(topic, body)| (topic.as_bytes(), body.as_bytes()));
            let rejected = self.engine.ingest(batch, self.now).expect("the journal takes them");
            assert!(rejected.is_empty(), "{rejected:?}");
        }
    }

    fn commit(&mut self) {
        let mut prepared = self.committer.prepare(self.engine.take_commit(self.now)).expect("a commit");
        self.committer.write(&mut prepared).expect("it is written");
        self.engine.commit_written();
    }

    /// As after `kill -9`: what was not committed is folded anew from the journal.
    fn crash(self) -> Self {
        let Self { now, engine, journal, store, .. } = self;
        drop(engine);
        let mut again = Self::open(journal, store, now);
        while again.engine.catch_up(4096, now).expect("the journal reads") {}
        again
    }

    /// What it has come to, of what is kept in the end.
    fn state(mut self) -> State {
        self.commit();
        let mut lines = Vec::new();
        export(Box::new(self.store), &mut lines).expect("it is exported");
        State::read(&lines, self.now)
    }
}

fn folded(messages: &[Sent], now: Timestamp) -> State {
    let mut fold = Fold::new(now);
    fold.feed(messages);
    fold.state()
}

/// A second after the newest time that a message says. What says no time happens when it comes in, so later would
/// be too late for the others.
fn arrival_of(messages: &[Sent]) -> Timestamp {
    let secs = |(_, body): &Sent| serde_json::from_str::<Value>(body).expect("JSON")["timestamp"].as_f64();
    let newest = messages.iter().filter_map(secs).fold(0.0, f64::max);
    Timestamp::from_micros((newest * 1e6) as i64 + 1_000_000)
}

/// What an export says, by what it is about: text with sorted keys, whose bytes are compared.
#[derive(Clone, Default, PartialEq, Eq)]
struct State {
    /// Of instance, metric, tier, labels and start: the state.
    cells: BTreeMap<String, String>,
    labels: BTreeSet<String>,
    /// Of each instance: messages processed and failed, updates made, folded and refused.
    counters: BTreeMap<String, [u64; 5]>,
}

impl State {
    fn read(lines: &[u8], now: Timestamp) -> Self {
        let mut state = Self::default();
        let mut records: BTreeMap<u64, Value> = BTreeMap::new();
        let text = str::from_utf8(lines).expect("UTF-8");
        let line = |line| serde_json::from_str::<Value>(line).expect("JSON").as_object().expect("an object").clone();
        for (sort, of) in text.lines().flat_map(line) {
            let record = |of: &Value| records[&of["namespace"].as_u64().expect("a number")].clone();
            match sort.as_str() {
                "namespace" => {
                    records.insert(of["number"].as_u64().expect("a number"), of["record"].clone());
                }
                "cursor" => {
                    let names = ["processed", "failed", "updates", "folded", "refused"];
                    let counters = names.map(|name| of["cursor"][name].as_u64().expect("a counter"));
                    state.counters.insert(record(&of)["instance"].to_string(), counters);
                }
                "labels" => {
                    state.labels.insert(json!([record(&of)["instance"], of["metric"], of["labels"]]).to_string());
                }
                "cells" => state.take(&record(&of), &of, now),
                _ => {}
            }
        }
        state
    }

    fn take(&mut self, record: &Value, line: &Value, now: Timestamp) {
        let metrics = record["metrics"].as_array().expect("a list");
        let metric = metrics.iter().find(|metric| metric["name"] == line["metric"]).expect("it was declared");
        for cell in line["cells"].as_array().expect("a list") {
            if cell[0].as_i64().is_some_and(|start| is_past(metric, &line["tier"], start, now)) {
                continue;
            }
            let key = json!([record["instance"], line["metric"], line["tier"], line["labels"], cell[0]]);
            self.cells.insert(key.to_string(), cell[1].to_string());
        }
    }

    /// Adds what another worker has, by the rules of the kinds.
    fn merge(&mut self, other: Self) {
        self.labels.extend(other.labels);
        for (instance, counters) in other.counters {
            let sums = self.counters.entry(instance).or_default();
            sums.iter_mut().zip(counters).for_each(|(sum, more)| *sum += more);
        }
        for (key, state) in other.cells {
            let merged = match self.cells.get(&key) {
                Some(known) => merged(known, &state),
                None => state,
            };
            self.cells.insert(key, merged);
        }
    }

    fn assert_is(&self, expected: &Self, what: &str) {
        let keys: BTreeSet<_> = self.cells.keys().chain(expected.cells.keys()).collect();
        let differ = |key: &&&String| self.cells.get(**key) != expected.cells.get(**key);
        let line = |key: &String| format!("{key}: {:?}, in order {:?}", self.cells.get(key), expected.cells.get(key));
        let lines: Vec<String> = keys.iter().filter(differ).take(10).map(|key| line(key)).collect();
        assert!(lines.is_empty(), "{what}: cells differ\n{}", lines.join("\n"));
        assert_eq!(self.counters, expected.counters, "{what}");
        let labels: Vec<_> = self.labels.symmetric_difference(&expected.labels).take(10).collect();
        assert!(labels.is_empty(), "{what}: label sets differ: {labels:?}");
    }
}

/// Whether the tier of that name keeps this bucket no longer.
fn is_past(metric: &Value, tier: &Value, start: i64, now: Timestamp) -> bool {
    let tiers: Tiers = serde_json::from_value(metric["tiers"].clone()).expect("tiers");
    let tier = tiers.as_slice().iter().find(|known| *tier == known.resolution.to_string()).expect("it was declared");
    !bucket::is_kept(*tier, Timestamp::from_micros(start), now)
}

/// States of `count` are numbers, those of `latest` objects; of these messages no plugin makes others.
fn merged(one: &str, other: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    match (parse(one), parse(other)) {
        (Value::Number(one), Value::Number(other)) => {
            let mut sum = one.as_i64().expect("a count");
            CountRule.merge(&mut sum, other.as_i64().expect("a count"));
            sum.to_string()
        }
        (one, other) => {
            let mut state = latest(&one);
            LatestRule { n: 1, ttl: None }.merge(&mut state, latest(&other));
            let value = |value: &LatestValue| json!({"time": value.time, "id": value.id, "value": parse(&value.json)});
            json!({"removed": state.removed, "values": state.values.iter().map(value).collect::<Vec<_>>()}).to_string()
        }
    }
}

fn latest(state: &Value) -> LatestState {
    let value = |value: &Value| LatestValue {
        time: serde_json::from_value(value["time"].clone()).expect("a time"),
        id: value["id"].as_str().expect("text").to_owned(),
        json: value["value"].to_string(),
    };
    let values = state["values"].as_array().expect("a list").iter().map(value).collect();
    LatestState { removed: serde_json::from_value(state["removed"].clone()).expect("a time"), values }
}

/// Compares whatever can be done to a corpus with the corpus in order.
fn assert_order_does_not_matter(messages: &[Sent]) {
    let now = arrival_of(messages);
    let expected = folded(messages, now);
    let processed: u64 = expected.counters.values().map(|counters| counters[0]).sum();
    assert!(processed > messages.len() as u64 * 9 / 10 && expected.cells.len() > 100, "{:?}", expected.counters);
    for seed in 0..5 {
        let mut random = Random(seed);
        let mut shuffled = messages.to_vec();
        random.shuffle(&mut shuffled);
        folded(&shuffled, now).assert_is(&expected, &format!("shuffled by {seed}"));

        let mut twice = [messages, messages].concat();
        random.shuffle(&mut twice);
        folded(&twice, now).assert_is(&expected, &format!("every message twice, shuffled by {seed}"));

        let workers = 2 + random.below(4);
        let mut parts = vec![Vec::new(); workers];
        // Messages that share an id are one or several; who has one of them has to have them all.
        let mut part_of: BTreeMap<String, usize> = BTreeMap::new();
        for message in &shuffled {
            let part = *part_of.entry(id_of(message)).or_insert_with(|| random.below(workers));
            parts[part].push(message.clone());
        }
        let mut whole = State::default();
        parts.iter().for_each(|part| whole.merge(folded(part, now)));
        whole.assert_is(&expected, &format!("split across {workers} by {seed}"));

        let mut fold = Fold::new(now);
        for part in shuffled.chunks(shuffled.len() / 4 + 1) {
            let (committed, rest) = part.split_at(random.below(part.len()));
            fold.feed(committed);
            fold.commit();
            fold.feed(rest);
            fold = fold.crash();
            // Somebody sends again what came shortly before the crash.
            fold.feed(rest);
        }
        fold.state().assert_is(&expected, &format!("with crashes, shuffled by {seed}"));
    }
    // All of it anew from the journal, as a new instance does.
    let mut fold = Fold::new(now);
    fold.feed(messages);
    let fold = Fold { store: MemoryBackend::default(), ..fold }.crash();
    fold.state().assert_is(&expected, "replayed from the journal");
}

/// The id without its year; of a message without one, all of it.
fn id_of((topic, body): &Sent) -> String {
    let envelope: Value = serde_json::from_str(body).expect("JSON");
    match envelope["msg_id"].as_str() {
        Some(id) => id.split_once('-').expect("a year").1.to_owned(),
        None => format!("{topic} {body}"),
    }
}

#[test]
fn order_does_not_matter_to_messages_of_a_real_bus() {
    if let Some(messages) = real() {
        assert_order_does_not_matter(&messages);
    }
}

#[test]
fn order_does_not_matter_to_generated_messages() {
    assert_order_does_not_matter(&generated());
}
