//! `kill -9` at random instants, many times, under a publisher that never pauses: the numbers equal a recount of the
//! journal, and nothing that was ever shown is lost. It hits the daemon while it starts, catches up, receives,
//! compacts, drops what is too old of journal and state, and stops; and an instance that is added half way through.
//! `STATSCACHE_KILL_ROUNDS` asks for more rounds, `STATSCACHE_KILL_SEED` for the same instants again.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    os::unix::fs::MetadataExt,
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

use crate::support::{DaemonSetup, Message, SHIPPED, TestDaemon, TestPublisher, note, now_secs, rfc3339};

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

/// Of so many messages ago one in ten comes again: often from before the last kill.
const REPEATED: usize = 500;

/// When the first messages say that they happen, seconds before now: the finest tier closes and drops partitions
/// while the present of the messages catches up with the present.
const AGE_AT_FIRST: u64 = 5 * 3600;

/// Publishes without pause from a thread of its own, a few thousand messages a second.
struct Torrent {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: thread::JoinHandle<TestPublisher>,
    address: String,
}

impl Torrent {
    /// The messages' own time catches up with the present in about that time.
    fn start(seed: u64, duration: Duration) -> Self {
        let mut publisher = TestPublisher::start();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let address = publisher.address.clone();
        let (stopping, counter) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let mut random = Random(seed);
            let (mut recent, mut place): (Vec<Message>, usize) = (Vec::new(), 0);
            let (started, speed) = (Instant::now(), AGE_AT_FIRST as f64 / duration.as_secs_f64());
            while !stopping.load(Ordering::Relaxed) {
                let behind = AGE_AT_FIRST.saturating_sub((started.elapsed().as_secs_f64() * speed) as u64);
                for _ in 0..10 {
                    let message = message(&mut random, behind);
                    publisher.send(&message);
                    place = (place + 1) % REPEATED;
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

/// A message of the last half hour, or of one of the tiers behind; all of that so many seconds ago.
fn message(random: &mut Random, behind: u64) -> Message {
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
    let msg = serde_json::json!({"release": "41", "repo": "r", "n": random.below(1000), "pad": "x".repeat(random.below(2000) as usize)});
    Message::new(&topic).at(now_secs() - (behind + age) as i64).msg(msg)
}

/// Keeps the journal's files beside it, by links of their own: retention takes them sooner or later.
fn archive(setup: &DaemonSetup) {
    link_all(&setup.data_dir().join("journal"), &setup.dir().join("archive"));
}

fn link_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is ours");
    let inode = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.ino());
    // The daemon may not have made any yet, and may take one away meanwhile.
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, link) = (entry.path(), to.join(entry.file_name()));
        if path.extension().is_some_and(|it| it == "journal") && inode(&path).is_some_and(|it| Some(it) != inode(&link))
        {
            let _ = fs::remove_file(&link);
            let _ = fs::hard_link(&path, &link);
        }
    }
}

