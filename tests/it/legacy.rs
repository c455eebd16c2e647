//! The API of the original statscache below `/api/`: compared with what was recorded of it, and what its clients do.

mod corpus;
mod model;
mod past;
mod recorded;
mod rows;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    support::{Answer, DaemonSetup, Message, TestDaemon, TestPublisher, note, now_secs},
};

/// How an intended difference is tested.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// It shows in the answers that were recorded.
    Recorded,
    /// It shows in the rows that were recorded.
    Rows,
    /// By the test of this name, here or, where it takes too much to do over a bus, beside the code.
    By(&'static str),
}

/// Every intended difference, by its id: the table of `docs/old-api.md` in short.
pub const DIFFERENCES: &[(&str, Shown)] = &[
    ("by-topic", Shown::Recorded),
    ("buckets", Shown::Recorded),
    ("unclassified", Shown::Rows),
    ("names", Shown::Rows),
    ("old-pushes", Shown::Rows),
    ("same-time", Shown::Rows),
    ("pages", Shown::Recorded),
    ("ties", Shown::Recorded),
    ("links", Shown::Recorded),
    ("limit", Shown::Recorded),
    ("numbers", Shown::Recorded),
    ("empty", Shown::Recorded),
    ("no-accept", Shown::Recorded),
    ("problems", Shown::Recorded),
    ("plain-404", Shown::Recorded),
    ("cors", Shown::Recorded),
    ("allow", Shown::Recorded),
    ("csv", Shown::Recorded),
    ("updates", Shown::Recorded),
    ("epel", Shown::Recorded),
    ("front", Shown::Recorded),
    ("formulas", Shown::By("csv_is_safe_to_open")),
    ("text", Shown::By("csv_is_safe_to_open")),
    ("callback", Shown::By("mistakes_are_told")),
    ("repeated", Shown::By("mistakes_are_told")),
    ("once", Shown::By("a_message_counts_once_and_a_restart_loses_nothing")),
    ("kept", Shown::By("only_what_a_tier_keeps_is_there")),
    ("too-much", Shown::By("a_range_that_is_too_much_is_cut_to_its_newest_part")),
    ("claimed", Shown::By("of_two_instances_the_first_has_the_ident")),
];

#[test]
fn the_docs_list_these_differences() {
    let docs = include_str!("../../docs/old-api.md");
    let (_, table) = docs.split_once("## What is different").expect("a table");
    let ids = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(id, _)| id);
    let ids: Vec<&str> = ids.collect();
    let tested: Vec<&str> = DIFFERENCES.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, tested, "docs/old-api.md and DIFFERENCES are one list");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each id once");
    let tests = concat!(include_str!("legacy.rs"), include_str!("../../statscache-server/src/http/legacy/tests.rs"));
    for (id, shown) in DIFFERENCES {
        let Shown::By(test) = shown else { continue };
        assert!(tests.contains(&format!("fn {test}()")), "{id}: there is no test {test}");
    }
}

/// The folder with what was recorded of the original.
fn reference_dir() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from).join("fedmsg")
}

/// A file of it, which is not part of this repository: without it nothing is compared, and that is said.
fn reference(name: &str) -> Option<String> {
    let path = reference_dir().join(name);
    let text = fs::read_to_string(&path).ok();
    if text.is_none() {
        note(&format!("SKIPPED: there is no {}: nothing was compared with the original API", path.display()));
    }
    text
}

/// A whole minute, some days ago: no bucket of then is running.
fn begin() -> i64 {
    (now_secs() - 2 * 86_400).div_euclid(60) * 60
}

/// A daemon that has these.
fn daemon_with(messages: &[Message]) -> TestDaemon {
    daemon_of(DaemonSetup::new(), messages)
}

fn daemon_of(setup: DaemonSetup, messages: &[Message]) -> TestDaemon {
    let mut publisher = TestPublisher::start();
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send_all(messages);
    daemon.wait_sequence(messages.len() as u64);
    daemon
}

fn message(category: &str, at: i64) -> Message {
    Message::new(&format!("org.fedoraproject.prod.{category}.thing.done")).at(at)
}

/// 330 messages of seven categories over half an hour.
fn busy(begin: i64) -> Vec<Message> {
    let categories = ["git", "bodhi", "fas", "copr", "buildsys", "wiki", "askbot"];
    (0..330).map(|n: i64| message(categories[(n * n % 7) as usize], begin + n * 37 % 1800)).collect()
}

