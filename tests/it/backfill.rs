//! What was missed is fetched: after an outage, for a new plugin, on demand; whatever is killed meanwhile, each message
//! counts once, and what cannot be had is said to be missing.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use statscache_core::store::{SledBackend, backend::Backend};
use tempfile::TempDir;

use crate::support::{
    DaemonSetup, HistoryProcess, Message, SOON, TestDaemon, TestPublisher, look, note, now_secs, run,
};

const TOPIC: &str = "org.fedoraproject.prod.wiki.edit";

/// A history service that has what it is given.
struct Archive {
    _dir: TempDir,
    path: PathBuf,
    service: HistoryProcess,
}

impl Archive {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("archive.jsonl");
        fs::write(&path, "").expect("it is ours");
        let service = HistoryProcess::start("--jsonl", path.to_str().expect("UTF-8"));
        Self { _dir: dir, path, service }
    }

    fn keep(&self, messages: &[Message]) {
        let mut file = OpenOptions::new().append(true).open(&self.path).expect("it is ours");
        let lines: String = messages.iter().map(|message| message.body() + "\n").collect();
        file.write_all(lines.as_bytes()).expect("it is ours");
    }

    fn for_daemon(&self, setup: DaemonSetup) -> DaemonSetup {
        asks(setup, &format!("http://{}", self.service.address))
    }
}

fn asks(setup: DaemonSetup, url: &str) -> DaemonSetup {
    setup
        .set("history", "url", &format!("{url:?}"))
        .set("history", "settle", "\"1s\"")
        .set("history", "reach", "\"2h\"")
        .set("history", "rate", "1000")
}

fn some(count: usize, age: std::ops::Range<i64>) -> Vec<Message> {
    let now = now_secs();
    let span = age.end - age.start;
    (0..count as i64).map(|n| Message::new(TOPIC).at(now - age.start - n * span / count as i64)).collect()
}

/// All that is counted, by the days.
fn total(daemon: &TestDaemon, id: &str) -> i64 {
    let path = format!("/plugins/{id}/messages?start=now-2d&end=now%2B1d&step=1d");
    daemon.rows(&path).iter().map(|row| row["value"].as_i64().expect("a count")).sum()
}

fn wait_total(daemon: &TestDaemon, id: &str, count: usize) {
    daemon.wait_until(&format!("{id} counts {count}"), |daemon| total(daemon, id) >= count as i64);
    assert_eq!(total(daemon, id), count as i64);
}

/// What is known of these seconds: one letter for each run.
fn coverage(daemon: &TestDaemon, id: &str, start: i64, end: i64) -> Vec<Value> {
    let answer = daemon.json(&format!("/plugins/{id}/messages?start={start}&end={end}&step=1m"));
    answer["coverage"].as_array().expect("runs").iter().map(|run| run["coverage"].clone()).collect()
}

fn wait_complete(daemon: &TestDaemon, id: &str, start: i64, end: i64) {
    daemon.wait_until("everything of it is known", |daemon| coverage(daemon, id, start, end) == [json!("complete")]);
}

#[test]
fn what_was_published_while_nobody_listened_comes_back() {
    let archive = Archive::new();
    let mut publisher = TestPublisher::start();
    let daemon = archive.for_daemon(DaemonSetup::new()).endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let heard = some(50, 0..1);
    publisher.send_all(&heard);
    archive.keep(&heard);
    wait_total(&daemon, "volume", 50);
    let setup = daemon.kill();
    // Nobody listens; the archive has it all the same.
    let missed = some(200, 0..1);
    publisher.send_all(&missed);
    archive.keep(&missed);
    let daemon = setup.start();
    wait_total(&daemon, "volume", 250);
    publisher.reaches(&daemon);
    // It comes once more from the bus.
    publisher.send_all(&missed[..20]);
    let last = Message::new(TOPIC);
    publisher.send(&last);
    wait_total(&daemon, "volume", 251);
    let now = now_secs().div_euclid(60) * 60;
    wait_complete(&daemon, "volume", now - 3600, now - 60);
    assert_eq!(total(&daemon, "volume"), 251);
}

