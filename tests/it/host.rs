//! The plugin host: whatever a library or a plugin does wrong, it is said, and the others do not notice.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::support::{
    DaemonSetup, Message, SHIPPED, TestDaemon, TestPublisher, compile, now_secs, raw_abi, test_library,
};

const HOSTILE: &str = "statscache_test_plugin_hostile";

/// Sum of a count since the beginning.
fn total(daemon: &TestDaemon, id: &str, metric: &str) -> i64 {
    let rows = daemon.rows(&format!("/plugins/{id}/{metric}?start=2000-01-01&end=now%2B1d&step=1d&by="));
    rows.iter().map(|row| row["value"].as_i64().expect("a count")).sum()
}

/// `state` and counters in one line.
fn state(daemon: &TestDaemon, id: &str) -> String {
    let plugin = daemon.plugin(id);
    let counter = |name: &str| plugin["counters"][name].as_u64().unwrap_or(u64::MAX);
    let (state, error) = (plugin["state"].as_str().unwrap_or_default(), plugin["error"].as_str());
    let [processed, failed, limited] = ["processed", "failed", "limited"].map(counter);
    let line = format!("{state}: {processed} processed, {failed} failed, {limited} limited");
    error.map_or(line.clone(), |error| format!("{line}: {error}"))
}

fn assert_words(what: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{what}: no {word:?} in: {text}");
    }
    assert!(!text.is_empty(), "{what}");
}

fn wait_count(daemon: &TestDaemon, id: &str, metric: &str, count: i64) {
    daemon.wait_until(&format!("{id}/{metric} is {count}"), |daemon| total(daemon, id, metric) == count);
}

