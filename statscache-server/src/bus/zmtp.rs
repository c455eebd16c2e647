//! The default client: a SUB socket of our own over ZMTP 3.0 and 3.1, NULL mechanism.
//!
//! Written because every ZeroMQ library that was measured could be stopped, bloated or aborted by a peer.
//! One task an endpoint. It connects (or binds), subscribes, reads, and whatever happens begins again, after 0.1 s
//! at first and at most 1.8 s: a publisher that returns is heard within 2 s.
//!
//! What each kind of trouble comes to:
//!
//! | the peer | we |
//! |---|---|
//! | is away, refuses, has no address | try again for ever, looking its name up each time |
//! | connects and never greets, or greets for ever | leave after `handshake_deadline` |
//! | speaks ZMTP 1 or 2, another mechanism, is no publisher, sends ERROR | leave at once and say so in the status |
//! | goes silent (half-open) | PING after `ping_after`, leave `ping_deadline` later; TCP keepalive if it knows no PING |
//! | stops in the middle of a message, or trickles | leave after `message_deadline`, and 1 s for each 16 KiB that came |
//! | sends garbage | leave at the first impossible frame header |
//! | claims a huge frame, sends endless multipart | leave; nothing was allocated for the claim |
//! | sends a message above the limit | skip it and count it as rejected, up to `skip_bytes_max` |
//! | floods with commands | leave above 1,000 in a second; PONGs are bounded with them |
//! | completes handshakes and resets, for ever | back off; a connection must bring a message or live 5 s to reset that |
//! | never reads what we send | leave when a write has not completed in 5 s |
//!
//! It does not know: PLAIN and CURVE ([`Mechanism`] leaves room), whether a publisher dropped messages at its own
//! high-water mark, and, of a 3.0 peer that never sends PING, whether it is quiet or frozen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::health::describe;

use super::backoff::Backoff;
use super::decode::MessageLimits;
use super::{
    BatchSender, Endpoint, EndpointMode, EndpointState, EndpointStatus, NowFn, Rejects, Source, SourceFuture, stopped,
};

pub mod codec;
mod connection;
pub(super) mod request;
mod session;
mod transport;
pub mod wire;

pub use wire::Mechanism;

use connection::{Ended, Link};
use session::Disconnect;
use transport::Stream;

/// How to listen to one endpoint. [`ZmtpConfig::new`] gives the defaults named here.
#[derive(Clone)]
pub struct ZmtpConfig {
    /// Where.
    pub endpoint: Endpoint,
    /// Topic prefixes; none, or an empty one: everything. The publisher filters; we do not check.
    pub subscriptions: Vec<Vec<u8>>,
    /// Bounds on topic and body: 1 KiB and 16 MiB.
    pub limits: MessageLimits,
    /// Frames in a message: 64. More than two are rejected anyway; more than this ends the connection.
    pub parts_max: usize,
    /// The longest message skipped: 256 MiB. A longer one, or a claim of one, ends the connection.
    pub skip_bytes_max: u64,
    /// Read buffer of a connection: 256 KiB.
    pub buffer_bytes: usize,
    /// For one address to accept a connection: 2 s.
    pub connect_deadline: Duration,
    /// For the introduction: 5 s.
    pub handshake_deadline: Duration,
    /// For a message, once begun: 30 s, and 1 s more for each 16 KiB that came of it.
    pub message_deadline: Duration,
    /// Silence before we send a PING: 5 s. Only to peers that know it: 3.1, or seen to send one. `Duration::MAX`:
    /// never.
    pub ping_after: Duration,
    /// For anything to come after a PING: 5 s.
    pub ping_deadline: Duration,
    /// Silence after which the status says so: 60 s.
    pub silent_after: Duration,
    /// Silence after which we connect anew even though nothing else is wrong. None: a quiet bus is not an error,
    /// and TCP keepalive finds a peer that is gone (20 s). For 3.0 publishers behind something that forgets
    /// connections.
    pub reconnect_after: Option<Duration>,
    /// The first delay: 0.1 s.
    pub backoff_min: Duration,
    /// The longest delay: 1.8 s, so that with the handshake a returning publisher is heard within 2 s.
    pub backoff_max: Duration,
    /// Publishers at a time, when bound: 64.
    pub peers_max: usize,
    /// The time.
    pub now: NowFn,
}

impl ZmtpConfig {
    /// The defaults, subscribed to everything.
    pub fn new(endpoint: Endpoint, now: NowFn) -> Self {
        Self {
            endpoint,
            subscriptions: Vec::new(),
            limits: MessageLimits::default(),
            parts_max: 64,
            skip_bytes_max: 256 * 1024 * 1024,
            buffer_bytes: 256 * 1024,
            connect_deadline: Duration::from_secs(2),
            handshake_deadline: Duration::from_secs(5),
            message_deadline: Duration::from_secs(30),
            ping_after: Duration::from_secs(5),
            ping_deadline: Duration::from_secs(5),
            silent_after: Duration::from_secs(60),
            reconnect_after: None,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(1800),
            peers_max: 64,
            now,
        }
    }

    fn codec_limits(&self) -> codec::CodecLimits {
        // One byte for the NUL of the one-frame form.
        let message_bytes_max =
            self.limits.topic_bytes_max.saturating_add(1).saturating_add(self.limits.body_bytes_max);
        codec::CodecLimits {
            buffer_bytes: self.buffer_bytes,
            message_bytes_max,
            skip_bytes_max: self.skip_bytes_max.max(message_bytes_max as u64),
            parts_max: self.parts_max,
            ..codec::CodecLimits::default()
        }
    }
}