/// Archives again and again from a thread of its own: long before a file can be dropped.
struct Archiver {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Archiver {
    fn start(setup: &DaemonSetup) -> Self {
        let (from, to) = (setup.data_dir().join("journal"), setup.dir().join("archive"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                link_all(&from, &to);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("archiving does not fail");
    }
}

/// Where an instance began, and what it missed of what came then.
fn since(setup: &DaemonSetup, instance: &str) -> (u64, u64) {
    let backend = SledBackend::open(&setup.data_dir().join("store")).expect("the store opens");
    let (_, contents) = Store::open(Box::new(backend)).expect("the store reads");
    let mut namespaces = contents.namespaces.values();
    let cursor = namespaces.find(|namespace| namespace.record.instance == instance).expect("it has a state").cursor;
    (cursor.since, cursor.missed)
}

/// What the journal says: the time and topic of each message, and the newest message of each topic.
#[derive(Default)]
struct Recount {
    messages: Vec<(i64, String)>,
    newest: BTreeMap<String, (i64, String, usize)>,
}

fn recount(journal: &Path) -> Recount {
    let mut reader = Reader::open(journal).expect("the journal reads");
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

    fn ask(&self, daemon: &TestDaemon, instance: &str) -> Cells {
        let Self { metric, label, step, start, end } = self;
        let path = format!("/plugins/{instance}/{metric}?start={start}&end={end}&step={}&limit=100000", step.0);
        let line = |row: &Value| {
            let label = row[*label].as_str().unwrap_or("-");
            (format!("{} {label}", row["time"]), row["value"].as_i64().expect("a count"))
        };
        daemon.rows(&path).iter().map(line).collect()
    }

    fn expect(&self, messages: &[(i64, String)]) -> Cells {
        let mut cells = Cells::new();
        for (time, topic) in messages.iter().filter(|(time, _)| (self.start..self.end).contains(time)) {
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

/// Stops the daemon and compares all it showed with the journal: of `volume`, `releng`, and another instance of
/// `volume` that was added later. Gives the number of messages.
fn compare(daemon: TestDaemon, publisher: &mut TestPublisher, late: Option<&str>) -> (DaemonSetup, u64) {
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
    let ask = |instance| questions.iter().map(|question| question.ask(&daemon, instance)).collect::<Vec<Cells>>();
    let (answers, late) = (ask("volume"), late.map(|late| (late, ask(late), daemon.plugin(late))));
    let latest = daemon.rows("/plugins/volume/latest_by_topic?order=topic");
    let (volume, releng) = (daemon.plugin("volume"), daemon.plugin("releng"));
    let setup = daemon.terminate();
    archive(&setup);
    let recount = recount(&setup.dir().join("archive"));

    let same = |instance: &str, answers: &[Cells], messages: &[(i64, String)]| {
        for (question, answer) in questions.iter().zip(answers) {
            let what = format!("{instance}: {} in steps of {}", question.metric, question.step.0);
            assert_same(&what, answer, &question.expect(messages));
        }
    };
    same("volume", &answers, &recount.messages);
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
    if let Some((late, answers, plugin)) = late {
        let (since, missed) = since(&setup, late);
        let messages = &recount.messages[since as usize - 1..];
        same(late, &answers, messages);
        // On a machine that is busy the journal may drop some before it has read them; it begins behind those.
        assert_eq!(counters(&plugin), [messages.len() as u64, 0, missed]);
        assert!(missed < since, "{missed} missed before {since}");
    }
    (setup, recount.messages.len() as u64)
}

/// Keeps less of the journal than the rounds make, and more than what comes again.
fn setup_of_rounds(address: &str) -> DaemonSetup {
    DaemonSetup::new()
        .endpoint(address)
        .set("journal", "segment", "\"1MiB\"")
        .set("journal", "max_bytes", "\"3MiB\"")
        .set("bus", "queue", "\"1MiB\"")
        .instance("volume", "volume", "")
        .instance("releng", "releng", "")
}

/// Ends it: at once, or while it stops.
fn end(daemon: TestDaemon, random: &mut Random) -> DaemonSetup {
    match random.below(3) {
        0 => daemon.terminate_and_kill(Duration::from_millis(random.below(30))),
        _ => daemon.kill(),
    }
}

#[test]
fn nothing_is_lost_or_counted_twice() {
    const LATE: &str = "late";
    let rounds = number_from("STATSCACHE_KILL_ROUNDS", 15);
    let seed = number_from("STATSCACHE_KILL_SEED", now_secs() as u64);
    let mut random = Random(seed);
    let torrent = Torrent::start(seed, Duration::from_millis(500 + 500 * rounds));
    let mut setup = setup_of_rounds(&torrent.address);
    let archiver = Archiver::start(&setup);
    let (mut shown, mut in_the_middle) = (0, 0);
    for round in 0..rounds {
        let context = format!("STATSCACHE_KILL_SEED={seed}, round {round}");
        if round == rounds / 2 {
            setup = setup.instance(LATE, "volume", "");
        }
        let daemon = setup.spawn();
        if random.below(4) == 0 || (rounds / 2..rounds / 2 + 2).contains(&round) {
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
        setup = end(daemon, &mut random);
    }
    let daemon = setup.start();
    assert!(daemon.journal_next() > shown, "STATSCACHE_KILL_SEED={seed}: what was shown is gone");
    daemon.wait_until("receives", |daemon| daemon.json("/bus")["accepted"].as_u64() > Some(0));
    let sent = torrent.sent.load(Ordering::Relaxed);
    let late = (rounds > 0).then_some(LATE);
    let (setup, messages) = compare(daemon, &mut torrent.stop(), late);
    archiver.stop();
    let began = late.map_or(1, |late| since(&setup, late).0);
    note(&format!(
        "kill: seed {seed}, {rounds} rounds, {in_the_middle} of them while it received: {messages} messages in the journal \
         of {sent} published, `{LATE}` began at {began}, no difference"
    ));
    assert!(messages > in_the_middle * 10, "hardly anything was published");
}

/// However soon the signal comes after the first sign that it serves.
#[test]
fn a_daemon_that_serves_stops_in_order() {
    let mut setup = DaemonSetup::new();
    for _ in 0..10 {
        setup = setup.start().terminate();
    }
}

#[test]
fn a_clean_stop_commits_everything() {
    let mut publisher = TestPublisher::start();
    // No commit but the one at the start comes by itself.
    let setup = DaemonSetup::new().set("data", "commit_interval", "\"60s\"").endpoint(&publisher.address);
    let daemon = setup.start();
    publisher.reaches(&daemon);
    let mut random = Random(7);
    let messages: Vec<Message> = (0..500).map(|_| message(&mut random, 0)).collect();
    publisher.send_all(&messages);
    daemon.wait_until("has them", |daemon| daemon.json("/bus")["accepted"] == 500);
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 0, "nothing is committed yet");
    let setup = daemon.terminate();

    // The state itself says so, without a daemon that could have caught up.
    let backend = SledBackend::open(&setup.data_dir().join("store")).expect("the store opens");
    let (store, contents) = Store::open(Box::new(backend)).expect("the store reads");
    let cursors: BTreeMap<_, _> =
        contents.namespaces.values().map(|namespace| (&*namespace.record.instance, namespace.cursor.next)).collect();
    assert_eq!(cursors, SHIPPED.map(|id| (id, 501)).into());
    drop(store);

    let daemon = setup.set("data", "commit_interval", "\"100ms\"").start();
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 500);
    assert_eq!(daemon.plugin("volume")["state"], "running");
    let (_, messages) = compare(daemon, &mut publisher, None);
    assert_eq!(messages, 501);
}

#[test]
fn a_stop_in_the_torrent_is_clean_too() {
    let torrent = Torrent::start(1, Duration::from_secs(3));
    let mut setup = DaemonSetup::new().endpoint(&torrent.address);
    for _ in 0..3 {
        let daemon = setup.start();
        let before = daemon.json("/bus")["accepted"].as_u64();
        daemon.wait_until("receives", |daemon| daemon.json("/bus")["accepted"].as_u64() > before.map(|n| n + 100));
        setup = daemon.terminate();
        let backend = SledBackend::open(&setup.data_dir().join("store")).expect("the store opens");
        let (store, contents) = Store::open(Box::new(backend)).expect("the store reads");
        let journal = recount(&setup.data_dir().join("journal")).messages.len() as u64;
        for namespace in contents.namespaces.values() {
            assert_eq!(namespace.cursor.next, journal + 1, "{}", namespace.record.instance);
        }
        drop(store);
    }
    compare(setup.start(), &mut torrent.stop(), None);
}
