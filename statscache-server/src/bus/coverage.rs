//! How much of the bus was seen, judged from what endpoints and queue say about themselves.
//!
//! Looked at about once a second. What happened between two looks is known from counters only, and in doubt less is
//! claimed: an interval is whole only if every endpoint was connected all the time and nothing was dropped.
//!
//! What a claim cannot know: publishers that have never been connected to an endpoint that is bound; messages that a
//! publisher dropped at its own high-water mark, which is what happens while a source waits for a full queue; the
//! moment between the end of the handshake, which is where a connection begins here, and the publisher's taking up
//! of the subscription; messages that were refused as malformed or too long, which were seen and are counted elsewhere.
//! Time here is that of arrival: a message stamped before we were connected and received afterwards lies outside.

use std::mem;

use statscache_core::coverage::{Claim, Seen};
use statscache_plugin_sdk::Timestamp;

use super::{EndpointState, EndpointStatus, SourceStats};

/// How often to look, microseconds.
const TICK: i64 = 1_000_000;
/// Looks further apart than this claim nothing: the machine slept, or its clock was put forward.
const JUMP_MAX: i64 = 5 * TICK;
/// For how long a connection that is dead may still count as one, at most: 10 s where there are heartbeats, 20 s by TCP
/// keepalive, a minute with the `zeromq` client; and some ticks.
const UNNOTICED_MAX: i64 = 65_000_000;

impl SourceStats {
    /// How much of the bus is seen at this moment: whole if every endpoint has a publisher, nothing if none has.
    pub fn seen(&self) -> Option<Seen> {
        match self.connected() {
            0 => None,
            connected if connected == self.endpoints.len() => Some(Seen::Whole),
            _ => Some(Seen::Part),
        }
    }
}

/// What one tick came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// This much was seen in `[start, end)`, at most two intervals, neither before the last tick. Of what was queued
    /// before the tick as well: true only when that is folded.
    pub seen: Vec<(Timestamp, Timestamp, Seen)>,
    /// What was claimed of `[start, end)` by earlier ticks was too much: a part at most was seen.
    pub doubted: Option<(Timestamp, Timestamp)>,
    /// What was claimed of `[start, end)`, now or earlier, was too much: numbered messages of that time were missed, and
    /// could not be had by asking.
    pub missed: Vec<(Timestamp, Timestamp)>,
}

impl Claims {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.doubted.is_none() && self.missed.is_empty()
    }

    /// What to tell the engine, in that order: a doubt concerns what was claimed before.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        let doubt = |(start, end): &(Timestamp, Timestamp)| Claim::Doubted(*start, *end);
        let seen = self.seen.iter().map(|(start, end, seen)| Claim::Seen(*start, *end, *seen));
        self.doubted.iter().map(doubt).chain(seen).chain(self.missed.iter().map(doubt))
    }

    fn add(&mut self, start: Timestamp, end: Timestamp, seen: Seen) {
        if start < end {
            self.seen.push((start, end, seen));
        }
    }
}

/// Looks at the bus now and then and says how much of it was seen in between.
#[derive(Debug)]
pub struct CoverageWatch {
    bus: SourceStats,
    last: Look,
    /// Something was dropped just before the last look, or just after the time that was given for it.
    dropping: bool,
}

impl CoverageWatch {
    /// Nothing before `now` will be claimed.
    pub fn new(bus: SourceStats, now: Timestamp) -> Self {
        let last = Look::at(&bus, now);
        Self { bus, last, dropping: false }
    }

    /// What was seen since the last tick. `now` must be taken right before the call. Should the clock have been put
    /// back, nothing is claimed until the next tick.
    pub fn tick(&mut self, now: Timestamp) -> Claims {
        let look = Look::at(&self.bus, now);
        let last = mem::replace(&mut self.last, look);
        let dropped = self.last.dropped != last.dropped;
        // The moment of a drop lies near the look, not near `now`: the tick after is concerned as well.
        let dropping = mem::replace(&mut self.dropping, dropped) || dropped;

        let replays = self.bus.endpoints.iter().filter_map(|endpoint| endpoint.replay());
        let missed = replays.flat_map(|replay| replay.take_missed(now)).collect();
        let mut claims = Claims { doubted: self.doubted(&last, dropped), missed, ..Claims::default() };
        // With a clock that was put back, every interval below is empty.
        if now.micros().saturating_sub(last.at.micros()) > JUMP_MAX {
            return claims;
        }
        let held: Vec<Held> =
            self.last.endpoints.iter().zip(&last.endpoints).map(|(is, was)| is.held(was, last.at, now)).collect();
        let Some(part_since) = held.iter().filter_map(|held| held.part_since).min() else { return claims };
        let whole_since = match held.iter().map(|held| held.whole_since).collect::<Option<Vec<_>>>() {
            Some(all) if !dropping => all.into_iter().max().unwrap_or(now),
            _ => now,
        };
        claims.add(part_since, whole_since, Seen::Part);
        claims.add(whole_since, now, Seen::Whole);
        claims
    }

