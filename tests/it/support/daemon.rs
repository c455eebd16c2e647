//! The daemon as a process, in a folder of its own.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, runtime::Runtime};

use super::{BINARY, SOON, look, signal};

/// A daemon to be: its folder, with a configuration and a folder for plugins.
pub struct DaemonSetup {
    dir: TempDir,
    data: Option<PathBuf>,
    endpoints: Vec<String>,
    options: BTreeMap<(&'static str, &'static str), String>,
    instances: String,
    plugin_dir: bool,
}

impl DaemonSetup {
    /// Commits every 100 ms, port 0, no endpoint; else the defaults.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("statscache-it-").tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("plugins")).expect("it is ours");
        let mut setup = Self {
            dir,
            data: None,
            endpoints: Vec::new(),
            options: BTreeMap::new(),
            instances: String::new(),
            plugin_dir: false,
        };
        setup.option("http", "listen", "\"127.0.0.1:0\"").option("data", "commit_interval", "\"100ms\"");
        setup
    }

    /// Listens to this publisher.
    pub fn endpoint(mut self, address: &str) -> Self {
        self.endpoints.push(address.to_owned());
        self
    }

    /// Sets an option, its value as TOML.
    pub fn set(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.option(section, key, value);
        self
    }

    fn option(&mut self, section: &'static str, key: &'static str, value: &str) -> &mut Self {
        self.options.insert((section, key), value.to_owned());
        self
    }

    /// Keeps its data elsewhere.
    pub fn data(mut self, dir: &Path) -> Self {
        self.data = Some(dir.to_owned());
        self
    }

    /// Adds an `[[instance]]`, `config` as inline TOML.
    pub fn instance(mut self, id: &str, plugin: &str, config: &str) -> Self {
        let config = if config.is_empty() { "{}" } else { config };
        let _ = writeln!(self.instances, "\n[[instance]]\nid = \"{id}\"\nplugin = \"{plugin}\"\nconfig = {config}");
        self
    }

    /// Adds any text behind the configuration.
    pub fn text(mut self, text: &str) -> Self {
        self.instances.push_str(text);
        self
    }

    /// Removes all instances.
    pub fn without_instances(mut self) -> Self {
        self.instances.clear();
        self
    }

    /// A file for the plugin folder; the folder is used from then on.
    pub fn plugin_path(&mut self, name: &str) -> PathBuf {
        self.plugin_dir = true;
        self.dir.path().join("plugins").join(name)
    }

    /// Copies a library into the plugin folder.
    pub fn plugin(mut self, library: &Path) -> Self {
        let name = library.file_name().expect("a file").to_string_lossy().into_owned();
        fs::copy(library, self.plugin_path(&name)).expect("a library");
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    /// Writes the configuration; gives its path.
    pub fn write(&self) -> PathBuf {
        let mut options = self.options.clone();
        let mut set = |section, key, value: String| options.insert((section, key), value);
        set("data", "dir", format!("{:?}", self.data_dir()));
        // An address on which nobody is, where there is none.
        let nobody = [format!("ipc://{}", self.dir.path().join("nobody").display())];
        let endpoints = if self.endpoints.is_empty() { &nobody[..] } else { &self.endpoints };
        set("bus", "endpoints", format!("{endpoints:?}"));
        if self.plugin_dir {
            options.entry(("plugins", "dirs")).or_insert("[\"plugins\"]".to_owned());
        }
        let mut text = String::new();
        let mut last = "";
        for ((section, key), value) in &options {
            if *section != last {
                let _ = writeln!(text, "[{section}]");
                last = section;
            }
            let _ = writeln!(text, "{key} = {value}");
        }
        let path = self.dir.path().join("statscache.toml");
        fs::write(&path, text + &self.instances).expect("it is ours");
        path
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> TestDaemon {
        let daemon = self.spawn();
        daemon.wait_serving();
        daemon
    }

    /// Starts it, and does not wait for anything.
    pub fn spawn(self) -> TestDaemon {
        let mut command = Command::new(BINARY);
        command.stdin(Stdio::null());
        self.spawn_as(command)
    }

    /// The same, with an environment of one's own, or by a command that becomes the daemon.
    pub fn spawn_as(self, mut command: Command) -> TestDaemon {
        let config = self.write();
        let mut child = command
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let lines = log.clone();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        TestDaemon { child: Mutex::new(child), setup: Some(self), log, address: OnceLock::new(), ended: None }
    }
}

/// A daemon that was started.
pub struct TestDaemon {
    child: Mutex<Child>,
    setup: Option<DaemonSetup>,
    log: Arc<Mutex<Vec<String>>>,
    address: OnceLock<SocketAddr>,
    ended: Option<ExitStatus>,
}

impl TestDaemon {
    /// Lines on standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a line of the log has all these words.
    pub fn logged(&self, words: &[&str]) -> bool {
        self.log().iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup(&self) -> &DaemonSetup {
        self.setup.as_ref().expect("only stopping takes it")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.setup().data_dir()
    }

    /// Writes another configuration; it is for whoever reads it to notice.
    pub fn change(&mut self, change: impl FnOnce(DaemonSetup) -> DaemonSetup) {
        let setup = change(self.setup.take().expect("only stopping takes it"));
        setup.write();
        self.setup = Some(setup);
    }

    /// Waits until it serves.
    pub fn wait_serving(&self) {
        let line = look(SOON, || {
            let ended = self.child().try_wait().expect("it is ours");
            let line = self.log().into_iter().find_map(|line| served_at(&line));
            line.map(Ok).or(ended.map(Err))
        });
        let address = line.unwrap_or_else(|| panic!("the daemon does not serve\n{}", self.log().join("\n")));
        let address = address.unwrap_or_else(|ended| panic!("the daemon ended: {ended}\n{}", self.log().join("\n")));
        let _ = self.address.set(address);
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        *self.address.get().expect("it serves")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[])
    }

    pub fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = fetch(self.address(), method.clone(), path, headers);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }

    /// The answer to a body in JSON.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let answer = send(self.address(), Method::POST, path, &[("content-type", "application/json")], body);
        answer.unwrap_or_else(|error| panic!("POST {path}: {error:#}"))
    }

    /// The answer to a question that works.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The rows of a metric.
    pub fn rows(&self, path: &str) -> Vec<Value> {
        let answer = self.json(path);
        assert_eq!(answer["truncated"], false, "{path}");
        answer["rows"].as_array().cloned().unwrap_or_else(|| panic!("{path}: {answer}"))
    }

    /// What `/plugins` says of an instance.
    pub fn plugin(&self, id: &str) -> Value {
        let list = self.json("/plugins");
        let found = list["plugins"].as_array().and_then(|all| all.iter().find(|plugin| plugin["id"] == id));
        found.cloned().unwrap_or_else(|| panic!("no plugin {id} in {list:#}"))
    }

    /// Waits until something is true of it; fails with all that is known.
    pub fn wait_until(&self, what: &str, is_true: impl FnMut(&Self) -> bool) {
        self.wait_until_within(SOON, what, is_true);
    }

    pub fn wait_until_within(&self, deadline: Duration, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let seen = look(deadline, || is_true(self).then_some(()));
        assert!(seen.is_some(), "not within {deadline:?}: {what}");
    }

    /// Waits until all that run have everything up to this sequence, and nothing more was accepted.
    pub fn wait_sequence(&self, sequence: u64) {
        self.wait_until(&format!("everything up to sequence {sequence} is in"), |daemon| {
            let list = daemon.json("/plugins");
            let mut plugins = list["plugins"].as_array().into_iter().flatten();
            let is_in = |plugin: &Value| match plugin["state"].as_str() {
                Some("catching_up" | "stalled") => false,
                Some("running") => plugin["watermark"]["sequence"].as_u64() == Some(sequence),
                _ => true,
            };
            daemon.journal_next() == sequence + 1 && plugins.all(is_in)
        });
    }

    /// The sequence of the next message, as of the last commit.
    pub fn journal_next(&self) -> u64 {
        self.figure("statscache_journal_next_sequence") as u64
    }

    /// A figure of `/metrics`, by its name and labels as written there.
    pub fn figure(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) -> DaemonSetup {
        self.child().kill().expect("it is ours");
        self.child().wait().expect("it is ours");
        self.setup.take().expect("only stopping takes it")
    }

    /// Ends it as a service manager would; it must be content.
    pub fn terminate(mut self) -> DaemonSetup {
        signal(self.child().id(), "TERM");
        let status = self.wait_end();
        assert_eq!(status.code(), Some(0), "after SIGTERM: {status}");
        self.setup.take().expect("only stopping takes it")
    }

    /// Asks it to end, and kills it if it has not within that time.
    pub fn terminate_and_kill(self, after: Duration) -> DaemonSetup {
        signal(self.child().id(), "TERM");
        thread::sleep(after);
        self.kill()
    }

    /// What it was started from, to start it again.
    pub fn take_setup(mut self) -> DaemonSetup {
        self.setup.take().expect("only stopping takes it")
    }

    /// Waits until the process has ended.
    pub fn wait_end(&mut self) -> ExitStatus {
        let status = look(SOON, || self.child().try_wait().expect("it is ours"));
        self.ended = status;
        status.unwrap_or_else(|| panic!("the daemon does not end"))
    }

    fn dump(&self) {
        eprintln!("==== the daemon's log\n{}", self.log().join("\n"));
        for path in ["/plugins", "/bus", "/readyz", "/metrics"] {
            let Some(address) = self.address.get() else { return };
            match fetch(*address, Method::GET, path, &[]) {
                Ok(answer) if path == "/metrics" => eprintln!("==== {path}\n{}", answer.body),
                Ok(answer) => eprintln!("==== {path}\n{:#}", answer.json()),
                Err(error) => eprintln!("==== {path}: {error:#}"),
            }
        }
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dump();
        }
        if self.ended.is_none() {
            let _ = self.child().kill();
            let _ = self.child().wait();
        }
    }
}

fn served_at(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("serving http://")?;
    rest.split('/').next()?.parse().ok()
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// As text, as far as it is text.
    pub body: String,
    pub bytes: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.body))
    }
}

/// One request on a connection of its own.
pub fn fetch(address: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    send(address, method, path, headers, "")
}

/// As [`fetch`], with a body.
pub fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Answer> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread")
    });
    runtime.block_on(async {
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let mut request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = client.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let body = String::from_utf8_lossy(&bytes).into_owned();
            connection.abort();
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, bytes })
        };
        tokio::time::timeout(SOON, exchange).await?
    })
}
