//! Every kind of metric, from a publisher to JSON: its values, order, sums along a path, removal, what is refused, and
//! the same answers after a crash.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs, test_library, validate},
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

pub fn setup() -> DaemonSetup {
    DaemonSetup::new().plugin(&test_library("statscache_test_plugin_kinds")).instance("kinds", "kinds", "")
}

/// A message with these fields.
fn message(at: i64, msg: Value) -> Message {
    Message::new("org.example.event").at(at).msg(msg)
}

/// Yesterday, at the beginning of an hour: minutes are kept, and nothing more happens to them.
fn yesterday() -> i64 {
    (now_secs() - DAY) / HOUR * HOUR
}

/// A bit of everything, in topics `org.example.event`. In the first minute of `a/x` there are eight numbers with a deviation of 2.
pub fn history(begin: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut say = |at: i64, msg: Value| messages.push(message(begin + at, msg));
    for (at, x) in [2, 4, 4, 4, 5, 5, 7, 9].into_iter().enumerate() {
        say(at as i64, json!({"of": "a/x", "observe": x}));
    }
    say(MINUTE, json!({"of": "a/x", "observe": 10.5}));
    say(0, json!({"of": "a/y", "observe": -1e300}));
    say(0, json!({"of": "b", "observe": 50}));
    for (at, of, n) in [(0, "a/x", 3), (1, "a/x", -1), (0, "a/y", 7), (5, "b", 1), (6, "b", -1)] {
        say(at, json!({"of": of, "add": n}));
    }
    for (at, of, member) in [
        (0, "a/x", json!("anna")),
        (1, "a/x", json!("anna")),
        (2, "a/x", json!("bert")),
        (MINUTE, "a/x", json!("anna")),
        (0, "b", json!(12)),
    ] {
        say(at, json!({"of": of, "member": member}));
    }
    for (key, weight) in [("bash", 4), ("zsh", 3), ("fish", 3), ("ash", 1), ("bash", 1), ("dash", 0)] {
        say(3, json!({"of": "a/x", "key": key, "weight": weight}));
    }
    say(4, json!({"of": "b", "key": "bash", "weight": 100}));
    for (at, of, status) in [
        (0, "a/x", json!(7)),
        (9, "a/x", json!(1)),
        (0, "a/y", json!(2.5)),
        (0, "a/z", json!("down")),
        (0, "b", json!(10)),
        (3, "b/c/d", json!(0.25)),
    ] {
        say(at, json!({"of": of, "status": status}));
    }
    messages
}

/// A daemon that has read that history, beginning at that time.
pub fn with_history() -> (TestDaemon, i64) {
    let begin = yesterday();
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let messages = history(begin);
    publisher.send_all(&messages);
    daemon.wait_sequence(messages.len() as u64);
    (daemon, begin)
}

/// Rows as (label, value).
fn values(rows: &[Value]) -> Vec<(String, Value)> {
    rows.iter().map(|row| (row["of"].as_str().unwrap_or("-").to_owned(), row["value"].clone())).collect()
}

fn expect<const N: usize>(values: [(&str, Value); N]) -> Vec<(String, Value)> {
    values.map(|(of, value)| (of.to_owned(), value)).into()
}