/// Rows of an answer that is fine.
fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json().as_array().cloned().unwrap_or_else(|| panic!("no rows: {}", answer.body))
}

/// `category timestamp volume` of each row.
fn told(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| format!("{} {} {}", row["category"], row["timestamp"], row["volume"])).collect()
}

/// The target of the link with this relation, without scheme and host.
fn link(answer: &Answer, relation: &str) -> Option<String> {
    let links = answer.header("link").split(", ");
    let target =
        links.filter_map(|link| link.strip_suffix(&format!(">; rel=\"{relation}\""))?.strip_prefix('<')).next()?;
    let rest = target.strip_prefix("http://").unwrap_or_else(|| panic!("{target} is absolute"));
    rest.find('/').map(|path| rest[path..].to_owned())
}

#[test]
fn all_pages_together_are_all_rows_each_once() {
    let begin = begin();
    let daemon = daemon_with(&busy(begin));
    let minutes: BTreeSet<(i64, String)> =
        busy(begin).iter().map(|message| (message.bucket(60) + 60, message.category().to_owned())).collect();
    for (order, len) in [("asc", 100), ("desc", 100), ("asc", 7), ("desc", 1), ("desc", 33)] {
        let mut next = Some(format!("/api/volume-by-category-1m?order={order}&rows_per_page={len}&_=1449"));
        let (mut all, mut pages) = (Vec::new(), 0);
        while let Some(path) = next {
            let answer = daemon.get(&path);
            pages += 1;
            assert_eq!(answer.header("x-link-number"), pages.to_string(), "{path}");
            assert_eq!(answer.header("x-link-count"), minutes.len().div_ceil(len).to_string(), "{path}");
            let previous = link(&answer, "previous");
            assert_eq!(previous.is_some(), pages > 1, "{path}: {}", answer.header("link"));
            assert!(previous.is_none_or(|it| it.contains("&_=1449&") && it.contains(&format!("={}", pages - 1))));
            next = link(&answer, "next");
            all.extend(rows(&answer));
        }
        assert_eq!(pages, minutes.len().div_ceil(len));
        let times: Vec<f64> = all.iter().map(|row| row["timestamp"].as_f64().expect("a time")).collect();
        assert!(times.is_sorted_by(|a, b| if order == "asc" { a <= b } else { a >= b }), "{order}");
        let key = |row: &Value| {
            let category = row["category"].as_str().expect("a text").to_owned();
            (row["timestamp"].as_f64().expect("a time") as i64, category)
        };
        assert_eq!(all.len(), minutes.len(), "each once");
        assert_eq!(all.iter().map(key).collect::<BTreeSet<_>>(), minutes, "{order} by {len}");
        assert_eq!(all.iter().filter_map(|row| row["volume"].as_i64()).sum::<i64>(), 330);
    }
    let count = minutes.len();
    let past = |page: usize| daemon.get(&format!("/api/volume-by-category-1m?rows_per_page=1&page={page}"));
    assert!(rows(&past(count + 1)).is_empty(), "a page right behind the last row");
    assert_problem("further behind", &past(count + 2), 400);
    daemon.terminate();
}

