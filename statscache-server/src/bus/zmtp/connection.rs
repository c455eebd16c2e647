//! One connection, from the first byte to the last: moves bytes between a stream, the codec and the session's
//! rules, and messages into the queue.
//!
//! Nothing here is unbounded: reads go into the codec's buffer, replies into `out` (bounded by the command budget
//! and written before the next read), messages into one batch that is sent before more is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::ZmtpConfig;
use super::codec::{Decoder, Event};
use super::session::{self, Disconnect, Watch};
use super::transport::Stream;
use super::wire::{self, Greeting};
use crate::bus::decode::decode;
use crate::bus::rejects::{RejectKind, RejectedBytes};
use crate::bus::{Batch, BatchSender, EndpointState, EndpointStatus, Rejects};

/// Payload at which a batch is sent although more is at hand.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// For what we send to be taken by the peer's kernel.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// A connection that lived this long was no failure, even without a message.
const PROVEN_AFTER: Duration = Duration::from_secs(5);

/// What connections of one source share.
#[derive(Clone)]
pub struct Link {
    pub config: Arc<ZmtpConfig>,
    pub rejects: Arc<Rejects>,
    pub status: Arc<EndpointStatus>,
    pub sink: BatchSender,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Ended {
    pub reason: Disconnect,
    /// It brought messages, or lived for a while: the next attempt may come soon.
    pub proven: bool,
}

/// Introduces us, subscribes and reads until something ends it.
pub async fn run(link: &Link, stream: Box<dyn Stream>) -> Ended {
    // Where bound, other publishers may be connected already.
    if !link.status.is_connected() {
        link.status.set_state(EndpointState::Handshaking);
    }
    let mut connection = Connection {
        link,
        stream,
        decoder: Decoder::new(link.config.codec_limits()),
        out: Vec::new(),
        batch: Batch::new(Arc::clone(&link.status)),
        proven: false,
    };
    let deadline = link.config.handshake_deadline;
    let greeting = match timeout(deadline, connection.handshake()).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(reason)) => return Ended { reason, proven: false },
        Err(_) => return Ended { reason: Disconnect::Handshake(deadline), proven: false },
    };
    let joined = Joined::new(link, &greeting);
    let started = Instant::now();
    let Err(reason) = connection.traffic(&greeting).await;
    drop(joined);
    Ended { reason, proven: connection.proven || started.elapsed() >= PROVEN_AFTER }
}

/// A peer counted as connected; dropped (also when the task is cancelled), it is not any more.
struct Joined<'a>(&'a Link);

impl<'a> Joined<'a> {
    fn new(link: &'a Link, greeting: &Greeting) -> Self {
        link.status.peer_joined((link.config.now)(), Some(greeting.version));
        tracing::info!(endpoint = link.status.endpoint(), version = ?greeting.version, "bus endpoint connected");
        Self(link)
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.0.status.peer_left(self.0.config.endpoint.mode.state_without_peers());
    }
}

struct Connection<'a> {
    link: &'a Link,
    stream: Box<dyn Stream>,
    decoder: Decoder,
    /// To be written before the next read.
    out: Vec<u8>,
    batch: Batch,
    proven: bool,
}

/// What [`Connection::drain`] came to.
struct Drained {
    /// The batch is full; there may be more in the decoder.
    full: bool,
    /// At least one message ended.
    progress: bool,
}

