//! `statscache-bridge` as a process, between a folder or a webhook and a real daemon.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{DaemonSetup, SOON, TestDaemon, look, now_secs, send, signal};

const BRIDGE: &str = env!("CARGO_BIN_EXE_statscache-bridge-under-test");

struct Bridge {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Bridge {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BRIDGE)
            .args(["--interval", "0.05"])
            .args(if args.contains(&"--endpoint") { &[][..] } else { &["--endpoint", "tcp://127.0.0.1:0"] })
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the bridge starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, log) = (BufReader::new(child.stderr.take().expect("piped")), lines.clone());
        thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| log.lock().unwrap_or_else(PoisonError::into_inner).push(line));
        });
        Self { child, lines }
    }

    fn told(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// What it says behind these words, as soon as it does.
    fn says(&self, words: &str) -> String {
        let said = look(SOON, || Some(self.told().split_once(words)?.1.lines().next().unwrap_or_default().to_owned()));
        said.unwrap_or_else(|| panic!("it does not say {words:?}\n{}", self.told()))
    }

    /// Where subscribers find it.
    fn bus(&self) -> String {
        self.says("publishing on ")
    }

    fn webhook(&self) -> SocketAddr {
        self.says("POST requests at http://").trim_end_matches('/').parse().expect("an address")
    }

    /// Waits for its end; its exit code.
    fn end(&mut self) -> Option<i32> {
        let status = look(SOON, || self.child.try_wait().expect("it is ours"));
        status.unwrap_or_else(|| panic!("it does not end\n{}", self.told())).code()
    }

    fn terminate(mut self) -> String {
        signal(self.child.id(), "TERM");
        assert_eq!(self.end(), Some(0), "{}", self.told());
        self.told()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("==== the bridge told\n{}", self.told());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CLICKS: &str = "org.example.prod.usage.click";

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn clicks(folder: &TempDir, more: &[&str]) -> Bridge {
    Bridge::start(&[&["--topic", CLICKS, "--dir", text(folder.path())], more].concat())
}

fn daemon(bridge: &Bridge) -> TestDaemon {
    DaemonSetup::new().endpoint(&bridge.bus()).start()
}

/// Uses of a link over all time.
fn uses(daemon: &TestDaemon, link: &str) -> u64 {
    let rows = daemon.rows(&format!("/plugins/usage/uses?where.link={link}&start=now-3000d&end=now%2B1d&step=1d"));
    rows.iter().filter_map(|row| row["value"].as_u64()).sum()
}

fn wait_uses(daemon: &TestDaemon, link: &str, count: u64) {
    daemon.wait_until(&format!("{count} uses of {link}"), |daemon| uses(daemon, link) >= count);
    assert_eq!(uses(daemon, link), count);
}

#[test]
fn files_of_a_folder_count_once_each_and_what_is_added_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("it is ours");
    put("one.json", r#"{"link": "/one", "user": "anna"}"#);
    put("list.json", r#"[{"link": "/list", "user": "anna"}, {"link": "/list", "user": "bo"}]"#);
    // The same twice are two uses.
    put("lines.jsonl", "{\"link\": \"/line\"}\n{\"link\": \"/line\"}\n");
    put("notes.txt", r#"{"link": "/txt"}"#);
    put("half.json", r#"{"link": "/half", "#);
    let bridge = clicks(&folder, &[]);
    // Nobody listens: nothing may be lost by it.
    bridge.says("half.json: ");
    let daemon = daemon(&bridge);
    for (link, count) in [("/one", 1), ("/list", 2), ("/line", 2)] {
        wait_uses(&daemon, link, count);
    }
    put("half.json", r#"{"link": "/half", "user": "anna"}"#);
    wait_uses(&daemon, "/half", 1);
    put("lines.jsonl", "{\"link\": \"/line\"}\n{\"link\": \"/line\"}\n{\"link\": \"/line\"}\n{\"link\": \"/more\"}\n");
    wait_uses(&daemon, "/more", 1);
    wait_uses(&daemon, "/line", 3);
    assert_eq!(uses(&daemon, "/txt"), 0);
    // Renamed into its place, as careful writers do.
    put("beside", r#"{"link": "/renamed"}"#);
    fs::rename(folder.path().join("beside"), folder.path().join("renamed.json")).expect("it is ours");
    wait_uses(&daemon, "/renamed", 1);
    assert_eq!((uses(&daemon, "/one"), uses(&daemon, "/list")), (1, 2));
    assert!(bridge.terminate().contains("9 messages sent"));
}

/// What another start publishes again has the same ids; with a memory it is not published at all.
#[test]
fn a_second_start_counts_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir().expect("a folder");
    let memory = memory.path().join("sent.json");
    fs::write(folder.path().join("a.json"), r#"[{"link": "/a"}, {"link": "/a"}]"#).expect("it is ours");
    let first = clicks(&folder, &["--remember", text(&memory)]);
    let address = first.bus();
    let daemon = daemon(&first);
    wait_uses(&daemon, "/a", 2);
    look(SOON, || memory.exists().then_some(())).expect("it remembers");
    assert!(first.terminate().contains("2 messages sent"));

    // On the same port, so that the daemon comes back to it.
    fs::write(folder.path().join("b.json"), r#"{"link": "/b"}"#).expect("it is ours");
    let mut forgetful = clicks(&folder, &["--once", "--endpoint", &address]);
    assert_eq!(forgetful.end(), Some(0));
    assert!(forgetful.told().contains("3 messages sent"), "{}", forgetful.told());
    wait_uses(&daemon, "/b", 1);
    assert_eq!(uses(&daemon, "/a"), 2, "published again, counted once");

    fs::write(folder.path().join("c.json"), r#"{"link": "/c"}"#).expect("it is ours");
    let mut second = clicks(&folder, &["--once", "--remember", text(&memory), "--endpoint", &address]);
    assert_eq!(second.end(), Some(0));
    assert!(second.told().contains("2 messages sent"), "b and c: {}", second.told());
    wait_uses(&daemon, "/c", 1);
    assert_eq!((uses(&daemon, "/a"), uses(&daemon, "/b")), (2, 1));
}

fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let answer = send(address, Method::POST, path, headers, body).expect("an answer");
    match answer.status {
        204 => (204, Value::Null),
        status => {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
            (status, answer.json())
        }
    }
}

#[test]
fn what_is_posted_is_counted_and_what_is_rubbish_is_refused() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    fs::write(token.path(), "open sesame\n").expect("it is ours");
    let token_file = text(token.path());
    let args = ["--topic", "org.example.prod", "--webhook", "127.0.0.1:0", "--token-file", token_file];
    let bridge = Bridge::start(&[&args[..], &["--max-bytes", "2000", "--time-pointer", "/at"]].concat());
    let (address, gitlab) = (bridge.webhook(), ("x-gitlab-token", "open sesame"));
    let daemon = daemon(&bridge);
    let click = r#"{"link": "/hook", "user": "anna"}"#;
    assert_eq!(post(address, "/usage/click", &[gitlab], click).0, 204);
    assert_eq!(post(address, "/usage/click", &[("authorization", "Bearer open sesame")], click).0, 204);
    wait_uses(&daemon, "/hook", 2);
    // The sender says that it is the same; the second time it is sent again.
    let key = ("idempotency-key", "7f");
    let again = r#"{"link": "/again"}"#;
    assert_eq!((0..3).map(|_| post(address, "/usage/click", &[gitlab, key], again).0).max(), Some(204));
    // It says itself when it was.
    let at = now_secs() - 3 * 86_400;
    let old = json!({"link": "/old", "at": at}).to_string();
    assert_eq!((0..2).map(|_| post(address, "/usage/click", &[gitlab], &old).0).max(), Some(204));
    assert_eq!(post(address, "/usage/click", &[gitlab], r#"{"link": "/last"}"#).0, 204);
    wait_uses(&daemon, "/last", 1);
    assert_eq!((uses(&daemon, "/again"), uses(&daemon, "/old")), (1, 1));
    let rows = daemon.rows("/plugins/usage/uses?where.link=/old&start=now-5d&step=1d&time=epoch");
    assert_eq!(rows[0]["time"], at.div_euclid(86_400) * 86_400);

    for (path, headers, body, status) in [
        ("/usage/click", &[][..], click, 401),
        ("/usage/click", &[("x-gitlab-token", "open sesamf")], click, 401),
        ("/usage/click", &[gitlab], "{oops", 400),
        ("/usage/click", &[gitlab], "", 400),
        ("/usage/click", &[gitlab], "[1, 2]", 400),
        ("/usage/click", &[gitlab], "\"text\"", 400),
        ("/usage/%23", &[gitlab], click, 404),
        ("/a.b", &[gitlab], click, 404),
        ("/usage/click", &[gitlab], &format!("{{\"link\": \"{}\"}}", "x".repeat(2000)), 413),
    ] {
        let (got, problem) = post(address, path, headers, body);
        assert_eq!(
            (got, problem["status"].as_u64()),
            (status, Some(u64::from(status))),
            "{path} {body:.20}: {problem}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
    let answer = send(address, Method::GET, "/usage/click", &[gitlab], "").expect("an answer");
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert!(bridge.terminate().contains("8 messages sent"));
}

#[test]
fn it_refuses_what_cannot_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = text(folder.path());
    for (args, words) in [
        (&["--topic", "a.b"][..], "--dir or --webhook"),
        (&["--topic", "a.*", "--dir", dir], "--topic"),
        (&["--topic", "a.b", "--dir", "/nowhere"], "/nowhere"),
        (&["--topic", "a.b", "--dir", dir, "--interval", "0"], "--interval"),
        (&["--topic", "a.b", "--dir", dir, "--time-pointer", "at"], "--time-pointer"),
        (&["--topic", "a.b", "--dir", dir, "--endpoint", "ipc:///x"], "--endpoint"),
        (&["--topic", "a.b", "--webhook", "127.0.0.1:0", "--token-file", "/nowhere"], "--token-file"),
    ] {
        let mut command = Command::new(BRIDGE);
        let output = command.args(args).output().expect("the bridge starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(words), "{words}: {output:?}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