#[test]
fn labels_are_ends_of_buckets_and_the_running_one_is_hidden() {
    let (begin, now) = (begin(), now_secs());
    let at = |seconds: i64| message("git", begin + seconds);
    let daemon =
        daemon_with(&[at(0), at(59), at(60), at(119), at(120), message("fas", now), message("git", now - 7200)]);
    let ask = |query: &str| told(&rows(&daemon.get(&format!("/api/volume-by-category-1m?{query}"))));
    let row = |label: i64, volume: i64| format!("\"git\" {:.1} {volume}", (begin + label) as f64);
    for (start, stop, expected) in [
        (60, 180, vec![row(180, 1), row(120, 2), row(60, 2)]),
        (61, 180, vec![row(180, 1), row(120, 2)]),
        (60, 179, vec![row(120, 2), row(60, 2)]),
        (120, 120, vec![row(120, 2)]),
        (121, 179, vec![]),
        (180, 60, vec![]),
    ] {
        assert_eq!(ask(&format!("start={}&stop={}", begin + start, begin + stop)), expected, "{start} to {stop}");
    }
    assert_eq!(ask(&format!("start={}.5&stop={}.5", begin + 60, begin + 120)), [row(120, 2)]);
    let body = daemon.get(&format!("/api/volume-by-category-1m?start={}&stop={0}", begin + 60)).body;
    assert_eq!(body, format!("[{{\"timestamp\":{}.0,\"category\":\"git\",\"volume\":2}}]", begin + 60));
    // Fifteen seconds are added up from seconds, of which only two hours are kept.
    let quarter = rows(&daemon.get(&format!("/api/volume-by-category-15s?stop={}", now + 15)));
    let newest = now.div_euclid(15) * 15 + 15;
    assert_eq!((&quarter[0]["timestamp"], &quarter[0]["category"]), (&json!(newest as f64), &json!("fas")));
    // A label in the future is that of a bucket that may still grow; who wants it asks for it.
    let shown = rows(&daemon.get("/api/volume-by-category-1d"));
    assert!(shown.iter().all(|row| row["timestamp"].as_f64().is_some_and(|label| label <= now_secs() as f64)));
    let running = rows(&daemon.get(&format!("/api/volume-by-category-1d?stop={}", now + 86_400)));
    let today = (now.div_euclid(86_400) * 86_400 + 86_400) as f64;
    assert!(running.iter().any(|row| row["timestamp"] == today && row["category"] == "fas"), "{running:?}");
    assert!(shown.len() < running.len());
    daemon.terminate();
}

#[test]
fn only_what_a_tier_keeps_is_there() {
    let begin = begin();
    let daemon = daemon_with(&[message("git", begin), message("git", now_secs() - 600)]);
    let len = |ident: &str| rows(&daemon.get(&format!("/api/{ident}?stop={}", now_secs() + 86_400))).len();
    assert_eq!(["volume-1s", "volume-1m"].map(len), [1, 2], "seconds are kept for two hours, minutes for a week");
    let before = format!("/api/volume-1s?stop={}", begin + 60);
    assert!(rows(&daemon.get(&before)).is_empty(), "nothing is kept: no error, as nothing was there in the original");
    daemon.terminate();
}

#[test]
fn the_example_page_gets_its_rows() {
    // examples/simple.html: jQuery's get from another origin.
    let daemon = daemon_with(&busy(begin()));
    let headers = [("accept", "*/*"), ("origin", "http://dashboard.example.org")];
    let answer = daemon.ask(Method::GET, "/api/volume-by-category-1m?rows_per_page=10", &headers);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("content-type"), "application/json");
    let rows = rows(&answer);
    assert_eq!(rows.len(), 10);
    let times: Vec<f64> = rows.iter().map(|row| row["timestamp"].as_f64().expect("seconds")).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    assert!(rows.iter().all(|row| row["category"].is_string() && row["volume"].is_i64()), "{rows:?}");
    daemon.terminate();
}

/// What a script hands to the function.
fn handed(answer: &Answer, function: &str) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/javascript; charset=utf-8"));
    let argument = answer.body.strip_prefix(&format!("{function}(")).and_then(|rest| rest.strip_suffix(')'));
    serde_json::from_str(argument.unwrap_or_else(|| panic!("no call: {}", answer.body))).expect("JSON")
}

/// Composes and updates, as release engineering sends them.
fn releases(begin: i64) -> Vec<Message> {
    let sent = |topic: &str, at: i64, msg: Value| {
        Message::new(&format!("org.fedoraproject.prod.{topic}")).at(begin + at).msg(msg)
    };
    let update = |release: &str| json!({"release": release, "repo": "updates"});
    vec![
        sent("compose.rawhide.start", 0, json!({"arch": "arm"})),
        sent("compose.rawhide.complete", 60, json!({"arch": "arm"})),
        sent("compose.rawhide.rsync.start", 30, json!({})),
        sent("bodhi.updates.fedora.sync", 40, update("f41")),
        sent("bodhi.updates.fedora.sync", 50, update("f42")),
        sent("bodhi.updates.epel.sync", 20, update("epel9")),
    ]
}

