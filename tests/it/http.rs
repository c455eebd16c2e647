//! HTTP: problems, headers, schemas, figures, many readers at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::support::{Answer, DaemonSetup, Message, SOON, TestDaemon, TestPublisher, now_secs, validate};

pub fn assert_problem(what: &str, answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{what}: {key} in {problem}");
    }
    assert!(problem["type"].as_str().is_some_and(|urn| urn.starts_with("urn:statscache:")), "{what}: {problem}");
    problem
}

#[test]
fn questions_that_cannot_be_answered() {
    let daemon = DaemonSetup::new().set("limits", "query_rows", "500").start();
    let (volume, latest) = ("/plugins/volume/by_topic", "/plugins/volume/latest_by_topic");
    for (path, parameter, words) in [
        (format!("{volume}?start=yesterday"), "start", &["yesterday", "RFC 3339", "now-1h"][..]),
        (format!("{volume}?start="), "start", &["RFC 3339"]),
        (format!("{volume}?end=2026-13-01"), "end", &["2026-13-01", "RFC 3339"]),
        (format!("{volume}?start=now&end=now-1h"), "start", &["before `end`"]),
        (format!("{volume}?start=100&end=100"), "start", &["before `end`"]),
        (format!("{volume}?start=now%2B1h"), "start", &["before `end`"]),
        (format!("{volume}?step=fast"), "step", &["fast"]),
        (format!("{volume}?step=0s"), "step", &["0s"]),
        (format!("{volume}?step=-1m"), "step", &["-1m"]),
        (format!("{volume}?limit=0"), "limit", &["1 to 500"]),
        (format!("{volume}?limit=501"), "limit", &["1 to 500"]),
        (format!("{volume}?limit=ten"), "limit", &["ten", "1 to 500"]),
        (format!("{volume}?order=size"), "order", &["size", "time, value, topic", "asc, desc"]),
        (format!("{volume}?by=category"), "by", &["category", "topic"]),
        (format!("{volume}?where.category=git"), "where.category", &["where.topic", "start, end, step"]),
        (format!("{volume}?were.topic=git"), "were.topic", &["where.topic"]),
        (format!("{volume}?start=1&start=2"), "start", &["twice"]),
        (format!("{latest}?step=1m"), "step", &["start, end, rollup, depth, path, by"]),
        (format!("{latest}?fill=null"), "fill", &["start, end, rollup, depth, path, by"]),
        (format!("{latest}?rollup=avg"), "rollup", &["`avg`", "sum"]),
        (format!("{latest}?rollup=sum&depth=-1"), "depth", &["`-1`", "0, 1, 2"]),
        (format!("{latest}?rollup=sum&path=category"), "path", &["`category`", "topic"]),
        (format!("{latest}?depth=1"), "depth", &["rollup=sum"]),
        (format!("{volume}?rollup=sum"), "rollup", &["start, end, step, fill"]),
        (format!("{volume}?fill=foo"), "fill", &["`foo`", "none", "null", "zero"]),
        (format!("{volume}?start=2026"), "start", &["`2026`", "RFC 3339", "no year"]),
        (format!("{volume}?end=20261121"), "end", &["`20261121`", "RFC 3339"]),
        (format!("{volume}?start=2026-11-21T05"), "start", &["2026-11-21T05", "UTC"]),
        (format!("{volume}?where.topic=git&where.topic=%ff"), "where.topic", &["`%ff`", "UTF-8"]),
        (format!("{volume}?where.topic=%zz"), "where.topic", &["`%zz`", "hexadecimal"]),
        (format!("{volume}?where.topic=5%"), "where.topic", &["`5%`", "hexadecimal"]),
        (format!("{volume}?start=%ff"), "start", &["`%ff`", "UTF-8"]),
        (format!("{volume}?%ff=1"), "%ff", &["a name", "UTF-8"]),
        (format!("{volume}?{}", "where.topic=x&".repeat(33)), "where.topic", &["at most 32"]),
        ("/plugins/volume/messages?by=topic".to_owned(), "by", &["no labels"]),
        ("/plugins/releng/events?step=1s".to_owned(), "step", &["multiple", "1m"]),
        ("/plugins/releng/events?step=90s".to_owned(), "step", &["multiple", "1m"]),
    ] {
        let problem = assert_problem(&path, &daemon.get(&path), 400);
        assert_eq!(problem["parameter"], parameter, "{path}: {problem}");
        for word in words {
            assert!(
                problem["detail"].as_str().is_some_and(|detail| detail.contains(word)),
                "{path}: {word} in {problem}"
            );
        }
    }
    daemon.json(&format!("{volume}?{}", "where.topic=x&".repeat(32)));
    for (path, words) in [
        ("/nothing", &["/nothing", "see /"][..]),
        ("/plugins/", &["see /"]),
        ("/plugins/none", &["`none`", "releng", "volume"]),
        ("/plugins/none/schema", &["`none`", "releng", "volume"]),
        ("/plugins/none/messages", &["`none`", "releng", "volume"]),
        ("/plugins/volume/none", &["`none`", "by_topic", "messages"]),
        ("/plugins/volume/messages/more", &["see /"]),
        ("/plugins/%2e%2e/messages", &["`..`"]),
    ] {
        let problem = assert_problem(path, &daemon.get(path), 404);
        for word in words {
            assert!(
                problem["detail"].as_str().is_some_and(|detail| detail.contains(word)),
                "{path}: {word} in {problem}"
            );
        }
    }
    for (path, status) in
        [("/plugins/%ff", 400), ("/plugins/volume/%ff%fe", 400), ("/plugins/volume/messages?start=%ff", 400)]
    {
        assert_problem(path, &daemon.get(path), status);
    }
    for (method, path) in [
        (Method::POST, "/plugins"),
        (Method::DELETE, "/plugins/volume"),
        (Method::PUT, "/"),
        (Method::POST, "/plugins/volume/messages"),
    ] {
        let answer = daemon.ask(method.clone(), path, &[]);
        assert_problem(&format!("{method} {path}"), &answer, 405);
        assert!(answer.header("allow").contains("GET"), "{method} {path}: {:?}", answer.headers);
    }
    // Every problem may be read by a dashboard of another origin, too.
    assert_eq!(daemon.get("/nothing").header("access-control-allow-origin"), "*");
}