#[test]
fn libraries_that_are_none() {
    let mut setup = DaemonSetup::new();
    let mut publisher = TestPublisher::start();
    let mut path = |name: &str| setup.plugin_path(name);
    fs::write(path("text.so"), "not a library at all\n").expect("written");
    fs::write(path("empty.so"), "").expect("written");
    fs::write(path("half.so"), &fs::read(test_library(HOSTILE)).expect("built")[..5000]).expect("written");
    fs::create_dir(path("folder.so")).expect("created");
    std::os::unix::fs::symlink("/nowhere/at/all.so", path("dangling.so")).expect("linked");
    // Not looked at: hidden, and no library by its name.
    fs::write(path(".hidden.so"), "no").expect("written");
    fs::write(path("README.md"), "no").expect("written");
    compile(
        "int answer(void) { return 42; }\nint answer(void);\n",
        &["-Wno-missing-prototypes"],
        &path("unrelated.so"),
    );
    compile("const char STATSCACHE_PLUGINS[64] = \"something else altogether\";\n", &[], &path("other-symbol.so"));
    raw_abi("raw-good", "", &path("good.so"));
    raw_abi("raw-good", "", &path("good-again.so"));
    raw_abi("raw-longer", "LONGER_TABLES", &path("longer.so"));
    let mut expect: Vec<(String, Vec<&str>)> = [
        ("text.so", &["text.so", "not a shared library"][..]),
        ("empty.so", &["empty.so", "not a shared library"]),
        ("half.so", &["half.so", "ends in the middle"]),
        ("folder.so", &["folder.so", "no regular file"]),
        ("dangling.so", &["dangling.so", "cannot be read", "No such file"]),
        ("unrelated.so", &["unrelated.so", "exports no STATSCACHE_PLUGINS"]),
        ("other-symbol.so", &["other-symbol.so", "does not begin as it should"]),
        ("good.so", &["`raw-good`", "good-again.so already", "remove one"]),
    ]
    .map(|(name, words)| (name.to_owned(), words.to_vec()))
    .into();
    for (variant, words) in [
        ("WRONG_MAGIC", &["does not begin as it should"][..]),
        ("WRONG_ABI", &["ABI 99", "speaks 1", "rebuild"]),
        ("TRUNCATED_LIBRARY", &["shorter than that of ABI 1"]),
        ("TRUNCATED_PLUGIN", &["shorter than that of ABI 1"]),
        ("NULL_PLUGINS", &["no plugins"]),
        ("NULL_PLUGIN", &["missing"]),
        ("DUPLICATE_ID", &["`raw-duplicate-id`", "already"]),
        ("BAD_UTF8_ID", &["id"]),
        ("BROKEN_MANIFEST", &["`raw-broken-manifest`", "does not say what it is"]),
    ] {
        let name = variant.to_lowercase().replace('_', "-");
        raw_abi(&format!("raw-{name}"), variant, &path(&format!("{name}.so")));
        expect.push((format!("{name}.so"), words.to_vec()));
    }
    for (variant, words) in [("BROKEN_DECLARATION", &["EOF"][..]), ("NO_DECLARATION", &["says nothing"])] {
        let name = variant.to_lowercase().replace('_', "-");
        raw_abi(&format!("raw-{name}"), variant, &path(&format!("{name}.so")));
        expect.push((format!("raw-{name}"), words.to_vec()));
    }
    let daemon = setup.set("plugins", "dirs", "[\"plugins\", \"no-such-folder\"]").endpoint(&publisher.address).start();
    expect.push((daemon_folder(&daemon, "no-such-folder"), vec!["cannot be read", "[plugins] dirs"]));

    for (id, words) in &expect {
        let plugin = daemon.plugin(id);
        let error = plugin["error"].as_str().unwrap_or_default();
        assert_eq!(plugin["state"], "failed", "{plugin:#}");
        assert_words(id, error, words);
        assert!(daemon.logged(&["ERROR", id, words[0]]), "{id}: {:#?}", daemon.log());
    }
    let list = daemon.json("/plugins");
    let states = |state: &str| -> Vec<&str> {
        let all = list["plugins"].as_array().into_iter().flatten();
        all.filter(|plugin| plugin["state"] == state).filter_map(|plugin| plugin["id"].as_str()).collect()
    };
    let mut running = [&["raw-duplicate-id", "raw-good", "raw-longer"][..], &SHIPPED].concat();
    running.sort_unstable();
    assert_eq!(states("running"), running);
    assert_eq!(states("failed").len(), expect.len(), "{:#?}", states("failed"));

    // And they work.
    publisher.reaches(&daemon);
    publisher.send_all(&[Message::new("a.b"), Message::new("a.c"), Message::new("lone")]);
    daemon.wait_sequence(3);
    let rows = daemon.rows("/plugins/raw-good/messages?start=now-1d&step=1d&order=word&by=word");
    let mut words = BTreeMap::new();
    for row in &rows {
        *words.entry(row["word"].as_str().expect("text")).or_insert(0) += row["value"].as_i64().expect("a count");
    }
    assert_eq!(words, BTreeMap::from([("a", 2), ("lone", 1)]));
    assert_eq!(total(&daemon, "volume", "messages"), 3);
    assert_eq!(total(&daemon, "raw-longer", "messages"), 3);
    let answer = daemon.get("/plugins/text.so/anything");
    assert_eq!(answer.status, 503);
    assert_words("asked for values", &answer.body, &["could not be started", "not a shared library"]);
    daemon.terminate();
}

fn daemon_folder(daemon: &TestDaemon, name: &str) -> String {
    daemon.data_dir().with_file_name(name).display().to_string()
}

