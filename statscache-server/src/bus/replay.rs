//! Asking for what did not come: the replay of fedmsg.
//!
//! A publisher with a store numbers its messages (`seq_id`, at the top of the envelope) and answers questions about them
//! on a port of its own. [`ReplaySource`] is a source that watches the numbers of another; what is passed over is asked
//! for, by numbers from and to, or one by one where the store does not understand that, and goes into the same queue as
//! what came by itself. There it is a message like any other, and dropped if it came twice.
//!
//! Promises: receiving goes on meanwhile; one question at a time; questions, answers, attempts and gaps that wait are
//! bounded; only numbers that are missing are taken from an answer. What could not be had is counted, and the time in
//! which it came is doubted ([`ReplayStatus`]). A publisher that begins its numbers anew is noticed by its third
//! message; up to then nothing it loses is.
//!
//! It needs an endpoint that one publisher alone sends to: numbers of several, as behind a relay or gateway, are no
//! order. What is not subscribed to is passed over, too, so it is asked for and thrown away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::health::describe;

use super::backoff::Backoff;
use super::decode::{Frames, MessageLimits, decode};
use super::queue::QueueClosed;
use super::zmtp::request::{AskError, AskLimits, ask};
use super::{Batch, BatchSender, Endpoint, EndpointStatus, NowFn, Source, SourceFuture};

mod numbering;
mod positions;
mod question;
mod watcher;

pub use positions::ReplayPositions;
pub use watcher::{ReplaySnapshot, ReplayStatus};

use numbering::Gap;
use question::{Form, Refusal, Replayed};

/// Payload at which messages are sent on.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// How to ask for what did not come. [`ReplayConfig::new`] gives the defaults named here.
#[derive(Clone)]
pub struct ReplayConfig {
    /// Who answers.
    pub endpoint: Endpoint,
    /// Topic prefixes of what is taken; none, or an empty one: everything.
    pub subscriptions: Vec<Vec<u8>>,
    /// Bounds on topic and body.
    pub limits: MessageLimits,
    /// For one question, from connecting to the last byte of the answer: 10 s.
    pub deadline: Duration,
    /// The longest answer: 64 MiB, or one message if that may be longer. A longer one is asked for in halves.
    pub answer_bytes_max: usize,
    /// Messages of one gap that are asked for: the last 10,000 of it.
    pub gap_max: u64,
    /// Attempts at a gap that fail before it is given up: 5; only 1 while it has been so before.
    pub attempts_max: u32,
    /// The first delay after one: 1 s.
    pub backoff_min: Duration,
    /// The longest delay: 30 s.
    pub backoff_max: Duration,
    /// The time.
    pub now: NowFn,
}

impl ReplayConfig {
    /// The defaults.
    pub fn new(endpoint: Endpoint, now: NowFn) -> Self {
        Self {
            endpoint,
            subscriptions: Vec::new(),
            limits: MessageLimits::default(),
            deadline: Duration::from_secs(10),
            answer_bytes_max: 64 * 1024 * 1024,
            gap_max: 10_000,
            attempts_max: 5,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            now,
        }
    }
}

/// [`Source`] that brings what another one missed.
pub struct ReplaySource {
    inner: Box<dyn Source>,
    config: ReplayConfig,
    replay: Arc<ReplayStatus>,
}

impl ReplaySource {
    /// A source that is not running yet; goes on from where its endpoint's numbering stands in `positions`.
    pub fn new(inner: Box<dyn Source>, config: ReplayConfig, positions: &ReplayPositions) -> Self {
        let status = inner.status();
        let replay = Arc::new(ReplayStatus::new(&config.endpoint, positions.position(status.endpoint())));
        positions.watch(status.endpoint(), Arc::clone(&replay));
        status.set_replay(Arc::clone(&replay));
        Self { inner, config, replay }
    }
}

impl Source for ReplaySource {
    fn run(self: Box<Self>, sink: BatchSender, stop: watch::Receiver<bool>) -> SourceFuture {
        Box::pin(async move {
            let Self { inner, config, replay } = *self;
            let batch = Batch::new(inner.status());
            let backoff = Backoff::new(config.backoff_min, config.backoff_max);
            let fetcher = Fetcher {
                replay: Arc::clone(&replay),
                sink: sink.waiting(),
                batch,
                form: Form::Range,
                halved: 1,
                failing: false,
                backoff,
                config,
            };
            let mut asking = JoinSet::new();
            asking.spawn(fetcher.run());
            inner.run(sink.tapped(replay), stop).await;
            // Waited for: nothing is sent once this has returned.
            asking.shutdown().await;
        })
    }

