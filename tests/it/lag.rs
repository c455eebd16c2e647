//! A slow instance lags on its own cursor: it shows, it holds up nobody, and what the journal drops before it reads it
//! is missing for it and for nobody else.

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs, test_library};

const TOPIC: &str = "org.example.event";

fn daemon(publisher: &mut TestPublisher, setup: DaemonSetup) -> TestDaemon {
    let setup = setup.plugin(&test_library("statscache_test_plugin_hostile"));
    let setup = setup.instance("slow", "hostile", "{ mode = \"asked\" }").instance("volume", "volume", "");
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    daemon
}

fn counted(daemon: &TestDaemon, path: &str) -> i64 {
    let path = format!("/plugins/{path}?start=now-1d&end=now%2B1d&step=1d");
    daemon.rows(&path).iter().map(|row| row["value"].as_i64().expect("a count")).sum()
}

/// What is known of these seconds, a letter each.
fn known(daemon: &TestDaemon, path: &str, start: i64, end: i64) -> Vec<Value> {
    let answer = daemon.json(&format!("/plugins/{path}?start={start}&end={end}&step=1s"));
    answer["coverage"].as_array().expect("runs").iter().map(|run| run["coverage"].clone()).collect()
}

#[test]
fn one_that_is_slow_lags_and_the_others_do_not() {
    let mut publisher = TestPublisher::start();
    let daemon = daemon(&mut publisher, DaemonSetup::new());
    for n in 0..60 {
        publisher.send(&Message::new(TOPIC).msg(json!({"do": "stall_ms", "n": 50, "number": n})));
    }
    daemon.wait_until("volume has all", |daemon| counted(daemon, "volume/messages") == 60);
    let slow = daemon.plugin("slow");
    assert!(slow["lag"]["messages"].as_u64() > Some(0) && slow["lag"]["seconds"].as_f64() > Some(0.0), "{slow:#}");
    assert_eq!(slow["state"], "catching_up");
    assert_eq!(daemon.plugin("volume")["state"], "running");
    daemon.wait_until("the slow one, too", |daemon| counted(daemon, "slow/seen") == 60);
    daemon.wait_until("shows no lag", |daemon| daemon.plugin("slow")["lag"] == json!({"messages": 0, "seconds": 0.0}));
    // A stop does not wait for it, and a start goes on where it was.
    for n in 0..200 {
        publisher.send(&Message::new(TOPIC).msg(json!({"do": "stall_ms", "n": 50, "number": n})));
    }
    daemon.wait_until("volume has all", |daemon| counted(daemon, "volume/messages") == 260);
    let daemon = daemon.terminate().start();
    daemon.wait_until("the slow one, too", |daemon| counted(daemon, "slow/seen") == 260);
    assert_eq!(counted(&daemon, "volume/messages"), 260);
}

#[test]
fn one_that_falls_behind_the_journal_has_missed_that() {
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new().set("journal", "segment", "\"1MiB\"").set("journal", "max_bytes", "\"2MiB\"");
    let setup = setup.set("bus", "when_full", "\"wait\"");
    let daemon = daemon(&mut publisher, setup);
    publisher.send(&Message::new(TOPIC).msg(json!({"do": "stall_ms", "n": 12_000})));
    daemon.wait_until("the first is in", |daemon| counted(daemon, "volume/messages") == 1);
    let first = now_secs();
    // More than is kept in memory for those who are a little behind.
    let pad = "x".repeat(100_000);
    for n in 0..1000 {
        publisher.send(&Message::new(TOPIC).msg(json!({"pad": pad, "number": n})));
    }
    daemon.wait_until("volume has all", |daemon| counted(daemon, "volume/messages") == 1001);
    let last = now_secs() + 1;
    daemon.wait_until("the slow one goes on", |daemon| daemon.plugin("slow")["lag"]["messages"] == 0);
    let missed = daemon.plugin("slow")["counters"]["missed"].as_i64().expect("a number");
    assert!(missed > 300, "{missed}");
    assert_eq!(counted(&daemon, "slow/seen"), 1001 - missed);
    assert_eq!(daemon.plugin("volume")["counters"]["missed"], 0);
    daemon.wait_until("volume has seen it all", |daemon| {
        known(daemon, "volume/messages", first + 1, last) == [json!("complete")]
    });
    let of_the_slow = known(&daemon, "slow/seen", first + 1, last);
    assert_ne!(of_the_slow, [json!("complete")]);
}
