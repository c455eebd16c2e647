//! The Prometheus API and the dashboards made for it: exact numbers, compared with those of `/plugins`, errors, bounds,
//! and `promtool` as a client where there is one.

use std::{collections::BTreeMap, process::Command};

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    kinds,
    support::{DaemonSetup, Message, TestDaemon, TestPublisher, note, now_secs, rfc3339, send},
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// With every character that is not a letter or a digit escaped.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

/// The data of an answer that works.
fn data(daemon: &TestDaemon, path: &str, pairs: &[(&str, &str)]) -> Value {
    let answer = daemon.json(&format!("/api/v1/{path}?{}", form(pairs)));
    assert_eq!(answer["status"], "success", "{path} {pairs:?}: {answer}");
    answer["data"].clone()
}

/// Labels as `name=value`, in order, without the name of the metric; with it in front if there is one.
fn shown(metric: &Value) -> String {
    let labels = metric.as_object().expect("labels");
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let others = labels.iter().filter(|(label, _)| *label != "__name__");
    let others: Vec<String> =
        others.map(|(label, value)| format!("{label}={}", value.as_str().expect("a text"))).collect();
    format!("{name}{{{}}}", others.join(","))
}

/// An instant vector: `labels value`, in the order that it came in.
fn at(daemon: &TestDaemon, query: &str, time: i64) -> Vec<String> {
    let data = data(daemon, "query", &[("query", query), ("time", &time.to_string())]);
    assert_eq!(data["resultType"], "vector", "{query}: {data}");
    let all = data["result"].as_array().expect("a list");
    let one = |one: &Value| {
        assert_eq!(one["value"][0], time, "{query}: {one}");
        format!("{} {}", shown(&one["metric"]), one["value"][1].as_str().expect("a text"))
    };
    all.iter().map(one).collect()
}

