//! `kill -9` at random instants, many times, under a publisher that never pauses: the numbers equal a recount of the
//! journal, and nothing that was ever shown is lost. `STATSCACHE_KILL_ROUNDS` asks for more rounds,
//! `STATSCACHE_KILL_SEED` for the same instants again.

use std::{
    collections::{BTreeMap, HashSet},
    env,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use statscache_core::{
    journal::Reader,
    store::{SledBackend, Store},
};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, note, now_secs, rfc3339};

/// A sequence of numbers that looks random and is the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Publishes without pause from a thread of its own, a few thousand messages a second. One in ten is of a while ago,
/// again: often from before the last kill.
struct Torrent {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: thread::JoinHandle<TestPublisher>,
    address: String,
}

impl Torrent {
    fn start(seed: u64) -> Self {
        let mut publisher = TestPublisher::start();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let address = publisher.address.clone();
        let (stopping, counter) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let mut random = Random(seed);
            let mut recent: Vec<Message> = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                for _ in 0..10 {
                    let message = message(&mut random);
                    publisher.send(&message);
                    let place = random.below(1000) as usize;
                    match recent.get_mut(place) {
                        Some(place) => *place = message,
                        None => recent.push(message),
                    }
                    if random.below(10) == 0 {
                        publisher.send(&recent[random.below(recent.len() as u64) as usize]);
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(3));
            }
            publisher
        });
        Self { stop, sent, thread, address }
    }

    fn stop(self) -> TestPublisher {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the publisher does not fail")
    }
}

/// A message of the last half hour, or of one of the tiers behind.
fn message(random: &mut Random) -> Message {
    const DAY: u64 = 86_400;
    let age = match random.below(10) {
        0 => DAY + random.below(4 * DAY),
        1 => 10 * DAY + random.below(300 * DAY),
        2 => 500 * DAY + random.below(3000 * DAY),
        _ => random.below(1800),
    };
    let topics =
        ["git.receive", "bodhi.updates.fedora.sync", "copr.build.end", "buildsys.tag", "compose.rawhide.start"];
    let topic = format!("org.fedoraproject.prod.{}", topics[random.below(5) as usize]);
    let msg = serde_json::json!({"release": "41", "repo": "r", "n": random.below(1000), "pad": "x".repeat(random.below(400) as usize)});
    Message::new(&topic).at(now_secs() - age as i64).msg(msg)
}

/// What the journal says: the time and topic of each message, and the newest message of each topic.
#[derive(Default)]
struct Recount {
    messages: Vec<(i64, String)>,
    newest: BTreeMap<String, (i64, String, usize)>,
}

fn recount(data: &Path) -> Recount {
    let mut reader = Reader::open(&data.join("journal")).expect("the journal reads");
    let mut recount = Recount::default();
    let mut identities = HashSet::new();
    let mut expected = 1;
    loop {
        let chunk = reader.next_chunk(1 << 20).expect("the journal reads");
        assert!(chunk.gap().is_none(), "{:?}", chunk.gap());
        if chunk.is_empty() {
            return recount;
        }
        for (sequence, record) in chunk.iter() {
            assert_eq!(sequence, expected);
            expected += 1;
            assert!(identities.insert(record.identity), "sequence {sequence} is there twice");
            let topic = String::from_utf8(record.topic.to_vec()).expect("UTF-8");
            let envelope: Value = serde_json::from_slice(record.body).expect("JSON");
            let id = envelope["msg_id"].as_str().expect("an id").trim_start_matches("2026-").to_owned();
            let newest = (record.time, id, record.body.len());
            let kept = recount.newest.entry(topic.clone()).or_default();
            *kept = newest.max(kept.clone());
            recount.messages.push((record.time.div_euclid(1_000_000), topic));
        }
    }
}

/// A table with a line for each bucket and label, so that two of them differ visibly.
type Cells = BTreeMap<String, i64>;

/// One question to each metric and tier. Ranges stay clear of the edges of what the tiers keep.
struct Question {
    metric: &'static str,
    label: &'static str,
    step: (&'static str, i64),
    start: i64,
    end: i64,
}

impl Question {
    fn all(now: i64) -> Vec<Self> {
        const DAY: i64 = 86_400;
        let ranges = [("1s", 1, 3600), ("1m", 60, 5 * DAY + 3600), ("1h", 3600, 350 * DAY), ("1d", DAY, 4000 * DAY)];
        let metrics = [("messages", ""), ("by_category", "category"), ("by_topic", "topic")];
        let question = |(metric, label), (step, width, back): (&'static str, i64, i64)| Self {
            metric,
            label,
            step: (step, width),
            start: (now - back).div_euclid(width) * width,
            end: now + DAY,
        };
        metrics.into_iter().flat_map(|metric| ranges.map(|range| question(metric, range))).collect()
    }

