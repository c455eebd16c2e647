//! Limits: what is beyond them is counted and said, totals stay right, and the rest goes on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs, test_library};

const KINDS: &str = "statscache_test_plugin_kinds";

/// All that a count has by its label, whenever.
fn counts(daemon: &TestDaemon, metric: &str, label: &str) -> BTreeMap<String, i64> {
    let rows = daemon.rows(&format!("{metric}?start=2000-01-01&end=now%2B2d&step=1d&limit=100000"));
    let mut counts = BTreeMap::new();
    for row in rows {
        let label = row[label].as_str().expect("a label").to_owned();
        *counts.entry(label).or_default() += row["value"].as_i64().expect("a count");
    }
    counts
}

fn figure(daemon: &TestDaemon, name: &str, id: &str) -> f64 {
    daemon.figure(&format!("statscache_plugin_{name}{{plugin=\"{id}\"}}"))
}

#[test]
fn label_sets_beyond_the_limit_are_added_up() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new()
        .plugin(&test_library(KINDS))
        .instance("kinds", "kinds", "")
        .set("limits", "series_per_metric", "5")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    let send = |publisher: &mut TestPublisher, n: i64| {
        publisher.send(&Message::new("org.example.event").msg(json!({"of": format!("label-{n:02}"), "add": 10 + n})));
    };
    (0..20).for_each(|n| send(&mut publisher, n));
    daemon.wait_sequence(20);
    let chosen = counts(&daemon, "/plugins/kinds/counts", "of");
    let names: Vec<&str> = chosen.keys().map(String::as_str).collect();
    assert_eq!(names, ["__other__", "label-00", "label-01", "label-02", "label-03", "label-04"]);
    assert_eq!(chosen["__other__"], (5..20).map(|n| 10 + n).sum::<i64>());
    assert_eq!((chosen["label-00"], chosen["label-04"]), (10, 14));
    let metric = |daemon: &TestDaemon| daemon.plugin("kinds")["metrics"][0].clone();
    // `__other__` comes on top.
    assert_eq!((&metric(&daemon)["series"], &metric(&daemon)["series_max"]), (&json!(6), &json!(5)));
    for key in ["bytes", "memory"] {
        assert!(metric(&daemon)[key].as_u64() > Some(0), "{key}: {}", metric(&daemon));
    }
    assert_eq!(daemon.plugin("kinds")["counters"]["folded"], 15);
    assert_eq!((figure(&daemon, "folded_total", "kinds"), figure(&daemon, "limited_total", "kinds")), (15.0, 15.0));

    // The choice is made once, also across a crash: in the other order the same ones are kept.
    let daemon = daemon.kill().start();
    publisher.reaches(&daemon);
    (0..20).rev().for_each(|n| send(&mut publisher, n));
    daemon.wait_sequence(40);
    let doubled: BTreeMap<String, i64> = chosen.into_iter().map(|(label, count)| (label, 2 * count)).collect();
    assert_eq!(counts(&daemon, "/plugins/kinds/counts", "of"), doubled);
    assert_eq!(daemon.plugin("kinds")["counters"]["folded"], 30);
    assert_eq!(metric(&daemon)["series"], 6);
}

#[test]
fn a_plugin_with_a_metric_too_many_does_not_start() {
    let mut publisher = TestPublisher::start();
    // `volume` has 6, `kinds` 8, `releng` 2.
    let daemon = DaemonSetup::new()
        .plugin(&test_library(KINDS))
        .instance("volume", "volume", "")
        .instance("kinds", "kinds", "")
        .instance("releng", "releng", "")
        .set("limits", "metrics", "13")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    let kinds = daemon.plugin("kinds");
    assert_eq!(kinds["state"], "failed", "{kinds:#}");
    for word in ["it has 8 metrics", "those before it 6", "the most is 13", "[limits] metrics"] {
        assert!(kinds["error"].as_str().is_some_and(|error| error.contains(word)), "{word}: {kinds:#}");
    }
    assert!(daemon.logged(&["ERROR", "kinds", "the most is 13"]), "{:#?}", daemon.log());
    assert_eq!(daemon.get("/plugins/kinds/counts").status, 503);
    publisher.send(&Message::new("org.example.event"));
    daemon.wait_sequence(1);
    for id in ["volume", "releng"] {
        assert_eq!(daemon.plugin(id)["state"], "running");
    }
    // With room for it, it has what it missed.
    let daemon = daemon.terminate().set("limits", "metrics", "16").start();
    daemon.wait_until("it has caught up", |daemon| daemon.plugin("kinds")["counters"]["processed"] == 1);
}

