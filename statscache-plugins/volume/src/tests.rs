use std::io::Write as _;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use statscache_plugin_sdk::{Resolution, Timestamp, testing::Harness};

use super::{Config, Volume};

#[test]
fn every_message_is_counted_by_what_it_is() {
    let mut harness = Harness::<Volume>::new(());
    harness.send("org.fedoraproject.prod.bodhi.update.comment", json!({"comment": "works"}));
    harness.send("org.fedoraproject.prod.bodhi.update.comment", json!({}));
    harness.send("org.fedoraproject.prod.git.receive", json!({}));
    assert_eq!(harness.count("messages", []), 3);
    assert_eq!(harness.count("by_category", ["bodhi"]), 2);
    assert_eq!(harness.count("by_category", ["git"]), 1);
    assert_eq!(harness.count("by_topic", ["org.fedoraproject.prod.bodhi.update.comment"]), 2);
    assert_eq!(harness.count("by_topic", ["org.fedoraproject.prod.git.receive"]), 1);
    assert_eq!(harness.updates().len(), 3 * 4, "four updates a message");
}

#[test]
fn category_is_the_fourth_word() {
    for (topic, category) in [
        ("org.fedoraproject.prod.bodhi.update.comment", "bodhi"),
        ("org.fedoraproject.prod.bodhi", "bodhi"),
        ("org.fedoraproject.prod.bodhi.", "bodhi"),
        ("org.fedoraproject.prod.", "unclassified"),
        ("org.fedoraproject.prod", "unclassified"),
        ("org.fedoraproject.prod..x", "unclassified"),
        ("fedoracollege.content.added", "unclassified"),
        ("io.pagure.prod.pagure.issue.new", "pagure"),
        ("/topic/VirtualTopic.eng.bugzilla.bug.create", "bugzilla"),
        ("/topic/VirtualTopic.eng", "unclassified"),
        ("", "unclassified"),
        ("a.b.c.Größe.d", "Größe"),
    ] {
        let mut harness = Harness::<Volume>::new(());
        harness.send(topic, json!({}));
        assert_eq!(harness.count("by_category", [category]), 1, "{topic:?}");
        assert_eq!(harness.count("by_topic", [topic]), 1, "{topic:?}");
    }
}

#[test]
fn newest_of_a_topic_is_its_size_or_its_msg() {
    let envelope = json!({"topic": "a.b.c.d", "msg": {"n": 1}});
    let bytes = envelope.to_string().len();
    let msg_bytes = envelope["msg"].to_string().len() as u32;
    let limit = |latest_body_bytes_max| Config { latest_body: true, latest_body_bytes_max, ..Config::default() };
    for (config, expected) in [
        (Config::default(), json!({"bytes": bytes})),
        (Config { latest_body: true, ..Config::default() }, json!({"bytes": bytes, "msg": {"n": 1}})),
        (limit(msg_bytes), json!({"bytes": bytes, "msg": {"n": 1}})),
        (limit(msg_bytes - 1), json!({"bytes": bytes})),
    ] {
        let mut harness = Harness::<Volume>::new(&config);
        harness.try_send("a.b.c.d", "1", &envelope).expect("counted");
        assert_eq!(harness.latest("latest_by_topic", ["a.b.c.d"]), Some(expected), "{config:?}");
    }
}