#[test]
fn the_release_dashboard_gets_layout_and_log() {
    let begin = begin();
    let daemon = daemon_with(&releases(begin));
    let base = "/api/release-engineering-event-logs";
    let call = "?callback=jQuery21408_1449&_=1450";
    let accept = [("accept", "text/javascript, application/javascript, */*; q=0.01")];
    let layout = handed(&daemon.ask(Method::GET, &format!("{base}/layout{call}"), &accept), "jQuery21408_1449");
    let log = handed(&daemon.ask(Method::GET, &format!("{base}{call}"), &accept), "jQuery21408_1449");
    let components: Vec<&Value> = layout["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["components"].as_array().expect("components"))
        .collect();
    let told = |row: &Value| {
        let message: Value = serde_json::from_str(row["message"].as_str().expect("a text")).expect("JSON in a text");
        let component = components.iter().find(|component| component["id"] == row["category"]);
        let name = component.map_or("", |component| component["name"].as_str().expect("a text"));
        let seconds = row["timestamp"].as_f64().expect("seconds") as i64 - begin;
        format!("{seconds} {name}: {} {}, {}", message["name"], message["status"], row["category_constraint"])
    };
    let log: Vec<String> = log.as_array().expect("rows").iter().map(told).collect();
    let expected = [
        "60 Rawhide Compose (arm): \"Rawhide\" \"complete\", \"rawhide\"",
        "50 Repo Updates (Fedora): \"f42-updates\" \"synced out\", \"f42-updates\"",
        "40 Repo Updates (Fedora): \"f41-updates\" \"synced out\", \"f41-updates\"",
        "30 Rawhide Compose (Primary): \"Rsync\" \"start\", \"rsync\"",
        "20 Repo Updates (EPEL): \"epel9-updates\" \"synced out\", \"epel9-updates\"",
    ];
    assert_eq!(log, expected);
    assert_eq!(daemon.json("/plugins/releng/layout"), layout, "the same under the plugin's own id");
    assert_problem("none", &daemon.get("/plugins/volume/layout"), 404);
    daemon.terminate();
}

#[test]
fn csv_is_safe_to_open() {
    let begin = begin();
    let daemon = daemon_with(&[
        message("=cmd|' /C calc'!A0", begin),
        message("a,b \"c\"", begin),
        message("détail", begin),
        message("git", begin + 60),
    ]);
    let path = format!("/api/volume-by-category-1m?order=asc&stop={}", begin + 120);
    let csv = |accept: &str, kind: &str| {
        let answer = daemon.ask(Method::GET, &path, &[("accept", accept)]);
        assert_eq!((answer.status, answer.header("content-type")), (200, kind));
        answer.body
    };
    let text = csv("text/csv", "text/csv; charset=utf-8");
    let (first, second) = (begin + 60, begin + 120);
    let expected = format!(
        "timestamp,category,volume\n{first}.0,'=cmd|' /C calc'!A0,1\n{first}.0,\"a,b \"\"c\"\"\",1\n\
         {first}.0,détail,1\n{second}.0,git,1"
    );
    assert_eq!(text, expected);
    assert_eq!(csv("application/csv", "application/csv"), expected);
    let categories: Vec<Value> = rows(&daemon.get(&path)).iter().map(|row| row["category"].clone()).collect();
    assert_eq!(categories, ["=cmd|' /C calc'!A0", "a,b \"c\"", "détail", "git"], "JSON has no guards");
    let script = daemon.get(&format!("{path}&callback=x"));
    assert_eq!(handed(&script, "x").as_array().map(Vec::len), Some(4));
    daemon.terminate();
}

#[test]
fn mistakes_are_told() {
    let daemon = DaemonSetup::new().start();
    for (query, parameter, word) in [
        ("page=x", "page", "whole number, 1 or more"),
        ("page=0", "page", "whole number, 1 or more"),
        ("page=2", "page", "1 to 1: there are 0 rows"),
        ("rows_per_page=0", "rows_per_page", "whole number, 1 or more"),
        ("limit=-1", "limit", "whole number, 0 or more"),
        ("start=yesterday", "start", "seconds since 1970"),
        ("stop=nan", "stop", "seconds since 1970"),
        ("callback=alert(1)//", "callback", "a name in JavaScript"),
        ("x=%ff", "x", "UTF-8"),
    ] {
        let path = format!("/api/volume-1m?{query}");
        let problem = assert_problem(&path, &daemon.get(&path), 400);
        assert_eq!(problem["parameter"], parameter, "{path}");
        assert!(problem["allowed"].as_str().is_some_and(|allowed| allowed.contains(word)), "{path}: {problem}");
    }
    for path in ["/api/?callback=a-b", "/api/release-engineering-event-logs/layout?callback=a-b"] {
        assert_problem(path, &daemon.get(path), 400);
    }
    // What nobody knows is passed over, and of what is given twice the first counts.
    let answer = daemon.get("/api/volume-1m?_=1&rows_per_page=5&rows_per_page=x&what=ever&page=&start=&limit=");
    assert!(rows(&answer).is_empty());
    let csv = [("accept", "text/csv")];
    assert_eq!(daemon.ask(Method::GET, "/api/volume-1m?callback=a-b", &csv).body, "timestamp,volume");
    for (path, status, body) in [
        ("/api/%3Cscript%3E", 404, "\"No such model for '<script>'\""),
        ("/api/v1", 404, "\"No such model for 'v1'\""),
        ("/api/nope/layout", 404, "No such resource for nope"),
    ] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, &*answer.body), (status, body), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    daemon.terminate();
}

