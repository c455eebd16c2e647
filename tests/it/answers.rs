//! Answers as dashboards get them: forms, freshness, caching, many at once.

use std::{collections::BTreeSet, io::Read};

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    support::{Answer, DaemonSetup, Message, TestDaemon, TestPublisher, now_secs},
};

/// A daemon that has counted 3 topics of 2 categories, and will publish no other view for a minute.
fn counted() -> (TestDaemon, i64) {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let minute = (now_secs() - 120).div_euclid(60) * 60;
    for (n, topic) in ["a.b.c.git.push", "a.b.c.git.pull", "a.b.c.bodhi.update,=1"].iter().enumerate() {
        for _ in 0..=n {
            publisher.send(&Message::new(topic).at(minute));
        }
    }
    daemon.wait_sequence(6);
    (still(daemon.terminate()), minute)
}

/// The same state, of which there is no other view for a minute.
fn still(setup: DaemonSetup) -> TestDaemon {
    let daemon = setup.set("data", "commit_interval", "\"1m\"").start();
    daemon.wait_until("the commit of the start", |daemon| daemon.figure("statscache_commits_total") >= 1.0);
    daemon
}

fn ask(daemon: &TestDaemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = daemon.ask(Method::GET, path, headers);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer
}

#[test]
fn rows_come_as_json_lines_and_tables() {
    let (daemon, minute) = counted();
    let path = format!("/plugins/volume/by_topic?start={minute}&step=1m&order=topic&time=epoch&coverage=none");
    let json = daemon.json(&path);
    let rows = json["rows"].as_array().expect("rows");
    assert_eq!(rows[0], json!({"time": minute, "topic": "a.b.c.bodhi.update,=1", "value": 3}));
    for (how, kind) in
        [("&format=ndjson", "*/*"), ("", "application/x-ndjson"), ("", "text/csv;q=0.1, application/ndjson")]
    {
        let lines = ask(&daemon, &format!("{path}{how}"), &[("accept", kind)]);
        assert_eq!(lines.header("content-type"), "application/x-ndjson");
        let read: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(&read, rows);
    }
    let table = ask(&daemon, &path, &[("accept", "text/csv")]);
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8; header=present");
    let (git, pull) = ("a.b.c.git.push", "a.b.c.git.pull");
    let expected = format!(
        "time,topic,value\r\n{minute},\"a.b.c.bodhi.update,=1\",3\r\n{minute},{pull},2\r\n{minute},{git},1\r\n"
    );
    assert_eq!(table.body, expected);
    for answer in [&table, &ask(&daemon, &format!("{path}&format=ndjson"), &[])] {
        assert!(
            answer.header("statscache-as-of").ends_with('Z') && answer.header("statscache-watermark").ends_with('Z')
        );
        assert_eq!(answer.header("statscache-partial"), "false");
    }
    assert_problem("accept", &daemon.ask(Method::GET, &path, &[("accept", "image/png")]), 406);
    assert_eq!((table.header("statscache-total"), table.header("statscache-truncated")), ("3", "false"));
    // The URL decides, whatever a browser likes best.
    ask(&daemon, &format!("{path}&format=csv"), &[("accept", "text/html")]);
    let latest = ask(&daemon, "/plugins/volume/latest_by_topic?format=csv&where.topic=*push", &[]);
    assert!(latest.body.contains(",a.b.c.git.push,\"{\"\"bytes\"\":"), "{}", latest.body);
}