#[test]
fn times_without_an_offset_are_utc() {
    let daemon = DaemonSetup::new().start();
    for (start, read) in [
        ("2026-11-21T23:59", "2026-11-21T23:59:00Z"),
        ("2026-11-21T02:00:00", "2026-11-21T02:00:00Z"),
        ("2026-11-21 05:00", "2026-11-21T05:00:00Z"),
        ("2026-11-21+05:00:00+01:00", "2026-11-21T04:00:00Z"),
        ("2026-11-21", "2026-11-21T00:00:00Z"),
    ] {
        let path = format!("/plugins/volume/latest_by_topic?start={}&end=2026-11-22", start.replace(' ', "%20"));
        assert_eq!(daemon.json(&path)["start"], read, "{start}");
    }
    assert_eq!(daemon.json("/plugins/volume/latest_by_topic?start=0")["start"], "1970-01-01T00:00:00Z");
}

#[test]
fn links_lead_somewhere() {
    let mut setup = DaemonSetup::new().instance("odd", "no-such-plugin", "").instance("volume", "volume", "");
    std::fs::write(setup.plugin_path("text.so"), "no library").expect("written");
    let daemon = setup.set("plugins", "dirs", "[\"plugins\", \"no-such-folder\"]").start();
    let list = daemon.json("/plugins");
    let mut found = Vec::new();
    for plugin in list["plugins"].as_array().expect("a list") {
        let is_library = plugin["plugin"].is_null();
        assert_eq!(plugin["links"].is_null(), is_library, "{plugin:#}");
        for (_, link) in plugin["links"].as_object().into_iter().flatten() {
            daemon.json(link.as_str().expect("a link"));
        }
        found.push((plugin["state"].as_str().expect("a state"), is_library));
    }
    found.sort_unstable();
    assert_eq!(found, [("failed", false), ("failed", true), ("failed", true), ("running", false)]);
}

