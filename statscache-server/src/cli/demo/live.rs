//! What happens while the demo runs: made up here, and handed to `statscache publish -`, which publishes it.

use std::{process::Stdio, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep_until},
};

use super::story;
use crate::clock::Clock;

/// A process that publishes what it is told.
pub(super) struct Publisher {
    process: Child,
    lines: ChildStdin,
    /// Where it has bound.
    pub(super) address: String,
}

impl Publisher {
    /// Starts it, on a free port.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut process = Command::new(program)
            .args(["publish", "-", "--endpoint", "tcp://127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the publisher")?;
        let lines = process.stdin.take().context("the publisher cannot be told anything")?;
        let words = process.stderr.take().context("the publisher cannot be heard")?;
        let mut words = BufReader::new(words).lines();
        let first = words.next_line().await.context("the publisher cannot be heard")?.unwrap_or_default();
        // Whatever else it says is read, so that it does not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = words.next_line().await {} });
        match first.rsplit_once(" on ") {
            Some((_, address)) if first.starts_with("publishing ") => {
                let address = address.to_owned();
                Ok(Self { process, lines, address })
            }
            _ => anyhow::bail!("the publisher does not start: {first}"),
        }
    }

    /// Publishes so many messages a second, until the process ends.
    pub(super) async fn publish(&mut self, rate: f64, clock: &dyn Clock) -> anyhow::Result<()> {
        let started = Instant::now();
        let seed = clock.now().micros() as u64;
        for number in 0_u64.. {
            sleep_until(started + Duration::from_secs_f64(number as f64 / rate)).await;
            let line = story::present(seed, number, clock.now().micros() / 1_000_000);
            self.lines.write_all(format!("{}\n", line.text).as_bytes()).await?;
            self.lines.flush().await?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
        // It may have ended by itself.
        let _ = self.process.kill().await;
    }
}
