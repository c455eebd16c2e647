//! The command line: every subcommand, what it prints, and how it refuses.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hyper::Method;

use crate::support::{
    BINARY, DaemonSetup, Finished, Message, SOON, TestPublisher, fetch, look, run, run_in, signal, test_library,
};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Writes a file into the folder of a daemon to be; gives its path.
fn file(setup: &DaemonSetup, name: &str, content: &str) -> String {
    let path = setup.dir().join(name);
    fs::write(&path, content).expect("written");
    text(&path).to_owned()
}

fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert_has(&help.stdout, &["Usage: statscache"]);
    for command in ["run", "demo", "publish", "plugins", "check-config", "backfill", "history", "store"] {
        assert_has(&help.stdout, &[command]);
        let help = run(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command}");
        assert_has(&help.stdout, &["Usage: statscache", command, "Options:"]);
    }
    assert_has(&run(&["--version"]).stdout, &["statscache ", env!("CARGO_PKG_VERSION")]);
    let nothing = run(&[]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    assert_has(&nothing.stderr, &["Usage: statscache"]);
    let typo = run(&["rum"]);
    assert_eq!(typo.code, Some(2), "{typo:?}");
    assert_has(&typo.stderr, &["rum", "'run'"]);
}

#[test]
fn check_config_says_all_that_is_wrong() {
    let setup = DaemonSetup::new().endpoint("tcp://127.0.0.1:9940");
    let config = setup.write();
    let good = run(&["check-config", text(&config)]);
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""), "{good:?}");
    assert_has(&good.stdout, &["is fine", "tcp://127.0.0.1:9940", "127.0.0.1:0", text(&setup.data_dir())]);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/statscache.toml");
    assert_eq!(run(&["check-config", text(&sample)]).code, Some(0));

    let bad = "[bus]\nendpoints = [\"tcp://127.0.0.1\"]\nqueue = \"1 elephant\"\ntypo = 1\n\n[http]\nlisten = \"localhost\"\n\n[[instance]]\nid = \"UPPER\"\n";
    let bad = file(&setup, "bad.toml", bad);
    let problems = run(&["check-config", &bad]);
    problems.fails_with(&["bad.toml:2:", "bad.toml:3:", "bad.toml:4:", "bad.toml:7:", "bad.toml:9:", "bad.toml:10:"]);
    problems.fails_with(&["1 elephant", "typo", "localhost", "UPPER", "plugin"]);
    // The daemon says the same, and does not start.
    let refused = run(&["run", "--config", &bad]);
    assert_eq!((refused.code, &refused.stderr), (Some(1), &problems.stderr));

    run(&["check-config", &file(&setup, "syntax.toml", "[bus\nendpoints = []\n")]).fails_with(&["syntax.toml:1:"]);
    run(&["check-config", &file(&setup, "empty.toml", "")]).fails_with(&[
        "empty.toml",
        "nothing to listen to",
        "endpoints",
    ]);
    run(&["check-config", "/nowhere/statscache.toml"]).fails_with(&["/nowhere/statscache.toml", "No such file"]);
    run(&["check-config", text(setup.dir())]).fails_with(&[text(setup.dir())]);
}