/// The values of all series of a range, by labels and second.
fn range(daemon: &TestDaemon, query: &str, (start, end, step): (i64, i64, i64)) -> BTreeMap<(String, i64), String> {
    let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
    let data = data(daemon, "query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)]);
    assert_eq!(data["resultType"], "matrix", "{query}: {data}");
    let mut values = BTreeMap::new();
    for series in data["result"].as_array().expect("a list") {
        for sample in series["values"].as_array().expect("a list") {
            let (time, value) = (sample[0].as_i64().expect("seconds"), sample[1].as_str().expect("a text"));
            values.insert((shown(&series["metric"]), time), value.to_owned());
        }
    }
    values
}

/// An error in Prometheus' shape; gives its sentence.
fn refused(daemon: &TestDaemon, path: &str, pairs: &[(&str, &str)], (status, kind): (u16, &str)) -> String {
    let answer = daemon.get(&format!("/api/v1/{path}?{}", form(pairs)));
    assert_eq!(answer.status, status, "{path} {pairs:?}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json", "{path} {pairs:?}");
    let error = answer.json();
    assert_eq!((&error["status"], &error["errorType"]), (&json!("error"), &json!(kind)), "{path} {pairs:?}: {error}");
    error["error"].as_str().expect("a sentence").to_owned()
}

/// The second of a time as the daemon writes it.
fn second(time: &Value, around: i64) -> i64 {
    let text = time.as_str().expect("a time");
    let found = (around - 2 * HOUR..around + 2 * HOUR).find(|secs| rfc3339(*secs) == text);
    found.unwrap_or_else(|| panic!("{text} is not within two hours of {around}"))
}

/// What is counted of messages of now, in seconds, beside seconds in which nothing was and ones before the bus was seen.
#[test]
fn counts_are_those_of_plugins_and_missing_is_not_zero() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let begin = now_secs();
    for (topic, ago, count) in [("a.b.prod.git.x", 0, 3), ("a.b.prod.bodhi.y", 2, 2), ("a.b.prod.git.y", 40, 5)] {
        for _ in 0..count {
            publisher.send(&Message::new(topic).at(begin - ago));
        }
    }
    daemon.wait_sequence(10);
    let whole = |daemon: &TestDaemon| second_of(&daemon.json("/plugins/volume/messages")["as_of"]) > begin + 4;
    daemon.wait_until("some seconds have passed", whole);
    let (start, end) = (begin - 60, begin + 3);
    for (query, path) in [
        ("volume_by_category", "/plugins/volume/by_category?by=category"),
        ("sum by (category) (volume_by_category)", "/plugins/volume/by_category?by=category"),
        ("volume_messages", "/plugins/volume/messages?by="),
        ("sum(volume_by_topic)", "/plugins/volume/by_topic?by="),
        ("sum by (category) (volume_by_category{category=~\"g.*\"})", "/plugins/volume/by_category?where.category=g*"),
    ] {
        let told = range(&daemon, query, (start, end, 1));
        let rows = daemon.rows(&format!("{path}&start={start}&end={end}&step=1s&fill=null"));
        let mut expected = BTreeMap::new();
        for row in rows.iter().filter(|row| !row["value"].is_null()) {
            let name = if query.starts_with("sum") { "" } else { query };
            let label = row["category"].as_str().map_or(String::new(), |category| format!("category={category}"));
            expected.insert((format!("{name}{{{label}}}"), second(&row["time"], begin) + 1), row["value"].to_string());
        }
        assert!(expected.values().any(|value| value == "0"), "{path}: seconds in which nothing was are zero");
        assert!(expected.len() < 2 * 63, "{path}: seconds before the bus was seen are not there");
        assert_eq!(told, expected, "{query}");
    }
    // The windows before a moment, however they lie, and the same by the second.
    for (query, expected) in [
        ("increase(volume_by_category[1m])", &["{category=bodhi} 2", "{category=git} 8"][..]),
        ("increase(volume_by_category[10s])", &["{category=bodhi} 2", "{category=git} 3"]),
        ("increase(volume_by_category{category!=\"git\"}[10s])", &["{category=bodhi} 2"]),
        ("increase(volume_by_category[1s] offset 2s)", &["{category=git} 3"]),
        ("sum(rate(volume_by_topic[20s])) * 20", &["{} 5"]),
        ("sum_over_time(volume_messages[1m])", &["{} 10"]),
        ("max_over_time(volume_messages[1m])", &["{} 5"]),
        ("sum(increase(volume_by_topic{topic=~\".*[.]y\"}[1m]))", &["{} 7"]),
        ("sum without (topic) (increase(volume_by_topic{topic!~\".*y\"}[1m]))", &["{} 3"]),
        ("topk(1, increase(volume_by_topic[1m]))", &["{topic=a.b.prod.git.y} 5"]),
    ] {
        assert_eq!(at(&daemon, query, begin + 3), expected, "{query}");
    }
    let by_label = "label_replace(increase(volume_by_topic[1m]), \"kind\", \"$1\", \"topic\", \".*\\\\.(.)\")";
    let found = at(&daemon, &format!("sum by (kind) ({by_label})"), begin + 3);
    assert_eq!(found, ["{kind=x} 3", "{kind=y} 7"]);
    // Ahead of the view there is nothing, and a moment ahead is the present.
    assert!(range(&daemon, "volume_messages", (begin + HOUR, begin + 2 * HOUR, 60)).is_empty());
    assert!(at(&daemon, "volume_messages", begin + 2 * HOUR).is_empty());
    assert_eq!(at(&daemon, "sum(increase(volume_messages[2h]))", begin + 120), ["{} 10"]);
}

/// Seconds since 1970 of a time of these days.
fn second_of(time: &Value) -> i64 {
    let text = time.as_str().expect("a time").get(..19).map(|text| format!("{text}Z"));
    let now = now_secs();
    (now - HOUR..now + HOUR).find(|secs| Some(rfc3339(*secs)) == text).expect("of this hour")
}

