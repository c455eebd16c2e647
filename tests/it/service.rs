//! What a service manager sees. Each test is one: it hands over a datagram socket (`NOTIFY_SOCKET`) or a listening one
//! (`LISTEN_FDS`), and looks at what comes.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use tempfile::TempDir;

use crate::support::{BINARY, DaemonSetup, SOON, TestDaemon, TestPublisher, compile, fetch, look, note, run, signal};

/// The units, as they are installed.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/deploy/systemd");
/// What `systemd-analyze security` may say of the unit at most: 0 is fully confined, 10 not at all. The number is ten
/// times that, as `--threshold` takes it.
const EXPOSURE_MAX: &str = "15";

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("statscache-it-notify-").tempdir().expect("a folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a time");
        Self { dir, socket }
    }

    /// Starts a daemon whose watchdog waits for that long.
    fn start(&self, setup: DaemonSetup, watchdog: Duration, more: &[(&str, &Path)]) -> TestDaemon {
        let mut command = Command::new(BINARY);
        command.stdin(Stdio::null());
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string()).envs(more.iter().copied());
        setup.spawn_as(command)
    }

    /// The next thing that is said; `None` when nothing is for that long.
    fn hear_within(&self, deadline: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(deadline)).expect("a time");
        let mut datagram = [0; 4096];
        let len = self.socket.recv(&mut datagram).ok()?;
        let text = String::from_utf8(datagram[..len].to_vec()).expect("text");
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Hears until something is said with this in it; gives all of it, and what came before.
    fn hear(&self, words: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let (started, mut before) = (Instant::now(), Vec::new());
        while started.elapsed() < SOON {
            let Some(said) = self.hear_within(SOON) else { break };
            if said.iter().any(|it| it.contains(words)) {
                return (said, before);
            }
            before.push(said);
        }
        panic!("no {words}, only {before:?}");
    }
}

fn value<'s>(said: &'s [String], name: &str) -> &'s str {
    said.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {said:?}"))
}

#[test]
fn ready_alive_reloading_stopping() {
    let manager = Manager::new();
    let publisher = TestPublisher::start();
    let setup = DaemonSetup::new().endpoint(&publisher.address);
    let mut daemon = manager.start(setup, Duration::from_millis(500), &[]);
    let (ready, before) = manager.hear("READY=1");
    assert!(before.is_empty(), "said before it was ready: {before:?}");
    assert!(value(&ready, "STATUS=").contains("plugins run"), "{ready:?}");
    // The line of the log is older than that, and the thread that reads it perhaps slow.
    daemon.wait_serving();
    let answer = daemon.get("/readyz");
    assert_eq!(answer.status, 200, "ready, and /readyz says {}", answer.body);
    manager.hear("plugins run, 1 of 1 endpoints connected");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }

    signal(daemon.pid(), "HUP");
    let (reloading, _) = manager.hear("RELOADING=1");
    let micros: u64 = value(&reloading, "MONOTONIC_USEC=").parse().expect("a number");
    assert!(micros > 0);
    let (ready, _) = manager.hear("READY=1");
    assert!(value(&ready, "STATUS=").starts_with("reloaded: unchanged "), "{ready:?}");

    daemon.change(|setup| setup.text("\n[nonsense]\n"));
    signal(daemon.pid(), "HUP");
    manager.hear("RELOADING=1");
    let (ready, _) = manager.hear("READY=1");
    let status = value(&ready, "STATUS=");
    assert!(status.starts_with("not reloaded: nothing was changed") && status.contains("nonsense"), "{ready:?}");

    daemon.terminate();
    manager.hear("STOPPING=1");
}

#[test]
fn a_disk_that_does_not_answer_stops_the_pings() {
    let manager = Manager::new();
    let (library, hang) = (manager.dir.path().join("hang.so"), manager.dir.path().join("hang"));
    compile(include_str!("service/hang.c"), &["-std=gnu11", "-ldl"], &library);
    let more: [(&str, &Path); 2] = [("LD_PRELOAD", &library), ("HANG", &hang)];
    let publisher = TestPublisher::start();
    let daemon = manager.start(DaemonSetup::new().endpoint(&publisher.address), Duration::from_millis(200), &more);
    manager.hear("WATCHDOG=1");
    daemon.wait_serving();

    fs::write(&hang, "").expect("ours");
    let (_, before) = manager.hear("STATUS=stands still");
    assert!(before.iter().any(|said| said[0] == "WATCHDOG=1"), "pings go on for a while: {before:?}");
    daemon.wait_until("/readyz knows", |daemon| daemon.get("/readyz").status == 503);
    assert_eq!(daemon.figure("statscache_trouble{part=\"ingest\"}"), 1.0);
    // Twenty pings would have come.
    let heard = manager.hear_within(Duration::from_secs(2));
    assert_eq!(heard, None, "it stands still, and pings");

    fs::remove_file(&hang).expect("ours");
    manager.hear("WATCHDOG=1");
    daemon.wait_until("it is ready again", |daemon| daemon.get("/readyz").status == 200);
    assert_eq!(daemon.figure("statscache_trouble{part=\"ingest\"}"), 0.0);
    daemon.terminate();
}

