//! For how long it is remembered which messages were there.

use super::{Identity, table};
use crate::limits::Limits;

/// What is known of a message's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: it is the first.
    New,
    /// A message with the same body, byte for byte, has it.
    Same {
        /// Of that message in the journal.
        sequence: u64,
    },
    /// A message with another body has it: the same one respelled, or another one under the same id.
    /// [`super::content::same_content`] tells which.
    Respelled {
        /// Of that message in the journal.
        sequence: u64,
    },
}

impl Sight {
    #[inline]
    pub(super) fn of(known: Option<(u64, u32)>, fingerprint: u32) -> Self {
        match known {
            None => Self::New,
            Some((sequence, other)) if other == fingerprint => Self::Same { sequence },
            Some((sequence, _)) => Self::Respelled { sequence },
        }
    }
}

/// A window has at least so many blocks: what goes at a time, of time and of identities.
const BLOCKS: i64 = 8;

/// The identities of a span of time, each with the sequence of its message in the journal and the
/// [fingerprint](super::fingerprint) of its body.
///
/// An identity is remembered for at least the window and at most 1 1/8 of it, as long as somebody
/// tells the time ([`Window::advance`], [`Window::insert`]). When there are too many, the oldest go
/// early, at most an eighth of them or 4,096 at a time, and that is counted.
///
/// The clock may jump. Ahead, time has passed: what the window would not reach back to is forgotten.
/// Back by at most an eighth of the window, time stands still until the clock is there again: 1 1/4 of
/// the window at most. Further back, time goes on from where the clock is now.
///
/// Memory: 32 to 35 bytes per identity, 32 to 35 MB for a million.
pub struct Window {
    table: table::Table,
    window: i64,
    ids_max: usize,
    time: Time,
    /// Identities forgotten before the window had passed.
    pub forgotten_early: u64,
}

impl Window {
    /// An empty window, as long and with as many identities as the limits say.
    pub fn new(limits: &Limits) -> Self {
        let window = limits.dedupe_window.max(0);
        let ids_max = limits.dedupe_ids.clamp(1, table::ENTRIES_MAX);
        Self { table: table::Table::default(), window, ids_max, time: Time::default(), forgotten_early: 0 }
    }

    /// What is known of this identity, and of a body with this fingerprint.
    #[inline]
    pub fn look(&self, identity: Identity, fingerprint: u32) -> Sight {
        Sight::of(self.table.get(identity), fingerprint)
    }

    /// Whether anything is known of this identity.
    #[inline]
    pub fn has(&self, identity: Identity) -> bool {
        self.table.get(identity).is_some()
    }

    /// Remembers an identity, from `now` (microseconds) on. One that was known already belongs to this
    /// message from now on.
    #[inline]
    pub fn insert(&mut self, identity: Identity, sequence: u64, fingerprint: u32, now: i64) {
        self.advance(now);
        if self.table.get(identity).is_some() {
            self.table.remove(identity);
        }
        self.insert_new(identity, sequence, fingerprint);
    }

    /// Remembers an identity of which nothing is known ([`Sight::New`]), from the time on that was told last.
    #[inline]
    pub fn insert_new(&mut self, identity: Identity, sequence: u64, fingerprint: u32) {
        while self.table.is_full(self.ids_max) {
            self.forgotten_early += self.table.forget_oldest() as u64;
        }
        let block_len = self.ids_max / BLOCKS as usize;
        self.table.push(identity, (sequence, fingerprint), self.time.now, (self.window / BLOCKS, block_len));
    }

    /// Forgets an identity, for a message that was not accepted after all.
    pub fn remove(&mut self, identity: Identity) {
        self.table.remove(identity);
    }

    /// Tells the time, microseconds, and forgets what the window does not reach back to. Where messages
    /// are looked for and none is inserted, somebody has to.
    #[inline]
    pub fn advance(&mut self, now: i64) {
        self.time.advance(now, self.window);
        let Some((oldest, newest)) = self.table.times() else { return };
        let reaches = |until: i64| self.time.now.saturating_sub(until) <= self.window;
        if !reaches(oldest) {
            self.forget(reaches(newest));
        }
    }

    #[cold]
    fn forget(&mut self, some_stay: bool) {
        if !some_stay {
            return self.table.clear();
        }
        while self.table.times().is_some_and(|(oldest, _)| self.time.now.saturating_sub(oldest) > self.window) {
            self.table.forget_oldest();
        }
    }

