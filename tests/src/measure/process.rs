//! Other processes of a case: this program again, in another role.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};
pub(super) use statscache_server::bench::{cpu_secs, resident_mib};

/// A child that is killed when it is dropped.
pub(super) struct Role {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Closing it tells a role to end.
    stdin: Option<ChildStdin>,
}

/// Where the server of a comparison runs, alone.
pub(super) const SERVER_CORE: &str = "0";
/// Where its clients run.
pub(super) const CLIENT_CORE: &str = "1";

impl Role {
    /// Starts this program with these arguments.
    pub(super) fn start(args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).args(args))
    }

    /// The same on one core: it sees a machine of one core, and takes as many workers as it takes there.
    pub(super) fn start_on(core: &str, args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(on_core(core).arg(std::env::current_exe()?).args(args))
    }

    /// Starts another program.
    pub(super) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}; is it installed?"))?;
        let out = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let stdin = child.stdin.take();
        Ok(Self { child, out, stdin })
    }

    /// Writes a line to its standard input.
    pub(super) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is a pipe")?;
        writeln!(stdin, "{line}")?;
        Ok(stdin.flush()?)
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.out.read_line(&mut line)? == 0 {
            bail!("process {} ended early: {:?}", self.child.id(), self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    /// CPU seconds that it has used, user and system.
    pub(super) fn cpu_secs(&self) -> anyhow::Result<f64> {
        cpu_secs(self.child.id())
    }

    /// Memory that it has resident, MiB.
    pub(super) fn resident_mib(&self) -> anyhow::Result<f64> {
        resident_mib(self.child.id())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Gone already is fine, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs what follows on one core only, as the same process.
pub(super) fn on_core(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]);
    command
}

/// A port where nobody is now.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// CPU seconds of this thread.
pub(super) fn thread_cpu_secs() -> f64 {
    clock_secs(ClockId::ThreadCPUTime)
}

/// CPU seconds of this process, all threads.
pub(super) fn own_cpu_secs() -> f64 {
    clock_secs(ClockId::ProcessCPUTime)
}

fn clock_secs(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes that this process has sent to the disk: pages that it made dirty.
pub(super) fn written_bytes() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// A daemon on its own data, with these endpoints.
pub(super) struct Daemon {
    pub(super) role: Role,
    http: SocketAddr,
    dir: tempfile::TempDir,
}

/// Figures of `/metrics`, by name and labels.
pub(super) type Metrics = HashMap<String, f64>;

/// An endpoint where nobody is: port 1 is reserved.
pub(super) const NOBODY: &str = "tcp://127.0.0.1:1";

impl Daemon {
    /// Starts one and waits until it serves.
    pub(super) fn start(endpoint: &str) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, endpoint, "")
    }

    /// The same, on what is in the directory, and with more text behind its configuration.
    pub(super) fn start_in(dir: tempfile::TempDir, endpoint: &str, more: &str) -> anyhow::Result<Self> {
        Self::start_by(Role::start, dir, endpoint, more)
    }

    /// Starts one on a core that is its own.
    pub(super) fn start_on(core: &str, endpoint: &str) -> anyhow::Result<Self> {
        Self::start_by(|args| Role::start_on(core, args), tempfile::tempdir()?, endpoint, "")
    }

    fn start_by(
        start: impl FnOnce(&[&str]) -> anyhow::Result<Role>,
        dir: tempfile::TempDir,
        endpoint: &str,
        more: &str,
    ) -> anyhow::Result<Self> {
        let http = free_address()?;
        let config = dir.path().join("statscache.toml");
        std::fs::write(&config, config_text(endpoint, http, dir.path()) + more)?;
        let role = start(&["statscache", "run", "--config", &config.display().to_string()])?;
        let daemon = Self { role, http, dir };
        daemon.wait_looking("it serves", Duration::from_millis(2), |metrics| {
            metrics.contains_key("statscache_commits_total")
        })?;
        Ok(daemon)
    }

    /// Ends it by kill -9; gives what it leaves.
    pub(super) fn kill(self) -> tempfile::TempDir {
        let Self { role, dir, .. } = self;
        drop(role);
        dir
    }

    /// Ends it as a service manager does; gives what it leaves.
    pub(super) fn stop(self) -> anyhow::Result<tempfile::TempDir> {
        let Self { mut role, dir, .. } = self;
        let asked = Command::new("kill").args(["-s", "TERM", &role.child.id().to_string()]).status()?;
        anyhow::ensure!(asked.success(), "kill -s TERM: {asked}");
        let ended = role.child.wait()?;
        anyhow::ensure!(ended.success(), "the daemon ended with {ended}");
        Ok(dir)
    }

    /// Where it serves.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Waits until so many messages are in the answers of `volume`.
    pub(super) fn wait_processed(&self, messages: u64) -> anyhow::Result<()> {
        self.wait("all messages are in the answers", |metrics| {
            metrics.get("statscache_plugin_processed_total{plugin=\"volume\"}") == Some(&(messages as f64))
        })
    }

    /// Waits until its figures are as they should be.
    pub(super) fn wait(&self, what: &str, done: impl Fn(&Metrics) -> bool) -> anyhow::Result<()> {
        self.wait_looking(what, Duration::from_millis(50), done)
    }

    fn wait_looking(&self, what: &str, pause: Duration, done: impl Fn(&Metrics) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            if self.metrics().is_ok_and(|metrics| done(&metrics)) {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
        bail!("waited two minutes until {what}")
    }

    fn metrics(&self) -> anyhow::Result<Metrics> {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(self.http)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: measure\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        Ok(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }
}

fn config_text(endpoint: &str, http: SocketAddr, dir: &Path) -> String {
    format!(
        "[bus]\nendpoints = [\"{endpoint}\"]\nwhen_full = \"wait\"\n\
         [http]\nlisten = \"{http}\"\n[data]\ndir = \"{}\"\n[log]\nlevel = \"error\"\n",
        dir.join("data").display()
    )
}