/// Every kind, in minutes and in hours, and what is made of them.
#[test]
fn every_kind_has_its_names() {
    let (daemon, begin) = kinds::with_history();
    let minute = begin + MINUTE;
    for (query, expected) in [
        ("kinds_counts", &["kinds_counts{of=a/x} 2", "kinds_counts{of=a/y} 7"][..]),
        ("kinds_stats_count{of=\"a/x\"}", &["kinds_stats_count{of=a/x} 8"]),
        ("kinds_stats_sum{of=\"a/x\"}", &["kinds_stats_sum{of=a/x} 40"]),
        ("kinds_stats_min{of=\"a/y\"}", &["kinds_stats_min{of=a/y} -1e+300"]),
        ("kinds_stats_max{of=~\"a/x|b\"}", &["kinds_stats_max{of=a/x} 9", "kinds_stats_max{of=b} 50"]),
        ("kinds_stats_avg{of=\"a/x\"}", &["kinds_stats_avg{of=a/x} 5"]),
        ("kinds_stats_stddev{of=\"a/x\"}", &["kinds_stats_stddev{of=a/x} 2"]),
        ("kinds_dists_count{of=\"a/x\"}", &["kinds_dists_count{of=a/x} 8"]),
        ("kinds_dists_max{of=\"a/x\"}", &["kinds_dists_max{of=a/x} 9"]),
        ("kinds_members", &["kinds_members{of=a/x} 2", "kinds_members{of=b} 1"]),
        (
            "kinds_keys{of=\"a/x\"}",
            &["kinds_keys{key=bash,of=a/x} 5", "kinds_keys{key=fish,of=a/x} 3", "kinds_keys{key=zsh,of=a/x} 3"],
        ),
        ("count by (quantile) (kinds_dists{of=\"a/x\",quantile!=\"0.5\"}) > 1", &[]),
        ("sum(kinds_stats_sum{of=~\"a/x|b\"}) / sum(kinds_stats_count{of=~\"a/x|b\"})", &["{} 10"]),
        ("kinds_counts > 5 and on (of) kinds_stats_min < 0", &["kinds_counts{of=a/y} 7"]),
        ("kinds_counts unless on (of) kinds_members", &["kinds_counts{of=a/y} 7"]),
        ("kinds_counts == bool 2", &["{of=a/x} 1", "{of=a/y} 0"]),
        ("-kinds_counts{of=\"a/y\"} ^ 2", &["{of=a/y} -49"]),
        ("absent(kinds_counts{of=\"none\"})", &["{of=none} 1"]),
        ("kinds_counts{of=\"none\"} or vector(0)", &["{} 0"]),
    ] {
        let found = range(&daemon, query, (minute, minute, 60)).into_iter();
        let found: Vec<String> = found.map(|((labels, _), value)| format!("{labels} {value}")).collect();
        assert_eq!(found, expected, "{query}");
    }
    // An hour later, in hours and over two minutes.
    for (query, at_secs, expected) in [
        ("kinds_members{__step__=\"1h\",of=\"a/x\"}", begin + HOUR, "kinds_members{of=a/x} 2"),
        ("kinds_stats_max{__step__=\"1h\",of=\"a/x\"}", begin + HOUR, "kinds_stats_max{of=a/x} 10.5"),
        ("increase(kinds_stats_sum{of=\"a/x\"}[2m])", begin + 2 * MINUTE, "{of=a/x} 50.5"),
        ("sum(increase(kinds_counts[1h]))", begin + HOUR, "{} 9"),
        ("max_over_time(kinds_stats_max{of=\"a/x\"}[5m])", begin + 3 * MINUTE, "{of=a/x} 10.5"),
        ("count_over_time(kinds_stats_max{of=\"a/x\",__step__=\"1m\"}[5m])", begin + 3 * MINUTE, "{of=a/x} 2"),
        ("avg_over_time(kinds_stats_count{of=\"a/x\",__step__=\"1m\"}[5m])", begin + 3 * MINUTE, "{of=a/x} 4.5"),
        ("last_over_time(kinds_stats_max{of=\"a/x\"}[5m])", begin + 3 * MINUTE, "kinds_stats_max{of=a/x} 10.5"),
        ("kinds_counts{of=\"a/y\"} @ 0 or kinds_stats_avg{of=\"b\"}", minute, "kinds_stats_avg{of=b} 50"),
        ("kinds_counts{of=\"a/x\"}", minute, "kinds_counts{of=a/x} -1"),
        ("kinds_counts{of=\"a/x\"}", begin + 1, "kinds_counts{of=a/x} 3"),
        ("topk(1, kinds_keys{of=\"a/x\"})", minute, "kinds_keys{key=bash,of=a/x} 5"),
        (&format!("kinds_counts{{of=\"a/y\"}} @ {minute}"), begin + HOUR, "kinds_counts{of=a/y} 7"),
    ] {
        assert_eq!(at(&daemon, query, at_secs), [expected], "{query}");
    }
    // Newest values from their time on; what is no number has no sample.
    let newest = |secs| at(&daemon, "kinds_status", secs);
    assert!(newest(begin - 1).is_empty());
    let all = newest(begin + 10).into_iter().collect::<std::collections::BTreeSet<_>>();
    let expected =
        ["kinds_status{of=a/x} 1", "kinds_status{of=a/y} 2.5", "kinds_status{of=b/c/d} 0.25", "kinds_status{of=b} 10"];
    assert_eq!(all, expected.map(str::to_owned).into(), "the older value of a/x is not kept, z is no number");
    quantiles_are_those_of_plugins(&daemon, begin);
}

