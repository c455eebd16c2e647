//! Other processes of a case: this program again, in another role.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};

/// A child that is killed when it is dropped.
pub(super) struct Role {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Closing it tells a role to end.
    _stdin: Option<ChildStdin>,
}

impl Role {
    /// Starts this program with these arguments.
    pub(super) fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {args:?}"))?;
        let out = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let stdin = child.stdin.take();
        Ok(Self { child, out, _stdin: stdin })
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

/// CPU seconds of a process, in the kernel's ticks of 10 ms.
pub(super) fn cpu_secs(pid: u32) -> anyhow::Result<f64> {
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 14 and 15; the second, a name in brackets, may hold blanks.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: Vec<&str> = rest.split_whitespace().skip(11).take(2).collect();
    let ticks: f64 = ticks.iter().map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
    Ok(ticks / TICKS_PER_SEC)
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

/// Memory that a process has resident, MiB.
pub(super) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
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
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts one and waits until it serves.
    pub(super) fn start(endpoint: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let http: SocketAddr = {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            free.local_addr()?
        };
        let config = dir.path().join("statscache.toml");
        std::fs::write(&config, config_text(endpoint, http, dir.path()))?;
        let role = Role::start(&["statscache", "run", "--config", &config.display().to_string()])?;
        let daemon = Self { role, http, _dir: dir };
        daemon.wait("it serves", |metrics| metrics.contains_key("statscache_commits_total"))?;
        Ok(daemon)
    }

    /// Waits until its figures are as they should be.
    pub(super) fn wait(
        &self,
        what: &str,
        done: impl Fn(&std::collections::HashMap<String, f64>) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            if self.metrics().is_ok_and(|metrics| done(&metrics)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("waited two minutes until {what}")
    }

    fn metrics(&self) -> anyhow::Result<std::collections::HashMap<String, f64>> {
        use std::io::{Read, Write};
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
         [http]\nlisten = \"{http}\"\n[data]\ndir = \"{}\"\n[log]\nlevel = \"warn\"\n",
        dir.join("data").display()
    )
}
