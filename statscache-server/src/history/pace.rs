//! How fast, and how often again. Pure: the time and the randomness are handed in.

use std::time::{Duration, Instant};

/// How often a request that failed is made again, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// Longest wait between two attempts.
    pub max: Duration,
    /// Attempts in all, at least one.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    /// Six attempts within about a minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30), attempts: 6 }
    }
}

/// A service that asks for a longer wait is left alone, and its caller told.
const ASKED_MAX: Duration = Duration::from_secs(120);

/// The attempts at one request.
#[derive(Debug)]
pub(super) struct Retry {
    policy: RetryPolicy,
    failures: u32,
    random: u64,
}

impl Retry {
    pub(super) fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self { policy, failures: 0, random: seed | 1 }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// One more attempt has failed, and the service may have asked for a wait: how long to wait before the next attempt;
    /// `None` to give up. Waits are shortened by up to a half at random, but never below what was asked for.
    pub(super) fn after_failure(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.attempts || asked.is_some_and(|asked| asked > ASKED_MAX) {
            return None;
        }
        let doublings = (self.failures - 1).min(30);
        let full = self.policy.first.saturating_mul(1 << doublings).min(self.policy.max);
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let wait = full.mul_f64(0.5 + 0.5 * (self.random >> 11) as f64 / (1_u64 << 53) as f64);
        Some(wait.max(asked.unwrap_or_default()))
    }
}

/// Lets so many requests a second through, evenly.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: None }
    }

    /// When the next request may be made; it counts as made.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let at = self.next.map_or(now, |next| next.max(now));
        self.next = Some(at + self.interval);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_end() {
        let ms = Duration::from_millis;
        for seed in 0..50 {
            let mut retry = Retry::new(RetryPolicy { first: ms(100), max: ms(500), attempts: 6 }, seed);
            for full in [100, 200, 400, 500, 500] {
                let wait = retry.after_failure(None).expect("attempts are left");
                assert!(wait >= ms(full / 2) && wait <= ms(full), "{wait:?} of {full} ms");
            }
            assert_eq!((retry.after_failure(None), retry.failures()), (None, 6));
        }
    }

    #[test]
    fn what_the_service_asks_for_is_the_least() {
        let policy = RetryPolicy { first: Duration::from_secs(1), max: Duration::from_secs(1), attempts: 9 };
        let mut retry = Retry::new(policy, 7);
        let asked = Duration::from_secs(7);
        assert_eq!(retry.after_failure(Some(asked)), Some(asked));
        assert!(retry.after_failure(Some(Duration::ZERO)).is_some_and(|wait| wait >= Duration::from_millis(500)));
        assert_eq!(retry.after_failure(Some(ASKED_MAX + asked)), None);
    }

    #[test]
    fn requests_are_evenly_spaced_and_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(5);
        let ms = |millis| start + Duration::from_millis(millis);
        assert_eq!(pace.next(start), start);
        assert_eq!(pace.next(start), ms(200));
        assert_eq!(pace.next(ms(10)), ms(400));
        assert_eq!(pace.next(ms(5000)), ms(5000));
        assert_eq!(pace.next(ms(5000)), ms(5200));
    }
}
