//! What is known about each endpoint, for `/healthz`, `/metrics` and whoever asks.
//!
//! Counters are atomics, written a batch at a time by the source and read from anywhere; figures read together may
//! be a batch apart.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use statscache_plugin_sdk::Timestamp;

use super::replay::{ReplaySnapshot, ReplayStatus};
use super::{Endpoint, QueueStats, Rejects};

/// Longest error text kept.
const ERROR_LEN_MAX: usize = 512;

/// What an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointState {
    /// Not started yet.
    Idle = 0,
    /// Looking the name up, connecting or binding.
    Connecting = 1,
    /// Bound, and no publisher is connected.
    Listening = 2,
    /// Connected; the two sides are introducing themselves.
    Handshaking = 3,
    /// Subscribed to at least one publisher.
    Connected = 4,
    /// Connected, but nothing at all has come for a while (see `ZmtpConfig::silent_after`) or a heartbeat is
    /// overdue.
    Silent = 5,
    /// Not connected; the next attempt is due within the backoff.
    Waiting = 6,
    /// The source has ended.
    Stopped = 7,
}

impl EndpointState {
    /// The name shown to operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Listening => "listening",
            Self::Handshaking => "handshaking",
            Self::Connected => "connected",
            Self::Silent => "silent",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Connecting,
            2 => Self::Listening,
            3 => Self::Handshaking,
            4 => Self::Connected,
            5 => Self::Silent,
            6 => Self::Waiting,
            7 => Self::Stopped,
            _ => Self::Idle,
        }
    }
}

/// One endpoint, live.
#[derive(Debug)]
pub struct EndpointStatus {
    endpoint: String,
    client: &'static str,
    state: AtomicU8,
    /// 0: not connected.
    connected_since_us: AtomicI64,
    /// 0: none yet.
    last_message_us: AtomicI64,
    peers: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    connects: AtomicU64,
    disconnects: AtomicU64,
    attempts: AtomicU64,
    dropped_messages: AtomicU64,
    dropped_bytes: AtomicU64,
    rejected: AtomicU64,
    text: Mutex<Text>,
    replay: OnceLock<Arc<ReplayStatus>>,
}

#[derive(Debug, Default, Clone)]
struct Text {
    last_error: Option<String>,
    peer_version: Option<(u8, u8)>,
    local_address: Option<String>,
}

/// [`EndpointStatus`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSnapshot {
    /// As configured, e.g. `tcp://hub.example.org:9940` or `bind tcp://0.0.0.0:2003`.
    pub endpoint: String,
    /// Which client reads it: `zmtp` (our own) or `zeromq` (the crate).
    pub client: &'static str,
    /// What it is doing.
    pub state: EndpointState,
    /// Since when a publisher has been connected, µs since the epoch.
    pub connected_since_us: Option<i64>,
    /// When the last message came, µs since the epoch.
    pub last_message_us: Option<i64>,
    /// Publishers connected now; more than one only when bound.
    pub peers: u64,
    /// Messages accepted (decoded), dropped ones included.
    pub messages: u64,
    /// Topic and body bytes of those messages.
    pub bytes: u64,
    /// Attempts to connect (or connections accepted).
    pub attempts: u64,
    /// Handshakes completed.
    pub connects: u64,
    /// Connections lost after a completed handshake.
    pub disconnects: u64,
    /// Messages dropped because the queue was full.
    pub dropped_messages: u64,
    /// Topic and body bytes of those.
    pub dropped_bytes: u64,
    /// Messages rejected: see [`Rejects`].
    pub rejected: u64,
    /// Why the last connection or attempt ended.
    pub last_error: Option<String>,
    /// The ZMTP version in the last peer's greeting.
    pub peer_version: Option<(u8, u8)>,
    /// The address bound, where bound: the way to learn a port that was `*` or 0.
    pub local_address: Option<String>,
    /// What it numbers and we missed, where somebody can be asked for that.
    pub replay: Option<ReplaySnapshot>,
}

impl EndpointStatus {
    /// The status of an endpoint that was not started yet.
    pub fn new(endpoint: &Endpoint, client: &'static str) -> Arc<Self> {
        Arc::new(Self {
            endpoint: endpoint.to_string(),
            client,
            state: AtomicU8::new(EndpointState::Idle as u8),
            connected_since_us: AtomicI64::new(0),
            last_message_us: AtomicI64::new(0),
            peers: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            disconnects: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            dropped_messages: AtomicU64::new(0),
            dropped_bytes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            text: Mutex::new(Text::default()),
            replay: OnceLock::new(),
        })
    }