    /// The time before the last look that was claimed too soon. What is dropped now may have come before; and a
    /// connection that is found dead may have been so since its last message.
    fn doubted(&self, last: &Look, dropped: bool) -> Option<(Timestamp, Timestamp)> {
        let lost = self.last.endpoints.iter().zip(&last.endpoints).filter(|(is, was)| {
            // When we stop we leave connections that are well.
            is.disconnects != was.disconnects && was.peers > 0 && is.state != EndpointState::Stopped
        });
        let lost = lost.map(|(_, was)| {
            // With several publishers the last message may have been another's.
            let heard = was.last_message.filter(|_| was.peers == 1);
            heard.max(was.connected_since).unwrap_or(last.at).max(last.at.plus_micros(-UNNOTICED_MAX))
        });
        let just_before = last.at.plus_micros(-TICK);
        let since = lost.chain(dropped.then_some(just_before)).min()?;
        Some((since.min(just_before), last.at))
    }
}

/// What is known at one moment.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    endpoints: Vec<EndpointLook>,
    dropped: u64,
}

impl Look {
    fn at(bus: &SourceStats, now: Timestamp) -> Self {
        let endpoints = bus.endpoints.iter().map(|endpoint| EndpointLook::of(endpoint)).collect();
        Self { at: now, endpoints, dropped: bus.queue.dropped_messages() }
    }
}

#[derive(Debug)]
struct EndpointLook {
    state: EndpointState,
    peers: u64,
    connects: u64,
    disconnects: u64,
    connected_since: Option<Timestamp>,
    last_message: Option<Timestamp>,
}

/// From when up to now an endpoint was connected.
struct Held {
    /// With hardly a break, or at some time at all.
    part_since: Option<Timestamp>,
    /// Without a break.
    whole_since: Option<Timestamp>,
}

impl EndpointLook {
    fn of(endpoint: &EndpointStatus) -> Self {
        Self {
            state: endpoint.state(),
            peers: endpoint.peers(),
            connects: endpoint.connects(),
            disconnects: endpoint.disconnects(),
            connected_since: endpoint.connected_since(),
            last_message: endpoint.last_message(),
        }
    }

    fn held(&self, was: &Self, last: Timestamp, now: Timestamp) -> Held {
        let since = self.connected_since;
        let (joined, left) = (self.connects != was.connects, self.disconnects != was.disconnects);
        if !joined && !left {
            // It may have come between the time given for the last look and the look. A time that is still to come
            // tells of a clock that was put back meanwhile.
            let unbroken = since.filter(|since| (last..=now).contains(since)).unwrap_or(last);
            let held = (self.peers > 0).then_some(unbroken);
            return Held { part_since: held, whole_since: held };
        }
        // One that came, and stayed, and whose time is known. With anything else that happened on a bound endpoint,
        // publishers were missing for a time that is not known.
        let came_once = self.connects == was.connects.wrapping_add(1) && self.peers == 1;
        let whole_since = since.filter(|since| came_once && *since > last).map(|since| since.min(now));
        let part_since = whole_since.filter(|_| was.peers == 0 && !left).unwrap_or(last);
        Held { part_since: Some(part_since), whole_since }
    }
}

#[cfg(test)]
mod tests {
    use statscache_core::coverage::Coverage;

    use super::*;
    use crate::bus::{Batch, BatchReceiver, BatchSender, Rejects, WhenFull, queue};
    use std::sync::Arc;