#[test]
fn instances_that_cannot_start() {
    let setup = DaemonSetup::new()
        .plugin(&test_library(HOSTILE))
        .instance("volume", "volume", "")
        .instance("typo", "volume", "{ latest_bodi = true }")
        .instance("type", "volume", "{ latest_body = \"yes\" }")
        .instance("panics", "hostile", "{ mode = \"panic_create\" }")
        .instance("refuses", "hostile", "{ mode = \"error_create\" }")
        .instance("declares", "hostile", "{ mode = \"bad_declaration\" }")
        .instance("mode", "hostile", "{ mode = \"fly\" }")
        .instance("unknown", "volumes", "")
        .instance("prefix", "releng", "{ topic_prefix = \"org.*.prod\" }")
        .text("\n[[instance]]\nid = \"off\"\nplugin = \"releng\"\nenabled = false\n");
    let daemon = setup.start();
    for (id, words) in [
        ("typo", &["latest_bodi", "latest_body"][..]),
        ("type", &["latest_body", "boolean"]),
        ("panics", &["panic"]),
        ("refuses", &["hostile: no", "do not load me"]),
        ("declares", &["a.*b", "no-slash", "Bad Name"]),
        ("mode", &["fly", "panic_create"]),
        ("unknown", &["volumes", "hostile", "neighbour", "releng", "volume", "[plugins] dirs"]),
        ("prefix", &["topic_prefix", "org.*.prod", "org.fedoraproject.prod"]),
    ] {
        let plugin = daemon.plugin(id);
        assert_eq!(plugin["state"], "failed", "{plugin:#}");
        assert_words(id, plugin["error"].as_str().unwrap_or_default(), words);
        assert!(daemon.logged(&["ERROR", id, words[0]]), "{id}: {:#?}", daemon.log());
        assert_eq!(daemon.get(&format!("/plugins/{id}/messages")).status, 503);
    }
    assert_eq!(daemon.plugin("off")["state"], "disabled");
    assert_words("off", &daemon.get("/plugins/off/log").body, &["disabled"]);
    assert_eq!(daemon.plugin("volume")["state"], "running");
    let list = daemon.json("/plugins");
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(10), "what no instance asks for is not started");
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.terminate();
}

#[test]
fn instances_that_fail_at_every_message() {
    let mut setup = DaemonSetup::new()
        .plugin(&test_library(HOSTILE))
        .set("plugins", "quarantine_after", "5")
        .instance("volume", "volume", "")
        .instance("neighbour", "neighbour", "");
    let modes: [(&str, &[&str]); 12] = [
        ("panic_process", &["panic", "hostile: panic in process"]),
        ("panic_bomb", &["panic"]),
        ("error_process", &["hostile: error in process"]),
        ("wrong_labels", &["`seen` has 1 dimensions", "2 labels"]),
        ("many_labels", &["labels"]),
        ("unknown_metric", &["metric number 100"]),
        ("wrong_kind", &["`seen` is a count"]),
        ("remove_count", &["`seen` is a count"]),
        ("unknown_label", &["label handle 100"]),
        ("flood", &["more than 10000 updates"]),
        ("many_series", &["more than 10000 updates"]),
        ("overflow", &["2^53"]),
    ];
    for (mode, _) in modes {
        setup = setup.instance(&mode.replace('_', "-"), "hostile", &format!("{{ mode = \"{mode}\" }}"));
    }
    let variants: [(&str, &[&str]); 10] = [
        ("NO_MEMBER", &["a member and gives none"]),
        ("NEGATIVE_WEIGHT", &["a weight that is negative"]),
        ("BAD_UTF8_KEY", &["UTF-8"]),
        ("SHORT_UPDATE", &["shorter than that of ABI 1"]),
        ("GARBAGE_STATUS", &["status 7"]),
        ("SILENT_FAILURE", &["status 1", "no error text"]),
        ("UNKNOWN_TAG", &["tag"]),
        ("UNKNOWN_LABEL", &["label handle 1000000"]),
        ("BAD_UTF8_LABEL", &["UTF-8"]),
        ("BAD_VALUE", &["not JSON"]),
    ];
    for (variant, _) in variants {
        let id = format!("raw-{}", variant.to_lowercase().replace('_', "-"));
        raw_abi(&id, variant, &setup.plugin_path(&format!("{id}.so")));
        setup = setup.instance(&id, &id, "");
    }
    let mut publisher = TestPublisher::start();
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let messages: Vec<Message> =
        (0..20).map(|n| Message::new(&format!("org.fedoraproject.prod.t{}.x", n % 3))).collect();
    publisher.send_all(&messages);
    daemon.wait_sequence(20);

    let hostile = modes.map(|(mode, words)| (mode.replace('_', "-"), "seen", words));
    let raw =
        variants.map(|(name, words)| (format!("raw-{}", name.to_lowercase().replace('_', "-")), "messages", words));
    for (id, metric, words) in hostile.into_iter().chain(raw) {
        let state = state(&daemon, &id);
        assert_words(&id, &state, &["quarantined: 5 processed, 5 failed, 0 limited"]);
        assert_words(&id, &state, words);
        assert_words(&id, &state, &["(since 20"]);
        assert_eq!(daemon.plugin(&id)["lag"]["messages"], 15, "{id}");
        // What a failed message had said before it failed is taken back.
        let answer = daemon.json(&format!("/plugins/{id}/{metric}"));
        assert_eq!((&answer["rows"], &answer["partial"]), (&json!([]), &json!(true)), "{id}");
        assert_eq!(daemon.figure(&format!("statscache_plugin_running{{plugin=\"{id}\"}}")), 0.0);
        assert!(daemon.logged(&[&id, "quarantine"]), "{id}: nothing in the log");
    }
    for (id, metric) in [("volume", "messages"), ("neighbour", "seen")] {
        assert_eq!(state(&daemon, id), "running: 20 processed, 0 failed, 0 limited");
        assert_eq!(total(&daemon, id, metric), 20);
    }
    assert_eq!(daemon.get("/readyz").status, 200);

    // A restart gives them another chance, from where they stopped.
    let daemon = daemon.terminate().start();
    daemon.wait_until("gives up again", |daemon| {
        state(daemon, "panic-process").starts_with("quarantined: 10 processed, 10 failed")
    });
    assert_eq!(total(&daemon, "volume", "messages"), 20);
    daemon.terminate();
}

