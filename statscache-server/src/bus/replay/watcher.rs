//! What is known of one endpoint's numbering: seen by whoever receives, worked off by whoever asks, shown to whoever
//! wants to know.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use statscache_plugin_sdk::Timestamp;
use tokio::sync::Notify;

use super::numbering::{Gap, Numbering, Position};
use super::question::Fields;
use crate::bus::queue::Tap;
use crate::bus::status::shortened;
use crate::bus::{Batch, Endpoint};

/// Gaps that wait to be asked for; what is beyond is lost.
const GAPS_LEN_MAX: usize = 256;
/// Intervals of time kept until they are asked for; beyond it the last one grows.
const MISSED_LEN_MAX: usize = 256;
/// How long before its arrival a message may have been stamped, without being late, µs.
const STAMPED_BEFORE: i64 = 1_000_000;

/// The numbering of one endpoint's messages, live.
#[derive(Debug)]
pub struct ReplayStatus {
    endpoint: String,
    gaps: AtomicU64,
    missing: AtomicU64,
    replayed: AtomicU64,
    lost: AtomicU64,
    fields: Fields,
    state: Mutex<State>,
    found: Notify,
}

#[derive(Debug, Default)]
struct State {
    numbering: Numbering,
    /// The first is being asked for.
    waiting: VecDeque<Gap>,
    missed: Vec<(Timestamp, Timestamp)>,
    last_error: Option<String>,
}

/// [`ReplayStatus`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaySnapshot {
    /// Who is asked.
    pub endpoint: String,
    /// The highest number so far.
    pub last_seq_id: Option<i64>,
    /// Times that numbers were passed over.
    pub gaps: u64,
    /// Numbers that were passed over.
    pub missing: u64,
    /// Of those, messages that were brought.
    pub replayed: u64,
    /// Of those, messages that could not be had. What is neither is being asked for.
    pub lost: u64,
    /// Why something could not be had, or not at once.
    pub last_error: Option<String>,
}

impl ReplayStatus {
    pub(super) fn new(asked: &Endpoint, position: Option<Position>) -> Self {
        let counter = AtomicU64::default;
        Self {
            endpoint: asked.to_string(),
            gaps: counter(),
            missing: counter(),
            replayed: counter(),
            lost: counter(),
            fields: Fields::new(&["/seq_id"]),
            state: Mutex::new(State { numbering: Numbering::from(position), ..State::default() }),
            found: Notify::new(),
        }
    }