    fn ask(&self, daemon: &TestDaemon) -> Cells {
        let Self { metric, label, step, start, end } = self;
        let path = format!("/plugins/volume/{metric}?start={start}&end={end}&step={}&limit=100000", step.0);
        let line = |row: &Value| {
            let label = row[*label].as_str().unwrap_or("-");
            (format!("{} {label}", row["time"]), row["value"].as_i64().expect("a count"))
        };
        daemon.rows(&path).iter().map(line).collect()
    }

    fn expect(&self, recount: &Recount) -> Cells {
        let mut cells = Cells::new();
        for (time, topic) in recount.messages.iter().filter(|(time, _)| (self.start..self.end).contains(time)) {
            let label = match self.label {
                "topic" => topic,
                "category" => topic.split('.').nth(3).expect("a category"),
                _ => "-",
            };
            let start = time.div_euclid(self.step.1) * self.step.1;
            let start = rfc3339(start);
            *cells.entry(format!("\"{start}\" {label}")).or_default() += 1;
        }
        cells
    }
}

/// Fails with the first lines that differ.
fn assert_same(what: &str, got: &Cells, expect: &Cells) {
    if got == expect {
        return;
    }
    let keys: std::collections::BTreeSet<_> = got.keys().chain(expect.keys()).collect();
    let differ = keys.into_iter().filter(|key| got.get(*key) != expect.get(*key));
    let lines: Vec<String> =
        differ.map(|key| format!("{key}: {:?}, the journal says {:?}", got.get(key), expect.get(key))).collect();
    let (sum, expected): (i64, i64) = (got.values().sum(), expect.values().sum());
    panic!("{what}: {} cells differ; {sum} of {expected}\n{}", lines.len(), lines[..lines.len().min(20)].join("\n"));
}

/// Stops the daemon and compares all it showed with the journal; gives the number of messages.
fn compare(daemon: TestDaemon, publisher: &mut TestPublisher) -> (DaemonSetup, u64) {
    // Messages of a connection stay in order: when the last one is in, all are.
    publisher.reaches(&daemon);
    let last = Message::new("org.fedoraproject.prod.last.one");
    publisher.send(&last);
    daemon.wait_until("has everything", |daemon| {
        let rows = daemon.rows("/plugins/volume/latest_by_topic?where.topic=*.last.one");
        let list = daemon.json("/plugins");
        let mut plugins = list["plugins"].as_array().into_iter().flatten();
        rows.first().is_some_and(|row| row["id"] == last.shown_id()) && plugins.all(|it| it["state"] == "running")
    });
    let questions = Question::all(now_secs());
    let answers: Vec<Cells> = questions.iter().map(|question| question.ask(&daemon)).collect();
    let latest = daemon.rows("/plugins/volume/latest_by_topic?order=topic");
    let (volume, releng) = (daemon.plugin("volume"), daemon.plugin("releng"));
    let setup = daemon.terminate();
    let recount = recount(&setup.data_dir());

    for (question, answer) in questions.iter().zip(&answers) {
        let what = format!("{} in steps of {}", question.metric, question.step.0);
        assert_same(&what, answer, &question.expect(&recount));
    }
    let all: i64 = answers[3].values().sum();
    assert_eq!(all as usize, recount.messages.len(), "every message is in the days");
    let shown = |row: &Value| {
        let (topic, id) = (row["topic"].as_str().expect("text"), row["id"].as_str().expect("text"));
        (topic.to_owned(), (id.to_owned(), row["value"]["bytes"].as_u64().expect("a size") as usize))
    };
    let expect: BTreeMap<_, _> =
        recount.newest.iter().map(|(topic, (_, id, bytes))| (topic.clone(), (id.clone(), *bytes))).collect();
    assert_eq!(latest.iter().map(shown).collect::<BTreeMap<_, _>>(), expect);

    let counters = |plugin: &Value| {
        ["processed", "failed", "missed"].map(|name| plugin["counters"][name].as_u64().expect("a counter"))
    };
    assert_eq!(counters(&volume), [recount.messages.len() as u64, 0, 0]);
    let of_releng = |topic: &str| topic.contains(".compose.") || topic.contains(".bodhi.");
    let expect = recount.messages.iter().filter(|(_, topic)| of_releng(topic)).count() as u64;
    assert_eq!(counters(&releng), [expect, 0, 0]);
    (setup, recount.messages.len() as u64)
}

#[test]
fn nothing_is_lost_or_counted_twice() {
    let rounds = number_from("STATSCACHE_KILL_ROUNDS", 15);
    let seed = number_from("STATSCACHE_KILL_SEED", now_secs() as u64);
    let mut random = Random(seed);
    let torrent = Torrent::start(seed);
    let mut setup = DaemonSetup::new()
        .endpoint(&torrent.address)
        .set("journal", "segment", "\"1MiB\"")
        .set("bus", "queue", "\"1MiB\"");
    let (mut shown, mut in_the_middle) = (0, 0);
    for round in 0..rounds {
        let context = format!("STATSCACHE_KILL_SEED={seed}, round {round}");
        let daemon = setup.spawn();
        if random.below(4) == 0 {
            // While it starts, or catches up.
            thread::sleep(Duration::from_millis(random.below(400)));
        } else {
            daemon.wait_serving();
            assert!(daemon.journal_next() > shown, "{context}: what was shown is gone");
            daemon.wait_until("receives", |daemon| daemon.json("/bus")["accepted"].as_u64() > Some(0));
            let until = Instant::now() + Duration::from_millis(random.below(500));
            while Instant::now() < until {
                shown = daemon.journal_next() - 1;
                thread::sleep(Duration::from_millis(1));
            }
            in_the_middle += 1;
        }
        setup = daemon.kill();
    }
    let daemon = setup.start();
    assert!(daemon.journal_next() > shown, "STATSCACHE_KILL_SEED={seed}: what was shown is gone");
    daemon.wait_until("receives", |daemon| daemon.json("/bus")["accepted"].as_u64() > Some(0));
    let sent = torrent.sent.load(Ordering::Relaxed);
    let (_, messages) = compare(daemon, &mut torrent.stop());
    note(&format!(
        "kill: seed {seed}, {rounds} rounds, {in_the_middle} of them while it received: \
         {messages} messages in the journal of {sent} published, no difference"
    ));
    assert!(messages > in_the_middle * 10, "hardly anything was published");
}

#[test]
fn a_clean_stop_commits_everything() {
    let mut publisher = TestPublisher::start();
    // No commit but the one at the start comes by itself.
    let setup = DaemonSetup::new().set("data", "commit_interval", "\"60s\"").endpoint(&publisher.address);
    let daemon = setup.start();
    publisher.reaches(&daemon);
    let mut random = Random(7);
    let messages: Vec<Message> = (0..500).map(|_| message(&mut random)).collect();
    publisher.send_all(&messages);
    daemon.wait_until("has them", |daemon| daemon.json("/bus")["accepted"] == 500);
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 0, "nothing is committed yet");
    let setup = daemon.terminate();