#[test]
fn a_new_instance_gets_its_history_and_the_others_do_not_get_it_twice() {
    let archive = Archive::new();
    let history = some(500, 60..6000);
    archive.keep(&history);
    let mut publisher = TestPublisher::start();
    // Without a service: what was before it began is missing.
    let daemon = DaemonSetup::new().endpoint(&publisher.address).instance("old", "volume", "").start();
    publisher.reaches(&daemon);
    let live = some(30, 0..1);
    publisher.send_all(&live);
    archive.keep(&live);
    wait_total(&daemon, "old", 30);
    let minute = now_secs().div_euclid(60) * 60;
    assert_eq!(coverage(&daemon, "old", minute - 6000, minute - 120), [json!("missing")]);
    // With one: both are filled, the new one from the journal and the service.
    let setup = archive.for_daemon(daemon.terminate()).instance("new", "volume", "");
    let daemon = setup.start();
    for id in ["old", "new"] {
        wait_total(&daemon, id, 530);
        wait_complete(&daemon, id, minute - 6000, minute - 120);
    }
    // One more: now only the journal is read, which has it all.
    let daemon = daemon.terminate().instance("newest", "volume", "").start();
    for id in ["old", "new", "newest"] {
        wait_total(&daemon, id, 530);
    }
}

#[test]
fn two_daemons_heal_each_other() {
    let mut publisher = TestPublisher::start();
    let healer = DaemonSetup::new().set("history", "serve", "true").endpoint(&publisher.address).start();
    let url = format!("http://{}", healer.address());
    let daemon = asks(DaemonSetup::new(), &url).endpoint(&publisher.address).start();
    publisher.reaches(&healer);
    publisher.reaches(&daemon);
    publisher.send_all(&some(40, 0..1));
    wait_total(&daemon, "volume", 40);
    wait_total(&healer, "volume", 40);
    let setup = daemon.kill();
    publisher.send_all(&some(60, 0..1));
    wait_total(&healer, "volume", 100);
    let daemon = setup.start();
    wait_total(&daemon, "volume", 100);
    publisher.reaches(&daemon);
    publisher.send_all(&some(10, 0..1));
    wait_total(&daemon, "volume", 110);
    wait_total(&healer, "volume", 110);
}

#[test]
fn a_backfill_that_is_killed_goes_on_where_it_was() {
    let archive = Archive::new();
    let history = some(5000, 60..6000);
    archive.keep(&history);
    let publisher = TestPublisher::start();
    // Slowly, so that there is something to interrupt.
    let mut setup = archive.for_daemon(DaemonSetup::new()).set("history", "rate", "40").endpoint(&publisher.address);
    let mut seen = Vec::new();
    for round in 0..6 {
        let daemon = setup.spawn();
        daemon.wait_serving();
        let before = total(&daemon, "volume");
        assert!(seen.last().is_none_or(|seen| *seen <= before), "round {round}: what was shown is gone");
        let _ = look(Duration::from_millis(900), || (total(&daemon, "volume") > before + 300).then_some(()));
        seen.push(total(&daemon, "volume"));
        setup = daemon.kill();
    }
    let daemon = setup.set("history", "rate", "1000").start();
    wait_total(&daemon, "volume", 5000);
    let minute = now_secs().div_euclid(60) * 60;
    wait_complete(&daemon, "volume", minute - 6000, minute - 120);
    assert_eq!(total(&daemon, "volume"), 5000);
    note(&format!("backfill: killed with {seen:?} of 5000, each counted once"));
}

