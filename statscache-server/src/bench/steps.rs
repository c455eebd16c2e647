//! The daemon at a rising rate, and what it is measured against.

use std::{
    ffi::OsString,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Serialize;

use super::{
    Child, Client, Metrics, Process, Scratch, Setup,
    client::quantile,
    figures::idle_secs,
    questions::{self, Measured},
    verdict::{Limit, Strain},
};

/// From step to step the rate grows by so much.
const GROWTH: f64 = 1.3;
/// The first step, as part of what receiving alone comes to.
const FIRST: f64 = 0.04;
/// Steps from there to a rate that nothing can keep up with.
const STEPS: u32 = 14;
const STEP_MIN: Duration = Duration::from_millis(500);
/// Messages that may wait at the end of a step, in seconds of its rate: what comes while an instance answers for a
/// commit, and more on a busy machine.
const BACKLOG_SECS: f64 = 0.3;
/// A publisher that has sent less of what it should was held up.
const SENT_MIN: f64 = 0.95;
const LOOK: Duration = Duration::from_millis(100);
/// How long a daemon may take to work off what waits.
const DRAIN: Duration = Duration::from_secs(30);

/// What is common to all steps.
pub struct Under {
    /// What receiving alone takes.
    pub ceiling: Ceiling,
    /// How often the daemon commits.
    pub commit_interval: Duration,
    /// From when the daemon is up; no step but the first begins later.
    pub time: Duration,
}

/// Receive, find fields, forget: as fast as it goes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    /// Messages a second.
    pub per_second: f64,
    /// CPU of each, microseconds.
    pub cpu_micros: f64,
}

/// One rate.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Messages a second that were to be sent.
    pub asked_per_second: f64,
    /// Messages a second that were sent.
    pub sent_per_second: f64,
    /// Messages a second that came to be counted, over the time that this took.
    pub received_per_second: f64,
    /// CPU of the daemon, microseconds a message, queries and commits included.
    pub cpu_micros: f64,
    /// How long after the last message all of them were in the answers.
    pub lag_seconds: f64,
    /// The most messages that waited.
    pub backlog_messages: f64,
    /// Messages lost.
    pub dropped: f64,
    /// Memory of the daemon.
    pub resident_mib: f64,
    /// Questions asked meanwhile.
    pub queries: usize,
    /// Median of the times that answers took.
    pub query_p50_millis: Option<f64>,
    /// What 99 of 100 answers took at most.
    pub query_p99_millis: Option<f64>,
    /// Threads of the daemon, each with its part of one core; the busiest first.
    pub threads: Vec<(String, f64)>,
    /// Part of all processors that was in use, whoever used it.
    pub processors_busy: f64,
    /// Why it did not keep up; none if it did.
    pub limit: Option<Limit>,
}

/// The daemon at full speed: it stops the publisher when it cannot take more.
pub struct Round {
    /// CPU of each message, microseconds.
    pub cpu_micros: f64,
    /// CPU of each thread, microseconds a message.
    pub threads: Vec<(String, f64)>,
    /// Messages.
    pub messages: f64,
}

/// What a publisher says of a turn.
struct Sent {
    messages: f64,
    secs: f64,
}

impl Sent {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        match numbers.context("the publisher's numbers")?[..] {
            [messages, secs] => Ok(Self { messages, secs }),
            _ => anyhow::bail!("the publisher says {line:?}"),
        }
    }
}

/// What receiving takes when nothing is done with it.
pub async fn ceiling(setup: &Setup, scratch: &Scratch, time: Duration) -> anyhow::Result<Ceiling> {
    let (mut publisher, address) = Child::publisher(setup).await?;
    let mut receiver = Child::start(setup, "receiver", &[address.into(), scratch.path().into()])?;
    // It answers when it has opened its plugins, or says why it cannot.
    receiver.ask("").await?;
    publisher.subscribed().await?;
    // The first messages make room and connections.
    send_to(&mut publisher, 0.0, time / 4).await?;
    let (before, seen) = (receiver.process()?, settle(&mut receiver).await?);
    let started = Instant::now();
    send_to(&mut publisher, 0.0, time).await?;
    let messages = settle(&mut receiver).await? - seen;
    let cpu = receiver.process()?.cpu_secs - before.cpu_secs;
    ensure!(messages > 0.0, "nothing was received");
    Ok(Ceiling { per_second: messages / started.elapsed().as_secs_f64(), cpu_micros: cpu * 1e6 / messages })
}