fn quantiles_are_those_of_plugins(daemon: &TestDaemon, begin: i64) {
    let path = format!("/plugins/kinds/dists?start={begin}&end={}&step=1m&where.of=a/x", begin + MINUTE);
    let value = daemon.rows(&path)[0]["value"].clone();
    for (quantile, name) in [("0.5", "p50"), ("0.9", "p90"), ("0.95", "p95"), ("0.99", "p99")] {
        let matchers = format!("of=\"a/x\",quantile=\"{quantile}\",__step__=\"1m\"");
        let found = at(daemon, &format!("kinds_dists{{{matchers}}}"), begin + MINUTE);
        assert_eq!(found, [format!("kinds_dists{{of=a/x,quantile={quantile}}} {}", value[name])]);
    }
}

/// What Prometheus 2.42 says to the same expressions of three series, `V`, one that is not a number besides, `VN`, and
/// three with two labels, `W`.
#[test]
fn operators_are_those_of_prometheus() {
    let daemon = DaemonSetup::new().start();
    let one = |label: &str, value: &str| format!("label_replace(vector({value}),\"a\",\"{label}\",\"\",\"\")");
    let two = |one: &str, label: &str| format!("label_replace({one},\"b\",\"{label}\",\"\",\"\")");
    let (x, y, z, n) = (one("x", "1"), one("y", "2"), one("z", "-3.5"), one("n", "0/0"));
    let w = format!("({} or {} or {})", two(&x, "1"), two(&x, "2"), two(&y, "1"));
    for (query, expected) in [
        ("vector(-1^2)", &["{} -1"][..]),
        ("vector(2^3^2)", &["{} 512"]),
        ("vector(1/0)", &["{} +Inf"]),
        ("V > 0", &["{a=x} 1", "{a=y} 2"]),
        ("V > bool 0", &["{a=x} 1", "{a=y} 1", "{a=z} 0"]),
        ("0 < V", &["{a=x} 1", "{a=y} 2"]),
        ("1 - V", &["{a=x} 0", "{a=y} -1", "{a=z} 4.5"]),
        ("V == V", &["{a=x} 1", "{a=y} 2", "{a=z} -3.5"]),
        ("V ^ 2", &["{a=x} 1", "{a=y} 4", "{a=z} 12.25"]),
        ("sum(V)", &["{} -0.5"]),
        ("min(VN)", &["{} -3.5"]),
        ("max(VN)", &["{} 2"]),
        ("count(VN)", &["{} 4"]),
        ("sum by (a) (W)", &["{a=x} 2", "{a=y} 2"]),
        ("sum without (a) (W)", &["{b=1} 3", "{b=2} 1"]),
        ("topk(2, VN)", &["{a=y} 2", "{a=x} 1"]),
        ("bottomk(2, VN)", &["{a=z} -3.5", "{a=x} 1"]),
        ("topk by (b) (1, W)", &["{a=y,b=1} 2", "{a=x,b=2} 1"]),
        ("round(V, 0.3)", &["{a=x} 0.8999999999999999", "{a=y} 2.1", "{a=z} -3.5999999999999996"]),
        ("sgn(V)", &["{a=x} 1", "{a=y} 1", "{a=z} -1"]),
        ("clamp(V, -1, 1)", &["{a=x} 1", "{a=y} 1", "{a=z} -1"]),
        ("clamp(V, 1, -1)", &[]),
        ("clamp_max(VN, 0)", &["{a=n} NaN", "{a=x} 0", "{a=y} 0", "{a=z} -3.5"]),
        ("sort_desc(VN)", &["{a=y} 2", "{a=x} 1", "{a=z} -3.5", "{a=n} NaN"]),
        ("vector(scalar(V))", &["{} NaN"]),
        ("vector(scalar(V > 1))", &["{} 2"]),
        ("absent(V > 100)", &["{} 1"]),
        ("W and on (a) V < 2", &["{a=x,b=1} 1", "{a=x,b=2} 1"]),
        ("W unless on (a) V < 2", &["{a=y,b=1} 2"]),
        ("V or W", &["{a=x,b=1} 1", "{a=x,b=2} 1", "{a=x} 1", "{a=y,b=1} 2", "{a=y} 2", "{a=z} -3.5"]),
        ("V > on (a) V - 1", &["{a=x} 1", "{a=y} 2", "{a=z} -3.5"]),
        ("V / ignoring (b) sum by (a) (W)", &["{a=x} 0.5", "{a=y} 1"]),
        ("W * on (a) (V > 1)", &["{a=y} 4"]),
        ("(V > 100) * on (a) W", &[]),
    ] {
        let query = query.replace("VN", &format!("({x} or {y} or {z} or {n})")).replace('W', &w);
        let query = query.replace('V', &format!("({x} or {y} or {z})"));
        let mut found = at(&daemon, &query, 1_700_000_000);
        if !query.contains("topk") && !query.contains("bottomk") && !query.contains("sort") {
            found.sort();
        }
        assert_eq!(found, expected, "{query}");
    }
}