#[test]
fn when_the_memory_is_full_new_label_sets_are_added_up() {
    const MESSAGES: u64 = 30_000;
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new()
        .instance("volume", "volume", "")
        .set("limits", "memory", "\"32MiB\"")
        .set("limits", "cache", "\"1MiB\"")
        .set("bus", "when_full", "\"wait\"")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    let long = "x".repeat(900);
    let send =
        |publisher: &mut TestPublisher, n: u64| publisher.send(&Message::new(&format!("org.example.{n}.{long}")));
    let mut sent = 0;
    while sent < MESSAGES {
        (sent..sent + 200).for_each(|n| send(&mut publisher, n));
        sent += 200;
        // Much less at a time than a publisher keeps for us, should we be slow.
        daemon.wait_until("takes them", |daemon| daemon.json("/bus")["accepted"].as_u64() == Some(sent));
    }
    daemon.wait_sequence(MESSAGES);
    assert_eq!(daemon.figure("statscache_memory_full"), 1.0);
    assert_eq!(daemon.figure("statscache_memory_limit_bytes"), f64::from(32 << 20));
    assert!(daemon.figure("statscache_memory_bytes") > f64::from(30 << 20));
    assert!(daemon.figure("statscache_cache_bytes") <= f64::from(1 << 20));
    assert!(daemon.logged(&["WARN", "memory"]), "{:#?}", daemon.log());

    let total = |daemon: &TestDaemon, metric: &str, filter: &str| -> i64 {
        let rows = daemon.rows(&format!("/plugins/volume/{metric}?start=now-7d&end=now%2B2d&step=1d&by=&{filter}"));
        rows.iter().filter_map(|row| row["value"].as_i64()).sum()
    };
    let check = |daemon: &TestDaemon, messages: i64| {
        assert_eq!(total(daemon, "messages", ""), messages);
        assert_eq!(total(daemon, "by_topic", ""), messages, "the total stays exact");
        let (others, plugin) = (total(daemon, "by_topic", "where.topic=__other__"), daemon.plugin("volume"));
        let series = plugin["metrics"][2]["series"].as_i64().expect("a number");
        assert!(others > 0 && series - 1 + others <= messages && series < messages, "{others} others, {series} series");
        assert_eq!((&plugin["state"], &plugin["counters"]["failed"]), (&json!("running"), &json!(0)));
        others
    };
    let others = check(&daemon, MESSAGES as i64);
    assert!(figure(&daemon, "folded_total", "volume") >= others as f64);
    // What is known is counted as itself, what is new is not, and the daemon goes on.
    send(&mut publisher, 0);
    send(&mut publisher, MESSAGES + 1);
    daemon.wait_sequence(MESSAGES + 2);
    assert_eq!(check(&daemon, MESSAGES as i64 + 2), others + 1);
    assert_eq!(total(&daemon, "by_topic", "where.topic=org.example.0.*"), 2);
    assert_eq!(daemon.get("/readyz").status, 200);
    let daemon = daemon.kill().start();
    daemon.wait_sequence(MESSAGES + 2);
    assert_eq!(check(&daemon, MESSAGES as i64 + 2), others + 1);
    assert_eq!(daemon.figure("statscache_queue_dropped_total"), 0.0);
}

#[test]
fn events_too_far_ahead_are_kept_and_handed_to_nobody() {
    const HOUR: i64 = 3600;
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new()
        .plugin(&test_library(KINDS))
        .instance("kinds", "kinds", "")
        .set("limits", "event_ahead", "\"1h\"")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    let now = now_secs();
    let message = |at: i64, of: &str, ahead: i64| {
        let msg = json!({"of": of, "add": 1, "status": 1, "ahead": ahead});
        Message::new("org.example.event").at(at).msg(msg)
    };
    publisher.send_all(&[
        message(now + 2 * HOUR, "far", 0),
        message(253_402_300_799, "farthest", 0),
        message(now + HOUR / 2, "near", 0),
        message(now, "now", 0),
        // What a plugin dates so counts at the message's own time.
        message(now, "dated", 2 * HOUR),
    ]);
    daemon.wait_sequence(5);
    let check = |daemon: &TestDaemon| {
        let counts = counts(daemon, "/plugins/kinds/counts", "of");
        assert_eq!(counts, ["dated", "near", "now"].map(|of| (of.to_owned(), 1)).into());
        let plugin = daemon.plugin("kinds");
        for (name, count) in [("processed", 3), ("failed", 0), ("missed", 0), ("limited", 3)] {
            assert_eq!(plugin["counters"][name], count, "{name}");
        }
        assert_eq!(daemon.rows("/plugins/kinds/status").len(), 3);
        assert_eq!(daemon.journal_next(), 6, "they are in the journal");
    };
    check(&daemon);
    assert_eq!(daemon.figure("statscache_messages_future_total"), 2.0);
    assert_eq!(daemon.figure("statscache_messages_accepted_total"), 5.0);
    let ahead = |daemon: &TestDaemon| -> Vec<Value> {
        daemon
            .rows(&format!("/plugins/kinds/status?start={}", now + HOUR / 4))
            .iter()
            .map(|row| row["of"].clone())
            .collect()
    };
    assert_eq!(ahead(&daemon), ["near"]);

    // One that reads the journal anew finds the same: what decides is when they came in.
    let daemon =
        daemon.terminate().without_instances().instance("kinds", "kinds", "").instance("again", "kinds", "").start();
    daemon.wait_sequence(5);
    check(&daemon);
    let counters = daemon.plugin("again")["counters"].clone();
    assert_eq!((&counters["processed"], &counters["limited"]), (&json!(3), &json!(3)));
    assert_eq!(ahead(&daemon), ["near"]);
}