#[test]
fn run_refuses_what_cannot_work() {
    let setup = DaemonSetup::new();
    run_in(setup.dir(), &["run", "--config", "other.toml"]).fails_with(&["other.toml", "No such file"]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    run_in(elsewhere.path(), &["run"]).fails_with(&[
        "no configuration",
        "neither statscache.toml nor /etc/statscache/statscache.toml",
        "--config",
        "demo",
    ]);

    // The port is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let setup = setup.set("http", "listen", &format!("{address:?}"));
    run(&["run", "--config", text(&setup.write())]).fails_with(&[&address, "[http] listen", "in use"]);
    drop(taken);

    // The data cannot be written: its place is below a file.
    let setup = DaemonSetup::new();
    let data = file(&setup, "a-file", "");
    let setup = setup.data(&Path::new(&data).join("data"));
    run(&["run", "--config", text(&setup.write())]).fails_with(&["a-file/data", "Not a directory"]);
}

#[test]
fn data_that_another_daemon_uses() {
    let daemon = DaemonSetup::new().start();
    let second = DaemonSetup::new().data(&daemon.data_dir());
    run(&["run", "--config", text(&second.write())]).fails_with(&[text(&daemon.data_dir()), "another process"]);
    // The first has not noticed.
    assert_eq!(daemon.get("/readyz").status, 200);
    let before = daemon.figure("statscache_view_timestamp_seconds");
    daemon.wait_until("commits on", |daemon| daemon.figure("statscache_view_timestamp_seconds") > before);
    // And when it is gone, the second can have it.
    let first = daemon.kill();
    let daemon = second.start();
    assert_eq!(daemon.get("/readyz").status, 200);
    drop(first);
}

#[test]
fn data_of_something_else() {
    let setup = DaemonSetup::new();
    let store = setup.data_dir().join("store");
    fs::create_dir_all(&store).expect("created");
    fs::write(store.join("db"), b"this is no store").expect("written");
    fs::write(store.join("conf"), b"nor is this its configuration").expect("written");
    let refused = run(&["run", "--config", text(&setup.write())]);
    refused.fails_with(&["store", text(&store)]);
    assert_eq!(fs::read(store.join("db")).expect("still there"), b"this is no store", "it was overwritten");
}

#[test]
fn signals() {
    for name in ["TERM", "INT"] {
        let mut daemon = DaemonSetup::new().start();
        signal(daemon.pid(), name);
        assert_eq!(daemon.wait_end().code(), Some(0), "SIG{name}");
        daemon.wait_until("says so", |daemon| daemon.logged(&["INFO", "stopped"]));
    }
    // Also one that never had a publisher, with a reader that does not go away.
    let mut daemon = DaemonSetup::new().start();
    let idle = std::net::TcpStream::connect(daemon.address()).expect("connected");
    let started = Instant::now();
    signal(daemon.pid(), "TERM");
    assert_eq!(daemon.wait_end().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "an idle reader holds it for {:?}", started.elapsed());
    drop(idle);
}

#[test]
fn plugins_prints_a_table() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new()
        .plugin(&test_library("statscache_test_plugin_hostile"))
        .instance("volume", "volume", "")
        .instance("broken", "hostile", "{ mode = \"panic_create\" }")
        .text("\n[[instance]]\nplugin = \"releng\"\nenabled = false\n")
        .endpoint(&publisher.address)
        .start();
    publisher.reaches(&daemon);
    publisher.send_all(&[Message::new("a.b.c.d"), Message::new("a.b.c.d")]);
    daemon.wait_sequence(2);
    for url in [format!("http://{}", daemon.address()), format!("http://{}/", daemon.address())] {
        let table = run(&["plugins", "--url", &url]);
        assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""), "{table:?}");
        let line = |id: &str| {
            let line =
                table.stdout.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{}", table.stdout));
            line.split_whitespace().take(6).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("ID"), "ID VERSION STATE MESSAGES FAILED LAG");
        assert_eq!(line("volume"), "volume 0.1.0 running 2 0 0");
        assert_eq!(line("broken"), "broken 0.1.0 failed - - -");
        assert_eq!(line("releng"), "releng 0.1.0 disabled - - -");
        assert_has(&table.stdout, &["broken: ", "panic in create", "as of 20"]);
    }
    let address = daemon.address();
    drop(daemon);
    let url = format!("http://{address}");
    run(&["plugins", "--url", &url]).fails_with(&[&url, "is the daemon running", "--url"]);
    run(&["plugins", "--url", "not a url"]).fails_with(&["not a url"]);
    run(&["plugins", "--url", "https://127.0.0.1"]).fails_with(&["https"]);
    // Something else answers there.
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", other.local_addr().expect("bound"));
    let server = thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a request");
        let mut request = [0; 16];
        let _ = std::io::Read::read(&mut stream, &mut request);
        let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    });
    run(&["plugins", "--url", &url]).fails_with(&[&url, "is not a statscache daemon"]);
    server.join().expect("no panic");
}