#[test]
fn instances_that_fail_now_and_then() {
    let mut setup = DaemonSetup::new()
        .plugin(&test_library(HOSTILE))
        .set("plugins", "quarantine_after", "2")
        .set("limits", "series_per_metric", "100")
        .set("limits", "label_bytes", "\"64B\"")
        .instance("volume", "volume", "");
    for (id, config) in [
        ("panic-every", "{ mode = \"panic_every\", n = 3 }"),
        ("error-every", "{ mode = \"error_every\", n = 3 }"),
        ("panic-destroy", "{ mode = \"panic_destroy\" }"),
        ("flood", "{ mode = \"flood\", n = 9000 }"),
        ("many-series", "{ mode = \"many_series\", n = 1000 }"),
        ("huge-label", "{ mode = \"huge_label\" }"),
        ("huge-value", "{ mode = \"huge_value\" }"),
        ("odd-value", "{ mode = \"odd_value\" }"),
        ("deep-value", "{ mode = \"deep_value\", n = 1000 }"),
        ("odd-labels", "{ mode = \"odd_labels\" }"),
        ("far-times", "{ mode = \"far_times\" }"),
        ("asked", "{ mode = \"asked\" }"),
    ] {
        setup = setup.instance(id, "hostile", config);
    }
    let mut publisher = TestPublisher::start();
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let topic = "org.fedoraproject.prod.git.push";
    for n in 0..20 {
        // `asked` fails at two of them, with one between that goes well.
        let ask = if n == 4 || n == 6 { json!({"do": "panic_process"}) } else { json!({}) };
        publisher.send(&Message::new(topic).msg(ask));
    }
    daemon.wait_sequence(20);

    for (id, expect) in [
        ("volume", "running: 20 processed, 0 failed, 0 limited"),
        ("panic-every", "running: 20 processed, 6 failed, 0 limited"),
        ("error-every", "running: 20 processed, 6 failed, 0 limited"),
        ("panic-destroy", "running: 20 processed, 0 failed, 0 limited"),
        ("asked", "running: 20 processed, 2 failed, 0 limited"),
        ("flood", "running: 20 processed, 0 failed, 0 limited"),
        ("huge-label", "running: 20 processed, 0 failed, 20 limited"),
        ("huge-value", "running: 20 processed, 0 failed, 20 limited"),
        ("odd-value", "running: 20 processed, 0 failed, 0 limited"),
        ("odd-labels", "running: 20 processed, 0 failed, 0 limited"),
        ("deep-value", "running: 20 processed, 0 failed, 20 limited"),
        ("far-times", "running: 20 processed, 0 failed, 40 limited"),
    ] {
        assert_eq!(state(&daemon, id), expect, "{id}");
    }
    let seen = |id: &str| total(&daemon, id, "seen");
    assert_eq!(["panic-every", "error-every", "asked"].map(seen), [14, 14, 18]);
    assert_eq!(seen("flood"), 20 * 9001);
    // New label sets beyond the limit are one; the total is right.
    assert_eq!(seen("many-series"), 20 * 1001);
    let series = daemon.plugin("many-series")["metrics"][0]["series"].as_u64().expect("a number");
    assert!((100..=101).contains(&series), "{series} series");
    let rows = daemon.rows("/plugins/many-series/seen?start=now-1d&step=7d&where.topic=__other__");
    assert_eq!(rows.iter().filter_map(|row| row["value"].as_i64()).sum::<i64>(), 20 * 901);
    let rows = daemon.rows("/plugins/huge-label/seen?start=now-1d&step=7d&where.topic=x*");
    assert_eq!(rows[0]["topic"].as_str().map(str::len), Some(64));
    assert_eq!(daemon.rows("/plugins/huge-value/newest"), [] as [Value; 0]);
    // What is JSON is served as it is, also what many parsers refuse.
    let odd = daemon.get("/plugins/odd-value/newest").body;
    assert!(odd.contains("\"big\": 1e400") && odd.contains("123456789012345678901234567890"), "{odd}");
    // Deeper than readers of JSON go.
    assert_eq!(daemon.rows("/plugins/deep-value/newest"), [] as [Value; 0]);
    let rows = daemon.rows("/plugins/odd-labels/seen?start=now-1d&step=7d");
    let labels: Vec<&str> = rows.iter().filter_map(|row| row["topic"].as_str()).collect();
    for label in ["", " ", "\0", "\n", "\"", "a/b", "\u{202e}ıİ"] {
        assert!(labels.contains(&label), "{label:?} not in {labels:?}");
    }
    // Both ends of time: answers, and no panic.
    for question in
        ["start=1970-01-01&step=1d", "start=-62167219200&end=253402300799&step=1d", "start=now-1h&end=253402300799"]
    {
        assert_eq!(daemon.get(&format!("/plugins/far-times/seen?{question}")).status, 200, "{question}");
    }
    assert!(!daemon.logged(&["query failed"]), "{:#?}", daemon.log());

    // All of it is on disk, too.
    let daemon = daemon.terminate().start();
    assert_eq!(seen_all(&daemon, &["many-series", "flood", "asked"]), [20_020, 180_020, 18]);
    let series = daemon.plugin("many-series")["metrics"][0]["series"].as_u64().expect("a number");
    assert!((100..=101).contains(&series), "{series} series");
    daemon.terminate();
}