#[test]
fn what_grafana_asks_for() {
    let (daemon, _) = kinds::with_history();
    assert_eq!(
        data(&daemon, "query", &[("query", "1+1"), ("time", "12.5")]),
        json!({"resultType": "scalar", "result": [12.5, "2"]})
    );
    assert_eq!(
        data(&daemon, "query", &[("query", "\"é\""), ("time", "12")]),
        json!({"resultType": "string", "result": [12, "é"]})
    );
    let build = data(&daemon, "status/buildinfo", &[]);
    assert_eq!(build["version"], "2.24.0", "{build}");
    for (path, empty) in
        [("query_exemplars", json!([])), ("rules", json!({"groups": []})), ("alerts", json!({"alerts": []}))]
    {
        assert_eq!(data(&daemon, path, &[]), empty, "{path}");
    }
    let of_counts = [("match[]", "kinds_counts"), ("start", "1"), ("end", "2")];
    assert_eq!(data(&daemon, "labels", &of_counts), json!(["__name__", "of"]));
    assert_eq!(data(&daemon, "label/of/values", &of_counts), json!(["a/x", "a/y", "b"]));
    assert_eq!(
        data(&daemon, "label/of/values", &[("match[]", "kinds_counts{of=~\"a.*\",of!=\"a/y\"}")]),
        json!(["a/x"])
    );
    assert_eq!(data(&daemon, "label/field/values", &[]), json!([]));
    assert_eq!(data(&daemon, "label/quantile/values", &[]), json!(["0.5", "0.9", "0.95", "0.99"]));
    let names = data(&daemon, "label/__name__/values", &[]);
    for name in ["kinds_counts", "kinds_stats_sum", "kinds_dists", "kinds_dists_count", "kinds_status", "kinds_keys"] {
        assert!(names.as_array().is_some_and(|names| names.contains(&json!(name))), "{name} in {names}");
    }
    assert_eq!(
        data(&daemon, "series", &[("match[]", "kinds_counts{of=\"b\"}"), ("match[]", "kinds_status{of=\"b\"}")]),
        json!([{"__name__": "kinds_counts", "of": "b"}, {"__name__": "kinds_status", "of": "b"}])
    );
    let first =
        daemon.json(&format!("/api/v1/label/of/values?{}", form(&[("match[]", "kinds_counts"), ("limit", "1")])));
    assert_eq!((&first["data"], &first["warnings"]), (&json!(["a/x"]), &json!(["results truncated due to limit"])));
    let metadata = data(&daemon, "metadata", &[("metric", "kinds_stats_sum")]);
    assert_eq!(metadata, json!({"kinds_stats_sum": [{"type": "counter", "help": "", "unit": ""}]}));
    // As a form, too.
    for (path, body) in [("query", form(&[("query", "1+1"), ("time", "1")])), ("labels", form(&of_counts))] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = send(daemon.address(), Method::POST, &format!("/api/v1/{path}"), &headers, &body);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("success")), "{path}: {}", answer.body);
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    let (daemon, begin) = kinds::with_history();
    let deep = format!("{}1", "-".repeat(1000));
    for (query, words) in [
        ("", &["parse error"][..]),
        ("sum(", &["parse error"]),
        ("foo(1)", &["unknown function"]),
        ("delta(kinds_counts[5m])", &["delta()", "increase"]),
        ("irate(kinds_counts[5m])", &["irate()", "rate"]),
        ("histogram_quantile(0.9, kinds_dists)", &["histogram_quantile()"]),
        ("quantile(0.9, kinds_counts)", &["quantile"]),
        ("max_over_time(rate(kinds_counts[5m])[1h:1m])", &["subquery"]),
        ("kinds_counts * on (of) group_left kinds_members", &["group_left"]),
        ("kinds_counts[inf]", &["parse error"]),
        ("kinds_counts[1e300]", &["hundred years"]),
        ("kinds_counts{of=~\"[\"}", &["parse error"]),
        ("kinds_counts{of=\"\\é\"}", &["parse error"]),
        ("kinds_counts{__step__=\"fast\"}", &["__step__"]),
        ("kinds_counts{__step__=\"90s\"} + kinds_counts{__step__=~\"1m\"}", &["__step__"]),
        (&deep, &["words and signs"]),
    ] {
        let error = refused(&daemon, "query", &[("query", query), ("time", &begin.to_string())], (400, "bad_data"));
        for word in words {
            assert!(error.contains(word), "{query}: {word} in {error}");
        }
    }
    for (query, words) in [
        ("rate(kinds_members[5m])", &["do not add up", "__step__"][..]),
        ("increase(kinds_status[5m])", &["newest value"]),
        ("kinds_counts + on () kinds_counts", &["many-to-many"]),
        ("abs({__name__=~\"kinds_stats_min|kinds_stats_max\"})", &["same labelset"]),
    ] {
        let time = (begin + MINUTE).to_string();
        let error = refused(&daemon, "query", &[("query", query), ("time", &time)], (422, "execution"));
        for word in words {
            assert!(error.contains(word), "{query}: {word} in {error}");
        }
    }
    for (path, pairs, word) in [
        ("query_range", &[("query", "1"), ("start", "0"), ("end", "11001"), ("step", "1")][..], "11,000 points"),
        ("query_range", &[("query", "1"), ("start", "10"), ("end", "9"), ("step", "1")], "before start"),
        ("query_range", &[("query", "1"), ("start", "1"), ("end", "9"), ("step", "0")], "zero or negative"),
        ("query_range", &[("query", "1"), ("end", "9"), ("step", "1")], "\"start\""),
        ("query_range", &[("query", "\"a\""), ("start", "1"), ("end", "9"), ("step", "1")], "no range"),
        ("query", &[("query", "1"), ("time", "soon")], "\"time\""),
        ("series", &[], "match[]"),
        ("series", &[("match[]", "rate(a[5m])")], "no selector"),
        ("labels", &[("limit", "many")], "limit"),
        ("label/0a/values", &[], "label name"),
    ] {
        let error = refused(&daemon, path, pairs, (400, "bad_data"));
        assert!(error.contains(word), "{path} {pairs:?}: {word} in {error}");
    }
    let points = data(&daemon, "query_range", &[("query", "time()"), ("start", "0"), ("end", "11000"), ("step", "1")]);
    assert_eq!(points["result"][0]["values"].as_array().map(Vec::len), Some(11_001));
}