impl Connection<'_> {
    async fn handshake(&mut self) -> Result<Greeting, Disconnect> {
        wire::put_greeting(&mut self.out, (3, 1), super::Mechanism::Null);
        self.write().await?;
        let mut peer = None;
        loop {
            let mut complete = false;
            match (self.decoder.next_event()?, &peer) {
                (Some(Event::Greeting(greeting)), _) => {
                    session::greeted(&greeting, &mut self.out)?;
                    peer = Some(greeting);
                }
                (Some(Event::Command { name, data }), Some(greeting)) => {
                    complete = session::introduced(greeting, name, data, &self.link.config, &mut self.out)?;
                }
                (Some(_), _) => return Err(Disconnect::Unexpected("a message before READY")),
                (None, _) => {
                    self.read().await?;
                    continue;
                }
            }
            self.write().await?;
            if let (true, Some(greeting)) = (complete, peer) {
                return Ok(greeting);
            }
        }
    }

    async fn traffic(&mut self, greeting: &Greeting) -> Result<Infallible, Disconnect> {
        let mut watch = Watch::new(greeting, Instant::now());
        let mut tick = interval(self.tick_interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.deliver(&mut watch).await?;
            self.write().await?;
            tokio::select! {
                biased;
                read = self.stream.read(self.decoder.space()) => match read? {
                    0 => return Err(Disconnect::Closed),
                    len => {
                        self.decoder.filled(len);
                        watch.heard(Instant::now(), len);
                    }
                },
                now = tick.tick() => {
                    let silent = watch.check(now, &self.link.config, &mut self.out)?;
                    self.link.status.set_state(if silent { EndpointState::Silent } else { EndpointState::Connected });
                }
            }
        }
    }

    /// Often enough that no deadline is overrun by more than a quarter.
    fn tick_interval(&self) -> Duration {
        let config = &self.link.config;
        let shortest =
            config.ping_after.min(config.ping_deadline).min(config.message_deadline).min(config.silent_after);
        let shortest = config.reconnect_after.map_or(shortest, |after| shortest.min(after));
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Sends on all messages that are whole. What came before a broken frame is sent too.
    async fn deliver(&mut self, watch: &mut Watch) -> Result<(), Disconnect> {
        loop {
            let now = Instant::now();
            let now_us = (self.link.config.now)();
            let drained = self.drain(watch, now, now_us);
            let progress = drained.as_ref().is_ok_and(|drained| drained.progress);
            watch.drained(now, self.decoder.is_partial(), progress);
            if !self.batch.is_empty() {
                self.proven = true;
                self.batch.set_received_us(now_us);
                self.link.status.count_messages(self.batch.len() as u64, self.batch.byte_len() as u64, now_us);
                self.link.sink.send(&mut self.batch).await.map_err(|_| Disconnect::QueueClosed)?;
                if now.elapsed() > Duration::from_millis(100) {
                    watch.resume(Instant::now());
                }
            }
            if !drained?.full {
                return Ok(());
            }
        }
    }

    /// The hot path: decodes what is in the buffer into the batch.
    fn drain(&mut self, watch: &mut Watch, now: Instant, now_us: i64) -> Result<Drained, Disconnect> {
        let Self { link, decoder, out, batch, .. } = self;
        let reject = |kind, bytes: RejectedBytes<'_>| link.rejects.record_bytes(kind, &link.status, now_us, bytes);
        let mut progress = false;
        while batch.byte_len() < BATCH_BYTES_MAX {
            match decoder.next_event()? {
                None => return Ok(Drained { full: false, progress }),
                Some(Event::Message(frames)) => {
                    progress = true;
                    match decode(&frames, &link.config.limits) {
                        Ok((topic, body)) => batch.push(topic, body),
                        Err(kind) => reject(kind, frames.rejected_bytes()),
                    }
                }
                Some(Event::Command { name, data }) => watch.command(now, name, data, out)?,
                Some(Event::Skipped { parts, bytes, sample }) => {
                    progress = true;
                    let kind = if matches!(parts, 1 | 2) { RejectKind::BodyTooLong } else { RejectKind::FrameCount };
                    let topic_len = if parts == 1 { bytes } else { sample.len() as u64 };
                    let body_len = bytes.saturating_sub(topic_len);
                    reject(kind, RejectedBytes { topic: sample, topic_len, body: b"", body_len });
                }
                Some(Event::Greeting(_)) => return Err(Disconnect::Unexpected("a second greeting")),
            }
        }
        Ok(Drained { full: true, progress })
    }

    async fn read(&mut self) -> Result<(), Disconnect> {
        match self.stream.read(self.decoder.space()).await? {
            0 => Err(Disconnect::Closed),
            len => {
                self.decoder.filled(len);
                Ok(())
            }
        }
    }

    async fn write(&mut self) -> Result<(), Disconnect> {
        if self.out.is_empty() {
            return Ok(());
        }
        match timeout(WRITE_DEADLINE, self.stream.write_all(&self.out)).await {
            Ok(written) => written?,
            Err(_) => return Err(Disconnect::WriteStalled(WRITE_DEADLINE)),
        }
        self.out.clear();
        Ok(())
    }
}
