//! Two real scrapers, one that waits for subscribers and one that connects to the daemons, look at the same sites. One
//! daemon counts, another keeps all that was said: what the first answers is recounted from what was said.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::Redirect,
    routing::get,
};
use serde_json::Value;
use statscache_core::journal::Reader;

use crate::support::{DaemonSetup, SOON, TestDaemon, look, now_secs, run_program, signal};

/// The scraper's own binary.
const SCRAPER: &str = env!("CARGO_BIN_EXE_statscache-scraper-under-test");

/// A scraper as a process.
struct Scraper {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Scraper {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(SCRAPER)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the scraper starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (BufReader::new(child.stderr.take().expect("piped")), said.clone());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, said }
    }

    /// Waits for a line with these words.
    fn says(&self, words: &str) -> String {
        let said = || self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = look(SOON, || said().into_iter().find(|line| line.contains(words)));
        line.unwrap_or_else(|| panic!("no {words:?} in {:#?}", said()))
    }

    /// Where it is bound.
    fn address(&self) -> String {
        self.says("publishing on ").rsplit(' ').next().expect("an address").to_owned()
    }

    /// Ends it as a service manager would; gives how many checks it published.
    fn terminate(mut self) -> u64 {
        signal(self.child.id(), "TERM");
        let status = look(SOON, || self.child.try_wait().expect("it is ours"));
        assert!(status.as_ref().is_some_and(ExitStatus::success), "after SIGTERM: {status:?}");
        let line = self.says("stopped: ");
        assert!(line.contains(" 0 of them dropped"), "{line}");
        let count = line.trim_start_matches("stopped: ").split(' ').next().and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("{line}"))
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Web sites of every kind.
struct Sites {
    /// Answers by path.
    web: SocketAddr,
    /// No good HTTP.
    raw: SocketAddr,
    /// Nobody.
    nobody: SocketAddr,
    /// What `/flappy` answers with.
    flappy: Arc<AtomicU16>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

impl Sites {
    fn start() -> Self {
        let flappy = Arc::new(AtomicU16::new(200));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let web = listener.local_addr().expect("bound");
        let router = router(flappy.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("it can be");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime is here");
                axum::serve(listener, router).await
            })
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let raw = listener.local_addr().expect("bound");
        thread::spawn(move || listener.incoming().for_each(|stream| drop(thread::spawn(|| no_good(stream?)))));
        Self { web, raw, nobody: free_address(), flappy }
    }

    /// Each with the lines that its `[[site]]` has besides, and what is found of it.
    fn list(&self) -> Vec<(String, &'static str, &'static str)> {
        let Self { web, raw, nobody, .. } = self;
        vec![
            (format!("http://{web}/ok"), "match = \"^welcome$\"", "ok"),
            (format!("http://{web}/hop"), "match = \"welcome\"", "ok"),
            (format!("http://{web}/huge"), "match = \"^x\"", "ok"),
            (format!("http://{web}/flappy"), "", "ok"),
            (format!("http://{web}/ok?words"), "match = \"goodbye\"", "match"),
            (format!("http://{web}/missing"), "", "http_404"),
            (format!("http://{web}/missing?wanted"), "status = [404]", "ok"),
            (format!("http://{web}/ok?open"), "status = [401]", "http_200"),
            (format!("http://{web}/loop"), "", "redirects"),
            (format!("http://{web}/never"), "", "timeout"),
            (format!("http://{raw}/stall"), "", "timeout"),
            (format!("http://{raw}/rubbish"), "", "http"),
            (format!("http://{raw}/close"), "", "closed"),
            (format!("http://{nobody}/"), "", "refused"),
        ]
    }

    /// Writes a configuration.
    fn config(&self, path: &Path, sockets: &str) {
        let site = |(url, lines, _)| format!("[[site]]\nurl = \"{url}\"\n{lines}\n");
        let sites: String = self.list().into_iter().map(site).collect();
        fs::write(path, format!("{sockets}\ninterval = \"1s\"\ntimeout = \"1s\"\n{sites}")).expect("it is ours");
    }
}