#[test]
fn what_would_take_all_memory_is_refused() {
    let (daemon, begin) = kinds::with_history();
    // Twice as long at each level: half an exabyte.
    let mut doubled = "label_replace(vector(1), \"a\", \"0123456789abcdef\", \"\", \"\")".to_owned();
    for _ in 0..55 {
        doubled = format!("label_replace({doubled}, \"a\", \"$1$1\", \"a\", \"(.*)\")");
    }
    let pairs = [("query", &*doubled), ("time", &begin.to_string())];
    assert!(refused(&daemon, "query", &pairs, (422, "execution")).contains("8192 bytes"));

    // Each of them waits for all behind it.
    let power = ["kinds_dists"; 480].join("^");
    let (start, end) = (begin.to_string(), (begin + 11_000).to_string());
    let pairs = [("query", &*power), ("start", &start), ("end", &end), ("step", "1")];
    assert!(refused(&daemon, "query_range", &pairs, (422, "execution")).contains("fewer selectors"));

    let selectors = [("match[]", "{of=~\"a.*\"}"); 17];
    let error = refused(&daemon, "series", &selectors, (400, "bad_data"));
    assert!(error.contains("match[]") && error.contains("regular expressions"), "{error}");
}

/// Every query of every dashboard is one that is answered.
#[test]
fn dashboards_ask_what_is_answered() {
    let mut publisher = TestPublisher::start();
    let daemon = kinds::setup().instance("volume", "volume", "").instance("releng", "releng", "");
    let daemon = daemon.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let now = now_secs();
    for ago in 0..20 {
        let fields = json!({"of": "a/x", "add": 1, "observe": ago, "member": ago, "key": "k", "status": 1});
        publisher.send(&Message::new("org.fedoraproject.prod.git.receive").at(now - ago).msg(fields));
    }
    daemon.wait_sequence(20);
    let mut answers = BTreeMap::new();
    for id in ["volume", "releng", "kinds"] {
        let dashboard = daemon.json(&format!("/plugins/{id}/grafana.json"));
        assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus", "{id}");
        let labels: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .expect("variables")
            .iter()
            .map(|variable| {
                let query = variable["query"]["query"].as_str().expect("a query");
                let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
                let (name, label) = inner.and_then(|inner| inner.split_once(", ")).expect("name and label");
                data(&daemon, &format!("label/{label}/values"), &[("match[]", name)]);
                variable["name"].as_str().expect("a name")
            })
            .collect();
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let mut query = target["expr"].as_str().expect("a query").to_owned();
                for (variable, value) in [("$__interval", "1m"), ("$__range", "3600s")] {
                    query = query.replace(variable, value);
                }
                for label in &labels {
                    query = query.replace(&format!("\"${label}\""), "\".*\"");
                }
                assert!(!query.contains('$'), "{query}");
                let (start, end) = ((now - HOUR).to_string(), now.to_string());
                let data = match target["instant"] == true {
                    true => data(&daemon, "query", &[("query", &query), ("time", &end)]),
                    false => data(
                        &daemon,
                        "query_range",
                        &[("query", &query), ("start", &start), ("end", &end), ("step", "60")],
                    ),
                };
                let title = format!("{id}: {}", panel["title"].as_str().expect("a title"));
                answers.insert(title, data["result"].as_array().map_or(0, Vec::len));
            }
        }
    }
    assert!(answers.len() > 20, "{answers:#?}");
    for title in [
        "volume: messages: in this range",
        "volume: by_category: most in this range",
        "kinds: status: newest values that are numbers",
    ] {
        assert_eq!(answers.get(title), Some(&1), "{title} in {answers:#?}");
    }
}

/// A client that others wrote.
#[test]
fn promtool_understands_the_answers() {
    let (daemon, begin) = kinds::with_history();
    let url = format!("http://{}", daemon.address());
    let (start, end, minute) = (begin.to_string(), (begin + HOUR).to_string(), (begin + MINUTE).to_string());
    let (from, to) = (format!("--start={start}"), format!("--end={end}"));
    let moment = format!("--time={minute}");
    for (args, words) in [
        (
            &["query", "instant", &moment, &url, "kinds_counts{__step__=\"1m\"}"][..],
            &["kinds_counts{of=\"a/x\"} => 2 @", "=> 7 @"][..],
        ),
        (&["query", "range", &from, &to, "--step=1m", &url, "sum(increase(kinds_counts[1m]))"], &["9 @"]),
        (&["query", "series", "--match=kinds_counts", &url], &["of=\"a/y\""]),
        (&["query", "labels", &url, "of"], &["a/x", "b/c/d"]),
    ] {
        let Ok(output) = Command::new("promtool").args(args).output() else {
            return note("promtool is not there: the Prometheus API was tried without it");
        };
        let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for word in words {
            assert!(output.status.success() && told.contains(word), "{args:?}: {word} in {told}{failed}");
        }
    }
}
