//! Relays, repetitions and publishers listed twice: each message counts once, and two daemons on one bus agree.

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, SOON, TestDaemon, TestPublisher, look, now_secs};

const PREFIX: &str = "org.fedoraproject.prod";

/// What both shipped plugins answer.
const URLS: [&str; 6] = [
    "/plugins/releng/log?order=constraint",
    "/plugins/releng/events?start=now-2h&step=1m",
    "/plugins/volume/messages?start=now-2h&step=1s",
    "/plugins/volume/by_category?start=now-2h&step=1m",
    "/plugins/volume/by_topic?start=now-2h&step=1m",
    "/plugins/volume/latest_by_topic?order=topic",
];

/// Different messages of the last minutes.
fn messages(count: usize) -> Vec<Message> {
    let topics =
        ["git.receive", "bodhi.updates.fedora.sync", "copr.build.end", "buildsys.tag", "compose.rawhide.mash.start"];
    let message = |n: usize| {
        let msg = json!({"n": n, "release": "41", "repo": format!("r{}", n % 4), "who": ["zoë", {"b": 1.5, "a": null}],
                         "arch": "x86_64", "text": "a \"quoted\" / line\n"});
        Message::new(&format!("{PREFIX}.{}", topics[n % topics.len()])).at(now_secs() - 300 + n as i64 % 200).msg(msg)
    };
    (0..count).map(message).collect()
}