#[test]
fn methods_and_the_way_in() {
    let daemon = daemon_with(&busy(begin()));
    let path = "/api/volume-by-category-1m?rows_per_page=3&page=2";
    let (get, head) = (daemon.get(path), daemon.ask(Method::HEAD, path, &[]));
    assert_eq!((head.status, &*head.body), (200, ""));
    for name in ["content-type", "link", "x-link-count", "x-link-number", "content-length"] {
        assert!(!get.header(name).is_empty(), "{name}");
        assert_eq!(get.header(name), head.header(name), "{name}");
    }
    for path in ["/api", "/api/", "/api/volume-1m", "/api/release-engineering-event-logs/layout"] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let answer = daemon.ask(method.clone(), path, &[]);
            assert_problem(&format!("{method} {path}"), &answer, 405);
            let allow: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(allow, BTreeSet::from(["GET", "HEAD"]), "{method} {path}");
        }
        let options = daemon.ask(Method::OPTIONS, path, &[]);
        assert_eq!((options.status, options.header("allow")), (204, "GET,HEAD,OPTIONS"), "{path}");
    }
    for (path, location) in [("/api", "api/"), ("/api?callback=x", "api/?callback=x")] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, answer.header("location")), (308, location), "{path}");
    }
    let forwarded = [("x-forwarded-host", "apps.example.org"), ("x-forwarded-proto", "https")];
    let answer = daemon.ask(Method::GET, "/api/volume-by-category-1m?rows_per_page=3", &forwarded);
    let expected = "<https://apps.example.org/api/volume-by-category-1m?rows_per_page=3&page=2>; rel=\"next\"";
    assert_eq!(answer.header("link"), expected);
    daemon.terminate();
}

#[test]
fn a_message_counts_once_and_a_restart_loses_nothing() {
    let now = now_secs();
    let messages: Vec<Message> = (0..5).map(|_| message("git", now)).collect();
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    for _ in 0..2 {
        publisher.send_all(&messages);
    }
    daemon.wait_until("sees them twice", |daemon| daemon.json("/bus")["duplicates"] == 5);
    daemon.wait_sequence(5);
    let path = format!("/api/volume-1m?stop={}", now + 60);
    let volume =
        |daemon: &TestDaemon| rows(&daemon.get(&path)).iter().filter_map(|row| row["volume"].as_i64()).sum::<i64>();
    assert_eq!(volume(&daemon), 5);
    // The original emptied the bucket that was running when it stopped.
    let daemon = daemon.terminate().start();
    daemon.wait_sequence(5);
    assert_eq!(volume(&daemon), 5);
    daemon.terminate();
}

#[test]
fn of_two_instances_the_first_has_the_ident() {
    let setup = DaemonSetup::new()
        .instance("staging", "releng", "{ topic_prefix = \"org.fedoraproject.stg\" }")
        .instance("production", "releng", "");
    let daemon = daemon_of(setup, &releases(begin()));
    assert_eq!(daemon.json("/api/"), json!(["release-engineering-event-logs"]));
    assert_eq!(rows(&daemon.get("/api/release-engineering-event-logs")).len(), 5);
    assert!(daemon.logged(&["/api/release-engineering-event-logs is `production`", "staging"]));
    let legacy = |id: &str| {
        let metrics = daemon.plugin(id)["metrics"].as_array().cloned().expect("metrics");
        metrics.into_iter().find(|metric| metric["name"] == "log").expect("a log")["legacy"][0].clone()
    };
    let url = "/api/release-engineering-event-logs";
    let ident = "release-engineering-event-logs";
    assert_eq!(legacy("production"), json!({"ident": ident, "url": url}));
    assert_eq!(legacy("staging"), json!({"ident": ident, "url": url, "taken_by": "production"}));
    daemon.terminate();
}