#[test]
fn times_and_steps_as_asked_for() {
    let (daemon, minute) = counted();
    let epoch =
        daemon.json(&format!("/plugins/volume/messages?start={minute}&end={}&step=PT1M&time=epoch_ms", minute + 60));
    let ms = minute * 1000;
    assert_eq!(
        (&epoch["start"], &epoch["end"], &epoch["rows"][0]["time"]),
        (&json!(ms), &json!(ms + 60_000), &json!(ms))
    );
    assert_eq!(epoch["coverage"][0]["start"], ms);
    assert_eq!(epoch["step"], "1m");
    let points = daemon.json("/plugins/volume/messages?start=now-PT1H&max_points=20&fill=zero");
    assert_eq!(points["step"], "5m");
    let count = points["rows"].as_array().expect("rows").len();
    assert!((12..=20).contains(&count), "{count} points");
    let runs = daemon.json("/plugins/volume/messages?coverage=runs&start=now-1h");
    assert!(runs["rows"][0].get("coverage").is_none() && runs["coverage"].is_array());
    // What is relative is relative to the view.
    let now = daemon.json("/plugins/volume/messages?end=now&time=epoch&step=1s");
    assert_eq!(now["end"].as_f64().map(f64::floor), now["as_of"].as_f64().map(f64::ceil));
    for (query, parameter) in [
        ("time=iso", "time"),
        ("format=xml", "format"),
        ("coverage=some", "coverage"),
        ("max_points=0", "max_points"),
        ("max_points=9&step=1m", "max_points"),
        ("offset=-1", "offset"),
        ("step=P1M", "step"),
        ("order=topic", "order"),
    ] {
        let problem = assert_problem(query, &daemon.get(&format!("/plugins/volume/messages?{query}")), 400);
        assert_eq!(problem["parameter"], parameter);
    }
}

#[test]
fn lists_page_by_links() {
    let (daemon, minute) = counted();
    let path = "/plugins/volume/by_topic";
    let mut query = format!("?start={minute}&step=1m&order=-value&limit=1&where.topic=a.*&time=epoch&coverage=none");
    let mut seen = Vec::new();
    let mut links = Vec::new();
    loop {
        let page = ask(&daemon, &format!("{path}{query}"), &[]);
        let json = page.json();
        assert_eq!(json["total"], 3);
        seen.extend(json["rows"].as_array().expect("rows").iter().map(|row| row["value"].clone()));
        let link = page.header("link").to_owned();
        let next = link.split(", ").find(|link| link.ends_with("rel=\"next\"")).map(str::to_owned);
        links.push(link);
        assert_eq!(json["truncated"], next.is_some());
        let Some(next) = next else { break };
        query = next.trim_start_matches('<').split('>').next().expect("a URL").to_owned();
    }
    assert_eq!(seen, [json!(3), json!(2), json!(1)]);
    assert!(
        links[0].matches("rel=").count() == 1
            && links[1].contains("rel=\"first\"")
            && links[1].contains("rel=\"prev\"")
    );
    assert!(links[2].contains("offset=1>; rel=\"prev\"") && !links[2].contains("next"), "{}", links[2]);
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let (daemon, minute) = counted();
    let path = "/plugins/volume/messages?start=now-1h";
    let first = ask(&daemon, path, &[]);
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(first.header("vary"), "accept, accept-encoding");
    for sent in [tag.as_str(), &format!("\"x\", W/{tag}"), "*"] {
        let answer = daemon.ask(Method::GET, path, &[("if-none-match", sent)]);
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (304, "", tag.as_str()), "{sent}");
        assert!(!answer.header("cache-control").is_empty() && answer.header("content-type").is_empty());
    }
    assert_eq!(daemon.ask(Method::GET, path, &[("if-none-match", "\"x\"")]).status, 200);
    let head = daemon.ask(Method::HEAD, path, &[]);
    assert_eq!(
        (head.header("etag"), head.header("content-length")),
        (tag.as_str(), first.body.len().to_string().as_str())
    );
    // Other questions, and other forms of the same, have other tags.
    let tags: BTreeSet<String> = [
        ask(&daemon, path, &[]),
        ask(&daemon, path, &[("accept", "text/csv")]),
        ask(&daemon, path, &[("accept-encoding", "gzip")]),
        ask(&daemon, "/plugins/volume/messages?start=now-2h", &[]),
    ]
    .iter()
    .map(|answer| answer.header("etag").to_owned())
    .collect();
    assert_eq!(tags.len(), 4);
    let over = ask(
        &daemon,
        &format!("/plugins/volume/messages?start={}&end={}&step=1d", minute - 9 * 86_400, minute - 5 * 86_400),
        &[],
    );
    assert_eq!(over.header("cache-control"), "public, max-age=300, stale-while-revalidate=86400");
    for moves in ["latest_by_topic?end=2026-01-01", "messages?start=now-30d&end=2026-11-01&step=1d", "messages"] {
        let answer = ask(&daemon, &format!("/plugins/volume/{moves}"), &[]);
        assert_eq!(answer.header("cache-control"), "public, max-age=60, stale-while-revalidate=60", "{moves}");
    }
    // The next view makes other answers.
    let daemon = daemon.terminate().set("data", "commit_interval", "\"100ms\"").start();
    let mut tags = BTreeSet::new();
    daemon.wait_until("another view, another tag", |daemon| {
        tags.insert(ask(daemon, path, &[]).header("etag").to_owned());
        tags.len() > 2
    });
}

