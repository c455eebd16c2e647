//! Discovery: what `/plugins` leads to answers, and the values of labels come page by page.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    kinds,
    support::{DaemonSetup, Message, SOON, TestDaemon, TestPublisher, now_secs, test_library},
};

/// The shipped plugins and `kinds`, with something in every metric.
pub fn with_everything(change: impl FnOnce(DaemonSetup) -> DaemonSetup) -> TestDaemon {
    let mut publisher = TestPublisher::start();
    let setup = change(DaemonSetup::new().plugin(&test_library("statscache_test_plugin_kinds")));
    let setup = ["kinds", "releng", "volume"].into_iter().fold(setup, |setup, id| setup.instance(id, id, ""));
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let mut messages = kinds::history(now_secs() - 600);
    messages.push(Message::new("org.example.event").msg(json!({"of": "a/x", "lease": 1})));
    let commit = json!({"commit": {"username": "anna", "repo": "bash"}});
    messages.push(Message::new("org.fedoraproject.prod.git.receive").msg(commit));
    for n in 0..20 {
        messages.push(Message::new(&format!("org.fedoraproject.prod.t{}.a/b", n % 5)).at(now_secs() - n));
        messages.push(Message::new("org.fedoraproject.prod.compose.rawhide.start").at(now_secs() - n));
    }
    publisher.send_all(&messages);
    daemon.wait_sequence(messages.len() as u64);
    daemon
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The status of an answer that may never end.
fn status_of(daemon: &TestDaemon, path: &str) -> u16 {
    let mut stream = TcpStream::connect(daemon.address()).expect("it serves");
    stream.set_read_timeout(Some(SOON)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{path}: {line}"))
}

#[test]
fn everything_that_is_told_leads_somewhere() {
    let daemon = with_everything(|setup| setup);
    let mut links = BTreeSet::new();
    let (mut ids, mut examples) = (Vec::new(), 0);
    assert_eq!(daemon.get("/plugins").header("link"), "</openapi.json>; rel=\"service-desc\"");
    for plugin in list(&daemon.json("/plugins"), "plugins") {
        ids.push(text(&plugin["id"]).to_owned());
        links.extend(plugin["links"].as_object().into_iter().flatten().map(|(_, link)| text(link).to_owned()));
        for metric in list(plugin, "metrics") {
            links.extend(metric["links"].as_object().into_iter().flatten().map(|(_, link)| text(link).to_owned()));
            assert_eq!(metric["links"]["example"], metric["examples"][0]["url"]);
            for example in list(metric, "examples") {
                assert!(!text(&example["title"]).is_empty());
                links.insert(text(&example["url"]).to_owned());
                examples += 1;
            }
            for label in list(metric, "label_values") {
                let values = &daemon.json(text(&label["values"]))["values"];
                let shown = list(label, "examples");
                assert!(!shown.is_empty() && shown.len() <= 5, "{label}");
                assert!(shown.iter().all(|value| values.as_array().is_some_and(|all| all.contains(value))), "{label}");
            }
            check_columns(&daemon, metric);
        }
    }
    assert_eq!(ids, ["kinds", "releng", "volume"]);
    assert!(examples > 50, "{examples} examples");
    for link in links {
        assert_eq!(status_of(&daemon, &link), 200, "{link}");
    }
}

/// The columns are those of an answer, and the first example answers with something.
fn check_columns(daemon: &TestDaemon, metric: &Value) {
    let answer = daemon.json(text(&metric["links"]["example"]));
    assert!(!list(&answer, "rows").is_empty(), "{}", metric["links"]["example"]);
    let mut columns = metric["columns"].clone();
    for column in columns.as_array_mut().into_iter().flatten() {
        let unit = column.as_object_mut().and_then(|column| column.remove("unit"));
        let has_unit = column["name"] == "value" && metric["unit"] != "";
        assert_eq!(unit, Some(if has_unit { metric["unit"].clone() } else { Value::Null }), "{metric:#}");
    }
    assert_eq!(columns, answer["columns"]);
}

#[test]
fn a_metric_says_what_may_be_asked_of_it() {
    let daemon = with_everything(|setup| setup);
    let volume = daemon.plugin("volume");
    let metric = &volume["metrics"].as_array().expect("metrics")[1];
    assert_eq!(metric["name"], "by_category");
    assert_eq!(
        metric["steps"],
        json!([
            {"step": "1s", "seconds": 1, "kept_for": "2h", "kept_seconds": 7200},
            {"step": "1m", "seconds": 60, "kept_for": "7d", "kept_seconds": 604_800},
            {"step": "1h", "seconds": 3600, "kept_for": "400d", "kept_seconds": 34_560_000},
            {"step": "1d", "seconds": 86_400, "kept_for": null, "kept_seconds": null},
        ])
    );
    assert_eq!(metric["label_values"][0]["name"], "category");
    assert_eq!(metric["label_values"][0]["values"], "/plugins/volume/by_category/labels/category");
    let titles = |metric: &Value| -> Vec<String> {
        list(metric, "examples").iter().map(|example| text(&example["title"]).to_owned()).collect()
    };
    assert!(titles(metric).contains(&"The ten greatest of a day".to_owned()), "{metric:#}");
    let kinds = daemon.plugin("kinds");
    let status = list(&kinds, "metrics").iter().find(|metric| metric["name"] == "status").expect("a metric");
    assert!(titles(status).contains(&"Sums along the path `of`".to_owned()), "{status:#}");
    assert_eq!(status["steps"], Value::Null);
}

#[test]
fn values_of_labels_come_in_order_page_by_page() {
    let daemon = with_everything(|setup| setup);
    let base = "/plugins/volume/by_topic/labels/topic";
    let all = daemon.json(base);
    assert_eq!((&all["label"], &all["truncated"]), (&json!("topic"), &json!(false)));
    let values: Vec<&str> = list(&all, "values").iter().map(text).collect();
    assert!(values.len() == 8 && values.is_sorted(), "{values:?}");
    let (mut pages, mut next) = (Vec::new(), Some(format!("{base}?limit=2&match=*fedoraproject*")));
    while let Some(path) = next {
        let answer = daemon.get(&path);
        let link = answer.header("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        next = link.map(str::to_owned);
        let page = answer.json();
        assert_eq!(page["truncated"], next.is_some(), "{path}");
        pages.push(list(&page, "values").iter().map(|value| text(value).to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1]);
    let wanted: Vec<&str> = values.iter().copied().filter(|value| value.contains("fedoraproject")).collect();
    assert_eq!(pages.concat(), wanted);
    let filtered = daemon.json(&format!("{base}?where.topic=*t1*&where.topic=*t2*&match=*1*"));
    assert_eq!(filtered["values"], json!(["org.fedoraproject.prod.t1.a/b"]));
    let none = daemon.get(&format!("{base}?after=zzz"));
    assert_eq!((none.json()["values"].clone(), none.header("link")), (json!([]), ""));
    daemon.json(&format!("{base}?after=a&limit=9&{}", "match=x&".repeat(32)));
    let patterns = "match=x&".repeat(33);
    for (query, parameter, words) in [
        ("limit=0", "limit", &["1 to 10000"][..]),
        ("limit=x", "limit", &["`x`"]),
        ("after=a&after=b", "after", &["twice"]),
        ("start=now", "start", &["match, limit, after, where.topic"]),
        ("where.category=x", "where.category", &["where.topic"]),
        (&patterns, "match", &["at most 32"]),
    ] {
        let problem = assert_problem(query, &daemon.get(&format!("{base}?{query}")), 400);
        assert_eq!(problem["parameter"], parameter);
        assert!(words.iter().all(|word| text(&problem["detail"]).contains(word)), "{problem}");
    }
    for (path, words) in [
        ("/plugins/volume/by_topic/labels/category", &["`by_topic`", "`category`", "topic"][..]),
        ("/plugins/volume/messages/labels/topic", &["has none"]),
        ("/plugins/volume/none/labels/topic", &["`none`", "by_topic"]),
        ("/plugins/none/by_topic/labels/topic", &["`none`", "volume"]),
    ] {
        let problem = assert_problem(path, &daemon.get(path), 404);
        assert!(words.iter().all(|word| text(&problem["detail"]).contains(word)), "{problem}");
    }
    assert_problem("POST", &daemon.ask(Method::POST, base, &[]), 405);
}