    /// As configured.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
    /// What it is doing.
    pub fn state(&self) -> EndpointState {
        EndpointState::from_u8(self.state.load(Ordering::Relaxed))
    }
    /// Messages accepted.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
    /// Handshakes completed.
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }
    /// Connections lost after a completed handshake.
    pub fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Relaxed)
    }
    /// Publishers connected now.
    pub fn peers(&self) -> u64 {
        self.peers.load(Ordering::Relaxed)
    }
    /// Whether a publisher is connected: coverage counts as seen only then.
    pub fn is_connected(&self) -> bool {
        self.peers() > 0
    }
    /// Since when a publisher has been connected without a break.
    pub fn connected_since(&self) -> Option<Timestamp> {
        time(&self.connected_since_us)
    }
    /// When the last message came.
    pub fn last_message(&self) -> Option<Timestamp> {
        time(&self.last_message_us)
    }
    /// Why the last connection or attempt ended.
    pub fn last_error(&self) -> Option<String> {
        self.with_text(|text| text.last_error.clone())
    }

    /// All of it.
    pub fn snapshot(&self) -> EndpointSnapshot {
        let text = self.with_text(|text| text.clone());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EndpointSnapshot {
            endpoint: self.endpoint.clone(),
            client: self.client,
            state: self.state(),
            connected_since_us: self.connected_since().map(Timestamp::micros),
            last_message_us: self.last_message().map(Timestamp::micros),
            peers: self.peers(),
            messages: count(&self.messages),
            bytes: count(&self.bytes),
            attempts: count(&self.attempts),
            connects: count(&self.connects),
            disconnects: count(&self.disconnects),
            dropped_messages: count(&self.dropped_messages),
            dropped_bytes: count(&self.dropped_bytes),
            rejected: count(&self.rejected),
            last_error: text.last_error,
            peer_version: text.peer_version,
            local_address: text.local_address,
            replay: self.replay().map(|replay| replay.snapshot()),
        }
    }

    /// What is known about its numbering, where that is watched.
    pub fn replay(&self) -> Option<&Arc<ReplayStatus>> {
        self.replay.get()
    }

    /// Its numbering is watched; to be said once.
    pub(super) fn set_replay(&self, replay: Arc<ReplayStatus>) {
        let _ = self.replay.set(replay);
    }

    fn with_text<R>(&self, f: impl FnOnce(&mut Text) -> R) -> R {
        f(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_state(&self, state: EndpointState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn count_attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake was completed. Every call is matched by one of [`EndpointStatus::peer_left`].
    pub(super) fn peer_joined(&self, at_us: i64, version: Option<(u8, u8)>) {
        self.connects.fetch_add(1, Ordering::Relaxed);
        if self.peers.fetch_add(1, Ordering::Relaxed) == 0 {
            self.connected_since_us.store(at_us, Ordering::Relaxed);
        }
        self.set_state(EndpointState::Connected);
        self.with_text(|text| text.peer_version = version);
    }

    pub(super) fn peer_left(&self, without_peers: EndpointState) {
        self.disconnects.fetch_add(1, Ordering::Relaxed);
        if self.peers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.connected_since_us.store(0, Ordering::Relaxed);
            self.set_state(without_peers);
        }
    }

    pub(super) fn count_messages(&self, messages: u64, bytes: u64, at_us: i64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_message_us.store(at_us, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, messages: u64, bytes: u64) {
        self.dropped_messages.fetch_add(messages, Ordering::Relaxed);
        self.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_error(&self, error: &str) {
        self.with_text(|text| text.last_error = Some(shortened(error)));
    }

    pub(super) fn set_local_address(&self, address: String) {
        self.with_text(|text| text.local_address = Some(address));
    }
}

/// As much of a text from outside as is kept.
pub(super) fn shortened(text: &str) -> String {
    let mut end = text.len().min(ERROR_LEN_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// 0 stands for never.
fn time(micros: &AtomicI64) -> Option<Timestamp> {
    Some(micros.load(Ordering::Relaxed)).filter(|&at| at != 0).map(Timestamp::from_micros)
}

/// Everything there is to show about the bus.
#[derive(Debug, Clone)]
pub struct SourceStats {
    /// One an endpoint, in the order configured.
    pub endpoints: Vec<Arc<EndpointStatus>>,
    /// The queue that they all feed.
    pub queue: Arc<QueueStats>,
    /// What was rejected, whichever endpoint it came from.
    pub rejects: Arc<Rejects>,
}

impl SourceStats {
    /// All endpoints, at about one moment.
    pub fn snapshot(&self) -> Vec<EndpointSnapshot> {
        self.endpoints.iter().map(|endpoint| endpoint.snapshot()).collect()
    }

    /// Endpoints with a publisher connected.
    pub fn connected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_connected()).count()
    }
}