    /// Number of identities remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// The time that has passed, by a clock that may be set: it never goes back.
#[derive(Default)]
struct Time {
    now: i64,
    /// What the clock said when it was `now`.
    clock: Option<i64>,
}

impl Time {
    #[inline]
    fn advance(&mut self, clock: i64, window: i64) {
        let passed = clock.saturating_sub(*self.clock.get_or_insert(clock));
        if passed >= 0 {
            // More would make no difference: everything is forgotten.
            self.now = self.now.saturating_add(passed.min(window.saturating_mul(2).saturating_add(1)));
        }
        if passed >= 0 || passed < -(window / BLOCKS) {
            self.clock = Some(clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Sight = Sight::New;

    fn window(dedupe_window: i64, dedupe_ids: usize) -> Window {
        Window::new(&Limits { dedupe_window, dedupe_ids, ..Limits::default() })
    }

    #[test]
    fn same_and_respelled_differ_by_the_fingerprint() {
        let mut window = window(100, 1000);
        assert_eq!(window.look(7, 1), NEW);
        window.insert(7, 40, 1, 0);
        assert_eq!(window.look(7, 1), Sight::Same { sequence: 40 });
        assert_eq!(window.look(7, 2), Sight::Respelled { sequence: 40 });
        window.insert(7, u64::MAX, 2, 0);
        assert_eq!((window.look(7, 2), window.len()), (Sight::Same { sequence: u64::MAX }, 1));
        window.remove(7);
        assert_eq!((window.look(7, 1), window.is_empty()), (NEW, true));
        window.remove(7);
    }

    #[test]
    fn too_many_push_the_oldest_out_and_are_counted() {
        let mut window = window(100, 4);
        for identity in 0..6 {
            window.insert(identity, identity as u64, 0, 0);
        }
        assert_eq!((window.len(), window.forgotten_early), (4, 2));
        assert_eq!((window.look(1, 0), window.look(2, 0)), (NEW, Sight::Same { sequence: 2 }));
        window.advance(101);
        assert_eq!((window.len(), window.forgotten_early), (0, 2), "what goes in time does not count");
    }

    #[test]
    fn what_is_inserted_and_removed_again_takes_no_room() {
        let mut window = window(100, 8);
        window.insert(99, 0, 0, 0);
        let mut bytes = Vec::new();
        for _ in 0..100 {
            (0..3).for_each(|identity| window.insert(identity, 1, 0, 0));
            (0..3).for_each(|identity| window.remove(identity));
            bytes.push(window.bytes());
        }
        assert_eq!((window.len(), window.forgotten_early), (1, 0));
        assert_eq!(bytes[99], bytes[0]);
    }

    #[test]
    fn a_clock_set_back_keeps_nothing_for_ever_and_forgets_nothing_now() {
        const YEAR: i64 = 31_557_600_000_000;
        let mut window = window(800, 1000);
        window.insert(1, 1, 0, YEAR);
        window.insert(2, 2, 0, 0);
        window.advance(800);
        assert_ne!(window.look(1, 0), NEW, "800 have passed");
        window.advance(801);
        assert_eq!((window.look(1, 0), window.look(2, 0)), (NEW, NEW));
        // By a little: time stands still.
        window.insert(3, 3, 0, 900);
        window.advance(800);
        window.advance(1700);
        assert_ne!(window.look(3, 0), NEW);
        window.advance(1701);
        assert_eq!(window.look(3, 0), NEW);
    }

    #[test]
    fn a_clock_that_jumps_anywhere_breaks_nothing() {
        for dedupe_window in [i64::MIN, 0, 1, 3_600_000_000, i64::MAX] {
            let mut window = window(dedupe_window, 50);
            for (sequence, now) in
                [0, i64::MAX, i64::MIN, -1, i64::MAX, 0, i64::MIN, 5].into_iter().cycle().take(99).enumerate()
            {
                window.insert(sequence as u128, sequence as u64, 0, now);
                assert_ne!(window.look(sequence as u128, 0), NEW, "the newest is known, at {now}");
            }
        }
    }

    #[test]
    fn a_million_take_32_bytes_each() {
        let mut window = window(1_000_000_000, 4_000_000);
        for sequence in 0..1_000_000_u64 {
            let identity = super::super::of_id(&sequence.to_string());
            window.insert(identity, sequence, 0, sequence as i64);
        }
        let each = window.bytes() / 1_000_000;
        assert!((32..=35).contains(&each), "{each} bytes");
        window.advance(3_000_000_000);
        assert_eq!(window.bytes(), 0, "it is given back");
    }

    proptest! {
        /// Against the times of all insertions, on a clock that goes ahead.
        #[test]
        fn at_least_the_window_and_at_most_an_eighth_more(
            steps in prop::collection::vec((0..40_u128, 0..60_i64), 1..400),
        ) {
            let mut window = window(400, 100_000);
            let (mut times, mut now) = ([None; 40], 0);
            for (sequence, (identity, passed)) in steps.into_iter().enumerate() {
                now += passed;
                window.advance(now);
                for (other, time) in times.iter().enumerate() {
                    let is_known = window.look(other as u128, 0) != NEW;
                    let age = time.map_or(i64::MAX, |time: i64| now - time);
                    prop_assert!(is_known || age > 400, "forgotten at {}", age);
                    prop_assert!(!is_known || age <= 450, "remembered at {}", age);
                }
                window.insert(identity, sequence as u64, 0, now);
                times[identity as usize] = Some(now);
            }
            prop_assert_eq!(window.forgotten_early, 0);
        }
    }
}
