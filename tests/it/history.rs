//! What was missed: the service that gives it, its client, and what an operator types for both.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use hyper::Method;
use statscache_plugin_sdk::Timestamp;
use statscache_server::history::{FetchSettings, Fetched, Fetcher, HistoryUrl};

use crate::support::{BINARY, DaemonSetup, HistoryProcess, Message, TestPublisher, fetch, note, run};

const START: i64 = 1_790_000_000;

fn lines(numbers: std::ops::Range<i64>) -> Vec<String> {
    let message =
        |number| Message::new("org.example.prod.wiki.edit").at(START + number / 3).id(&format!("2026-{number}"));
    numbers.map(|number| message(number).body()).collect()
}

/// All that a history service has of `[START, START + secs)`, through our own client, as a daemon asks.
fn fetch_all(service: &HistoryProcess, secs: i64) -> Vec<Fetched> {
    let url = HistoryUrl::parse(&format!("http://{}/raw", service.address)).expect("an address");
    let mut fetcher = Fetcher::new(FetchSettings { rate: 1000, ..FetchSettings::new(url) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut all = Vec::new();
    let (mut at, end) = (Timestamp::from_secs(START), Timestamp::from_secs(START + secs));
    while at < end {
        let outcome = runtime.block_on(fetcher.fetch_slice(at, end, &mut all)).expect("fetched");
        assert!(outcome.is_complete, "{outcome:?}");
        at = outcome.until;
    }
    all
}

#[test]
fn a_file_of_messages_is_served_and_fetched_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("messages.jsonl");
    let mut expect = lines(0..1000);
    fs::write(&path, expect.join("\n") + "\n").expect("written");
    let service = HistoryProcess::start("--jsonl", path.to_str().expect("UTF-8"));
    assert_eq!(service.messages, 1000);
    let bodies = || fetch_all(&service, 600).into_iter().map(|fetched| fetched.body).collect::<Vec<_>>();
    assert!(bodies() == expect, "all, in this order, as they are");

    let more = lines(1000..1010);
    let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
    file.write_all((more.join("\n") + "\n").as_bytes()).expect("written");
    expect.extend(more);
    assert!(bodies() == expect);
    let count = fetch(service.address, Method::GET, "/messagecount", &[]).expect("an answer");
    assert_eq!(count.json()["messagecount"], 1010);
    let nothing = fetch(service.address, Method::GET, "/plugins", &[]).expect("an answer");
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains("/messagecount"), "{}", nothing.body);
    service.terminate();
}

#[test]
fn the_journal_of_a_running_daemon_is_served() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let journal = daemon.data_dir().join("journal");
    let service = HistoryProcess::start("--journal", journal.to_str().expect("UTF-8"));
    let before = daemon.journal_next();
    let sent = lines(0..300);
    for body in &sent {
        publisher.send_body("org.example.prod.wiki.edit", body);
    }
    daemon.wait_sequence(before + 299);
    let mut found: Vec<String> = fetch_all(&service, 600).into_iter().map(|fetched| fetched.body).collect();
    let mut expect = sent;
    found.sort_unstable();
    expect.sort_unstable();
    assert!(found == expect, "{} of {}", found.len(), expect.len());
    service.terminate();
    assert_eq!(daemon.get("/readyz").status, 200);
}

#[test]
fn what_cannot_be_served_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("bad.jsonl"), "{\"topic\": \"a\"}\n{\"topic\": 5}\n").expect("written");
    fs::create_dir(path("journal")).expect("created");
    run(&["history", "--jsonl", &path("bad.jsonl"), "--listen", "127.0.0.1:0"])
        .fails_with(&["bad.jsonl:2:", "`topic`"]);
    run(&["history", "--jsonl", &path("none"), "--listen", "127.0.0.1:0"]).fails_with(&["none", "No such file"]);
    run(&["history", "--journal", &path("none"), "--listen", "127.0.0.1:0"]).fails_with(&["none", "No such file"]);
    run(&["history", "--journal", &path(""), "--listen", "127.0.0.1:0"]).fails_with(&["has one in it", "journal"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    run(&["history", "--journal", &path("journal"), "--listen", &address]).fails_with(&[&address, "--listen"]);
    let both = run(&["history", "--journal", &path("journal"), "--jsonl", &path("bad.jsonl")]);
    assert_eq!(both.code, Some(2), "{both:?}");
    assert_eq!(run(&["history"]).code, Some(2));
}

/// A daemon that has filled everything at once, over TLS.
const DAEMON_WITH_TLS: &str = r#"
import http.server, json, ssl, sys
class Daemon(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(202 if self.headers["Authorization"] == "Bearer secret" else 401, b"")
    def do_GET(self):
        times = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "done_until": "2026-01-02T00:00:00Z"}
        span = dict(times, messages=7, duplicates=2, audience="everyone", error=None)
        self.answer(200, json.dumps({"state": "idle", "ranges": [span]}).encode())
    def log_message(self, *_):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = http.server.HTTPServer(("127.0.0.1", 0), Daemon)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A key and a certificate for `localhost`; `None` where there is no tool to make them.
fn certificate(dir: &Path) -> Option<(String, String)> {
    let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
        .output();
    made.is_ok_and(|made| made.status.success()).then_some((key, certificate))
}

#[test]
fn certificates_are_checked() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some((key, certificate)) = certificate(dir.path()) else {
        return note("certificates_are_checked: no openssl to make one with; left out");
    };
    let mut server = Command::new("python3")
        .args(["-c", DAEMON_WITH_TLS, &certificate, &key])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port).expect("a line");
    let port = port.trim();
    let ask = |host: &str, trusted: Option<&str>| {
        let mut command = Command::new(BINARY);
        command.args(["backfill", "--from", "2026-01-01", "--to", "2026-01-02", "--url"]);
        command.arg(format!("https://{host}:{port}")).env("STATSCACHE_TOKEN", "secret");
        if let Some(file) = trusted {
            command.env("SSL_CERT_FILE", file);
        }
        let output = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let answers = [ask("localhost", Some(&certificate)), ask("localhost", None), ask("127.0.0.1", Some(&certificate))];
    server.kill().expect("it is ours");
    server.wait().expect("it is ours");
    let [trusted, unknown, other_name] = answers;
    assert_eq!(trusted.0, Some(0), "{trusted:?}");
    assert!(trusted.1.contains("7 messages, 2 of them known already"), "{trusted:?}");
    assert!(trusted.2.contains("100 %"), "a line of progress: {trusted:?}");
    for (code, _, stderr) in [unknown, other_name] {
        assert!(code == Some(1) && stderr.contains("certificate"), "{stderr}");
    }
}
