//! The store of a daemon that is down: sums, checks, moving it elsewhere; and one of an earlier format.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use statscache_core::store::{SledBackend, backend::Backend};

use crate::support::{BINARY, DaemonSetup, Finished, PublishProcess, TestDaemon, run, test_library};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn tree(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs `statscache store` with the configuration of a daemon.
fn store(setup: &DaemonSetup, args: &[&str]) -> Finished {
    run(&[&["store", args[0], "--config", text(&setup.write())], &args[1..]].concat())
}

fn fine(finished: Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    finished.stdout
}

fn setup() -> DaemonSetup {
    DaemonSetup::new().instance("volume", "volume", "").instance("releng", "releng", "")
}

/// What both plugins answer.
const URLS: [&str; 6] = [
    "/plugins/releng/log?limit=100000",
    "/plugins/releng/events?start=2000-01-01T00:00:00Z&step=1d&limit=100000",
    "/plugins/volume/messages?start=2000-01-01T00:00:00Z&step=1d&limit=100000",
    "/plugins/volume/by_category?start=2000-01-01T00:00:00Z&step=1d&limit=100000",
    "/plugins/volume/by_topic?start=2000-01-01T00:00:00Z&step=1d&limit=100000",
    "/plugins/volume/latest_by_topic?limit=100000",
];

/// Rows without what depends on when the daemon was up.
fn rows(daemon: &TestDaemon, url: &str) -> Vec<Value> {
    let mut rows = daemon.rows(url);
    for row in &mut rows {
        row.as_object_mut().expect("a row").remove("coverage");
    }
    rows
}

/// A daemon that has counted the demo's messages and is down.
fn counted() -> DaemonSetup {
    let publisher = PublishProcess::start(&tree("examples/messages/demo.jsonl"), &["--restamp"]);
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.finish();
    let messages = fs::read_to_string(tree("examples/messages/demo.jsonl")).expect("it is there");
    daemon.wait_sequence(messages.lines().count() as u64);
    daemon.terminate()
}

#[test]
fn stats_and_check_of_a_daemon_that_is_down() {
    let setup = counted();
    let stats = fine(store(&setup, &["stats"]));
    for words in ["format 3", "on disk", "label sets", "volume", "by_topic", "1s for 2h", "coverage of the bus: "] {
        assert!(stats.contains(words), "no {words:?} in\n{stats}");
    }
    let json: Value = serde_json::from_str(&fine(store(&setup, &["stats", "--json"]))).expect("JSON");
    let volume = json["namespaces"].as_array().expect("a list").iter().find(|it| it["instance"] == "volume");
    let messages = volume.and_then(|it| it["metrics"].as_array()?.iter().find(|it| it["name"] == "messages"));
    let tiers = &messages.expect("a metric")["tiers"];
    assert_eq!((&tiers[3]["tier"], &tiers[3]["rows"]["cells"]), (&"1d forever".into(), &1.into()), "{tiers:#}");

    let check = fine(store(&setup, &["check"]));
    let line = check.lines().find(|line| line.starts_with("volume (")).unwrap_or_else(|| panic!("{check}"));
    assert!(line.contains(": ok; ") && !line.contains(" 0 buckets compared"), "{check}");
    assert!(check.lines().last().is_some_and(|line| line.contains("is fine: ")), "{check}");

    // One bit of one row.
    let store_dir = setup.data_dir().join("store");
    let backend = SledBackend::open(&store_dir).expect("it opens");
    let mut row = None;
    let mut take = |key: &[u8], value: &[u8]| row.replace((key.to_vec(), value.to_vec())).is_some();
    backend.scan(b"I", &mut take).expect("it reads");
    let (key, mut value) = row.expect("a row");
    value[2] ^= 1;
    backend.apply(&[(key, Some(value))]).expect("it writes");
    drop(backend);
    let damaged = store(&setup, &["check"]);
    damaged.fails_with(&[text(&store_dir), "1 problem"]);
    assert!(damaged.stdout.contains("index of SegmentKey") && damaged.stdout.contains("checksum"), "{damaged:#?}");
    assert!(damaged.stdout.contains("restore a backup"), "{damaged:#?}");
    store(&setup, &["export"]).fails_with(&["cannot export", "damaged"]);
}

#[test]
fn a_store_moves_to_another_machine() {
    let from = counted();
    let file = from.dir().join("export.jsonl");
    let exported = store(&from, &["export"]);
    fine(store(&from, &["export", "--output", text(&file)]));
    assert_eq!(fs::read_to_string(&file).expect("written"), fine(exported), "to a file as to standard output");
    store(&from, &["export", "--output", text(&file)]).fails_with(&[text(&file), "exists"]);

    let to = setup();
    fine(store(&to, &["import", text(&file)]));
    assert_eq!(fine(store(&to, &["export"])), fs::read_to_string(&file).expect("written"));
    assert!(fine(store(&to, &["check"])).contains("there is no journal beside it"));
    store(&to, &["import", text(&file)]).fails_with(&["not empty", "volume", "releng"]);
    // Through a pipe as well; what ends early leaves nothing.
    let piped = setup();
    let import = |lines: &Path| {
        let mut command = Command::new(BINARY);
        command.args(["store", "import", "--config", text(&piped.write())]).stdin(File::open(lines).expect("there"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs").code()
    };
    let half = from.dir().join("half.jsonl");
    let all = fs::read_to_string(&file).expect("written");
    fs::write(&half, &all[..all.len() / 2]).expect("written");
    assert_eq!((import(&half), import(&file)), (Some(1), Some(0)));

    // There is no journal on the new machine: it begins behind what the state has seen.
    let (old, new) = (from.start(), to.start());
    for url in URLS {
        let expected = rows(&old, url);
        assert!(!expected.is_empty(), "{url}");
        assert_eq!(rows(&new, url), expected, "{url}");
    }
    assert_eq!(new.plugin("volume")["state"], "running");
    assert_eq!(new.plugin("volume")["counters"], old.plugin("volume")["counters"]);
    assert_eq!((new.journal_next(), old.journal_next()), (430, 430));
    let to = new.terminate();
    let check = fine(store(&to, &["check"]));
    assert!(check.contains("volume (") && check.contains(": ok; "), "{check}");
}

#[test]
fn a_store_that_is_in_use_or_not_there_is_refused() {
    let daemon = setup().start();
    let other = DaemonSetup::new().data(&daemon.data_dir());
    for command in ["stats", "check", "export", "import"] {
        store(&other, &[command]).fails_with(&[text(&daemon.data_dir().join("store")), "in use by another process"]);
    }
    assert_eq!(daemon.get("/readyz").status, 200);
    let nothing = DaemonSetup::new();
    for command in ["stats", "check", "export"] {
        store(&nothing, &[command]).fails_with(&["there is no store at", text(&nothing.data_dir())]);
        assert!(!nothing.data_dir().exists(), "{command} makes none");
    }
    run(&["store", "stats", "--config", "/nowhere.toml"]).fails_with(&["/nowhere.toml", "No such file"]);
    let usage = run(&["store"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
    for command in ["stats", "check", "export", "import"] {
        assert!(fine(run(&["store", command, "--help"])).contains("--config <FILE>"), "{command}");
    }
}

/// Puts a committed store under the daemon; gives the rows that the daemon that wrote it answered.
fn with_fixture(setup: &DaemonSetup, name: &str) -> Value {
    let (fixture, dir) = (tree("tests/fixtures").join(name), setup.data_dir().join("store"));
    fs::create_dir_all(&dir).expect("created");
    for name in ["conf", "db"] {
        fs::copy(fixture.join(name), dir.join(name)).expect("copied");
    }
    let answers = fs::read_to_string(fixture.join("answers.json")).expect("it is there");
    serde_json::from_str(&answers).expect("JSON")
}

/// The fixtures are of a `volume` that had fewer metrics: it is built anew, and what it had serves meanwhile.
fn that_serves_as_it_was(setup: DaemonSetup) -> DaemonSetup {
    setup.set("plugins", "hold", "true")
}

/// What the fixtures of formats 2 and 3 are of: every kind, in columns of partitions that are closed since 2024 and in
/// rows.
fn setup_of_fixtures() -> DaemonSetup {
    let setup = DaemonSetup::new().plugin(&test_library("statscache_test_plugin_kinds"));
    that_serves_as_it_was(setup.instance("volume", "volume", "").instance("kinds", "kinds", ""))
}

fn assert_answers(daemon: &TestDaemon, answers: &Value) {
    let answers = answers.as_object().expect("by URL");
    assert_eq!(answers.len(), 11);
    for (url, expected) in answers {
        assert_eq!(&Value::from(rows(daemon, url)), expected, "{url}");
    }
}

/// Coverage of the first and the last day of March 2024 that were filled, and of one that was filled in part. Each has
/// messages, so that none is missing.
fn coverage_of_march(daemon: &TestDaemon) -> Vec<Value> {
    let rows = daemon.rows("/plugins/volume/messages?start=2024-03-01T00:00:00Z&end=2024-03-08T00:00:00Z&step=1d");
    [0, 5, 6].map(|day: usize| rows[day]["coverage"].clone()).to_vec()
}

/// Has all that format 3 added: times filled, states of namespaces, the start of what was read without a gap, and a
/// segment that is set aside.
#[test]
fn a_store_of_format_3_gives_the_same_answers() {
    let setup = setup_of_fixtures();
    let answers = with_fixture(&setup, "store-v3");
    let check = store(&setup, &["check"]);
    check.fails_with(&["1 problem in"]);
    assert_eq!(check.stdout.matches(": ok; ").count(), 3, "{}", check.stdout);
    assert!(check.stdout.contains("its 1 cells count in no answer, because chunk 0 was damaged"), "{}", check.stdout);
    let stats = fine(store(&setup, &["stats"]));
    let (states, segments) =
        ("of building is being built\nnamespace 4 of retired was replaced at 2026-", "1 segments with");
    for words in ["format 3", "chunks in columns", states, segments] {
        assert!(stats.contains(words), "no {words:?} in\n{stats}");
    }
    let export = fine(store(&setup, &["export"]));
    for words in [
        "\"state\":{\"type\":\"retired\",\"since\":1794700000000000}",
        "\"since\":7,",
        "\"filled\":[[1709251200000000,",
    ] {
        assert!(export.contains(words), "no {words:?} in\n{export}");
    }
    let daemon = setup.start();
    assert_answers(&daemon, &answers);
    assert_eq!(coverage_of_march(&daemon), ["complete", "complete", "partial"]);
}

#[test]
fn a_store_of_format_2_gives_the_same_answers() {
    let setup = setup_of_fixtures();
    let answers = with_fixture(&setup, "store-v2");
    for command in ["stats", "check", "export"] {
        store(&setup, &[command]).fails_with(&["format 2", "start the daemon of this version"]);
    }
    let daemon = setup.start();
    assert_answers(&daemon, &answers);
    assert_eq!(coverage_of_march(&daemon), ["partial"; 3]);
    let setup = daemon.terminate();
    let check = fine(store(&setup, &["check"]));
    assert_eq!(check.matches(": ok; ").count(), 3, "{check}");
    let stats = fine(store(&setup, &["stats"]));
    assert!(stats.contains("format 3") && stats.contains("chunks in columns"), "{stats}");
}

#[test]
fn an_export_of_format_2_gives_the_same_answers() {
    let setup = setup_of_fixtures();
    let fixture = tree("tests/fixtures/store-v2");
    fine(store(&setup, &["import", text(&fixture.join("export.jsonl"))]));
    let check = fine(store(&setup, &["check"]));
    assert_eq!(check.matches(": ok; ").count(), 2, "{check}");
    let answers = fs::read_to_string(fixture.join("answers.json")).expect("it is there");
    assert_answers(&setup.start(), &serde_json::from_str(&answers).expect("JSON"));
}

#[test]
fn a_store_of_format_1_gives_the_same_answers() {
    let setup = that_serves_as_it_was(setup());
    let answers = with_fixture(&setup, "store-v1");
    for command in ["stats", "check", "export"] {
        store(&setup, &[command]).fails_with(&["format 1", "start the daemon of this version"]);
    }
    let daemon = setup.start();
    assert_eq!(answers.as_object().map(serde_json::Map::len), Some(URLS.len()));
    for url in URLS {
        let expected = answers[url].as_array().unwrap_or_else(|| panic!("{url} was not asked"));
        assert!(!expected.is_empty(), "{url}");
        assert_eq!(&rows(&daemon, url), expected, "{url}");
    }
    let setup = daemon.terminate();
    let check = fine(store(&setup, &["check"]));
    assert_eq!(check.matches(": ok; ").count(), 3, "{check}");
    let stats = fine(store(&setup, &["stats"]));
    assert!(stats.contains("format 3"), "{stats}");
}
