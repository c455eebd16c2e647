//! How long to wait before the next attempt. Pure but for its seed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doubling delays between `min` and `max`, each shortened by up to a half at random, so that daemons which lost
/// the same publisher do not return in step. No delay exceeds `max`.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        // RandomState is seeded by the system; enough for jitter and not worth a dependency.
        let random = RandomState::new().build_hasher().finish() | 1;
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), next: min, random }
    }

    /// The delay before the next attempt; the one after that will be up to twice as long.
    pub fn delay(&mut self) -> Duration {
        let full = self.next.min(self.max);
        self.next = (full * 2).min(self.max);
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        full.mul_f64(0.5 + 0.5 * (self.random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// The connection proved itself: begin anew.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_starts_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1800));
        for round in 0..2 {
            for full in [100, 200, 400, 800, 1600, 1800, 1800] {
                let delay = backoff.delay();
                assert!(delay >= ms(full / 2) && delay <= ms(full), "round {round}: {delay:?} for {full} ms");
            }
            backoff.reset();
        }
    }

    #[test]
    fn nonsense_bounds_still_wait() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!(backoff.delay() >= Duration::from_micros(500));
    }
}