fn router(flappy: Arc<AtomicU16>) -> Router {
    let status = move || {
        let status = StatusCode::from_u16(flappy.load(Ordering::Relaxed));
        async { status.expect("a status") }
    };
    Router::new()
        .route("/ok", get(|| async { "welcome" }))
        .route("/hop", get(|| async { Redirect::to("/ok") }))
        .route("/huge", get(|| async { ([(header::CONTENT_TYPE, "text/plain")], "x".repeat(8 << 20)) }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/never", get(std::future::pending::<()>))
        .route("/flappy", get(status))
}

/// Answers, and not as HTTP says.
fn no_good(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    match request.split(' ').nth(1) {
        Some("/stall") => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of")?,
        Some("/rubbish") => return stream.write_all(b"220 mail.example ESMTP\r\n\r\n"),
        _ => return Ok(()),
    }
    // Until the other side has had enough.
    stream.read(&mut [0]).map(drop)
}

/// What was said of a site.
type Said = (String, i64, Value);

/// Everything in a daemon's journal, in order.
fn journal(dir: &Path) -> Vec<Said> {
    let mut reader = Reader::open(&dir.join("journal")).expect("the journal reads");
    let mut said = Vec::new();
    loop {
        let chunk = reader.next_chunk(1 << 20).expect("the journal reads");
        assert!(chunk.gap().is_none(), "{:?}", chunk.gap());
        if chunk.is_empty() {
            return said;
        }
        for (_, record) in chunk.iter() {
            let mut envelope: Value = serde_json::from_slice(record.body).expect("JSON");
            let msg = envelope["msg"].take();
            let url = msg["url"].as_str().expect("a site").to_owned();
            said.push((url, msg["tstamp"].as_i64().expect("seconds"), msg));
        }
    }
}

/// What a message comes to, by another way than the plugin's.
fn result(msg: &Value) -> String {
    let status = msg["http_status"].as_i64();
    let is_good = msg["status_ok"].as_bool().unwrap_or(status.is_some_and(|status| status / 200 == 1));
    match (msg["network_status"].as_str().expect("a word"), is_good, &msg["match"]) {
        ("ok", true, Value::Bool(false)) => "match".to_owned(),
        ("ok", true, _) => "ok".to_owned(),
        ("ok", false, _) => format!("http_{}", status.expect("a number")),
        (word, _, _) => word.to_owned(),
    }
}

/// Rows by the text of a label.
fn by(rows: Vec<Value>, label: &str) -> BTreeMap<String, Value> {
    let text = |row: &Value| row[label].as_str().expect("a text").to_owned();
    rows.into_iter().map(|mut row| (text(&row), row["value"].take())).collect()
}

const RANGE: &str = "start=now-1h&step=all";

fn counting(address: &SocketAddr, scraper: &str, sites: &Sites) -> DaemonSetup {
    let (web, raw) = (sites.web, sites.raw);
    let chains = format!(
        "{{chains = {{good = [\"http://{web}/ok\", \"http://{web}/hop\"], \
         bad = [\"http://{web}/ok\", \"http://{web}/flappy\", \"http://{raw}/close\"]}}}}"
    );
    DaemonSetup::new()
        .endpoint(scraper)
        .set("bus", "bind", &format!("[\"tcp://{address}\"]"))
        .set("bus", "id_pointers", "[\"/msg/url\", \"/msg/tstamp\"]")
        .instance("uptime", "uptime", &chains)
}

/// How the sites are found at last, until all are found as they are; then one of them fails, and comes back.
fn watch(daemon: &TestDaemon, sites: &Sites, from: i64) {
    for (url, _, expected) in sites.list() {
        daemon.wait_until(&format!("{url} is {expected}"), |daemon| {
            by(daemon.rows("/plugins/uptime/state"), "site").get(&url).is_some_and(|state| state["reason"] == expected)
        });
    }
    let states = by(daemon.rows("/plugins/uptime/state"), "site");
    assert_eq!(states[&format!("http://{}/stall", sites.raw)]["http_status"], 200, "the head has come");
    let site = format!("http://{}/flappy", sites.web);
    let is_down = |daemon: &TestDaemon| by(daemon.rows("/plugins/uptime/down"), "site").contains_key(&site);
    daemon.wait_until("it is up", |daemon| !is_down(daemon));
    sites.flappy.store(503, Ordering::Relaxed);
    daemon.wait_until("the incident is there", is_down);
    let time = |metric: &str| {
        let rows = daemon.rows(&format!("/plugins/uptime/{metric}?where.site={site}&time=epoch"));
        rows.first().map(|row| row["time"].as_i64().expect("seconds"))
    };
    let good = time("last_good").expect("it was up");
    assert!(good < time("failures").expect("it has failed"), "down since after {good}");
    sites.flappy.store(204, Ordering::Relaxed);
    daemon.wait_until("the incident has ended", |daemon| !is_down(daemon));
    daemon.wait_until("it is good again", |_| time("last_good") > Some(good.max(from + 2)));
}

/// Both daemons have heard the same checks, from both scrapers where those overlap; each counts once.
fn assert_counted_once(counted: &[Said], kept: &[Said], from: i64) {
    let pairs = |said: &[Said]| -> BTreeSet<(String, i64)> {
        said.iter().filter(|(_, tstamp, _)| *tstamp >= from).map(|(url, tstamp, _)| (url.clone(), *tstamp)).collect()
    };
    let all = counted.iter().map(|(url, tstamp, _)| (url, tstamp)).collect::<BTreeSet<_>>();
    assert_eq!(all.len(), counted.len(), "no check is there twice");
    assert_eq!(pairs(counted), pairs(kept));
    let since = kept.iter().filter(|(_, tstamp, _)| *tstamp >= from).count();
    let pairs = pairs(kept).len();
    assert!(pairs > 0 && since > pairs, "{since} messages about {pairs} checks: both scrapers were heard");
}

/// Every answer, against what was said.
fn assert_answers(daemon: &TestDaemon, said: &[Said]) {
    let mut checks: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut ups: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (url, _, msg) in said {
        let result = result(msg);
        let (n, up) = ups.entry(url.clone()).or_default();
        (*n, *up) = (*n + 1, *up + i64::from(result == "ok"));
        *checks.entry((url.clone(), result)).or_default() += 1;
    }
    let rows = daemon.rows(&format!("/plugins/uptime/checks?{RANGE}"));
    let text = |row: &Value, label: &str| row[label].as_str().expect("a text").to_owned();
    let counts =
        rows.iter().map(|row| ((text(row, "site"), text(row, "result")), row["value"].as_i64().expect("a count")));
    assert_eq!(counts.collect::<BTreeMap<_, _>>(), checks);
    let availability = by(daemon.rows(&format!("/plugins/uptime/up?by=site&{RANGE}")), "site");
    assert_eq!(availability.len(), ups.len());
    for (url, (n, up)) in &ups {
        let value = &availability[url];
        assert_eq!((value["n"].as_i64(), value["sum"].as_f64()), (Some(*n), Some(*up as f64)), "{url}");
    }
    let times = by(daemon.rows(&format!("/plugins/uptime/response_seconds?{RANGE}")), "site");
    for (url, (_, up)) in ups.iter().filter(|(_, (_, up))| *up > 0) {
        assert_eq!(times[url]["n"].as_i64(), Some(*up), "{url}");
    }
    let chains = by(daemon.rows(&format!("/plugins/uptime/chains?by=chain&rollup=product&{RANGE}")), "chain");
    let mean = |end: &str| {
        let (_, (n, up)) = ups.iter().find(|(url, _)| url.ends_with(end)).expect("it was looked at");
        *up as f64 / *n as f64
    };
    for (chain, sites) in [("good", &["/ok", "/hop"][..]), ("bad", &["/ok", "/flappy", "/close"])] {
        let expected: f64 = sites.iter().map(|end| mean(end)).product();
        let product = chains[chain]["product"].as_f64().expect("a number");
        assert!((product - expected).abs() < 1e-12, "{chain}: {product}, not {expected}");
    }
}

#[test]
fn two_scrapers_are_one() {
    let sites = Sites::start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (dir.path().join("first.toml"), dir.path().join("second.toml"));
    sites.config(&first, "bind = [\"tcp://127.0.0.1:0\"]");
    let bound = Scraper::start(&first);
    let addresses = [free_address(), free_address()];
    let daemon = counting(&addresses[0], &bound.address(), &sites).start();
    let keeper = DaemonSetup::new()
        .endpoint(&bound.address())
        .set("bus", "bind", &format!("[\"tcp://{}\"]", addresses[1]))
        .start();
    sites.config(&second, &format!("connect = [\"tcp://{}\", \"tcp://{}\"]", addresses[0], addresses[1]));
    let connecting = Scraper::start(&second);
    addresses.iter().for_each(|address| drop(connecting.says(&format!("connected to tcp://{address}"))));
    for daemon in [&daemon, &keeper] {
        daemon.wait_until("both scrapers are heard", |daemon| {
            let bus = daemon.json("/bus");
            let mut endpoints = bus["endpoints"].as_array().expect("a list").iter();
            endpoints.all(|endpoint| endpoint["messages"].as_u64() > Some(0))
        });
    }
    // Whatever is looked at from now on, all have heard.
    let from = now_secs() + 1;
    watch(&daemon, &sites, from);
    assert!(bound.terminate() > 0 && connecting.terminate() > 0);
    // Everything in its journal is in its answers once it serves again.
    let (setup, kept) = (daemon.terminate(), journal(&keeper.terminate().data_dir()));
    let counted = journal(&setup.data_dir());
    assert_counted_once(&counted, &kept, from);
    let daemon = setup.start();
    daemon.wait_sequence(counted.len() as u64);
    assert_answers(&daemon, &counted);
}

/// Runs the scraper to its end.
fn scraper(args: &[&str]) -> crate::support::Finished {
    run_program(SCRAPER, args)
}

#[test]
fn a_look_at_every_site_is_printed() {
    let sites = Sites::start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("scraper.toml");
    sites.config(&config, "");
    let path = config.to_string_lossy();
    let printed = scraper(&[&path, "--once"]);
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""), "{printed:#?}");
    let message = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["msg"].take();
    let found: BTreeMap<String, String> = printed
        .stdout
        .lines()
        .map(message)
        .map(|msg| (msg["url"].as_str().expect("a site").to_owned(), result(&msg)))
        .collect();
    let expected: BTreeMap<String, String> =
        sites.list().into_iter().map(|(url, _, result)| (url, result.to_owned())).collect();
    assert_eq!(found, expected);
    let checked = scraper(&[&path, "--check"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert!(checked.stdout.contains("14 sites, 14.0 checks a second"), "{}", checked.stdout);
    scraper(&[&path]).fails_with(&["scraper.toml", "no address to publish on", "bind", "connect"]);
}

#[test]
fn a_scraper_that_cannot_work_says_why() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("scraper.toml");
    let path = config.to_string_lossy().into_owned();
    scraper(&[&path]).fails_with(&["cannot read", "scraper.toml"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    for (text, words) in [
        ("sites_file = \"none.txt\"".to_owned(), &["cannot read sites_file", "none.txt"][..]),
        (
            "[[site]]\nurl = \"http://a.example/\"\nmatsch = \"x\"".to_owned(),
            &["scraper.toml", "unknown field `matsch`"],
        ),
        ("[[site]]\nurl = \"http://u:p@a.example/\"".to_owned(), &["site http://u:p@a.example/", "password"]),
        (
            format!("bind = [\"tcp://{address}\"]\n[[site]]\nurl = \"http://{address}/\""),
            &["cannot bind", "another program"],
        ),
    ] {
        fs::write(&config, text).expect("it is ours");
        scraper(&[&path]).fails_with(words);
    }
}

/// A site that never answers does not hold up the end.
#[test]
fn it_ends_while_checks_are_under_way() {
    let site = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = site.local_addr().expect("bound");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("scraper.toml");
    let sites: String = (0..50).map(|n| format!("http://{address}/{n}\n")).collect();
    fs::write(dir.path().join("sites.txt"), sites).expect("it is ours");
    let text = "bind = [\"tcp://127.0.0.1:0\"]\ninterval = \"30s\"\ntimeout = \"30s\"\nsites_file = \"sites.txt\"\n";
    fs::write(&config, text).expect("it is ours");
    let scraper = Scraper::start(&config);
    let _asked = site.accept().expect("a scraper");
    let said = scraper.said.clone();
    assert_eq!(scraper.terminate(), 0);
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).concat();
    assert!(said.contains("given up") && !said.contains(" 0 given up"), "{said}");
}