#[test]
fn answers_are_packed_for_who_can_unpack() {
    let (daemon, _) = counted();
    for path in ["/plugins", "/plugins/volume/messages?start=now-1h&step=1m&fill=zero"] {
        let plain = ask(&daemon, path, &[]);
        assert!(plain.header("content-encoding").is_empty() && plain.bytes.len() > 1000);
        let gzip = ask(&daemon, path, &[("accept-encoding", "gzip, br")]);
        assert_eq!((gzip.header("content-encoding"), gzip.header("vary").contains("accept-encoding")), ("gzip", true));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*gzip.bytes).read_to_string(&mut text).expect("gzip");
        let zstd = ask(&daemon, path, &[("accept-encoding", "gzip, zstd")]);
        assert_eq!(zstd.header("content-encoding"), "zstd");
        assert_eq!(zstd::bulk::decompress(&zstd.bytes, 1 << 20).expect("zstd"), text.as_bytes());
        assert_eq!(text.len(), plain.body.len());
        assert!(gzip.bytes.len() * 2 < plain.bytes.len());
        let head = daemon.ask(Method::HEAD, path, &[("accept-encoding", "gzip")]);
        let length = head.header("content-length");
        assert!(length.is_empty() || length == gzip.bytes.len().to_string(), "{path}: {length}");
    }
    assert!(ask(&daemon, "/healthz", &[("accept-encoding", "gzip")]).header("content-encoding").is_empty());
}

#[test]
fn pages_of_other_origins_may_ask() {
    let (daemon, _) = counted();
    for (path, allow) in
        [("/plugins/volume/messages", "GET,HEAD,OPTIONS"), ("/query", "POST,OPTIONS"), ("/plugins", "GET,HEAD,OPTIONS")]
    {
        let asked = [("origin", "https://example.org"), ("access-control-request-method", "GET")];
        let answer = daemon.ask(Method::OPTIONS, path, &asked);
        assert_eq!((answer.status, answer.header("allow")), (204, allow), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), allow);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("access-control-allow-headers").contains("If-None-Match"));
        let refused = daemon.ask(Method::DELETE, path, &[]);
        assert_problem(path, &refused, 405);
        assert_eq!(format!("{},OPTIONS", refused.header("allow")), allow);
    }
    assert_eq!(daemon.ask(Method::OPTIONS, "/nothing", &[]).status, 404);
    let exposed = ask(&daemon, "/plugins/volume/messages", &[]);
    assert!(exposed.header("access-control-expose-headers").contains("ETag, Link"));
}