#[test]
fn what_every_answer_says() {
    let daemon = DaemonSetup::new().start();
    for (path, content) in [
        ("/", "application/json"),
        ("/plugins", "application/json"),
        ("/plugins/volume", "application/json"),
        ("/plugins/volume/schema", "application/json"),
        ("/plugins/volume/messages", "application/json"),
        ("/plugins/volume/latest_by_topic", "application/json"),
        ("/bus", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, content), "{path}");
        // What is made anew each time must be asked for each time; answers are as old as the view.
        let is_answer = path.matches('/').count() == 3 && !path.ends_with("schema");
        let cache = if is_answer { "public, max-age=1, stale-while-revalidate=1" } else { "no-cache" };
        for (name, value) in
            [("access-control-allow-origin", "*"), ("x-content-type-options", "nosniff"), ("cache-control", cache)]
        {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        let head = daemon.ask(Method::HEAD, path, &[]);
        assert_eq!((head.status, head.body.as_str(), head.header("content-type")), (200, "", content), "HEAD {path}");
    }
    assert_eq!(daemon.json("/healthz"), json!({"status": "ok"}));
    assert_eq!(daemon.json("/readyz")["ready"], true);
    for (_, link) in daemon.json("/")["links"].as_object().expect("links") {
        daemon.get(link.as_str().expect("a link"));
    }
}

#[test]
fn answers_are_as_their_schemas_say() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    for n in 0..50 {
        let named = json!({"user": "anna", "package": "bash"});
        publisher.send(&Message::new(&format!("org.fedoraproject.prod.t{}.x", n % 5)).at(now_secs() - n).msg(named));
        publisher.send(&Message::new("org.fedoraproject.prod.compose.rawhide.start").at(now_secs() - n));
    }
    daemon.wait_sequence(100);
    let mut checked = 0;
    for id in ["volume", "releng"] {
        let schemas = daemon.json(&format!("/plugins/{id}/schema"));
        assert_eq!(schemas["config"]["type"], "object", "{id}");
        for (metric, schema) in schemas["answers"].as_object().expect("a schema for each metric") {
            for question in ["", "?limit=3", "?by="] {
                let path = format!("/plugins/{id}/{metric}{question}");
                let answer = daemon.json(&path);
                validate(schema, &answer, schema, "")
                    .unwrap_or_else(|error| panic!("{path}{error}\n{answer:#}\n{schema:#}"));
                assert!(answer["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{path} shows nothing");
                checked += 1;
            }
            // The check itself can fail.
            let mut wrong = daemon.json(&format!("/plugins/{id}/{metric}"));
            wrong["rows"][0]["more"] = json!(1);
            assert!(validate(schema, &wrong, schema, "").is_err(), "{metric}");
            wrong["rows"][0] = json!({"time": true, "value": 1});
            assert!(validate(schema, &wrong, schema, "").is_err(), "{metric}");
        }
    }
    assert_eq!(checked, 24);
}

/// Sample values by name and labels, if the text is as Prometheus wants it.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut heads, mut seen) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        let is_name = |name: &str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
                && !name.as_bytes()[0].is_ascii_digit()
        };
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a text");
            assert!(is_name(name) && !text.is_empty(), "{line}");
            assert!(seen.insert(name.to_owned()), "{name} has two heads");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, current, "TYPE follows HELP");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(kind == "gauge" || name.ends_with("_total"), "{line}");
            heads.insert(name.to_owned(), kind.to_owned());
        } else {
            let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let name = key.split('{').next().unwrap_or(key);
            assert_eq!(name, current, "samples follow their head");
            assert!(heads.contains_key(name), "{name} has no TYPE");
            if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
                let inner = inner.unwrap_or_else(|| panic!("{line}"));
                for label in inner.split("\",") {
                    let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                    assert!(is_name(label) && !value.trim_end_matches('"').contains('"'), "{line}");
                }
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(key.to_owned(), value).is_none(), "{key} is there twice");
        }
    }
    samples
}

