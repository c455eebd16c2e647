//! The other client: the `zeromq` crate's SUB socket behind the same [`Source`]. For comparison, and as a way out
//! should our own reader meet a publisher that it does not understand.
//!
//! Known weaknesses of zeromq 0.7.0, which is why it is not the default:
//! * A frame header of nine bytes that claims 2^38 to 2^62 bytes **aborts the process**; endless multipart grows
//!   without bound. Use it only with publishers that you trust.
//! * It ends the connection at every PING, so libzmq publishers with heartbeats lose messages at each.
//! * It sends no heartbeat and sets no keepalive: a half-open connection is found only by `idle_after`.
//! * Its own reconnecting backs off to 30 s and can die. Here the socket is built anew on any trouble instead.
//! * Limits hold only after a message is whole in memory.
//! * It is built without `ipc://` (asked for it, the crate would panic): such an endpoint shows an error and stays down.

use std::sync::Arc;
use std::time::Duration;

use ::zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket, ZmqError, ZmqMessage};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::decode::{Frames, MessageLimits, decode};
use super::{
    Batch, BatchSender, Endpoint, EndpointMode, EndpointState, EndpointStatus, NowFn, Rejects, Source, SourceFuture,
    Transport, stopped,
};

/// Payload at which a batch is sent although more is at hand.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// How to listen to one endpoint. [`ZeromqConfig::new`] gives the defaults named here.
#[derive(Clone)]
pub struct ZeromqConfig {
    /// Where.
    pub endpoint: Endpoint,
    /// Topic prefixes; none, or an empty one: everything. The crate takes text only.
    pub subscriptions: Vec<String>,
    /// Bounds on topic and body.
    pub limits: MessageLimits,
    /// To connect and introduce ourselves: 5 s.
    pub connect_deadline: Duration,
    /// Silence after which the socket is built anew, the only defence against a half-open connection: 60 s.
    pub idle_after: Duration,
    /// The first delay before another attempt: 0.1 s.
    pub backoff_min: Duration,
    /// The longest: 1.8 s.
    pub backoff_max: Duration,
    /// The time.
    pub now: NowFn,
}

impl ZeromqConfig {
    /// The defaults, subscribed to everything.
    pub fn new(endpoint: Endpoint, now: NowFn) -> Self {
        Self {
            endpoint,
            subscriptions: Vec::new(),
            limits: MessageLimits::default(),
            connect_deadline: Duration::from_secs(5),
            idle_after: Duration::from_secs(60),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(1800),
            now,
        }
    }
}

/// [`Source`] over the `zeromq` crate.
pub struct ZeromqSource {
    config: ZeromqConfig,
    rejects: Arc<Rejects>,
    status: Arc<EndpointStatus>,
}

impl ZeromqSource {
    /// A source that is not running yet.
    pub fn new(config: ZeromqConfig, rejects: Arc<Rejects>) -> Self {
        let status = EndpointStatus::new(&config.endpoint, "zeromq");
        Self { config, rejects, status }
    }
}

impl Source for ZeromqSource {
    fn run(self: Box<Self>, sink: BatchSender, mut stop: watch::Receiver<bool>) -> SourceFuture {
        Box::pin(async move {
            let status = Arc::clone(&self.status);
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = self.forever(sink) => {}
            }
            status.set_state(EndpointState::Stopped);
        })
    }

    fn status(&self) -> Arc<EndpointStatus> {
        Arc::clone(&self.status)
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the zeromq client has no ipc:// here; use the zmtp client")]
    NoIpc,
    #[error("cannot connect: {0}")]
    Connect(ZmqError),
    #[error("cannot bind: {0}")]
    Bind(ZmqError),
    #[error("no connection and handshake within {0:?}")]
    ConnectDeadline(Duration),
    #[error("cannot subscribe: {0}")]
    Subscribe(ZmqError),
    #[error("receiving failed: {0}")]
    Receive(ZmqError),
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    #[error("the publisher went away")]
    Disconnected,
    #[error("nobody takes the messages any more")]
    QueueClosed,
}