#[test]
fn publish_refuses_what_cannot_work() {
    let setup = DaemonSetup::new();
    let line = r#"{"topic": "a.b", "msg": {}}"#;
    let good = file(&setup, "good.jsonl", line);
    let publish = |file: &str, args: &[&str]| -> Finished { run(&[&["publish", file, "--no-wait"], args].concat()) };
    let free = ["--endpoint", "tcp://127.0.0.1:0"];
    publish("/nowhere.jsonl", &free).fails_with(&["/nowhere.jsonl", "No such file"]);
    publish(&file(&setup, "empty.jsonl", "\n\n"), &free).fails_with(&["empty.jsonl", "no messages"]);
    publish(&file(&setup, "bad.jsonl", &format!("{line}\n\n{{oops\n")), &free).fails_with(&["bad.jsonl:3", "not JSON"]);
    publish(&file(&setup, "topic.jsonl", &format!("{line}\n{{\"msg\": 1}}")), &free)
        .fails_with(&["topic.jsonl:2", "`topic`"]);
    for rate in ["0", "-1", "nan", "inf"] {
        publish(&good, &[&free[..], &[&format!("--rate={rate}")]].concat()).fails_with(&["--rate"]);
    }
    let typo = publish(&good, &["--endpoint", "tcp://127.0.0.1:0", "--rate", "fast"]);
    assert_eq!(typo.code, Some(2), "{typo:?}");
    for endpoint in ["127.0.0.1:9940", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "udp://127.0.0.1:1"] {
        publish(&good, &["--endpoint", endpoint]).fails_with(&["--endpoint", endpoint]);
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("tcp://{}", taken.local_addr().expect("bound"));
    publish(&good, &["--endpoint", &address]).fails_with(&["cannot bind", &address, "in use"]);
    drop(taken);
    let done = publish(&good, &[&free[..], &["--count", "3", "--loop"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    let nobody = "3 messages sent, 3 of them while nobody was connected; ZeroMQ does not tell what arrived";
    assert_has(&done.stderr, &["publishing 1 messages on tcp://127.0.0.1:", nobody]);
}

/// `statscache demo`, with what it prints.
struct Demo {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .arg("demo")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, told) = (BufReader::new(child.stdout.take().expect("piped")), lines.clone());
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| told.lock().expect("no panic").push(line));
        });
        Self { child, lines }
    }

    fn told(&self) -> String {
        self.lines.lock().expect("no panic").join("\n")
    }

    /// Where it serves, from the first `curl` that it shows.
    fn address(&self) -> SocketAddr {
        let address = look(SOON, || {
            let told = self.told();
            let (_, rest) = told.split_once("curl 'http://")?;
            told.contains("Ctrl-C").then(|| rest.split('/').next().and_then(|address| address.parse().ok()))?
        });
        address.unwrap_or_else(|| panic!("it does not say where it serves\n{}", self.told()))
    }

    /// Processes of the system that it started.
    fn children(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let pids =
            fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&*parent)
        };
        pids.filter(is_child).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("==== the demo told\n{}", self.told());
        }
        // So that it ends its publisher, too.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), "TERM");
            if look(Duration::from_secs(10), || self.child.try_wait().ok().flatten()).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