#[test]
fn each_kind_says_what_it_was_told() {
    let (daemon, begin) = with_history();
    let ask = |metric: &str, question: &str| {
        let range = format!("start={begin}&end={}", begin + 2 * MINUTE);
        values(&daemon.rows(&format!("/plugins/kinds/{metric}?{range}&{question}")))
    };
    assert_eq!(ask("counts", "step=1m"), expect([("a/x", json!(2)), ("a/y", json!(7))]), "a sum of 0 is no row");

    let constant = |x: Value| json!({"n": 1, "sum": x, "min": x, "max": x, "mean": x, "stddev": 0});
    let eight = json!({"n": 8, "sum": 40, "min": 2, "max": 9, "mean": 5, "stddev": 2});
    let stats =
        [("a/x", eight), ("a/y", constant(json!(-1e300))), ("b", constant(json!(50))), ("a/x", constant(json!(10.5)))];
    assert_eq!(ask("stats", "step=1m"), expect(stats));

    let one = |x: Value| json!({"n": 1, "min": x, "max": x, "p50": x, "p90": x, "p95": x, "p99": x});
    let mut dists = ask("dists", "step=1m");
    let (_, first) = dists.remove(0);
    assert_eq!(dists, expect([("a/y", one(json!(-1e300))), ("b", one(json!(50))), ("a/x", one(json!(10.5)))]));
    assert_eq!((&first["n"], &first["min"], &first["max"]), (&json!(8), &json!(2), &json!(9)));
    for (name, exact) in [("p50", 4.0), ("p90", 7.0), ("p95", 7.0), ("p99", 7.0)] {
        let told = first[name].as_f64().unwrap_or_default();
        assert!((told - exact).abs() <= exact / 100.0, "{name} is {told}, not about {exact}");
    }
    assert_eq!(first.as_object().map(serde_json::Map::len), Some(7));

    let exact = |n: u64| json!({"estimate": n, "error": 0});
    assert_eq!(ask("members", "step=1m"), expect([("a/x", exact(2)), ("b", exact(1)), ("a/x", exact(1))]));
    // A union, no sum.
    assert_eq!(ask("members", "step=2m&by="), expect([("-", exact(3))]));

    let key = |key: &str, count: u64| json!({"key": key, "count": count, "error": 0});
    assert_eq!(
        ask("keys", "step=1m"),
        expect([("a/x", json!([key("bash", 5), key("fish", 3), key("zsh", 3)])), ("b", json!([key("bash", 100)])),])
    );
    assert_eq!(ask("keys", "step=1m&by="), expect([("-", json!([key("bash", 105), key("fish", 3), key("zsh", 3)]))]));

    let latest = |metric: &str| values(&daemon.rows(&format!("/plugins/kinds/{metric}?order=of")));
    assert_eq!(
        latest("status"),
        expect([
            ("a/x", json!(1)),
            ("a/y", json!(2.5)),
            ("a/z", json!("down")),
            ("b", json!(10)),
            ("b/c/d", json!(0.25)),
        ])
    );
    let two = daemon.rows("/plugins/kinds/recent?where.of=a/x");
    assert_eq!(values(&two), expect([("a/x", json!(1)), ("a/x", json!(7))]), "newest first");
    assert!(daemon.rows("/plugins/kinds/leases").is_empty());

    let plugin = daemon.plugin("kinds");
    let kinds: Vec<String> =
        plugin["metrics"].as_array().into_iter().flatten().map(|it| it["kind"].to_string()).collect();
    assert_eq!(kinds.join(" ").replace('"', ""), "count stat dist distinct top latest latest latest");
}