/// Sends when there is somebody to send to.
async fn send_to(publisher: &mut Child, rate: f64, time: Duration) -> anyhow::Result<Sent> {
    Sent::parse(&publisher.ask(&format!("{rate} {}", time.as_secs_f64())).await?)
}

/// How many messages a receiver has seen, when there are no more.
async fn settle(receiver: &mut Child) -> anyhow::Result<f64> {
    let mut seen = receiver.ask("").await?;
    loop {
        tokio::time::sleep(LOOK / 2).await;
        let now = receiver.ask("").await?;
        if now == seen {
            return Ok(now.parse()?);
        }
        seen = now;
    }
}

/// A daemon, its publisher, and a connection to it.
struct Pair {
    publisher: Child,
    daemon: Child,
    address: SocketAddr,
    client: Client,
}

impl Pair {
    async fn start(setup: &Setup, scratch: &Scratch, waits: bool) -> anyhow::Result<Self> {
        let (mut publisher, bus) = Child::publisher(setup).await?;
        let mut args: Vec<OsString> = if waits { vec!["--wait".into()] } else { Vec::new() };
        args.extend([bus.into(), scratch.path().into()]);
        let mut daemon = Child::start(setup, "daemon", &args)?;
        let address = daemon.line().await?.parse().context("where the daemon serves")?;
        publisher.subscribed().await?;
        Ok(Self { publisher, daemon, address, client: Client::connect(address).await? })
    }

    async fn metrics(&mut self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&String::from_utf8_lossy(&self.client.get("/metrics").await?)))
    }

    /// Waits until so many messages are in the answers, or lost.
    async fn drained(&mut self, messages: f64) -> anyhow::Result<Metrics> {
        let deadline = Instant::now() + DRAIN;
        loop {
            let metrics = self.metrics().await?;
            let done = metrics.settled() >= messages && metrics.backlog() == 0.0 && is_published(&metrics);
            if done || Instant::now() > deadline {
                return Ok(metrics);
            }
            tokio::time::sleep(LOOK / 5).await;
        }
    }
}

/// Whether the answers hold all that was accepted.
fn is_published(metrics: &Metrics) -> bool {
    metrics.one("statscache_journal_next_sequence") > metrics.one("statscache_messages_accepted_total")
}

/// The daemon as fast as it goes, for so long.
pub async fn full_speed(setup: &Setup, scratch: &Scratch, time: Duration) -> anyhow::Result<Round> {
    let mut pair = Pair::start(setup, scratch, true).await?;
    let warm = send_to(&mut pair.publisher, 0.0, time / 4).await?.messages;
    pair.drained(warm).await?;
    let before = pair.daemon.process()?;
    let messages = send_to(&mut pair.publisher, 0.0, time).await?.messages;
    let metrics = pair.drained(warm + messages).await?;
    ensure!(metrics.settled() >= warm + messages, "the daemon has not counted all messages");
    let after = pair.daemon.process()?;
    let each = 1e6 / messages;
    let threads = after.threads_since(&before).into_iter().map(|(name, secs)| (name, secs * each)).collect();
    Ok(Round { cpu_micros: (after.cpu_secs - before.cpu_secs) * each, threads, messages })
}

/// What came of a rising rate.
pub struct Rising {
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// The instances that had to keep up.
    pub instances: Vec<Measured>,
}

/// Steps until something is lost or waits, or the time is over; at least one.
pub async fn rising(
    setup: &Setup,
    scratch: &Scratch,
    under: &Under,
    told: &mut impl FnMut(&Step),
) -> anyhow::Result<Rising> {
    let mut pair = Pair::start(setup, scratch, false).await?;
    let targets = questions::find(&mut pair.client).await?;
    let end = Instant::now() + under.time;
    let time = (under.time / STEPS).saturating_sub(under.commit_interval / 2).max(STEP_MIN);
    let mut run = Run { pair, targets, time, sent: 0.0, before: Lost::default() };
    let mut rate = under.ceiling.per_second * FIRST;
    // New label sets and buckets are made once: not counted.
    run.step(rate).await?;
    let mut steps = Vec::new();
    loop {
        let step = run.step(rate).await?;
        told(&step);
        let is_over = step.limit.is_some();
        steps.push(step);
        if is_over || Instant::now() >= end {
            break;
        }
        rate *= GROWTH;
    }
    if steps.len() > 1 && steps.last().is_some_and(|step| step.limit.is_some()) && Instant::now() < end {
        let step = run.step(rate / GROWTH.sqrt()).await?;
        told(&step);
        steps.push(step);
    }
    Ok(Rising { instances: questions::measured(&mut run.pair.client).await?, steps })
}