#[test]
fn publish_sends_each_line_of_its_input_as_it_comes() {
    let mut process = Command::new(BINARY)
        .args(["publish", "-", "--endpoint", "tcp://127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut said = BufReader::new(process.stderr.take().expect("piped"));
    let mut first = String::new();
    said.read_line(&mut first).expect("UTF-8");
    let address = first.trim().strip_prefix("publishing standard input on ").expect("it says where").to_owned();
    let daemon = DaemonSetup::new().endpoint(&address).start();
    let mut input = process.stdin.take().expect("piped");
    for count in 1..=3 {
        let line = format!("{{\"topic\": \"a.b.c.d\", \"msg\": {{\"n\": {count}}}}}\n");
        input.write_all(line.as_bytes()).expect("it reads");
        daemon.wait_sequence(count);
    }
    input.write_all(b"{\"topic\": \"a.b.c.d\", \"msg\": {\"n\": 4}}\n\n{oops\n").expect("it reads");
    daemon.wait_sequence(4);
    let status = look(SOON, || process.try_wait().expect("it is ours"));
    let rest = std::io::read_to_string(said).expect("UTF-8");
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{rest}");
    assert_has(&rest, &["standard input:6: not JSON", "4 messages sent"]);
    run(&["publish", "-", "--loop", "--endpoint", "tcp://127.0.0.1:0"]).fails_with(&["--loop"]);
}

#[test]
fn demo_shows_every_case_and_leaves_nothing_behind() {
    // Its usual port may be taken, by this test as well as by anybody else: then it takes another.
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let listen = taken.local_addr().expect("bound").to_string();
    let mut demo = Demo::start(&["--listen", &listen, "--rate", "50", "--days", "40"]);
    let address = demo.address();
    let told = demo.told();
    assert_has(&told, &[&listen, "is taken", "loaded from bundled volume", "/plugins/releng/log", "/dashboards/"]);
    assert!(!told.contains("failed"), "{told}");
    assert_ne!(address.to_string(), listen);
    let is_in = look(2 * SOON, || demo.told().contains("history is in: ").then_some(()));
    assert!(is_in.is_some(), "no history: {}", demo.told());

    // Every line to copy works, and shows something.
    let urls: Vec<&str> = told.split("curl 'http://").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert_eq!(urls.len(), 10, "{told}");
    for url in urls {
        let (_, path) = url.split_once('/').expect("a path");
        let path = format!("/{path}");
        let shown = look(SOON, || {
            let answer = fetch(address, Method::GET, &path, &[]).expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let json = answer.json();
            json["rows"].as_array().is_none_or(|rows| !rows.is_empty()).then_some(())
        });
        assert!(shown.is_some(), "{path} shows nothing");
    }
    // The past is whole, day by day, and the present goes on.
    let rows = |path: &str| {
        let answer = fetch(address, Method::GET, path, &[]).expect("an answer").json();
        answer["rows"].as_array().cloned().unwrap_or_else(|| panic!("{path}: {answer}"))
    };
    let days = rows("/plugins/volume/messages?start=now-38d&end=now-1d&step=1d");
    assert!(days.len() >= 37, "{} days", days.len());
    for day in &days {
        assert!(day["value"].as_u64() > Some(100) && day["coverage"] == "complete", "{day}");
    }
    let live = look(SOON, || {
        let last = rows("/plugins/volume/messages?start=now-2s&step=1s");
        last.iter().any(|row| row["value"].as_u64() > Some(5)).then_some(())
    });
    assert!(live.is_some(), "nothing happens");
    let publisher = demo.children();
    assert_eq!(publisher.len(), 1, "one publisher");
    let temporary = std::env::temp_dir().join(format!("statscache-demo-{}", demo.child.id()));
    assert!(temporary.exists());

    signal(demo.child.id(), "INT");
    let ended = look(SOON, || demo.child.try_wait().expect("it is ours"));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "after SIGINT");
    assert!(!Path::new(&format!("/proc/{}", publisher[0])).exists(), "its publisher lives on");
    assert!(!temporary.exists(), "{} is left behind", temporary.display());
}

#[test]
fn demo_keeps_its_data_where_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    for round in 0..2 {
        let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "--rate", "100", "--days", "1", "--data", text(&data)]);
        let address = demo.address();
        let count = look(SOON, || {
            let answer = fetch(address, Method::GET, "/metrics", &[]).ok()?.body;
            let next = answer.lines().find_map(|line| line.strip_prefix("statscache_journal_next_sequence "))?;
            next.parse::<u64>().ok().filter(|next| *next > 20 * (round + 1))
        });
        assert!(count.is_some(), "round {round}");
        signal(demo.child.id(), "TERM");
        let ended = look(SOON, || demo.child.try_wait().expect("it is ours"));
        assert_eq!(ended.and_then(|status| status.code()), Some(0));
        assert!(data.join("journal").exists() && data.join("store").exists());
    }
}