#[test]
fn rows_are_ordered_by_value_as_each_kind_has_it() {
    let (daemon, begin) = with_history();
    let order = |metric: &str, order: &str| {
        let path = format!("/plugins/kinds/{metric}?start={begin}&end={}&step=1h&order={order}", begin + HOUR);
        let rows = daemon.rows(&path);
        rows.iter().map(|row| row["of"].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (metric, ascending, descending) in [
        ("counts", "a/x a/y", "a/y a/x"),
        // By sum: -1e300, 50, 50.5.
        ("stats", "a/y b a/x", "a/x b a/y"),
        // By number: 1, 1, 9.
        ("dists", "a/y b a/x", "a/x a/y b"),
        ("members", "b a/x", "a/x b"),
        // By the weight of all keys: 12, 100.
        ("keys", "a/x b", "b a/x"),
    ] {
        assert_eq!((&*order(metric, "value"), &*order(metric, "-value")), (ascending, descending), "{metric}");
    }
    let latest = |order: &str| {
        let rows = daemon.rows(&format!("/plugins/kinds/status?order={order}"));
        rows.iter().map(|row| row["value"].to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((&*latest("value"), &*latest("-value")), ("0.25 1 2.5 10 \"down\"", "10 2.5 1 0.25 \"down\""));
}

#[test]
fn latest_values_add_up_along_a_path() {
    let (daemon, begin) = with_history();
    let table = |question: &str| {
        let answer = daemon.json(&format!("/plugins/kinds/status?rollup=sum&{question}"));
        let columns = answer["columns"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
        assert_eq!(names, ["time", "of", "value", "values", "others"], "{question}");
        let mut text = String::new();
        for row in answer["rows"].as_array().expect("rows") {
            assert_eq!(row.as_object().map(serde_json::Map::len), Some(5), "{row}");
            let of = row["of"].as_str().expect("a label");
            let _ = write!(text, "{of}={} {}+{}, ", row["value"], row["values"], row["others"]);
        }
        text
    };
    for (question, sums) in [
        ("", "b=10.25 2+0, a=3.5 2+1, "),
        ("depth=1", "b=10.25 2+0, a=3.5 2+1, "),
        ("path=of&by=of&depth=1", "b=10.25 2+0, a=3.5 2+1, "),
        ("depth=0", "=13.75 4+1, "),
        ("depth=2", "b=10 1+0, a/y=2.5 1+0, a/x=1 1+0, b/c=0.25 1+0, a/z=0 0+1, "),
        ("depth=3&where.of=b*", "b=10 1+0, b/c/d=0.25 1+0, "),
        ("depth=1&where.of=a/*", "a=3.5 2+1, "),
        ("order=of", "a=3.5 2+1, b=10.25 2+0, "),
        ("order=value", "a=3.5 2+1, b=10.25 2+0, "),
        ("limit=1&depth=1", "b=10.25 2+0, "),
    ] {
        assert_eq!(table(question), sums, "{question}");
    }
    // Of what is newest within the range only.
    assert_eq!(table(&format!("end={}", begin + 9)), "b=10.25 2+0, a=2.5 1+1, ");
    // Only the newest of several values counts.
    let recent = daemon.rows("/plugins/kinds/recent?rollup=sum&where.of=a/x");
    assert_eq!((&recent[0]["value"], &recent[0]["values"]), (&json!(1), &json!(1)));
}

#[test]
fn what_is_removed_is_gone_and_stays_so() {
    let begin = yesterday();
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let status = |at: i64, of: &str, status: i64| message(begin + at, json!({"of": of, "status": status}));
    let remove = |at: i64, of: &str| message(begin + at, json!({"of": of, "remove": true}));
    publisher.send_all(&[
        status(10, "gone", 1),
        status(10, "back", 1),
        status(10, "kept", 1),
        // A removal that comes before what it removes.
        remove(30, "early"),
    ]);
    daemon.wait_sequence(4);
    assert_eq!(daemon.rows("/plugins/kinds/status").len(), 3);
    publisher.send_all(&[
        remove(20, "gone"),
        remove(20, "back"),
        // Older than the value.
        remove(5, "kept"),
        status(29, "early", 1),
        // Late: it is removed, too.
        status(19, "gone", 2),
        status(21, "back", 3),
    ]);
    daemon.wait_sequence(10);
    let check = |daemon: &TestDaemon| {
        for metric in ["status", "recent"] {
            let rows = values(&daemon.rows(&format!("/plugins/kinds/{metric}?order=of")));
            assert_eq!(rows, expect([("back", json!(3)), ("kept", json!(1))]), "{metric}");
        }
        let sums = values(&daemon.rows("/plugins/kinds/status?rollup=sum&order=of"));
        assert_eq!(sums, expect([("back", json!(3)), ("kept", json!(1))]));
    };
    check(&daemon);
    let daemon = daemon.kill().start();
    daemon.wait_sequence(10);
    check(&daemon);
    // Also what comes late after the crash.
    publisher.reaches(&daemon);
    publisher.send_all(&[status(18, "gone", 4), status(30, "early", 5)]);
    daemon.wait_sequence(12);
    check(&daemon);
    publisher.send(&status(31, "early", 6));
    daemon.wait_sequence(13);
    assert_eq!(daemon.rows("/plugins/kinds/status?where.of=early")[0]["value"], 6);
}

#[test]
fn a_value_lives_as_long_as_it_was_given() {
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let now = now_secs();
    // They live for an hour.
    let lease = |of: &str, at: i64| message(at, json!({"of": of, "lease": 1, "status": 1}));
    publisher.send_all(&[lease("dead", now - 2 * HOUR), lease("dying", now - HOUR + 5), lease("alive", now)]);
    daemon.wait_sequence(3);
    let leases = |question: &str| {
        let rows = values(&daemon.rows(&format!("/plugins/kinds/leases?{question}")));
        rows.into_iter().map(|(of, _)| of).collect::<Vec<_>>()
    };
    assert!(!leases("").contains(&"dead".to_owned()));
    // Nothing comes in, and no commit is needed.
    daemon.wait_until("lets it expire", |_| leases("") == ["alive"]);
    assert_eq!(leases("start=now-1d"), ["alive"]);
    assert_eq!(leases("rollup=sum"), ["alive"]);
    assert_eq!(daemon.rows("/plugins/kinds/status").len(), 3, "these do not expire");
}

#[test]
fn what_is_no_number_is_refused_and_counted() {
    let begin = yesterday();
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let body = |n: u32, observed: &str| {
        format!(
            "{{\"msg_id\": \"odd-{n}\", \"timestamp\": {begin}, \"msg\": {{\"of\": \"x\", \"observe\": {observed}, \
             \"add\": 1, \"status\": {observed}}}}}"
        )
    };
    // The first two are observed by the plugin as they are; the others never reach it as numbers.
    let odd = ["\"nan\"", "\"infinity\"", "NaN", "-Infinity", "1e400", "-1e400", "null", "2.5"];
    for (n, observed) in odd.into_iter().enumerate() {
        publisher.send_body("org.example.event", &body(n as u32, observed));
    }
    daemon.wait_sequence(8);

    let rows = |metric: &str| daemon.rows(&format!("/plugins/kinds/{metric}?start={begin}&end={}&step=1m", begin + 60));
    assert_eq!(rows("counts")[0]["value"], 8, "the rest of the message counts");
    assert_eq!((&rows("stats")[0]["value"]["n"], &rows("stats")[0]["value"]["sum"]), (&json!(1), &json!(2.5)));
    assert_eq!((&rows("dists")[0]["value"]["n"], &rows("dists")[0]["value"]["max"]), (&json!(1), &json!(2.5)));
    let counters = daemon.plugin("kinds")["counters"].clone();
    // Two numbers, each for two metrics.
    for (name, count) in [("processed", 8), ("failed", 0), ("refused", 4), ("limited", 4), ("folded", 0)] {
        assert_eq!(counters[name], count, "{name}: {counters}");
    }
    assert_eq!(daemon.figure("statscache_plugin_refused_total{plugin=\"kinds\"}"), 4.0);
    assert_eq!(daemon.figure("statscache_messages_repaired_total"), 2.0);
    // A value that no double holds is served as it is, and is no number to add up.
    publisher.send_body("org.example.event", &body(9, "1e400").replace("\"x\"", "\"huge\""));
    daemon.wait_sequence(9);
    assert!(daemon.get("/plugins/kinds/status?where.of=huge").body.contains("\"value\":1e400"));
    let sum = &daemon.rows("/plugins/kinds/status?rollup=sum&where.of=huge")[0];
    assert_eq!((&sum["value"], &sum["values"], &sum["others"]), (&json!(0), &json!(0), &json!(1)));
}

/// Questions to all metrics about that history.
fn questions(begin: i64) -> Vec<String> {
    let mut questions = Vec::new();
    for metric in ["counts", "stats", "dists", "members", "keys"] {
        for (step, by) in [("1m", "of"), ("1m", ""), ("1h", "of"), ("1d", "of"), ("1d", "")] {
            // A day at least, and none of which part is still to come.
            let range = format!("start={}&end={}", begin / DAY * DAY, begin / DAY * DAY + DAY);
            questions.push(format!("/plugins/kinds/{metric}?{range}&step={step}&by={by}"));
        }
    }
    for metric in ["status", "recent", "leases"] {
        questions.push(format!("/plugins/kinds/{metric}"));
        questions.push(format!("/plugins/kinds/{metric}?rollup=sum&depth=1"));
    }
    questions
}

#[test]
fn a_crash_changes_no_answer() {
    let (daemon, begin) = with_history();
    let messages = history(begin);
    let answers = |daemon: &TestDaemon| -> Vec<(String, Vec<(String, Value)>)> {
        let answer = |question: String| {
            let rows = values(&daemon.rows(&question));
            (question, rows)
        };
        questions(begin).into_iter().map(answer).collect()
    };
    let before = answers(&daemon);
    assert_eq!(before.iter().filter(|(_, rows)| rows.is_empty()).count(), 2, "only of leases is nothing known");
    let daemon = daemon.kill().start();
    daemon.wait_sequence(messages.len() as u64);
    assert_eq!(answers(&daemon), before);
    let daemon = daemon.terminate().start();
    assert_eq!(answers(&daemon), before);
    drop(daemon);

    // The same if nothing of it was in a commit, and it is read from the journal, shuffled.
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).set("data", "commit_interval", "\"60s\"").start();
    publisher.reaches(&daemon);
    let (odd, even): (Vec<_>, Vec<_>) = messages.iter().enumerate().partition(|(n, _)| n % 2 == 1);
    odd.iter().rev().chain(&even).for_each(|(_, message)| publisher.send(message));
    daemon.wait_until("has them", |daemon| daemon.json("/bus")["accepted"] == messages.len());
    assert_eq!(daemon.plugin("kinds")["counters"]["processed"], 0, "nothing is committed");
    let daemon = daemon.kill().set("data", "commit_interval", "\"100ms\"").start();
    daemon.wait_sequence(messages.len() as u64);
    assert_eq!(answers(&daemon), before);
}

#[test]
fn answers_of_every_kind_are_as_their_schemas_say() {
    let (daemon, begin) = with_history();
    let schemas = daemon.json("/plugins/kinds/schema");
    let range = format!("start={begin}&end={}&step=1m", begin + 5 * MINUTE);
    let mut checked = 0;
    for (metric, schema) in schemas["answers"].as_object().expect("a schema for each metric") {
        let is_latest = ["status", "recent", "leases"].contains(&metric.as_str());
        let questions = match is_latest {
            true => vec![String::new(), "by=".to_owned(), "rollup=sum".to_owned(), "rollup=sum&depth=0".to_owned()],
            false => ["", "&by=", "&fill=null", "&fill=zero", "&limit=2"].map(|more| format!("{range}{more}")).into(),
        };
        for question in questions {
            let path = format!("/plugins/kinds/{metric}?{question}");
            let answer = daemon.json(&path);
            validate(schema, &answer, schema, "")
                .unwrap_or_else(|error| panic!("{path}{error}\n{answer:#}\n{schema:#}"));
            let is_empty = answer["rows"].as_array().is_none_or(Vec::is_empty);
            assert_eq!(is_empty, metric == "leases", "{path}");
            checked += 1;
        }
    }
    assert_eq!(checked, 5 * 5 + 3 * 4);
}

#[test]
fn a_range_can_be_one_bucket_and_stats_a_product() {
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let begin = yesterday();
    let mut told = Vec::new();
    // A quarter of an hour after the beginning: no multiple of two hours begins there.
    for (at, of, up) in [(900, "web", 1), (901, "web", 0), (902, "db", 1), (4000, "db", 1), (4001, "db", 0)] {
        told.push(message(begin + at, json!({"of": of, "observe": up, "add": 1})));
    }
    publisher.send_all(&told);
    daemon.wait_sequence(told.len() as u64);
    let range = format!("start={}&end={}&step=all", begin + 900, begin + 2 * HOUR);
    let answer = daemon.json(&format!("/plugins/kinds/counts?{range}&order=-value"));
    assert_eq!(answer["step"], "1h45m");
    let rows: Vec<_> = answer["rows"].as_array().expect("rows").iter().map(|row| (&row["of"], &row["value"])).collect();
    assert_eq!(rows, [(&json!("db"), &json!(3)), (&json!("web"), &json!(2))]);
    let product = format!("/plugins/kinds/stats?{range}&rollup=product");
    let row = &daemon.rows(&format!("{product}&by="))[0];
    let value = row["value"].as_object().expect("an object");
    assert_eq!((&value["parts"], &value["missing"]), (&json!(2), &json!(0)));
    assert!((value["product"].as_f64().expect("a number") - 0.5 * 2.0 / 3.0).abs() < 1e-15, "{row}");
    let csv = daemon.get(&format!("{product}&by=&format=csv"));
    assert!(csv.body.starts_with("time,value.product,value.parts,value.missing,coverage\r\n"), "{}", csv.body);
    let early = format!("/plugins/kinds/stats?start={}&end={}&rollup=product&by=&step=1m", begin + 3960, begin + 4020);
    assert_eq!(daemon.rows(&early)[0]["value"], json!({"product": 0.5, "parts": 1, "missing": 1}));
}

#[test]
fn bad_parameters_are_named() {
    let daemon = setup().start();
    for (question, parameter, words) in [
        ("counts?fill=foo", "fill", &["`foo`", "none", "null", "zero"][..]),
        ("counts?fill=", "fill", &["none"]),
        ("stats?fill=null&fill=zero", "fill", &["twice"]),
        ("status?fill=null", "fill", &["not known here", "rollup"]),
        ("status?rollup=avg", "rollup", &["`avg`", "sum"]),
        ("status?rollup=sum&depth=-1", "depth", &["`-1`"]),
        ("status?rollup=sum&depth=1.5", "depth", &["`1.5`"]),
        ("status?rollup=sum&depth=99999999999999999999", "depth", &["`99999999999999999999`"]),
        ("status?rollup=sum&path=nolabel", "path", &["`nolabel`", "of"]),
        ("status?rollup=sum&path=", "path", &["of"]),
        ("status?depth=1", "depth", &["`1`", "rollup=sum"]),
        ("status?path=of", "path", &["`of`", "rollup=sum"]),
        ("counts?rollup=sum", "rollup", &["not known here", "step, fill"]),
        ("keys?rollup=sum", "rollup", &["not known here"]),
        ("stats?rollup=sum", "rollup", &["`sum`", "product"]),
        ("stats?rollup=product&fill=zero", "fill", &["none", "rollup=product"]),
        ("stats?step=al", "step", &["`al`", "1h30m", "all"]),
        ("stats?step=all&max_points=3", "max_points", &["only without `step`"]),
        ("dists?depth=1", "depth", &["not known here"]),
        ("members?path=of", "path", &["not known here"]),
    ] {
        let path = format!("/plugins/kinds/{question}");
        let problem = assert_problem(&path, &daemon.get(&path), 400);
        assert_eq!(problem["parameter"], parameter, "{path}: {problem}");
        for word in words {
            assert!(problem["detail"].as_str().is_some_and(|text| text.contains(word)), "{path}: {word} in {problem}");
        }
    }
    assert_eq!(daemon.get("/plugins/kinds/status?rollup=sum&depth=4294967296").status, 200);
}
