//! How much of the bus was seen: complete, partial, missing, and what stands for empty buckets. Time passes as it does;
//! what is asked about always lies some seconds back.

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs, rfc3339, test_library};

const TOPIC: &str = "org.fedoraproject.prod.git.push";

/// The coverage of each second from `start` on, a letter each: complete, partial, missing.
pub fn seen(daemon: &TestDaemon, start: i64, end: i64) -> String {
    seen_by(daemon, "volume/messages", start, end)
}

/// The same of any metric.
fn seen_by(daemon: &TestDaemon, metric: &str, start: i64, end: i64) -> String {
    let answer = daemon.json(&format!("/plugins/{metric}?start={start}&end={end}&step=1s"));
    let runs = answer["coverage"].as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    for second in start..end {
        let time = rfc3339(second);
        let within = |run: &&Value| run["start"].as_str() <= Some(&*time) && Some(&*time) < run["end"].as_str();
        let run = runs.iter().find(within).unwrap_or_else(|| panic!("{time} is in no run of {answer:#}"));
        text.push(match run["coverage"].as_str() {
            Some("complete") => 'c',
            Some("partial") => 'p',
            Some("missing") => 'm',
            _ => panic!("{run}"),
        });
    }
    text
}

/// Sends a message a look until so many seconds in a row are complete; gives the first of them.
pub fn wait_complete(daemon: &TestDaemon, publisher: &mut TestPublisher, since: i64, seconds: usize) -> i64 {
    let mut first = None;
    daemon.wait_until(&format!("{seconds} seconds are complete"), |daemon| {
        publisher.send(&Message::new(TOPIC));
        let seen = seen(daemon, since, now_secs() + 1);
        first = seen.find(&"c".repeat(seconds)).map(|at| since + at as i64);
        first.is_some()
    });
    first.expect("it was found")
}

/// Waits until the clock and the view have passed that second, and every claim about it has been made: these are told
/// a look of one second late, and may be taken back by the next.
fn wait_past(daemon: &TestDaemon, second: i64) {
    let time = rfc3339(second + 4);
    daemon.wait_until(&format!("it is past {time}"), |daemon| {
        daemon.json("/plugins")["as_of"].as_str().is_some_and(|as_of| as_of > &*time)
    });
}

/// Value and coverage of each row, by the second.
fn rows(daemon: &TestDaemon, start: i64, end: i64, fill: &str) -> Vec<(Value, Value)> {
    let path = format!("/plugins/volume/messages?start={start}&end={end}&step=1s&fill={fill}");
    daemon.rows(&path).into_iter().map(|row| (row["value"].clone(), row["coverage"].clone())).collect()
}

#[test]
fn time_that_was_seen_is_complete_and_other_time_is_missing() {
    let mut publisher = TestPublisher::start();
    let begin = now_secs();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let first = wait_complete(&daemon, &mut publisher, begin, 2);
    // A second with nothing in it. What comes behind tells that the connection was well.
    let quiet = now_secs() + 1;
    daemon.wait_until("has seen it", |daemon| seen(daemon, quiet, quiet + 1) == "c");
    publisher.send(&Message::new(TOPIC));

    assert_eq!(seen(&daemon, begin - 5, begin), "mmmmm", "before the daemon was there");
    assert_eq!(seen(&daemon, first, quiet + 1), "c".repeat((quiet + 1 - first) as usize));
    // Nothing, zero and unknown.
    assert_eq!(rows(&daemon, quiet, quiet + 1, "none"), []);
    assert_eq!(rows(&daemon, begin - 5, begin - 3, "none"), []);
    assert_eq!(rows(&daemon, quiet, quiet + 1, "null"), [(json!(0), json!("complete"))]);
    let unknown = (Value::Null, json!("missing"));
    assert_eq!(rows(&daemon, begin - 5, begin - 3, "null"), [unknown.clone(), unknown]);
    assert_eq!(rows(&daemon, begin - 5, begin - 3, "zero").len(), 2);
    let (value, coverage) = rows(&daemon, first, first + 1, "null").remove(0);
    assert!(value.as_i64() > Some(0) && coverage == "complete", "{value} {coverage}");
    // A label set is filled where it has something, one that has nothing in the range is not.
    let by_topic = |start: i64, end: i64| {
        daemon.rows(&format!("/plugins/volume/by_topic?start={start}&end={end}&step=1s&fill=null")).len() as i64
    };
    assert_eq!((by_topic(quiet, quiet + 1), by_topic(begin - 5, quiet + 1)), (0, quiet + 6 - begin));

    // The last message tells up to when it was well.
    publisher.send(&Message::new(TOPIC));
    daemon.wait_until("hears the last one", |daemon| daemon.figure("statscache_queue_messages") == 0.0);
    let gone = now_secs();
    drop(publisher);
    wait_past(&daemon, gone + 2);
    assert_eq!(seen(&daemon, gone + 2, gone + 3), "m", "after the publisher is gone");
    assert_eq!(rows(&daemon, gone + 2, gone + 3, "null"), [(Value::Null, json!("missing"))]);
    assert_eq!(seen(&daemon, first, quiet + 1), "c".repeat((quiet + 1 - first) as usize), "what was seen stays so");
}

#[test]
fn a_zero_that_stands_for_nothing_is_as_unseen_as_before() {
    let daemon = DaemonSetup::new().start();
    let then = now_secs() - 60;
    let zero = (json!(0), json!("missing"));
    assert_eq!(rows(&daemon, then, then + 2, "zero"), [zero.clone(), zero]);
}