    fn status(&self) -> Arc<EndpointStatus> {
        self.inner.status()
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot be asked")]
    Ask(#[from] AskError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Works off the gaps of one endpoint.
struct Fetcher {
    config: ReplayConfig,
    replay: Arc<ReplayStatus>,
    sink: BatchSender,
    batch: Batch,
    form: Form,
    /// By this much less is asked for at a time, because answers were too long.
    halved: i64,
    /// The last gap was given up.
    failing: bool,
    backoff: Backoff,
}

impl Fetcher {
    async fn run(mut self) {
        loop {
            let gap = self.replay.gap().await;
            let Ok(lost) = self.fill(&gap).await else { return };
            if lost > 0 {
                let (endpoint, first, last) = (self.batch.endpoint().endpoint(), gap.first, gap.last);
                tracing::warn!(endpoint, first, last, lost, "messages were missed and cannot be replayed");
            }
            self.replay.gap_done(lost);
        }
    }

    /// Brings what can be had of a gap; gives how many messages of it are lost.
    async fn fill(&mut self, gap: &Gap) -> Result<u64, QueueClosed> {
        let asked = gap.len().min(self.config.gap_max.max(1));
        let mut first = gap.last.saturating_sub_unsigned(asked - 1);
        let (mut brought, mut failures) = (0, 0);
        self.halved = 1;
        while first <= gap.last {
            let span = (self.form.span_max() / self.halved).max(1);
            let last = gap.last.min(first.saturating_add(span - 1));
            match self.fetch(first, last).await {
                Ok(frames) => {
                    brought += self.deliver(&frames, first, last).await?;
                    (self.failing, failures) = (false, 0);
                    self.backoff.reset();
                }
                Err(Failure::Refused(Refusal::NoMatch)) => self.replay.set_error(&Refusal::NoMatch.to_string()),
                Err(Failure::Refused(Refusal::Error(_))) if self.form == Form::Range => {
                    // It knows single numbers only, now and later.
                    self.form = Form::List;
                    continue;
                }
                Err(Failure::Ask(AskError::TooLong(_))) if span > 1 => {
                    self.halved *= 2;
                    continue;
                }
                Err(failure @ Failure::Ask(AskError::TooLong(_))) => self.replay.set_error(&describe(&failure)),
                Err(failure) => {
                    self.replay.set_error(&describe(&failure));
                    failures += 1;
                    if self.failing || failures >= self.config.attempts_max {
                        self.failing = true;
                        break;
                    }
                    sleep(self.backoff.delay()).await;
                    continue;
                }
            }
            // The last number may be the greatest there is.
            let Some(next) = last.checked_add(1) else { break };
            first = next;
        }
        Ok(gap.len() - brought)
    }

    /// Asks for the messages with these numbers: the frames of an answer that has at least one.
    async fn fetch(&self, first: i64, last: i64) -> Result<Vec<Vec<u8>>, Failure> {
        let limits = AskLimits {
            deadline: self.config.deadline,
            bytes_max: self.config.answer_bytes_max.max(self.config.limits.body_bytes_max),
            // fedmsg's own stores give one more than asked for, and may give a message twice.
            frames_max: 4 * Form::Range.span_max() as usize,
        };
        let question = self.form.question(first, last);
        let frames = ask(&self.config.endpoint.transport, question.as_bytes(), &limits).await?;
        question::read(&frames)?;
        Ok(frames)
    }

    /// Sends on what has one of these numbers, each once, waiting for room; says how many there were.
    async fn deliver(&mut self, frames: &[Vec<u8>], first: i64, last: i64) -> Result<u64, QueueClosed> {
        let mut wanted: BTreeSet<i64> = (first..=last).collect();
        for message in question::read(frames).unwrap_or_default() {
            if !self.is_sound(&message) || !wanted.remove(&message.seq_id) {
                continue;
            }
            if self.is_subscribed(&message) {
                self.batch.push(message.topic.as_bytes(), message.body.as_bytes());
            }
            if self.batch.byte_len() >= BATCH_BYTES_MAX {
                self.send().await?;
            }
        }
        self.send().await?;
        let brought = last.abs_diff(first) + 1 - wanted.len() as u64;
        self.replay.count_replayed(brought);
        Ok(brought)
    }

    async fn send(&mut self) -> Result<(), QueueClosed> {
        self.batch.set_received_us((self.config.now)());
        self.sink.send(&mut self.batch).await
    }

    fn is_sound(&self, message: &Replayed<'_>) -> bool {
        let frames: Frames<'_> = [message.topic.as_bytes(), message.body.as_bytes()].into_iter().collect();
        decode(&frames, &self.config.limits).is_ok()
    }

    fn is_subscribed(&self, message: &Replayed<'_>) -> bool {
        let prefixes = &self.config.subscriptions;
        prefixes.is_empty() || prefixes.iter().any(|prefix| message.topic.as_bytes().starts_with(prefix))
    }
}