fn seen_all<const N: usize>(daemon: &TestDaemon, ids: &[&str; N]) -> [i64; N] {
    ids.map(|id| total(daemon, id, "seen"))
}

#[test]
fn one_plugin_under_several_ids() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new()
        .instance("sizes", "volume", "{ latest_body = false }")
        .instance("bodies", "volume", "{ latest_body = true }")
        .instance("releng", "releng", "")
        .instance("staging", "releng", "{ topic_prefix = \"org.fedoraproject.stg\" }")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    let sync = |environment: &str| {
        let topic = format!("org.fedoraproject.{environment}.bodhi.updates.fedora.sync");
        Message::new(&topic).msg(json!({"release": environment, "repo": "r"}))
    };
    publisher.send_all(&[sync("prod"), sync("stg")]);
    daemon.wait_sequence(2);
    for (id, release) in [("releng", "prod-r"), ("staging", "stg-r")] {
        let rows = daemon.rows(&format!("/plugins/{id}/log"));
        assert_eq!(rows.iter().map(|row| &row["constraint"]).collect::<Vec<_>>(), [release]);
    }
    let values = |id: &str| {
        let rows = daemon.rows(&format!("/plugins/{id}/latest_by_topic?order=topic"));
        rows.into_iter().map(|row| row["value"]["msg"]["release"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("sizes"), [Value::Null, Value::Null]);
    assert_eq!(values("bodies"), ["prod", "stg"]);
    assert_eq!(daemon.plugin("bodies")["plugin"], "volume");
    assert_eq!(daemon.plugin("bodies")["config"], json!({"latest_body": true}));
    assert_eq!(daemon.get("/plugins/volume").status, 404, "volume is no instance here");
}

#[test]
fn a_change_of_configuration_is_computed_anew_from_the_journal() {
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new().plugin(&test_library(HOSTILE)).endpoint(&publisher.address);
    let daemon = setup.instance("volume", "volume", "").start();
    publisher.reaches(&daemon);
    let message = |n: i64| {
        Message::new(&format!("org.fedoraproject.prod.git.t{}", n % 4)).at(now_secs() - n).msg(json!({"n": n}))
    };
    publisher.send_all(&(0..100).map(message).collect::<Vec<_>>());
    daemon.wait_sequence(100);
    let before = daemon.rows("/plugins/volume/by_topic?start=now-1d&step=1h");
    assert_eq!(daemon.rows("/plugins/volume/latest_by_topic")[0]["value"]["msg"], Value::Null);

    // Another configuration, and an instance that was not there before.
    let setup = daemon.terminate().without_instances();
    let setup = setup.instance("volume", "volume", "{ latest_body = true }").instance("neighbour", "neighbour", "");
    let daemon = setup.start();
    daemon.wait_until("the new one has taken the place of the old one", |daemon| {
        daemon.plugin("volume")["building"].is_null()
    });
    wait_count(&daemon, "volume", "messages", 100);
    wait_count(&daemon, "neighbour", "seen", 100);
    assert_eq!(daemon.rows("/plugins/volume/by_topic?start=now-1d&step=1h"), before);
    let rows = daemon.rows("/plugins/volume/latest_by_topic?order=topic");
    assert_eq!(rows.iter().map(|row| row["value"]["msg"]["n"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(state(&daemon, "volume"), "running: 100 processed, 0 failed, 0 limited");

    // Without it and with it again: its numbers have stayed, and it has what it missed.
    let daemon = daemon.terminate().without_instances().instance("volume", "volume", "{ latest_body = true }").start();
    publisher.reaches(&daemon);
    publisher.send(&message(4));
    daemon.wait_sequence(101);
    let daemon = daemon.terminate().instance("neighbour", "neighbour", "").start();
    wait_count(&daemon, "neighbour", "seen", 101);
    assert_eq!(state(&daemon, "neighbour"), "running: 101 processed, 0 failed, 0 limited");
    assert_eq!(total(&daemon, "volume", "messages"), 101);
}

#[test]
fn a_plugin_of_the_operator_replaces_one_that_ships() {
    let mut setup = DaemonSetup::new();
    raw_abi("volume", "", &setup.plugin_path("mine.so"));
    let daemon = setup.start();
    let volume = daemon.plugin("volume");
    assert_eq!((&volume["state"], &volume["version"]), (&json!("running"), &json!("1.2.3")));
    assert_words("library", volume["library"].as_str().unwrap_or_default(), &["mine.so"]);
    assert!(daemon.logged(&["replaces", "volume"]), "{:#?}", daemon.log());
    let daemon = daemon.terminate().set("plugins", "bundled", "false").start();
    let list = daemon.json("/plugins");
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(1), "{list}");
}

#[test]
fn a_plugin_that_does_not_return_holds_up_nobody() {
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new().plugin(&test_library(HOSTILE)).instance("asked", "hostile", "{ mode = \"asked\" }");
    let daemon = setup.instance("volume", "volume", "").endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let before = total(&daemon, "volume", "messages");
    publisher.send(&Message::new("org.example.event").msg(json!({"do": "stall_ms", "n": 13_000})));
    for _ in 0..100 {
        publisher.send(&Message::new("org.example.event"));
    }
    daemon.wait_until("others go on", |daemon| total(daemon, "volume", "messages") == before + 101);
    assert_eq!(daemon.plugin("volume")["state"], "running");
    daemon.wait_until("says that it is stalled", |daemon| daemon.plugin("asked")["state"] == "stalled");
    let asked = daemon.plugin("asked");
    assert_words("error", asked["error"].as_str().unwrap_or_default(), &["does not return", "since"]);
    assert!(asked["lag"]["messages"].as_u64() >= Some(101), "{asked}");
    assert_eq!(daemon.get("/readyz").status, 200, "the daemon does its work");
    // Readers are served on, and it recovers when the plugin does.
    assert_eq!(daemon.get("/plugins/asked/seen").status, 200);
    daemon.wait_until("goes on", |daemon| daemon.plugin("asked")["state"] == "running");
    daemon.wait_until("counts all", |daemon| total(daemon, "asked", "seen") >= 100);
}