impl ZeromqSource {
    async fn forever(&self, sink: BatchSender) {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max);
        loop {
            let before = self.status.messages();
            let trouble = self.session(&sink).await;
            if matches!(trouble, Trouble::QueueClosed) {
                return;
            }
            if self.status.messages() > before {
                backoff.reset();
            }
            self.status.set_error(&trouble.to_string());
            self.status.set_state(EndpointState::Waiting);
            tracing::debug!(endpoint = self.status.endpoint(), %trouble, "bus endpoint lost; trying again");
            sleep(backoff.delay()).await;
        }
    }

    /// One socket, from its making to the first trouble.
    async fn session(&self, sink: &BatchSender) -> Trouble {
        self.status.set_state(EndpointState::Connecting);
        self.status.count_attempt();
        if matches!(self.config.endpoint.transport, Transport::Ipc { .. }) {
            return Trouble::NoIpc;
        }
        let mut options = SocketOptions::default();
        options.connect_timeout(self.config.connect_deadline);
        let mut socket = SubSocket::with_options(options);
        let mut events = socket.monitor();
        if let Err(trouble) = self.open(&mut socket).await {
            return trouble;
        }
        let mut peers = Peers::new(self);
        let mut batch = Batch::new(Arc::clone(&self.status));
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                message = socket.recv() => match message {
                    Ok(message) => {
                        heard_at = Instant::now();
                        if let Err(error) = self.fill(&mut batch, message, &mut socket).await {
                            return Trouble::Receive(error);
                        }
                    }
                    Err(error) => return Trouble::Receive(error),
                },
                event = events.recv() => match event {
                    Ok(SocketEvent::Accepted(..)) => peers.join(),
                    Ok(SocketEvent::Disconnected(_)) => {
                        peers.leave();
                        if self.config.endpoint.mode == EndpointMode::Connect {
                            return Trouble::Disconnected;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return Trouble::Disconnected,
                },
                () = sleep_until(heard_at + self.config.idle_after) => return Trouble::Idle(self.config.idle_after),
            }
            if !batch.is_empty() {
                self.status.count_messages(batch.len() as u64, batch.byte_len() as u64, batch.received_us());
            }
            if sink.send(&mut batch).await.is_err() {
                return Trouble::QueueClosed;
            }
        }
    }

    async fn open(&self, socket: &mut SubSocket) -> Result<(), Trouble> {
        let everything = [String::new()];
        let subscriptions =
            if self.config.subscriptions.is_empty() { &everything[..] } else { &self.config.subscriptions };
        for prefix in subscriptions {
            socket.subscribe(prefix).await.map_err(Trouble::Subscribe)?;
        }
        let address = self.config.endpoint.address();
        match self.config.endpoint.mode {
            EndpointMode::Connect => {
                // The crate's own deadline does not cover all of it.
                let deadline = self.config.connect_deadline + Duration::from_millis(100);
                match timeout(deadline, socket.connect(&address)).await {
                    Ok(connected) => connected.map_err(Trouble::Connect),
                    Err(_) => Err(Trouble::ConnectDeadline(deadline)),
                }
            }
            EndpointMode::Bind => {
                let bound = socket.bind(&address).await.map_err(Trouble::Bind)?;
                self.status.set_local_address(bound.to_string());
                self.status.set_state(EndpointState::Listening);
                Ok(())
            }
        }
    }

    /// Decodes a message and all others that are at hand.
    async fn fill(&self, batch: &mut Batch, first: ZmqMessage, socket: &mut SubSocket) -> Result<(), ZmqError> {
        let now_us = (self.config.now)();
        batch.set_received_us(now_us);
        let mut message = first;
        loop {
            let frames: Frames<'_> = message.iter().map(|frame| frame.as_ref()).collect();
            match decode(&frames, &self.config.limits) {
                Ok((topic, body)) => batch.push(topic, body),
                Err(kind) => self.rejects.record_bytes(kind, &self.status, now_us, frames.rejected_bytes()),
            }
            if batch.byte_len() >= BATCH_BYTES_MAX {
                return Ok(());
            }
            message = tokio::select! {
                biased;
                next = socket.recv() => next?,
                () = std::future::ready(()) => return Ok(()),
            };
        }
    }
}

/// The peers of one socket; those that are still there when it is dropped have left.
struct Peers<'a> {
    source: &'a ZeromqSource,
    count: u64,
}

impl<'a> Peers<'a> {
    fn new(source: &'a ZeromqSource) -> Self {
        let mut peers = Self { source, count: 0 };
        if source.config.endpoint.mode == EndpointMode::Connect {
            peers.join();
        }
        peers
    }

    fn join(&mut self) {
        self.count += 1;
        self.source.status.peer_joined((self.source.config.now)(), None);
    }

    /// The crate may report a departure twice.
    fn leave(&mut self) {
        if self.count > 0 {
            self.count -= 1;
            self.source.status.peer_left(self.source.config.endpoint.mode.state_without_peers());
        }
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        while self.count > 0 {
            self.leave();
        }
    }
}