    /// Tenths of a second after some instant.
    fn at(tenths: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + tenths * 100_000)
    }

    struct Bus {
        endpoints: Vec<Arc<EndpointStatus>>,
        sender: BatchSender,
        _receiver: BatchReceiver,
        watch: CoverageWatch,
    }

    impl Bus {
        /// Watched since 0.
        fn new(endpoints: usize) -> Self {
            let endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
            let endpoints: Vec<_> = (0..endpoints).map(|_| EndpointStatus::new(&endpoint, "test")).collect();
            let (sender, _receiver) = queue(1, WhenFull::Drop);
            let stats =
                SourceStats { endpoints: endpoints.clone(), queue: sender.stats(), rejects: Arc::new(Rejects::new()) };
            Self { endpoints, sender, _receiver, watch: CoverageWatch::new(stats, at(0)) }
        }

        /// All connected before the watch began.
        fn connected(endpoints: usize) -> Self {
            let mut bus = Self::new(endpoints);
            (0..endpoints).for_each(|endpoint| bus.join(endpoint, -600));
            bus.watch = CoverageWatch::new(bus.watch.bus.clone(), at(0));
            bus
        }

        fn join(&self, endpoint: usize, tenths: i64) {
            self.endpoints[endpoint].peer_joined(at(tenths).micros(), None);
        }

        fn leave(&self, endpoint: usize) {
            self.endpoints[endpoint].peer_left(EndpointState::Waiting);
        }

        fn hear(&self, endpoint: usize, tenths: i64) {
            self.endpoints[endpoint].count_messages(1, 1, at(tenths).micros());
        }

        /// The queue is full after the first.
        async fn send(&self) {
            let mut batch = Batch::new(Arc::clone(&self.endpoints[0]));
            batch.push(b"a.b", b"{}");
            self.sender.send(&mut batch).await.expect("open");
        }

        /// What is claimed, and what is doubted.
        fn tick(&mut self, tenths: i64) -> (String, String) {
            let claims = self.watch.tick(at(tenths));
            let tenths = |time: Timestamp| (time.micros() - at(0).micros()) / 100_000;
            let seen =
                claims.seen.iter().map(|(start, end, seen)| format!("{}..{} {seen:?}", tenths(*start), tenths(*end)));
            let doubted = claims.doubted.iter().map(|(start, end)| format!("{}..{}", tenths(*start), tenths(*end)));
            (seen.collect::<Vec<_>>().join(", "), doubted.collect())
        }

        #[track_caller]
        fn check(&mut self, tenths: i64, seen: &str, doubted: &str) {
            assert_eq!(self.tick(tenths), (seen.to_owned(), doubted.to_owned()), "at {tenths}");
        }
    }

    #[test]
    fn how_much_is_seen_now() {
        assert_eq!(Bus::new(0).watch.bus.seen(), None, "no endpoint is no bus");
        let bus = Bus::new(2);
        assert_eq!(bus.watch.bus.seen(), None);
        bus.join(0, 0);
        assert_eq!(bus.watch.bus.seen(), Some(Seen::Part));
        bus.join(1, 0);
        assert_eq!(bus.watch.bus.seen(), Some(Seen::Whole));
        bus.leave(0);
        assert_eq!(bus.watch.bus.seen(), Some(Seen::Part));
    }

    #[test]
    fn whole_while_all_are_connected() {
        let mut bus = Bus::connected(2);
        bus.check(10, "0..10 Whole", "");
        bus.check(21, "10..21 Whole", "");
        let mut bus = Bus::new(2);
        bus.check(10, "", "");
        let mut bus = Bus::new(0);
        bus.check(10, "", "");
    }

    #[test]
    fn a_claim_begins_with_the_connection() {
        let mut bus = Bus::new(2);
        bus.join(0, 2);
        bus.join(1, 6);
        bus.check(10, "2..6 Part, 6..10 Whole", "");
        bus.check(20, "10..20 Whole", "");

        let mut bus = Bus::new(2);
        bus.join(1, 6);
        bus.check(10, "6..10 Part", "");
    }

    #[test]
    fn a_connection_made_after_the_time_of_the_tick_counts_from_then() {
        let mut bus = Bus::new(1);
        bus.join(0, 11);
        bus.check(10, "", "");
        bus.check(20, "11..20 Whole", "");

        let mut bus = Bus::new(2);
        bus.join(0, 5);
        bus.join(1, 11);
        bus.check(10, "5..10 Part", "");
        bus.check(20, "10..11 Part, 11..20 Whole", "");
    }

    #[test]
    fn what_was_lost_in_between_is_a_part() {
        let mut bus = Bus::connected(2);
        bus.hear(0, -3);
        bus.check(10, "0..10 Whole", "");
        bus.hear(0, 9);
        bus.leave(0);
        bus.check(20, "10..20 Part", "-3..10");
        bus.check(30, "20..30 Part", "");
        bus.leave(1);
        bus.check(40, "30..40 Part", "-600..30");
        bus.check(50, "", "");
        bus.join(0, 52);
        bus.join(1, 53);
        bus.check(60, "52..53 Part, 53..60 Whole", "");
    }

    #[test]
    fn a_connection_that_was_gone_for_a_moment_is_seen() {
        let mut bus = Bus::connected(1);
        bus.hear(0, 0);
        bus.check(10, "0..10 Whole", "");
        bus.leave(0);
        bus.join(0, 15);
        bus.check(20, "10..15 Part, 15..20 Whole", "0..10");
        bus.hear(0, 20);
        bus.check(30, "20..30 Whole", "");
        for tenths in [32, 35] {
            bus.leave(0);
            bus.join(0, tenths);
        }
        bus.check(40, "30..40 Part", "20..30");
    }

    #[test]
    fn every_coming_and_going_on_a_bound_endpoint_is_a_part() {
        let mut bus = Bus::connected(1);
        bus.join(0, 5);
        bus.check(10, "0..10 Part", "");
        bus.check(20, "10..20 Whole", "");
        bus.hear(0, 20);
        bus.check(30, "20..30 Whole", "");
        bus.leave(0);
        bus.check(40, "30..40 Part", "-600..30");
        bus.check(50, "40..50 Whole", "");
        // Came and went, and the one that stays was there first.
        bus.join(0, 52);
        bus.leave(0);
        bus.check(60, "50..60 Part", "20..50");
    }

    #[test]
    fn a_dead_connection_is_doubted_for_as_long_as_it_can_have_been_one() {
        let mut bus = Bus::connected(1);
        for tick in 1..=100 {
            bus.tick(10 * tick);
        }
        bus.leave(0);
        bus.check(1010, "1000..1010 Part", "350..1000");
        bus.join(0, 1015);
        bus.check(1020, "1015..1020 Whole", "");
        bus.check(1030, "1020..1030 Whole", "");
        bus.hear(0, 1030);
        bus.check(1040, "1030..1040 Whole", "");
        bus.hear(0, 1040);
        bus.check(1050, "1040..1050 Whole", "");
        bus.leave(0);
        bus.check(1060, "1050..1060 Part", "1040..1050");
    }

    #[test]
    fn a_connection_that_did_not_last_till_the_next_look_is_a_part() {
        let mut bus = Bus::new(1);
        bus.check(10, "", "");
        bus.join(0, 13);
        bus.leave(0);
        bus.check(20, "10..20 Part", "");
        bus.check(30, "", "");
    }

    #[test]
    fn leaving_ourselves_is_no_reason_to_doubt() {
        let mut bus = Bus::connected(1);
        bus.check(10, "0..10 Whole", "");
        bus.leave(0);
        bus.endpoints[0].set_state(EndpointState::Stopped);
        bus.check(20, "10..20 Part", "");
    }

    #[tokio::test]
    async fn what_is_dropped_is_missing_around_that_time() {
        let mut bus = Bus::connected(1);
        bus.send().await;
        bus.check(10, "0..10 Whole", "");
        bus.check(20, "10..20 Whole", "");
        bus.send().await;
        bus.check(30, "20..30 Part", "10..20");
        bus.check(40, "30..40 Part", "");
        bus.check(50, "40..50 Whole", "");
    }

    #[test]
    fn a_clock_that_jumps_claims_nothing() {
        let mut bus = Bus::connected(1);
        bus.check(10, "0..10 Whole", "");
        bus.check(60, "10..60 Whole", "");
        bus.check(111, "", "");
        bus.check(121, "111..121 Whole", "");
        // An hour back, to before the connection.
        bus.check(-36_000, "", "");
        bus.check(-35_990, "-36000..-35990 Whole", "");
        bus.check(-35_990, "", "");
    }

    #[test]
    fn claims_become_coverage() {
        let mut bus = Bus::connected(1);
        let mut coverage = Coverage::new();
        for tenths in [10, 20, 30] {
            bus.hear(0, tenths - 7);
            bus.watch.tick(at(tenths)).claims().for_each(|claim| claim.apply(&mut coverage));
        }
        bus.leave(0);
        let claims = bus.watch.tick(at(40));
        assert!(!claims.is_empty());
        claims.claims().for_each(|claim| claim.apply(&mut coverage));
        assert!(bus.watch.tick(at(50)).is_empty());
        let intervals: Vec<_> = coverage.intervals().collect();
        assert_eq!(intervals, [(at(0), at(20), Seen::Whole), (at(20), at(40), Seen::Part)]);
    }
}