/// A command that becomes the daemon with this socket as descriptor 3, as systemd hands it over.
fn handing_over(listener: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"", "sh", BINARY]);
    command.stdin(Stdio::from(listener.into()));
    command
}

/// A request that is sent, and its answer not yet read.
fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the socket listens");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    stream
}

#[test]
fn on_a_socket_of_the_manager_nobody_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let hand = || handing_over(listener.try_clone().expect("another descriptor"));
    // [http] listen is a port that is taken: it must not be looked at.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = format!("\"{}\"", taken.local_addr().expect("bound"));
    let mut setup = DaemonSetup::new().set("http", "listen", &listen);
    for _ in 0..2 {
        let waiting: Vec<TcpStream> = (0..20).map(|_| ask(address)).collect();
        let daemon = setup.spawn_as(hand());
        for mut stream in waiting {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        daemon.wait_serving();
        assert_eq!(daemon.address(), address);
        setup = daemon.terminate();
    }
    // Between two daemons, it is the manager's.
    drop(ask(address));
}

#[test]
fn a_socket_that_is_no_tcp_socket_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
    let mut daemon = DaemonSetup::new().spawn_as(handing_over(listener));
    assert_eq!(daemon.wait_end().code(), Some(1));
    let log = look(SOON, || daemon.logged(&["no TCP socket", "ListenStream="]).then_some(()));
    assert!(log.is_some(), "{:?}", daemon.log());
}

#[test]
fn a_socket_for_another_process_is_left_alone() {
    let mut command = Command::new(BINARY);
    command.stdin(Stdio::null()).env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let daemon = DaemonSetup::new().spawn_as(command);
    daemon.wait_serving();
    assert_eq!(fetch(daemon.address(), Method::GET, "/healthz", &[]).expect("an answer").status, 200);
    daemon.terminate();
}

/// The units in a folder, with this binary for the installed one: what they name has to be there.
fn units(dir: &Path) -> PathBuf {
    for name in ["statscache.service", "statscache.socket"] {
        let text = fs::read_to_string(Path::new(UNITS).join(name)).expect("a unit");
        let text = text.replace("/usr/bin/statscache", BINARY);
        fs::write(dir.join(name), text).expect("ours");
    }
    dir.join("statscache.service")
}

#[test]
fn the_units_are_sound_and_confined() {
    let has_systemd = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_systemd {
        let required = std::env::var_os("STATSCACHE_REQUIRE_SYSTEMD").is_some_and(|value| value == "1");
        assert!(!required, "STATSCACHE_REQUIRE_SYSTEMD=1, and there is no systemd-analyze");
        note("SKIPPED: no systemd-analyze here: the units were not verified");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let service = units(dir.path());
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(args).arg(&service).arg(dir.path().join("statscache.socket")).output();
        let output = output.expect("it was there");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (is_sound, said) = analyze(&["verify", "--man=no"]);
    assert!(is_sound && said.trim().is_empty(), "{said}");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE_MAX])
        .arg(&service)
        .output()
        .expect("it was there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    note(said.lines().last().unwrap_or_default());
}

#[test]
fn the_configuration_of_the_service_and_of_the_container_is_accepted() {
    let deploy = Path::new(UNITS).parent().expect("a folder");
    let dir = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(deploy.join("statscache.toml")).expect("a configuration");
    let container = text.replace("127.0.0.1:8888", "0.0.0.0:8888");
    assert_ne!(text, container, "what the Containerfile replaces is not there");
    for text in [text, container] {
        let path = dir.path().join("statscache.toml");
        fs::write(&path, text).expect("ours");
        let checked = run(&["check-config", path.to_str().expect("text")]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    // It cannot be built without a registry of images; what it copies is at least there.
    let file = fs::read_to_string(deploy.join("Containerfile")).expect("a Containerfile");
    let copied = file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"));
    for line in copied {
        let from = line.split(' ').next().expect("a word");
        assert!(deploy.join("../..").join(from).exists(), "{line}");
    }
}
