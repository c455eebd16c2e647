//! `statscache publish`: messages from a file onto a PUB socket, two frames each: topic, JSON.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{
    bus::{Endpoint, EndpointMode, Publisher},
    clock::{Clock, SystemClock},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Envelopes, one JSON object with a `topic` per line; - for standard input
    file: PathBuf,
    /// Address to bind
    #[arg(long, value_name = "tcp://HOST:PORT")]
    endpoint: String,
    /// Messages per second; as fast as possible if not given
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Begin again at the end of the file
    #[arg(long = "loop")]
    again: bool,
    /// Give every message a new msg_id and the present as timestamp
    #[arg(long)]
    restamp: bool,
    /// Begin at once; what is sent before somebody subscribes is lost
    #[arg(long)]
    no_wait: bool,
}

/// Time for a subscription to arrive after its connection (ZeroMQ does not tell).
const SUBSCRIBE_DELAY: Duration = Duration::from_millis(500);
/// Time for the last messages to leave.
const LINGER: Duration = Duration::from_secs(1);

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    if args.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        bail!("--rate must be more than 0");
    }
    let messages = read(&args.file)?;
    let endpoint = Endpoint::parse(&args.endpoint, EndpointMode::Bind).context("--endpoint")?;
    let mut publisher = Publisher::bind(&endpoint).await?;
    eprintln!("publishing {} messages on {}", messages.len(), publisher.address());
    let publishing = publish(args, &messages, &mut publisher);
    let stopped = async { super::shutdown_signal().await.map(|()| None) };
    let sent = tokio::select! {
        sent = publishing => sent.map(Some)?,
        stopped = stopped => stopped?,
    };
    publisher.close(LINGER).await;
    match sent {
        Some(sent) => eprintln!("{sent} messages sent"),
        None => eprintln!("stopped"),
    }
    Ok(())
}

async fn publish(args: &Args, messages: &[(String, String)], publisher: &mut Publisher) -> anyhow::Result<u64> {
    if !args.no_wait {
        wait_for_subscriber(publisher).await;
    }
    let started = Instant::now();
    let mut sent = 0_u64;
    loop {
        for (topic, body) in messages {
            if args.count.is_some_and(|count| sent >= count) {
                return Ok(sent);
            }
            if let Some(rate) = args.rate {
                sleep_until(started + Duration::from_secs_f64(sent as f64 / rate)).await;
            }
            if args.restamp {
                publisher.send(topic, restamped(body, sent)?.as_bytes()).await?;
            } else {
                publisher.send(topic, body.as_bytes()).await?;
            }
            sent += 1;
            // The crate's writers need a turn; without, a fast loop only fills its queues.
            tokio::task::yield_now().await;
        }
        if !args.again {
            return Ok(sent);
        }
    }
}

async fn wait_for_subscriber(publisher: &Publisher) {
    const POLL: Duration = Duration::from_millis(20);
    if publisher.subscribers() == 0 {
        eprintln!("waiting for a subscriber; --no-wait begins without one");
    }
    while publisher.subscribers() == 0 {
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(SUBSCRIBE_DELAY).await;
}

/// Topic and text of each line; everything is checked before the first is sent.
fn read(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
    };
    let mut messages = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", path.display(), number + 1);
        let envelope: Value = serde_json::from_str(line).with_context(|| format!("{}: not JSON", place()))?;
        let Some(topic) = envelope.get("topic").and_then(Value::as_str) else {
            bail!("{}: no `topic` in it, or not a text; each line is one envelope", place());
        };
        messages.push((topic.to_owned(), line.to_owned()));
    }
    if messages.is_empty() {
        bail!("{} has no messages", path.display());
    }
    Ok(messages)
}

/// The same message as if it happened now.
fn restamped(body: &str, number: u64) -> anyhow::Result<String> {
    let mut envelope: Value = serde_json::from_str(body)?;
    let now = SystemClock.now().micros();
    let (secs, pid) = (now / 1_000_000, std::process::id());
    envelope["timestamp"] = secs.into();
    // In the form of the bus: year, then what looks like a UUID of version 4.
    let year = 1970 + secs / 31_556_952;
    envelope["msg_id"] =
        format!("{year}-{pid:08x}-{:04x}-4{:03x}-8000-{number:012x}", now & 0xffff, (now >> 16) & 0xfff).into();
    Ok(envelope.to_string())
}
