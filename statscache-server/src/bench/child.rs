//! Another process of a measurement.

use std::{
    ffi::{OsStr, OsString},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{self, ChildStdin, ChildStdout, Command},
};

use super::{Process, Setup};

/// How long a connection on this machine may take, however busy.
const SUBSCRIPTION: Duration = Duration::from_secs(30);

/// Killed when it is dropped.
pub struct Child {
    name: &'static str,
    child: process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a part of a measurement.
    pub fn start(setup: &Setup, name: &'static str, more: &[OsString]) -> anyhow::Result<Self> {
        let (program, prefix) = &setup.program;
        let mut command = Command::new(program);
        command.args(prefix).args(["bench-part", name]);
        if let Some(config) = &setup.config {
            command.args([OsStr::new("--config"), config.as_os_str()]);
        }
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take().context("standard input is a pipe")?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        Ok(Self { name, child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// Starts a publisher; gives its address as well.
    pub async fn publisher(setup: &Setup) -> anyhow::Result<(Self, String)> {
        let messages = setup.messages.iter().flat_map(|file| [OsString::from("--messages"), file.into()]);
        let mut child = Self::start(setup, "publisher", &messages.collect::<Vec<_>>())?;
        let port = child.line().await?;
        Ok((child, format!("tcp://127.0.0.1:{port}")))
    }

    /// Waits until a publisher has its subscriber.
    pub async fn subscribed(&mut self) -> anyhow::Result<()> {
        match tokio::time::timeout(SUBSCRIPTION, self.line()).await {
            Ok(line) => line.map(drop),
            Err(_) => anyhow::bail!("nobody subscribed within {} s", SUBSCRIPTION.as_secs()),
        }
    }

    /// Writes a line to its standard input.
    pub async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let told = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        told.with_context(|| format!("the {} has ended", self.name))
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.next_line().await? {
            Some(line) => Ok(line),
            None => anyhow::bail!("the {} ended early: {}", self.name, self.child.wait().await?),
        }
    }

    /// Writes a line, and waits for the answer.
    pub async fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        self.tell(line).await?;
        self.line().await
    }

    /// What the kernel says of it.
    pub fn process(&self) -> anyhow::Result<Process> {
        Process::of(self.child.id().with_context(|| format!("the {} has ended", self.name))?)
    }
}
