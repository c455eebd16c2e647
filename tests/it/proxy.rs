//! Behind nginx, with the configuration that is shipped: only names, ports and folders are replaced. Asked with curl, as
//! it is TLS. Where nginx is missing this is left out, and said.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    interop::support::free_port,
    support::{DaemonSetup, Message, SOON, TestDaemon, TestPublisher, look, note, now_secs, signal},
};

const CONFIGURATION: &str = include_str!("../../examples/deploy/nginx/statscache.conf");
const NAME: &str = "stats.example.org";

/// A running nginx; stopped in the end.
struct Nginx {
    dir: TempDir,
    child: Child,
    http: u16,
    https: u16,
}

/// What curl got.
#[derive(Debug)]
struct Got {
    status: String,
    /// Lines of the head, in lower case.
    head: Vec<String>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        self.head.iter().find_map(|line| line.strip_prefix(&start)).unwrap_or_default()
    }
}

impl Nginx {
    /// `None` where there is none.
    fn start(daemon: SocketAddr) -> Option<Self> {
        let has_nginx = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
        if !has_nginx {
            let required = std::env::var_os("STATSCACHE_REQUIRE_NGINX").is_some_and(|value| value == "1");
            assert!(!required, "STATSCACHE_REQUIRE_NGINX=1, and there is no nginx");
            note("SKIPPED: no nginx here: its configuration was not tried");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("statscache-it-nginx-").tempdir().expect("a folder");
        certificate(dir.path());
        let (http, https) = (free_port(), free_port());
        fs::write(dir.path().join("nginx.conf"), configuration(dir.path(), (http, https), daemon)).expect("ours");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(dir.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .expect("it was there");
        let mut nginx = Self { dir, child, http, https };
        let serves = look(SOON, || {
            assert!(nginx.child.try_wait().expect("ours").is_none(), "{}", nginx.errors());
            std::net::TcpStream::connect(("127.0.0.1", https)).ok()
        });
        assert!(serves.is_some(), "nginx does not serve: {}", nginx.errors());
        Some(nginx)
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        let resolve = format!("{NAME}:{}:127.0.0.1", self.https);
        let url = format!("https://{NAME}:{}{path}", self.https);
        command.args(["--silent", "--show-error", "--path-as-is", "--max-time", "60", "--resolve", &resolve]);
        command.arg("--cacert").arg(self.dir.path().join("cert.pem")).arg(url).stdin(Stdio::null());
        command
    }

    fn get(&self, path: &str) -> Got {
        self.run(self.curl(path).arg("--include"))
    }

    fn run(&self, curl: &mut Command) -> Got {
        let output = curl.output().expect("curl is there");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{curl:?}: {errors}\n{}", self.errors());
        let text = String::from_utf8(output.stdout).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut head = head.lines().map(str::to_lowercase);
        Got { status: head.next().expect("a line"), head: head.collect(), body: body.to_owned() }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked.
        signal(self.child.id(), "TERM");
        if look(SOON, || self.child.try_wait().expect("ours")).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Its own key and certificate, for the name.
fn certificate(dir: &Path) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={NAME}"), "-addext", &format!("subjectAltName=DNS:{NAME}")])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output()
        .expect("openssl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The shipped file with other names, within the least that nginx needs around it.
fn configuration(dir: &Path, (http, https): (u16, u16), daemon: SocketAddr) -> String {
    let mut text = CONFIGURATION.to_owned();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "the configuration has no {from}");
        text = text.replace(from, to);
    };
    replace("server 127.0.0.1:8888;", &format!("server {daemon};"));
    replace("listen 80;", &format!("listen 127.0.0.1:{http};"));
    replace("listen 443 ssl;", &format!("listen 127.0.0.1:{https} ssl;"));
    replace("/etc/ssl/certs/stats.example.org.pem", &dir.join("cert.pem").display().to_string());
    replace("/etc/ssl/private/stats.example.org.key", &dir.join("key.pem").display().to_string());
    replace("/var/cache/nginx/statscache", &dir.join("cache").display().to_string());
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = folders.iter().map(|name| format!("{name}_temp_path {name};\n")).collect();
    // As whoever runs the tests: root's workers would be somebody else, and shut out of the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;\nworker_processes 1;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}{text}\n}}\n"
    )
}

/// A daemon that has counted something, and nginx before it.
fn behind_nginx() -> Option<(TestDaemon, Nginx)> {
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new().endpoint(&publisher.address).set("history", "serve", "true");
    let daemon = setup.start();
    publisher.reaches(&daemon);
    let messages: Vec<Message> =
        (1..4).map(|n| Message::new("org.example.prod.git.push").at(now_secs() - 120 * n)).collect();
    publisher.send_all(&messages);
    daemon.wait_sequence(3);
    let nginx = Nginx::start(daemon.address())?;
    Some((daemon, nginx))
}

#[test]
fn tls_links_and_what_stays_inside() {
    let Some((daemon, nginx)) = behind_nginx() else { return };
    let plugins = nginx.get("/plugins");
    assert!(plugins.status.contains(" 200"), "{plugins:?}");
    assert!(plugins.body.contains("\"id\":\"volume\""), "{}", plugins.body);
    let page = nginx.run(nginx.curl("/").args(["--include", "--header", "Accept: text/html"]));
    assert!(page.body.contains("<!doctype html>") || page.body.contains("<!DOCTYPE html>"), "{page:?}");

    let port = nginx.https;
    for (path, prefix) in [
        ("/api/volume-by-category-1m?rows_per_page=1", ""),
        ("/statscache/api/volume-by-category-1m?rows_per_page=1", "/statscache"),
    ] {
        let got = nginx.get(path);
        assert!(got.status.contains(" 200"), "{path}: {got:?}");
        let link = format!("<https://{NAME}:{port}{prefix}/api/volume-by-category-1m?");
        assert!(got.header("link").starts_with(&link), "{path}: no {link} in {got:?}");
    }

    // All of it is there without nginx.
    assert_eq!(daemon.get("/raw").status, 200);
    for path in [
        "/metrics",
        "/bus",
        "/raw",
        "/raw/",
        "/id?id=x",
        "/messagecount",
        "/admin/reload",
        "//admin/reload",
        "/%61dmin/reload",
        "/x/../metrics",
        "/metrics?x=y",
    ] {
        assert!(nginx.get(path).status.contains(" 403"), "{path}: {:?}", nginx.get(path));
    }

    let plain = format!("http://127.0.0.1:{}/plugins?x=1", nginx.http);
    let moved =
        nginx.run(Command::new("curl").args(["--silent", "--include", "--header", "Host: stats.example.org", &plain]));
    assert!(moved.status.contains(" 301"), "{moved:?}");
    assert_eq!(moved.header("location"), format!("https://{NAME}/plugins?x=1"));
    daemon.terminate();
}

#[test]
fn answers_are_kept_and_outlive_the_daemon() {
    let Some((daemon, nginx)) = behind_nginx() else { return };
    let path = "/plugins/volume/by_topic?start=now-1h&step=1h";
    let first = nginx.get(path);
    assert!(first.status.contains(" 200") && first.header("x-cache") == "miss", "{first:?}");
    let again = nginx.get(path);
    assert!(["hit", "stale", "expired", "updating"].contains(&again.header("x-cache")), "{again:?}");
    assert_eq!(nginx.get("/readyz").header("x-cache"), "miss");
    assert_eq!(nginx.get("/readyz").header("x-cache"), "miss", "how it is is not for caches");

    daemon.terminate();
    let outlived = nginx.get(path);
    assert!(outlived.status.contains(" 200"), "{outlived:?}");
    assert!(outlived.body.contains("org.example.prod.git.push"), "{outlived:?}");
    assert!(nginx.get("/readyz").status.contains(" 502"), "nobody is behind it");
}

#[test]
fn events_come_through_as_they_are_sent() {
    let Some((daemon, nginx)) = behind_nginx() else { return };
    let mut curl = nginx.curl("/plugins/volume/messages/stream?start=now-1h&step=1h");
    let mut reader = curl.arg("--no-buffer").stdout(Stdio::piped()).spawn().expect("curl is there");
    let lines = BufReader::new(reader.stdout.take().expect("piped")).lines();
    // curl gives up after a minute: a proxy that gathers would end this, too.
    let event = lines.map_while(Result::ok).find(|line| line.starts_with("data:"));
    assert!(event.is_some_and(|event| event.contains("\"rows\":[{")), "no event came through");
    assert!(reader.try_wait().expect("ours").is_none(), "the stream has ended");
    reader.kill().expect("ours");
    reader.wait().expect("ours");
    daemon.terminate();
}