#[test]
fn a_crash_keeps_what_was_seen_and_the_downtime_is_missing() {
    let mut publisher = TestPublisher::start();
    let begin = now_secs();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let first = wait_complete(&daemon, &mut publisher, begin, 3);
    // Told in one commit, stored with the next message at the latest.
    let commits = daemon.figure("statscache_commits_total");
    daemon.wait_until("commits", |daemon| {
        publisher.send(&Message::new(TOPIC));
        daemon.figure("statscache_commits_total") > commits + 2.0
    });
    let shown = rows(&daemon, first, first + 3, "null");
    let setup = daemon.kill();
    let killed = now_secs();
    // Down for two whole seconds.
    let up = crate::support::look(crate::support::SOON, || Some(now_secs()).filter(|now| *now > killed + 3));
    let up = up.expect("time passes");
    let daemon = setup.start();
    assert_eq!(seen(&daemon, first, first + 3), "ccc");
    assert_eq!(rows(&daemon, first, first + 3, "null"), shown);

    publisher.reaches(&daemon);
    let again = wait_complete(&daemon, &mut publisher, up, 2);
    assert_eq!(seen(&daemon, killed + 1, up), "m".repeat((up - killed - 1) as usize), "nobody listened");
    assert_eq!(seen(&daemon, first, first + 3), "ccc");
    assert_eq!(rows(&daemon, killed + 1, killed + 2, "null"), [(Value::Null, json!("missing"))]);
    // A wider bucket is as good as all of it.
    let answer = daemon.json(&format!("/plugins/volume/messages?start={first}&end={again}&step=1h"));
    assert_eq!(answer["rows"][0]["coverage"], "partial");
    // It stays so after a clean stop.
    let daemon = daemon.terminate().start();
    assert_eq!((seen(&daemon, first, first + 3), seen(&daemon, again, again + 2)), ("ccc".to_owned(), "cc".to_owned()));
    assert_eq!(seen(&daemon, killed + 1, up), "m".repeat((up - killed - 1) as usize));
}

#[test]
fn one_endpoint_of_two_is_a_part() {
    let mut publisher = TestPublisher::start();
    let mut other = TestPublisher::start();
    let address = other.address.clone();
    drop(other);
    let begin = now_secs();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).endpoint(&address).start();
    publisher.reaches(&daemon);
    daemon.wait_until("has seen a part", |daemon| {
        publisher.send(&Message::new(TOPIC));
        seen(daemon, begin, now_secs() + 1).contains("pp")
    });
    let quiet = now_secs() + 1;
    daemon.wait_until("has seen a part of it", |daemon| seen(daemon, quiet, quiet + 1) == "p");
    assert!(!seen(&daemon, begin, quiet + 1).contains('c'));
    assert_eq!(rows(&daemon, quiet, quiet + 1, "null"), [(Value::Null, json!("partial"))]);
    assert_eq!(rows(&daemon, quiet, quiet + 1, "zero"), [(json!(0), json!("partial"))]);
    assert!(rows(&daemon, begin, quiet, "none").iter().all(|(_, coverage)| coverage == "partial"));

    // All of it when the other is there, and that makes nothing whole that was not.
    other = TestPublisher::bind(&address);
    other.reaches(&daemon);
    wait_complete(&daemon, &mut publisher, quiet, 2);
    assert!(!seen(&daemon, begin, quiet + 1).contains('c'));
}

#[test]
fn an_instance_has_seen_what_it_has_read() {
    let mut publisher = TestPublisher::start();
    let begin = now_secs();
    let asked = "{ mode = \"asked\" }";
    let setup = DaemonSetup::new()
        .plugin(&test_library("statscache_test_plugin_hostile"))
        .set("plugins", "quarantine_after", "1")
        .instance("volume", "volume", "")
        .instance("asked", "hostile", asked);
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let first = wait_complete(&daemon, &mut publisher, begin, 2);
    assert_eq!(seen_by(&daemon, "asked/seen", first, first + 2), "cc");

    // In quarantine it reads no more: what follows is zero for others and unknown for it.
    publisher.send(&Message::new(TOPIC).msg(json!({"do": "panic_process"})));
    daemon.wait_until("is in quarantine", |daemon| daemon.plugin("asked")["state"] == "quarantined");
    let stopped = now_secs() + 1;
    // With messages behind it, so that the coverage is stored with them.
    daemon.wait_until("others go on", |daemon| {
        publisher.send(&Message::new(TOPIC));
        seen(daemon, stopped, stopped + 3) == "ccc"
    });
    assert_eq!(seen_by(&daemon, "asked/seen", stopped, stopped + 2), "mm");
    assert_eq!(seen_by(&daemon, "asked/seen", first, first + 2), "cc");

    // With another chance it reads what it has not, and one that was not there reads everything.
    let late = daemon.terminate().instance("late", "hostile", "{}");
    let daemon = late.start();
    for metric in ["asked/seen", "late/seen"] {
        daemon
            .wait_until("has read what came meanwhile", |daemon| seen_by(daemon, metric, stopped, stopped + 2) == "cc");
    }
    assert_eq!(seen_by(&daemon, "late/seen", first + 1, first + 2), "c");
}

#[test]
fn a_clean_stop_forgets_nothing_that_was_seen() {
    let mut publisher = TestPublisher::start();
    let begin = now_secs();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    wait_complete(&daemon, &mut publisher, begin, 1);
    let quiet = now_secs() + 1;
    daemon.wait_until("has seen it", |daemon| seen(daemon, quiet, quiet + 2) == "cc");
    let daemon = daemon.terminate().start();
    assert_eq!(seen(&daemon, quiet, quiet + 2), "cc");
}