    // The state itself says so, without a daemon that could have caught up.
    let backend = SledBackend::open(&setup.data_dir().join("store")).expect("the store opens");
    let (store, contents) = Store::open(Box::new(backend)).expect("the store reads");
    let cursors: BTreeMap<_, _> =
        contents.namespaces.values().map(|namespace| (&*namespace.record.instance, namespace.cursor.next)).collect();
    assert_eq!(cursors, BTreeMap::from([("releng", 501), ("volume", 501)]));
    drop(store);

    let daemon = setup.set("data", "commit_interval", "\"100ms\"").start();
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 500);
    assert_eq!(daemon.plugin("volume")["state"], "running");
    let (_, messages) = compare(daemon, &mut publisher);
    assert_eq!(messages, 501);
}

#[test]
fn a_stop_in_the_torrent_is_clean_too() {
    let torrent = Torrent::start(1);
    let mut setup = DaemonSetup::new().endpoint(&torrent.address);
    for _ in 0..3 {
        let daemon = setup.start();
        let before = daemon.json("/bus")["accepted"].as_u64();
        daemon.wait_until("receives", |daemon| daemon.json("/bus")["accepted"].as_u64() > before.map(|n| n + 100));
        setup = daemon.terminate();
        let backend = SledBackend::open(&setup.data_dir().join("store")).expect("the store opens");
        let (store, contents) = Store::open(Box::new(backend)).expect("the store reads");
        let journal = recount(&setup.data_dir()).messages.len() as u64;
        for namespace in contents.namespaces.values() {
            assert_eq!(namespace.cursor.next, journal + 1, "{}", namespace.record.instance);
        }
        drop(store);
    }
    compare(setup.start(), &mut torrent.stop());
}