/// [`Source`] over our own ZMTP reader.
pub struct ZmtpSource {
    config: ZmtpConfig,
    rejects: Arc<Rejects>,
    status: Arc<EndpointStatus>,
}

impl ZmtpSource {
    /// A source that is not running yet.
    pub fn new(config: ZmtpConfig, rejects: Arc<Rejects>) -> Self {
        let status = EndpointStatus::new(&config.endpoint, "zmtp");
        Self { config, rejects, status }
    }
}

impl Source for ZmtpSource {
    fn run(self: Box<Self>, sink: BatchSender, mut stop: watch::Receiver<bool>) -> SourceFuture {
        Box::pin(async move {
            let Self { config, rejects, status } = *self;
            let link = Link { config: Arc::new(config), rejects, status: Arc::clone(&status), sink };
            let mut peers = JoinSet::new();
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = run(&link, &mut peers) => {}
            }
            // Waited for: nothing is sent, and no state changed, once this has returned.
            peers.shutdown().await;
            status.set_state(EndpointState::Stopped);
        })
    }

    fn status(&self) -> Arc<EndpointStatus> {
        Arc::clone(&self.status)
    }
}

/// Runs until nobody takes the batches any more. `peers` are the connections accepted, where bound.
async fn run(link: &Link, peers: &mut JoinSet<Ended>) {
    let mut retry = Retry::new(link);
    loop {
        let ended = match link.config.endpoint.mode {
            EndpointMode::Connect => connect(link).await,
            EndpointMode::Bind => listen(link, peers).await,
        };
        if matches!(ended.reason, Disconnect::QueueClosed) {
            return;
        }
        retry.wait(&ended).await;
    }
}

/// One connection, from the look-up of the name to its end.
async fn connect(link: &Link) -> Ended {
    link.status.set_state(EndpointState::Connecting);
    link.status.count_attempt();
    match transport::dial(&link.config.endpoint.transport, link.config.connect_deadline).await {
        Ok(stream) => connection::run(link, stream).await,
        Err(error) => Ended { reason: Disconnect::Connect(error), proven: false },
    }
}

/// Accepts publishers until the listener fails.
async fn listen(link: &Link, peers: &mut JoinSet<Ended>) -> Ended {
    link.status.set_state(EndpointState::Connecting);
    let failed = |error| Ended { reason: Disconnect::Bind(error), proven: false };
    let listener = match transport::Listener::bind(&link.config.endpoint.transport).await {
        Ok(listener) => listener,
        Err(error) => return failed(error),
    };
    link.status.set_local_address(listener.local_address());
    link.status.set_state(EndpointState::Listening);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => admit(link, peers, stream),
                // Most often no file descriptors left. The listener itself is well: wait for some to be closed.
                Err(error) => {
                    link.status.set_error(&format!("cannot accept a connection: {error}"));
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = peers.join_next() => match ended {
                Ok(ended) if matches!(ended.reason, Disconnect::QueueClosed) => return ended,
                Ok(ended) => {
                    link.status.set_error(&describe(&ended.reason));
                    if !link.status.is_connected() {
                        link.status.set_state(EndpointState::Listening);
                    }
                }
                Err(error) => link.status.set_error(&format!("a connection's task failed: {error}")),
            },
        }
        // Whoever connects and leaves as fast as it can gets at most a thousand tries a second.
        sleep(Duration::from_millis(1)).await;
    }
}

fn admit(link: &Link, peers: &mut JoinSet<Ended>, stream: Box<dyn Stream>) {
    link.status.count_attempt();
    if peers.len() >= link.config.peers_max {
        link.status.set_error(&format!("refused a publisher: {} are connected, the limit", peers.len()));
        return;
    }
    let link = link.clone();
    peers.spawn(async move { connection::run(&link, stream).await });
}

/// Waits between attempts, and speaks of them at a bounded rate.
struct Retry<'a> {
    link: &'a Link,
    backoff: Backoff,
    /// Since the last connection that proved itself.
    failures: u64,
    last_logged: Option<Instant>,
}

impl<'a> Retry<'a> {
    fn new(link: &'a Link) -> Self {
        let backoff = Backoff::new(link.config.backoff_min, link.config.backoff_max);
        Self { link, backoff, failures: 0, last_logged: None }
    }

    async fn wait(&mut self, ended: &Ended) {
        if ended.proven {
            self.backoff.reset();
            self.failures = 0;
        }
        self.failures += 1;
        let reason = describe(&ended.reason);
        self.link.status.set_error(&reason);
        self.link.status.set_state(EndpointState::Waiting);
        let delay = self.backoff.delay();
        // The first failure, then ever fewer: 1, 2, 4, 8, …; and never two in a second.
        let recent = self.last_logged.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if self.failures.is_power_of_two() && !recent {
            self.last_logged = Some(Instant::now());
            let (endpoint, failures) = (self.link.status.endpoint(), self.failures);
            match self.link.status.connects() {
                0 => tracing::warn!(endpoint, reason, failures, "bus endpoint not reached yet; trying again"),
                _ => tracing::warn!(endpoint, reason, failures, "bus endpoint lost; trying again"),
            }
        }
        sleep(delay).await;
    }
}
