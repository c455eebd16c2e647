//! `statscache publish`: messages from a file onto a PUB socket, two frames each: topic, JSON. As fast as the slowest
//! subscriber reads, so that nothing is dropped on this side; what arrives, ZeroMQ does not tell.

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
    /// Messages per second at most; as fast as the slowest subscriber reads if not given
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
/// When a subscriber that takes nothing is spoken of.
const STALL: Duration = Duration::from_secs(10);

/// What was sent.
#[derive(Default)]
struct Sent {
    messages: u64,
    /// Those of them that were sent while nobody was connected.
    unheard: u64,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} messages sent", self.messages)?;
        if self.unheard > 0 {
            write!(f, ", {} of them while nobody was connected", self.unheard)?;
        }
        f.write_str("; ZeroMQ does not tell what arrived")
    }
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    if args.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        bail!("--rate must be more than 0");
    }
    let messages = read(&args.file)?;
    let endpoint = Endpoint::parse(&args.endpoint, EndpointMode::Bind).context("--endpoint")?;
    let mut publisher = Publisher::bind(&endpoint).await?;
    eprintln!("publishing {} messages on {}", messages.len(), publisher.address());
    let mut sent = Sent::default();
    let publishing = publish(args, &messages, &mut publisher, &mut sent);
    let stopped = tokio::select! {
        published = publishing => published.map(|()| "")?,
        stopped = super::shutdown_signal() => stopped.map(|()| "stopped; ")?,
    };
    publisher.close(LINGER).await;
    eprintln!("{stopped}{sent}");
    Ok(())
}

async fn publish(
    args: &Args,
    messages: &[(String, String)],
    publisher: &mut Publisher,
    sent: &mut Sent,
) -> anyhow::Result<()> {
    if !args.no_wait {
        wait_for_subscriber(publisher).await;
    }
    let started = Instant::now();
    let is_enough = |sent: &Sent| args.count.is_some_and(|count| sent.messages >= count);
    while !is_enough(sent) {
        for (topic, body) in messages {
            if is_enough(sent) {
                break;
            }
            if let Some(rate) = args.rate {
                sleep_until(started + Duration::from_secs_f64(sent.messages as f64 / rate)).await;
            }
            if !publisher.has_room() {
                patiently(publisher.room()).await;
            }
            if args.restamp {
                publisher.send(topic, restamped(body, sent.messages)?.as_bytes()).await?;
            } else {
                publisher.send(topic, body.as_bytes()).await?;
            }
            sent.messages += 1;
            sent.unheard += u64::from(publisher.subscribers() == 0);
            // With nobody to wait for, the signal to stop would not be heard.
            tokio::task::yield_now().await;
        }
        if !args.again {
            break;
        }
    }
    patiently(publisher.drained()).await;
    Ok(())
}

/// Waits for subscribers to read, and says so if they do not.
async fn patiently(reading: impl Future<Output = ()>) {
    tokio::pin!(reading);
    if tokio::time::timeout(STALL, &mut reading).await.is_err() {
        eprintln!("a subscriber has not read on for {} s; waiting for it", STALL.as_secs());
        reading.await;
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