/// A daemon in the middle of its steps.
struct Run {
    pair: Pair,
    targets: Vec<String>,
    time: Duration,
    /// Messages since the start.
    sent: f64,
    before: Lost,
}

/// Messages that were settled, and those of them lost, since the start.
#[derive(Clone, Copy, Default)]
struct Lost {
    settled: f64,
    lost: f64,
}

impl Run {
    async fn step(&mut self, rate: f64) -> anyhow::Result<Step> {
        let (before, idle, started) = (self.pair.daemon.process()?, idle_secs(), Instant::now());
        let asked = questions::ask(self.pair.address, self.targets.clone(), started + self.time);
        let asking = tokio::spawn(asked);
        self.pair.publisher.tell(&format!("{rate} {}", self.time.as_secs_f64())).await?;
        let publisher = self.pair.publisher.process()?.cpu_secs;
        let (sent, last, most) = self.watch().await?;
        let publisher = self.pair.publisher.process()?.cpu_secs - publisher;
        let (busy, threads) = self.load(&before, idle, started)?;
        let (ended, sending) = (Instant::now(), started.elapsed().as_secs_f64());
        self.sent += sent.messages;
        let metrics = self.pair.drained(self.sent).await?;
        let (lag, took) = (ended.elapsed().as_secs_f64(), started.elapsed().as_secs_f64());
        let after = self.pair.daemon.process()?;
        let now = Lost { settled: metrics.settled(), lost: metrics.lost() };
        let dropped = now.lost - self.before.lost;
        let received = (now.settled - self.before.settled - dropped).max(0.0);
        self.before = now;
        let millis = asking.await??;
        let strain = Strain {
            dropped,
            backlog_secs: last / rate,
            backlog_secs_max: BACKLOG_SECS,
            sent_part: sent.messages / (rate * sent.secs),
            sent_part_min: SENT_MIN,
            publisher_busy: publisher / sent.secs,
            is_drained: now.settled >= self.sent,
            busy,
            threads: &threads,
        };
        let is_kept = strain.limit().is_none();
        Ok(Step {
            asked_per_second: rate,
            sent_per_second: sent.messages / sent.secs,
            received_per_second: received / if is_kept { sending } else { took },
            cpu_micros: (after.cpu_secs - before.cpu_secs) * 1e6 / received.max(1.0),
            lag_seconds: lag,
            backlog_messages: most,
            dropped,
            resident_mib: after.resident_mib,
            queries: millis.len(),
            query_p50_millis: (!millis.is_empty()).then(|| quantile(&millis, 0.5)),
            query_p99_millis: (!millis.is_empty()).then(|| quantile(&millis, 0.99)),
            limit: strain.limit(),
            threads,
            processors_busy: busy,
        })
    }

    /// Looks while messages are sent: what was sent, and how many messages waited last, and at most.
    async fn watch(&mut self) -> anyhow::Result<(Sent, f64, f64)> {
        let (mut last, mut most) = (0.0, 0.0_f64);
        loop {
            tokio::select! {
                line = self.pair.publisher.line() => return Ok((Sent::parse(&line?)?, last, most)),
                () = tokio::time::sleep(LOOK) => {}
            }
            last = self.pair.metrics().await?.backlog();
            most = most.max(last);
        }
    }

    /// How busy the processors and the daemon's threads were since then.
    fn load(&self, before: &Process, idle: f64, started: Instant) -> anyhow::Result<(f64, Vec<(String, f64)>)> {
        let secs = started.elapsed().as_secs_f64();
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let busy = (1.0 - (idle_secs() - idle) / (secs * processors)).clamp(0.0, 1.0);
        let threads = self.pair.daemon.process()?.threads_since(before);
        let threads = threads.into_iter().filter(|(_, used)| *used > 0.001 * secs);
        Ok((busy, threads.map(|(name, used)| (name, used / secs)).collect()))
    }
}