    /// All of it.
    pub fn snapshot(&self) -> ReplaySnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.lock();
        ReplaySnapshot {
            endpoint: self.endpoint.clone(),
            last_seq_id: state.numbering.position().map(|position| position.seq_id),
            gaps: count(&self.gaps),
            missing: count(&self.missing),
            replayed: count(&self.replayed),
            lost: count(&self.lost),
            last_error: state.last_error.clone(),
        }
    }

    /// Intervals, ended by `now`, in which messages came that could not be had. Each is told once.
    pub(in crate::bus) fn take_missed(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut state = self.lock();
        let (told, kept) = std::mem::take(&mut state.missed).into_iter().partition(|(_, end)| *end <= now);
        state.missed = kept;
        told
    }

    /// Where a daemon that starts now must go on to miss nothing; and whether that is all that has come.
    pub(super) fn position(&self) -> Option<(Position, bool)> {
        let state = self.lock();
        let position = state.numbering.position()?;
        Some(match state.waiting.front() {
            Some(gap) => (Position { seq_id: gap.first - 1, at_us: gap.after_us }, false),
            None => (position, true),
        })
    }

    /// The oldest gap, when there is one.
    pub(super) async fn gap(&self) -> Gap {
        loop {
            // Registered first, so that none is overlooked.
            let found = self.found.notified();
            if let Some(gap) = self.lock().waiting.front() {
                return *gap;
            }
            found.await;
        }
    }

    /// Everything has been done about the oldest gap, and so many messages of it are lost.
    pub(super) fn gap_done(&self, lost: u64) {
        let mut state = self.lock();
        if let Some(gap) = state.waiting.pop_front() {
            self.lose(&mut state, &gap, lost);
        }
    }

    pub(super) fn count_replayed(&self, messages: u64) {
        self.replayed.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn set_error(&self, error: &str) {
        self.lock().last_error = Some(shortened(error));
    }

    fn lose(&self, state: &mut State, gap: &Gap, messages: u64) {
        if messages == 0 {
            return;
        }
        self.lost.fetch_add(messages, Ordering::Relaxed);
        let time = Timestamp::from_micros;
        let (start, end) = (time(gap.after_us.saturating_sub(STAMPED_BEFORE)), time(gap.before_us.saturating_add(1)));
        let is_full = state.missed.len() >= MISSED_LEN_MAX;
        match state.missed.last_mut().filter(|_| is_full) {
            Some(last) => *last = (last.0.min(start), last.1.max(end)),
            None => state.missed.push((start, end)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic here: every section is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for ReplayStatus {
    fn sees(&self, batch: &Batch) {
        for (_, body) in batch {
            let Some(seq_id) = self.fields.seq_id(body) else { continue };
            let mut state = self.lock();
            let Some(gap) = state.numbering.came(seq_id, batch.received_us()) else { continue };
            self.gaps.fetch_add(1, Ordering::Relaxed);
            self.missing.fetch_add(gap.len(), Ordering::Relaxed);
            if state.waiting.len() < GAPS_LEN_MAX {
                state.waiting.push_back(gap);
                self.found.notify_one();
            } else {
                self.lose(&mut state, &gap, gap.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use statscache_core::coverage::{Coverage, Seen};

    use super::*;
    use crate::bus::{CoverageWatch, EndpointStatus, Rejects, SourceStats, WhenFull, queue};

    fn watched() -> (ReplayStatus, Batch) {
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        (ReplayStatus::new(&endpoint, None), Batch::new(EndpointStatus::new(&endpoint, "test")))
    }

    fn see(status: &ReplayStatus, batch: &mut Batch, at_us: i64, numbers: impl IntoIterator<Item = i64>) {
        batch.clear();
        batch.set_received_us(at_us);
        numbers.into_iter().for_each(|number| batch.push(b"a.b", format!("{{\"seq_id\":{number}}}").as_bytes()));
        batch.push(b"a.b", b"{}");
        status.sees(batch);
    }

    #[tokio::test]
    async fn a_gap_is_waited_for_and_what_is_lost_of_it_is_told_once() {
        let (status, mut batch) = watched();
        let status = Arc::new(status);
        see(&status, &mut batch, 5_000_000, [1, 2]);
        assert_eq!(status.position(), Some((Position { seq_id: 2, at_us: 5_000_000 }, true)));
        let waiting = tokio::spawn({
            let status = Arc::clone(&status);
            async move { status.gap().await }
        });
        see(&status, &mut batch, 7_000_000, [3, 6, 9]);
        let gap = waiting.await.expect("no panic");
        assert_eq!(gap, Gap { first: 4, last: 5, after_us: 7_000_000, before_us: 7_000_000 });
        assert_eq!(status.position(), Some((Position { seq_id: 3, at_us: 7_000_000 }, false)), "before the gap");
        status.count_replayed(1);
        status.gap_done(1);
        assert_eq!(status.gap().await.first, 7);
        status.gap_done(0);
        assert_eq!(status.position().map(|(position, exact)| (position.seq_id, exact)), Some((9, true)));

        let seen = status.snapshot();
        assert_eq!((seen.gaps, seen.missing, seen.replayed, seen.lost, seen.last_seq_id), (2, 4, 1, 1, Some(9)));
        let time = Timestamp::from_micros;
        assert_eq!(status.take_missed(time(7_000_000)), [], "not yet over");
        assert_eq!(status.take_missed(time(7_000_001)), [(time(6_000_000), time(7_000_001))]);
        assert_eq!(status.take_missed(time(7_000_001)), []);
    }

    #[test]
    fn what_is_lost_is_doubted_after_it_was_claimed() {
        let time = |second: i64| Timestamp::from_micros(1_700_000_000_000_000 + 1_000_000 * second);
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        let status = EndpointStatus::new(&endpoint, "test");
        let (replay, mut batch) = watched();
        let replay = Arc::new(replay);
        status.set_replay(Arc::clone(&replay));
        status.peer_joined(time(-100).micros(), None);
        let (sender, _receiver) = queue(1, WhenFull::Drop);
        let bus = SourceStats { endpoints: vec![status], queue: sender.stats(), rejects: Arc::new(Rejects::new()) };
        let mut watch = CoverageWatch::new(bus, time(0));
        let mut coverage = Coverage::new();
        let mut tick = |second| watch.tick(time(second)).claims().for_each(|claim| claim.apply(&mut coverage));

        see(&replay, &mut batch, time(3).micros() + 500_000, [1]);
        (1..4).for_each(&mut tick);
        see(&replay, &mut batch, time(4).micros() + 500_000, [3]);
        replay.gap_done(1);
        (4..8).for_each(&mut tick);
        let intervals: Vec<_> = coverage.intervals().collect();
        let (from, to) = (time(2).plus_micros(500_000), time(4).plus_micros(500_001));
        let expect = [(time(0), from, Seen::Whole), (from, to, Seen::Part), (to, time(7), Seen::Whole)];
        assert_eq!(intervals, expect);
    }

    #[test]
    fn gaps_beyond_the_bound_are_lost() {
        let (status, mut batch) = watched();
        let gaps = (GAPS_LEN_MAX + MISSED_LEN_MAX + 5) as i64;
        see(&status, &mut batch, 5_000_000, (0..=gaps).map(|number| 2 * number));
        let seen = status.snapshot();
        assert_eq!((seen.gaps, seen.missing, seen.lost), (gaps as u64, gaps as u64, MISSED_LEN_MAX as u64 + 5));
        assert_eq!(status.take_missed(Timestamp::from_micros(i64::MAX)).len(), MISSED_LEN_MAX);
    }
}
