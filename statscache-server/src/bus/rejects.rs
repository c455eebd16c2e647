//! Messages that could not be taken: counted by kind, and the last few kept to look at.
//!
//! Counting is a few atomic additions. The ring is written at most [`RING_WRITES_PER_SECOND_MAX`] times in a
//! second of the time handed in, so a flood of junk costs next to nothing and the ring shows a sample of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::EndpointStatus;

/// Rejected messages kept.
const RING_LEN_MAX: usize = 64;
/// Ring writes in one second.
const RING_WRITES_PER_SECOND_MAX: u32 = 100;
/// Bytes of topic and of body kept for each.
const SAMPLE_BYTES_MAX: usize = 200;

/// Why a message was rejected. The names ([`RejectKind::as_str`]) are API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectKind {
    /// Neither one frame nor two.
    FrameCount,
    /// One frame, and no NUL in it to part topic and body.
    NoSeparator,
    /// No topic.
    EmptyTopic,
    /// The topic is not UTF-8.
    TopicNotUtf8,
    /// The topic is longer than the limit.
    TopicTooLong,
    /// The body is longer than the limit.
    BodyTooLong,
    /// The body is not UTF-8. Found by the engine.
    BodyNotUtf8,
    /// The body is not JSON. Found by the engine.
    BodyNotJson,
}

impl RejectKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::FrameCount,
        Self::NoSeparator,
        Self::EmptyTopic,
        Self::TopicNotUtf8,
        Self::TopicTooLong,
        Self::BodyTooLong,
        Self::BodyNotUtf8,
        Self::BodyNotJson,
    ];

    /// The name in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FrameCount => "frame_count",
            Self::NoSeparator => "no_separator",
            Self::EmptyTopic => "empty_topic",
            Self::TopicNotUtf8 => "topic_not_utf8",
            Self::TopicTooLong => "topic_too_long",
            Self::BodyTooLong => "body_too_long",
            Self::BodyNotUtf8 => "body_not_utf8",
            Self::BodyNotJson => "body_not_json",
        }
    }
}

impl std::fmt::Display for RejectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rejected message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub kind: RejectKind,
    /// Where it came from.
    pub endpoint: String,
    /// When, µs since the epoch.
    pub at_us: i64,
    /// Length of the topic (or the first frame).
    pub topic_bytes: u64,
    /// Length of the body (or of all other frames).
    pub body_bytes: u64,
    /// The topic's first 200 bytes, undecodable ones replaced.
    pub topic: String,
    /// The body's first 200 bytes, undecodable ones replaced.
    pub body: String,
}

/// Counters by kind and the last few rejected messages. Shared by all sources and the engine.
#[derive(Debug, Default)]
pub struct Rejects {
    counts: [AtomicU64; RejectKind::ALL.len()],
    /// The second in which `ring_writes` were made.
    ring_second: AtomicI64,
    ring_writes: AtomicU32,
    ring: Mutex<VecDeque<Rejected>>,
}

/// What was rejected, as far as it is at hand: lengths may exceed the bytes kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectedBytes<'a> {
    /// Beginning of the topic (or first frame).
    pub topic: &'a [u8],
    /// Its whole length.
    pub topic_len: u64,
    /// Beginning of the body (or second frame).
    pub body: &'a [u8],
    /// The length of all that is not topic.
    pub body_len: u64,
}

impl Rejects {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a message that was rejected whole, here and at its endpoint.
    pub fn record(&self, kind: RejectKind, endpoint: &EndpointStatus, at_us: i64, topic: &[u8], body: &[u8]) {
        let bytes = RejectedBytes { topic, topic_len: topic.len() as u64, body, body_len: body.len() as u64 };
        self.record_bytes(kind, endpoint, at_us, bytes);
    }

    /// As [`Rejects::record`], for a message of which only the beginning is at hand.
    pub fn record_bytes(&self, kind: RejectKind, endpoint: &EndpointStatus, at_us: i64, bytes: RejectedBytes<'_>) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        endpoint.count_rejected();
        if !self.may_write(at_us) {
            return;
        }
        let rejected = Rejected {
            kind,
            endpoint: endpoint.endpoint().to_owned(),
            at_us,
            topic_bytes: bytes.topic_len,
            body_bytes: bytes.body_len,
            topic: sample(bytes.topic),
            body: sample(bytes.body),
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == RING_LEN_MAX {
            ring.pop_front();
        }
        ring.push_back(rejected);
    }

    /// Two threads at the turn of a second may each reset the allowance: a few writes more, which is harmless.
    fn may_write(&self, at_us: i64) -> bool {
        let second = at_us.div_euclid(1_000_000);
        if self.ring_second.swap(second, Ordering::Relaxed) != second {
            self.ring_writes.store(0, Ordering::Relaxed);
        }
        self.ring_writes.fetch_add(1, Ordering::Relaxed) < RING_WRITES_PER_SECOND_MAX
    }

    /// Messages rejected for this reason.
    pub fn count(&self, kind: RejectKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// All kinds with their counts, zeros included.
    pub fn counts(&self) -> impl Iterator<Item = (RejectKind, u64)> + '_ {
        RejectKind::ALL.into_iter().map(|kind| (kind, self.count(kind)))
    }

    /// Messages rejected for any reason.
    pub fn total(&self) -> u64 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// The last few, oldest first; a sample when they come faster than the ring is written.
    pub fn last(&self) -> Vec<Rejected> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn sample(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SAMPLE_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Endpoint;

    #[test]
    fn kinds_are_listed_in_the_order_in_which_they_are_counted() {
        for (at, kind) in RejectKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{kind}");
        }
    }

    #[test]
    fn counts_all_and_keeps_a_bounded_sample() {
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        let status = EndpointStatus::new(&endpoint, "test");
        let rejects = Rejects::new();
        for number in 0..10_000u32 {
            let body = format!("{number} {}", "x".repeat(1000));
            rejects.record(RejectKind::EmptyTopic, &status, 5_000_000, b"", body.as_bytes());
        }
        rejects.record(RejectKind::TopicNotUtf8, &status, 6_000_000, b"a\xff", b"{}");
        assert_eq!((rejects.count(RejectKind::EmptyTopic), rejects.total()), (10_000, 10_001));
        assert_eq!(status.snapshot().rejected, 10_001);

        let last = rejects.last();
        assert_eq!(last.len(), RING_LEN_MAX);
        assert!(last[62].body.starts_with("99 "), "writes stop at 100 in a second: {:?}", last[62]);
        assert_eq!((last[62].body.len(), last[62].body_bytes), (200, 1003));
        assert_eq!((last[63].topic.as_str(), last[63].topic_bytes, last[63].at_us), ("a\u{fffd}", 2, 6_000_000));
    }
}