#[test]
fn bodies_of_any_shape_are_counted() {
    for body in [json!({}), json!("text"), json!(null), json!([1]), json!({"msg": "text"}), json!({"msg": null})] {
        let mut harness = Harness::<Volume>::new(json!({"latest_body": true}));
        harness.try_send("a.b.c.d", "1", &body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(harness.count("messages", []), 1, "{body}");
    }
}

#[test]
fn each_user_and_each_package_once() {
    let mut harness = Harness::<Volume>::new(());
    harness.send("org.example.prod.buildsys.tag", json!({"owner": "anna", "user": "anna", "name": "bash"}));
    harness.send("org.example.prod.buildsys.untag", json!({"owner": "anna", "user": "bert", "name": "bash"}));
    harness.send("org.example.prod.buildsys.repo.done", json!({"user": "carl"}));
    let users = ["anna", "bert", "carl"].map(|user| harness.count("by_user", [user]));
    assert_eq!((users, harness.count("by_package", ["bash"])), ([2, 1, 0], 2));
}

#[test]
fn the_operators_rules_come_first() {
    let rules = json!([{"topic": "#.deploy", "users": ["/who"], "packages": [{"at": "/image", "find": "^[^:]+"}]}]);
    let mut harness = Harness::<Volume>::new(json!({"rules": rules}));
    harness.send("org.example.prod.shop.deploy", json!({"agent": "robot", "who": "anna", "image": "till:1.2"}));
    harness.send("org.example.prod.shop.sale", json!({"agent": "bert", "who": "carl"}));
    let users = ["anna", "bert", "carl", "robot"].map(|user| harness.count("by_user", [user]));
    assert_eq!((users, harness.count("by_package", ["till"])), ([1, 1, 0, 0], 1));
    for (rule, words) in [
        (json!({"topic": "#", "users": ["who"]}), &["config.rules[0].users[0].at", "\"who\"", "JSON pointer"][..]),
        (json!({"topic": "#", "users": [{"att": "/who"}]}), &["config.rules[0].users[0]", "att", "keys_of"]),
        (json!({"topic": "#", "people": []}), &["config.rules[0]", "people", "users"]),
        (json!({"users": []}), &["config.rules[0]", "topic"]),
    ] {
        let error = Harness::<Volume>::try_new(json!({"rules": [rule]})).err().expect("refused").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    let error = Harness::<Volume>::try_new(json!({"latest_bodies": true})).err().expect("refused").to_string();
    assert!(error.contains("latest_bodies") && error.contains("latest_body"), "{error}");
}

/// What the original statscache counted for the same messages. Its buckets are labelled by their
/// end; two messages with a topic of three words made it fail, and are `unclassified` here.
#[test]
fn totals_agree_with_the_original() {
    let Some(shared) = shared() else { return };
    let mut harness = Harness::<Volume>::new(());
    let mut sent = 0;
    for (line, text) in read(&shared.join("messages.jsonl")).lines().enumerate() {
        let row: Json = serde_json::from_str(text).expect("a line of JSON");
        let message = &row["message"];
        let (Some(topic), Some(time)) = (message["topic"].as_str(), message["timestamp"].as_f64()) else { continue };
        harness.at(Timestamp::from_micros((time * 1e6).round() as i64));
        harness.try_send(topic, &line.to_string(), message).expect("counted");
        sent += 1;
    }
    let golden: Json = serde_json::from_str(&read(&shared.join("statscache_rows.json"))).expect("JSON");
    assert_eq!(Some(sent), golden["messages"].as_i64());
    assert_eq!(harness.count("messages", []), sent);

    let seconds = |secs| Resolution::from_secs(secs).expect("a width");
    for (ident, metric, dimension, width) in [
        ("volume-by-category-1s", "by_category", "category", Resolution::SECOND),
        ("volume-by-category-15s", "by_category", "category", seconds(15)),
        ("volume-by-category-1m", "by_category", "category", Resolution::MINUTE),
        ("volume-by-category-1h", "by_category", "category", Resolution::HOUR),
        ("volume-by-category-1d", "by_category", "category", Resolution::DAY),
        ("volume-by-topic-1s", "by_topic", "topic", Resolution::SECOND),
        ("volume-by-topic-5s", "by_topic", "topic", seconds(5)),
        ("volume-by-topic-1m", "by_topic", "topic", Resolution::MINUTE),
    ] {
        let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for row in golden["rows"][ident].as_array().unwrap_or_else(|| panic!("no rows of {ident}")) {
            let label = row[dimension].as_str().expect("a label").to_owned();
            let end = row["timestamp"].as_f64().expect("a time") as i64;
            let start = Timestamp::from_secs(end).plus_micros(-width.micros()).micros();
            expected.insert((label, start), row["volume"].as_i64().expect("a volume"));
        }
        if metric == "by_category" {
            let start = Timestamp::from_secs(1_379_638_157).floor(width).micros();
            expected.insert((super::UNCLASSIFIED.to_owned(), start), 2);
        }
        let mut ours = BTreeMap::new();
        for update in harness.updates().iter().filter(|update| update.metric == metric) {
            let bucket = ours.entry((update.labels[0].clone(), update.time.floor(width).micros())).or_insert(0);
            *bucket += update.value.as_i64().expect("a count");
        }
        assert_eq!(ours, expected, "{ident}");
    }
}

/// The folder of reference data, which is kept out of this repository.
fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from).join("fedmsg");
    if !path.is_dir() {
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no reference data in {}; set STATSCACHE_SHARED to the folder that has it",
            path.display()
        );
        return None;
    }
    Some(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