/// A value as another program writes it: keys the other way round, blanks, `\u` escapes, `1.0` for `1`.
fn respelled(value: &Value) -> String {
    let text = |text: &str| {
        let letter = |letter: char| match letter {
            '"' | '\\' => format!("\\{letter}"),
            ' '..='~' => letter.to_string(),
            _ => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
        };
        format!("\"{}\"", text.chars().map(letter).collect::<String>())
    };
    match value {
        Value::String(it) => text(it),
        Value::Number(number) if number.is_i64() => format!("{number}.0"),
        Value::Array(items) => format!("[{}]", items.iter().map(respelled).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().rev().map(|(key, value)| format!("{}: {}", text(key), respelled(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The message as a relay passes it on: written anew, with fields of its own, its id without the year.
fn relayed(message: &Message) -> String {
    respelled(&json!({
        "topic": message.topic, "timestamp": message.time, "msg_id": message.shown_id(), "msg": message.msg,
        "headers": {"sent-at": "now"}, "seq_id": 17, "i": 3, "source_name": "relay",
    }))
}

fn accepted(daemon: &TestDaemon) -> u64 {
    daemon.json("/bus")["accepted"].as_u64().expect("a number")
}

/// Waits until so many messages have come in, in all; says how many of them counted, how many were duplicates, and
/// how many had the id of another.
fn sorted(daemon: &TestDaemon, all: u64) -> [u64; 3] {
    let counted = || {
        let bus = daemon.json("/bus");
        let conflicts = daemon.figure("statscache_messages_id_conflict_total") as u64;
        [bus["accepted"].as_u64(), bus["duplicates"].as_u64(), Some(conflicts)].map(|number| number.expect("a number"))
    };
    let seen = look(SOON, || (counted()[0] + counted()[1] >= all).then(&counted));
    seen.unwrap_or_else(|| panic!("{all} messages do not come in: {:?}", counted()))
}

/// Messages that volume has counted.
fn in_all(daemon: &TestDaemon) -> i64 {
    let rows = daemon.rows("/plugins/volume/messages?start=now-5d&step=1d");
    rows.iter().map(|row| row["value"].as_i64().expect("a count")).sum()
}

/// Rows without what depends on when the daemon was up.
fn answers(daemon: &TestDaemon) -> Vec<Vec<Value>> {
    let rows = |url: &str| {
        let mut rows = daemon.rows(url);
        rows.iter_mut().for_each(|row| drop(row.as_object_mut().expect("a row").remove("coverage")));
        assert!(!rows.is_empty(), "{url}");
        rows
    };
    URLS.into_iter().map(rows).collect()
}

/// Returns when every endpoint of the daemon hears its publisher; see [`TestPublisher::reaches`].
fn all_hear(daemon: &TestDaemon, publisher: &mut TestPublisher) {
    daemon.wait_until("hears the publisher everywhere", |daemon| {
        publisher.send_frames(&[b"", b"knock"]);
        let bus = daemon.json("/bus");
        let mut endpoints = bus["endpoints"].as_array().expect("a list").iter();
        endpoints.all(|endpoint| endpoint["rejected"].as_u64() > Some(0))
    });
}

#[test]
fn a_publisher_that_is_listed_twice_counts_once() {
    let mut publisher = TestPublisher::start();
    let address = publisher.address.clone();
    let mut refused = DaemonSetup::new().endpoint(&address).endpoint(&address).spawn();
    assert_eq!(refused.wait_end().code(), Some(1));
    refused.wait_until("says why", |daemon| daemon.logged(&[&address, "is in the list already"]));

    // Under another name it is.
    let other_name = address.replace("127.0.0.1", "localhost");
    assert_ne!(other_name, address);
    let daemon = DaemonSetup::new().endpoint(&address).endpoint(&other_name).start();
    all_hear(&daemon, &mut publisher);
    let messages = messages(200);
    publisher.send_all(&messages);
    assert_eq!(sorted(&daemon, 400), [200, 200, 0]);
    daemon.wait_sequence(200);
    assert_eq!(in_all(&daemon), 200);
}

#[test]
fn relays_that_write_messages_anew_count_once() {
    let (mut first, mut second) = (TestPublisher::start(), TestPublisher::start());
    let daemon = DaemonSetup::new().endpoint(&first.address).endpoint(&second.address).start();
    first.reaches(&daemon);
    second.reaches(&daemon);
    let messages = messages(300);
    let (ahead, behind) = messages.split_at(150);
    // Each relay is ahead of the other once.
    first.send_all(ahead);
    assert_eq!(sorted(&daemon, 150), [150, 0, 0]);
    messages.iter().for_each(|message| second.send_body(&message.topic, &relayed(message)));
    assert_eq!(sorted(&daemon, 450), [300, 150, 0]);
    first.send_all(behind);
    assert_eq!(sorted(&daemon, 600), [300, 300, 0]);
    daemon.wait_sequence(300);
    assert_eq!(in_all(&daemon), 300);
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 300);
}

#[test]
fn a_publisher_that_repeats_itself_counts_once_across_restarts() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let messages = messages(300);
    for message in &messages[..200] {
        publisher.send(message);
        publisher.send(message);
    }
    publisher.send_all(&messages[..200]);
    assert_eq!(sorted(&daemon, 600), [200, 400, 0]);
    daemon.wait_sequence(200);

    // After a crash, as they were; after a clean stop, written anew.
    let daemon = daemon.kill().start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages[..250]);
    assert_eq!(sorted(&daemon, 250), [50, 200, 0]);
    daemon.wait_sequence(250);
    let daemon = daemon.terminate().start();
    publisher.reaches(&daemon);
    messages.iter().for_each(|message| publisher.send_body(&message.topic, &relayed(message)));
    assert_eq!(sorted(&daemon, 300), [50, 250, 0]);
    daemon.wait_sequence(300);
    assert_eq!(in_all(&daemon), 300);
}

#[test]
fn different_messages_with_one_id_count_each() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let one = messages(1).remove(0);
    let other_msg = Message { msg: json!({"n": 1}), ..one.clone() };
    let other_topic = Message { topic: format!("{PREFIX}.other.topic"), ..one.clone() };
    // Neither of these is another message: only the envelope differs.
    let other_time = Message { time: one.time - 1.0, ..one.clone() };
    let without_year = Message { id: one.shown_id().to_owned(), ..other_msg.clone() };
    let all = [&one, &other_msg, &other_topic, &other_time, &without_year];
    for _ in 0..2 {
        all.into_iter().for_each(|message| publisher.send(message));
        all.into_iter().for_each(|message| publisher.send_body(&message.topic, &relayed(message)));
    }
    assert_eq!(sorted(&daemon, 20), [3, 17, 2]);
    daemon.wait_sequence(3);
    assert_eq!(in_all(&daemon), 3);

    // What was told apart is known again, in whatever order it comes.
    let daemon = daemon.kill().start();
    publisher.reaches(&daemon);
    all.into_iter().rev().for_each(|message| publisher.send_body(&message.topic, &relayed(message)));
    all.into_iter().for_each(|message| publisher.send(message));
    assert_eq!(sorted(&daemon, 10), [0, 10, 0]);
    let last = Message { msg: json!({"n": 2}), ..one };
    publisher.send(&last);
    assert_eq!(sorted(&daemon, 11), [1, 10, 1]);
    daemon.wait_sequence(4);
    assert_eq!(in_all(&daemon), 4);
}

#[test]
fn what_the_window_does_not_reach_back_to_is_told() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let old = Message::new(&format!("{PREFIX}.git.receive")).at(now_secs() - 2 * 3600);
    let new = || Message::new(&format!("{PREFIX}.git.receive"));
    publisher.send_all(&[old.clone(), new(), new(), old]);
    assert_eq!(sorted(&daemon, 4), [3, 1, 0]);
    assert_eq!(daemon.figure("statscache_dedupe_unchecked_total"), 1.0);
}

#[test]
fn two_daemons_on_one_bus_give_the_same_answers() {
    let (mut first, mut second) = (TestPublisher::start(), TestPublisher::start());
    let setup = || DaemonSetup::new().endpoint(&first.address).endpoint(&second.address);
    let daemons = [setup().start(), setup().start()];
    for daemon in &daemons {
        first.reaches(daemon);
        second.reaches(daemon);
    }
    let mut messages = messages(400);
    for n in (0..messages.len() - 1).step_by(40) {
        messages[n].id = messages[n + 1].id.clone();
    }
    first.send_all(&messages[..300]);
    messages[100..].iter().rev().for_each(|message| second.send(message));
    first.send_all(&messages[..50]);
    for daemon in &daemons {
        assert_eq!(sorted(daemon, 650), [400, 250, 10]);
        daemon.wait_sequence(400);
    }
    assert_eq!(answers(&daemons[0]), answers(&daemons[1]));
    // Nor does it matter that one of them was away, and has folded its journal anew.
    let [one, other] = daemons;
    let one = one.kill().start();
    assert_eq!(accepted(&one), 0);
    one.wait_sequence(400);
    assert_eq!(answers(&one), answers(&other));
}
