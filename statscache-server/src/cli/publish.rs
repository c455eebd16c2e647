//! `statscache publish`: messages from a file onto a PUB socket, two frames each: topic, JSON. As fast as the slowest
//! subscriber reads, so that nothing is dropped on this side; what arrives, ZeroMQ does not tell.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    bus::{Endpoint, EndpointMode, Publisher},
    clock::{Clock, SystemClock},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Envelopes, one JSON object with a `topic` per line; - for standard input, each line sent as it comes
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

/// Where messages come from.
enum Source {
    /// A file: everything in it is checked before the first is sent.
    File { messages: Vec<Sample>, next: usize, again: bool },
    /// Standard input, each line as it comes.
    Input(mpsc::Receiver<anyhow::Result<Sample>>),
}

/// A message as it was written.
#[derive(Clone)]
struct Sample {
    topic: String,
    body: String,
}

impl Source {
    fn open(args: &Args) -> anyhow::Result<Self> {
        if args.file == Path::new("-") {
            anyhow::ensure!(!args.again, "--loop needs a file: standard input cannot be read again");
            return Ok(Self::Input(read_input()));
        }
        Ok(Self::File { messages: read(&args.file)?, next: 0, again: args.again })
    }

    async fn next(&mut self) -> Option<anyhow::Result<Sample>> {
        match self {
            Self::Input(lines) => lines.recv().await,
            Self::File { messages, next, again } => {
                if *again && *next == messages.len() {
                    *next = 0;
                }
                *next += 1;
                messages.get(*next - 1).cloned().map(Ok)
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { messages, .. } => write!(f, "{} messages", messages.len()),
            Self::Input(_) => f.write_str("standard input"),
        }
    }
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    if args.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        bail!("--rate must be more than 0");
    }
    let mut source = Source::open(args)?;
    let endpoint = Endpoint::parse(&args.endpoint, EndpointMode::Bind).context("--endpoint")?;
    let mut publisher = Publisher::bind(&endpoint).await?;
    eprintln!("publishing {source} on {}", publisher.address());
    let mut sent = Sent::default();
    let publishing = publish(args, &mut source, &mut publisher, &mut sent);
    let (result, stopped) = tokio::select! {
        published = publishing => (published, ""),
        stopped = super::shutdown_signal() => (stopped, "stopped; "),
    };
    // What was sent before an error leaves as well.
    publisher.close(LINGER).await;
    eprintln!("{stopped}{sent}");
    result
}

async fn publish(args: &Args, source: &mut Source, publisher: &mut Publisher, sent: &mut Sent) -> anyhow::Result<()> {
    if !args.no_wait {
        wait_for_subscriber(publisher).await;
    }
    let started = Instant::now();
    while args.count.is_none_or(|count| sent.messages < count) {
        let Some(message) = source.next().await else { break };
        let Sample { topic, body } = message?;
        if let Some(rate) = args.rate {
            sleep_until(started + Duration::from_secs_f64(sent.messages as f64 / rate)).await;
        }
        if !publisher.has_room() {
            patiently(publisher.room()).await;
        }
        let body = if args.restamp { restamped(&body, sent.messages)? } else { body };
        publisher.send(&topic, body.as_bytes()).await?;
        sent.messages += 1;
        sent.unheard += u64::from(publisher.subscribers() == 0);
        // With nobody to wait for, the signal to stop would not be heard.
        tokio::task::yield_now().await;
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

/// The messages of a file.
fn read(path: &Path) -> anyhow::Result<Vec<Sample>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let messages: Vec<Sample> =
        lines.map(|(number, line)| sample(line, &path.display(), number)).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!messages.is_empty(), "{} has no messages", path.display());
    Ok(messages)
}

/// The messages of standard input, read on a thread of their own: reading may take for ever. It ends at the first line
/// that is no message.
fn read_input() -> mpsc::Receiver<anyhow::Result<Sample>> {
    const WAITING_MAX: usize = 16;
    let (sender, lines) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let message = match line.context("cannot read standard input") {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => sample(&line, &"standard input", number),
                Err(error) => Err(error),
            };
            let is_last = message.is_err();
            if sender.blocking_send(message).is_err() || is_last {
                break;
            }
        }
    });
    lines
}

/// The message of a line, the first of which is 0.
fn sample(line: &str, place: &dyn std::fmt::Display, number: usize) -> anyhow::Result<Sample> {
    let number = number + 1;
    let envelope: Value = serde_json::from_str(line).with_context(|| format!("{place}:{number}: not JSON"))?;
    let Some(topic) = envelope.get("topic").and_then(Value::as_str) else {
        bail!("{place}:{number}: no `topic` in it, or not a text; each line is one envelope");
    };
    Ok(Sample { topic: topic.to_owned(), body: line.to_owned() })
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