#[test]
fn a_dashboard_is_one_request() {
    let (daemon, minute) = counted();
    let body = json!({"queries": [
        {"plugin": "volume", "metric": "by_category", "start": minute, "step": "1m", "order": "-value", "by": "category"},
        {"plugin": "volume", "metric": "by_topic", "start": minute, "by": [], "max_points": 10},
        {"plugin": "volume", "metric": "by_topic", "start": minute, "where": {"topic": ["*push", "*pull"]}, "limit": 1, "time": "epoch"},
        {"plugin": "volume", "metric": "nothing"},
        {"plugin": "volume", "metric": "messages", "step": "7"},
    ]});
    let answer = daemon.post("/query", &body.to_string());
    assert_eq!((answer.status, answer.header("cache-control"), answer.header("etag")), (200, "no-store", ""));
    let answer = answer.json();
    let [by_category, all, some, unknown, wrong] = answer["answers"].as_array().expect("answers").as_slice() else {
        panic!("{answer}")
    };
    let path = format!("/plugins/volume/by_category?start={minute}&step=1m&order=-value&by=category");
    assert_eq!(*by_category, daemon.json(&path));
    let sum: i64 = all["rows"].as_array().expect("rows").iter().filter_map(|row| row["value"].as_i64()).sum();
    assert_eq!((sum, &some["total"]), (6, &json!(2)));
    assert_eq!((&unknown["problem"]["status"], &wrong["problem"]["parameter"]), (&json!(404), &json!("step")));
    for each in [by_category, all] {
        assert_eq!(each["as_of"], answer["as_of"]);
    }
    let question = json!({"plugin": "volume", "metric": "messages"});
    for (body, status, word) in [
        (String::new(), 400, "EOF"),
        ("{}".to_owned(), 400, "queries"),
        (json!({"queries": []}).to_string(), 400, "from 1 to 100"),
        (json!({"queries": vec![question.clone(); 101]}).to_string(), 400, "from 1 to 100"),
        (json!({"queries": [question.clone()], "more": 1}).to_string(), 400, "more"),
        (
            json!({"queries": [question.clone(), {"plugin": "volume"}]}).to_string(),
            400,
            "queries[1]: missing field `metric`",
        ),
        (json!({"queries": [[1, 2]]}).to_string(), 400, "expected a map"),
        (json!({"queries": [{"plugin": "a", "metric": "b", "wher": {"c": "d"}}]}).to_string(), 400, "queries[0].wher"),
        (json!({"queries": [{"plugin": "volume", "metric": "m", "x": "y".repeat(300_000)}]}).to_string(), 413, "bytes"),
    ] {
        let problem = assert_problem(&body[..body.len().min(60)], &daemon.post("/query", &body), status);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{word}: {problem}");
    }
    // What is wrong with one is said in its place.
    let odd = json!({"queries": [
        {"plugin": "volume", "metric": "messages", "format": "csv"},
        {"plugin": "volume", "metric": "messages", "start": minute, "end": null},
    ]});
    let odd = daemon.post("/query", &odd.to_string()).json()["answers"].clone();
    assert_eq!(odd[0]["problem"]["parameter"], "format");
    assert_eq!(odd[1]["total"], 1);
    // Together they cost what one may: each makes 800,000 rows before the first is chosen.
    let dear = json!({"plugin": "volume", "metric": "by_topic", "start": "now-2h", "end": "now+72h", "step": "1s",
        "fill": "zero", "limit": 1});
    let dear = daemon.post("/query", &json!({"queries": vec![dear; 20]}).to_string()).json()["answers"].clone();
    assert!(dear[0]["total"].as_u64().is_some_and(|total| total > 700_000), "{}", dear[0]);
    assert_eq!(dear[19]["problem"]["type"], "urn:statscache:too-expensive");
    assert_problem("GET", &daemon.get("/query"), 405);
}

#[test]
fn what_many_ask_is_made_once() {
    const READERS: usize = 1000;
    let mut publisher = TestPublisher::start();
    // Two requests at a time, and time enough for all of them.
    let daemon = DaemonSetup::new().endpoint(&publisher.address).set("limits", "connections", "1100").start();
    publisher.reaches(&daemon);
    for n in 0..20_000 {
        publisher.send(&Message::new(&format!("a.b.c.cat{}.t{n}", n % 50)).at(now_secs() - n % 3000));
    }
    daemon.wait_sequence(20_000);
    let daemon = still(daemon.terminate());
    let address = daemon.address();
    let before = daemon.figure("statscache_answers_made_total");
    let path = "/plugins/volume/by_topic?start=now-1h&step=1s&order=-value&limit=5000";
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
    let ready = std::sync::Arc::new(tokio::sync::Barrier::new(READERS));
    let bodies: Vec<Vec<u8>> = runtime.block_on(async {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (request, ready) = (request.clone(), ready.clone());
                tokio::spawn(async move {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
                    ready.wait().await;
                    stream.write_all(request.as_bytes()).await.expect("sent");
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await.expect("an answer");
                    let body = all.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
                    assert!(all.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&all[..body]));
                    all.split_off(body)
                })
            })
            .collect();
        let mut bodies = Vec::new();
        for reader in readers {
            bodies.push(reader.await.expect("served"));
        }
        bodies
    });
    assert!(bodies.iter().all(|body| *body == bodies[0]) && bodies[0].len() > 100_000);
    assert_eq!(daemon.figure("statscache_answers_made_total") - before, 1.0);
    assert_eq!(daemon.figure("statscache_answers_found_total"), (READERS - 1) as f64);
}