#[test]
fn figures_are_as_prometheus_wants_them() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send_all(&[Message::new("a.b.c.git"), Message::new("a.b.c.git"), Message::new("a.b.c.copr")]);
    daemon.wait_sequence(3);
    let samples = parse_metrics(&daemon.get("/metrics").body);
    let endpoint = &publisher.address;
    for (name, value) in [
        ("statscache_messages_accepted_total", 3.0),
        ("statscache_messages_duplicate_total", 0.0),
        ("statscache_journal_first_sequence", 1.0),
        ("statscache_journal_next_sequence", 4.0),
        (&*format!("statscache_bus_peers{{endpoint=\"{endpoint}\"}}"), 1.0),
        (&*format!("statscache_bus_connects_total{{endpoint=\"{endpoint}\"}}"), 1.0),
        ("statscache_queue_dropped_total", 0.0),
        ("statscache_plugin_processed_total{plugin=\"volume\"}", 3.0),
        ("statscache_plugin_processed_total{plugin=\"releng\"}", 0.0),
        ("statscache_plugin_lag_messages{plugin=\"volume\"}", 0.0),
        ("statscache_plugin_running{plugin=\"releng\"}", 1.0),
        ("statscache_metric_series{plugin=\"volume\",metric=\"by_category\"}", 2.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert!(samples["statscache_commits_total"] >= 1.0 && samples["statscache_journal_bytes"] > 0.0);
    assert!((samples["statscache_view_timestamp_seconds"] - now_secs() as f64).abs() < 5.0);
}

#[test]
fn many_readers_while_messages_come_in() {
    const READERS: usize = 200;
    const REQUESTS: usize = 10;
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let address = daemon.address();
    let paths =
        ["/plugins/volume/by_category?start=now-5m", "/plugins", "/plugins/volume/messages", "/metrics", "/bus"];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            runtime.spawn(async move {
                let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
                let (mut client, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
                let connection = tokio::spawn(connection);
                for request in 0..REQUESTS {
                    let path = paths[(reader + request) % paths.len()];
                    let request =
                        Request::get(path).header(header::HOST, "x").body(Empty::<Bytes>::new()).expect("fine");
                    let response = client.send_request(request).await.expect("an answer");
                    assert_eq!(response.status(), StatusCode::OK, "{path}");
                    assert!(!response.into_body().collect().await.expect("whole").to_bytes().is_empty(), "{path}");
                }
                // Keep-alive: the connection is still good.
                assert!(!connection.is_finished());
            })
        })
        .collect();
    let mut sent = 0;
    while readers.iter().any(|reader| !reader.is_finished()) || sent < 500 {
        publisher.send(&Message::new("org.fedoraproject.prod.git.push"));
        sent += 1;
    }
    for reader in readers {
        runtime.block_on(reader).expect("every reader is served");
    }
    daemon.wait_sequence(sent);
    let dropped = daemon.figure("statscache_queue_dropped_total");
    assert_eq!((daemon.plugin("volume")["counters"]["processed"].as_u64(), dropped), (Some(sent), 0.0));
}

fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
}

/// Whether the beginning of an answer comes within this time.
fn is_answered(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).expect("a timeout");
    let mut begin = [0; 12];
    match stream.read_exact(&mut begin) {
        Ok(()) => begin == *b"HTTP/1.1 200",
        Err(_) => false,
    }
}

#[test]
fn connections_beyond_the_limit_wait() {
    let daemon = DaemonSetup::new().set("limits", "connections", "4").start();
    let connect = || TcpStream::connect(daemon.address()).expect("the system takes it");
    let mut four: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    for stream in &mut four {
        ask(stream, "/healthz");
        assert!(is_answered(stream, SOON), "the first four are served");
    }
    let mut fifth = connect();
    ask(&mut fifth, "/healthz");
    assert!(!is_answered(&mut fifth, Duration::from_millis(200)), "a fifth is served although four are open");
    drop(four.pop());
    assert!(is_answered(&mut fifth, SOON), "the fifth is served when there is room");
    // Those that are open still are.
    ask(&mut four[0], "/healthz");
    assert!(is_any_answer(&mut four[0]), "an open connection is served on");
}

fn is_any_answer(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // The rest of the first answer, then the second.
    let (mut text, mut buffer) = (Vec::<u8>::new(), [0; 4096]);
    while !text.windows(12).any(|window| window == b"HTTP/1.1 200") {
        match stream.read(&mut buffer) {
            Ok(len) if len > 0 => text.extend(&buffer[..len]),
            _ => return false,
        }
    }
    true
}

#[test]
fn what_is_no_http() {
    let daemon = DaemonSetup::new().start();
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for request in
        ["\r\n\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\n\n", &long_path, &many_headers]
    {
        let mut stream = TcpStream::connect(daemon.address()).expect("connected");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        // It may be refused before all of it is written.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let begin = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        assert!(
            begin.is_empty() || begin.starts_with("HTTP/1.1 4"),
            "{:?}: {begin}",
            &request[..request.len().min(40)]
        );
    }
    assert_alive(&daemon);
}

fn assert_alive(daemon: &TestDaemon) {
    assert_eq!(daemon.get("/healthz").status, 200);
}