#[test]
fn more_can_be_asked_for_and_is_remembered() {
    let archive = Archive::new();
    archive.keep(&some(300, 30_000..50_000));
    let publisher = TestPublisher::start();
    let token = tempfile::NamedTempFile::new().expect("a file");
    fs::write(token.path(), "secret\n").expect("it is ours");
    let token = token.path().to_str().expect("UTF-8");
    let setup = archive.for_daemon(DaemonSetup::new()).set("admin", "token_file", &format!("{token:?}"));
    let daemon = setup.endpoint(&publisher.address).start();
    let url = format!("http://{}", daemon.address());
    let (from, to) = ((now_secs() - 60_000).to_string(), (now_secs() - 20_000).to_string());
    let ask = |more: &[&str]| {
        let args = ["backfill", "--from", &from, "--to", &to, "--url", &url];
        run(&[&args[..], more].concat())
    };
    ask(&[]).fails_with(&["token"]);
    let asked = ask(&["--token-file", token]);
    assert_eq!(asked.code, Some(0), "{asked:#?}");
    assert_eq!(total(&daemon, "volume"), 300);
    // Nothing is left to do.
    let again = ask(&["--token-file", token]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(total(&daemon, "volume"), 300);
}

#[test]
fn a_service_that_is_away_is_asked_again_and_hurts_nobody() {
    let mut archive = Archive::new();
    let missed = some(20, 100..200);
    archive.keep(&missed);
    let address = archive.service.address;
    let setup = archive.for_daemon(DaemonSetup::new());
    archive.service.terminate();
    let mut publisher = TestPublisher::start();
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send_all(&some(10, 0..1));
    wait_total(&daemon, "volume", 10);
    daemon.wait_until("says so", |daemon| daemon.logged(&["history cannot be fetched", &address.to_string()]));
    assert_eq!(daemon.get("/readyz").status, 200);
    archive.service = HistoryProcess::start_at("--jsonl", archive.path.to_str().expect("UTF-8"), &address.to_string());
    daemon.wait_until_within(2 * SOON, "has it", |daemon| total(daemon, "volume") == 30);
}

#[test]
fn what_is_damaged_is_told_set_aside_and_made_anew() {
    let archive = Archive::new();
    archive.keep(&some(200, 60..6000));
    let mut publisher = TestPublisher::start();
    let daemon = archive.for_daemon(DaemonSetup::new()).endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let live = some(30, 0..1);
    publisher.send_all(&live);
    archive.keep(&live);
    wait_total(&daemon, "volume", 230);
    let setup = daemon.terminate();
    let damaged = {
        let backend = SledBackend::open(&setup.data_dir().join("store")).expect("it opens");
        let mut row = None;
        let first = &mut |key: &[u8], value: &[u8]| {
            row = Some((key.to_vec(), value.to_vec()));
            false
        };
        backend.scan(b"I", first).expect("it reads");
        let (key, mut value) = row.expect("there are segments");
        value[3] ^= 1;
        backend.apply(&[(key.clone(), Some(value))]).expect("it is ours");
        backend.sync().expect("it is ours");
        u32::from_be_bytes([key[1], key[2], key[3], key[4]])
    };
    let daemon = setup.start();
    assert!(daemon.logged(&["damaged", "set aside", &format!("namespace={damaged}")]), "{:#?}", daemon.log());
    wait_total(&daemon, "volume", 230);
    assert_eq!(daemon.get("/readyz").status, 200);
    let minute = now_secs().div_euclid(60) * 60;
    wait_complete(&daemon, "volume", minute - 6000, minute - 120);
}

#[test]
fn progress_is_seen_at_the_plugin() {
    let archive = Archive::new();
    archive.keep(&some(3000, 60..6000));
    let publisher = TestPublisher::start();
    let daemon =
        archive.for_daemon(DaemonSetup::new()).set("history", "rate", "20").endpoint(&publisher.address).start();
    daemon.wait_until("is on its way", |daemon| {
        let history = &daemon.plugin("volume")["history"];
        history["done_until"].as_str() > history["from"].as_str()
    });
    assert_eq!(daemon.plugin("volume")["history"]["audience"], "everyone");
    thread::yield_now();
    wait_total(&daemon, "volume", 3000);
    daemon.wait_until("is done", |daemon| daemon.plugin("volume")["history"].is_null());
}
