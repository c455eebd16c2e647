//! How long a span of time is asked for at once. Pure.

use std::time::Duration;

use statscache_plugin_sdk::Timestamp;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
/// Nobody asks for more at once, however little happens.
const WIDTH_MAX: i64 = 30 * 24 * HOUR;

/// Finds the width of slices that fill a good part of what may be read at once: what was dense is followed by shorter
/// ones, what was empty by much longer ones.
#[derive(Debug)]
pub(super) struct Slices {
    width: i64,
    /// Shorter than that, a slice would be mostly overlap.
    least: i64,
}

impl Slices {
    pub(super) fn new(overlap: Duration) -> Self {
        let overlap = i64::try_from(overlap.as_micros()).unwrap_or(i64::MAX);
        Self { width: HOUR, least: overlap.saturating_mul(2).clamp(SECOND, WIDTH_MAX) }
    }

    /// Where the slice ends that begins at `start`.
    pub(super) fn end(&self, start: Timestamp, end: Timestamp) -> Timestamp {
        start.plus_micros(self.width.max(self.least)).min(end)
    }

    /// Whether a slice of this width is worth making shorter.
    pub(super) fn can_shorten(&self, width: i64) -> bool {
        width > self.least
    }

    /// The next slice has at most this part of the width, and at most half of it.
    pub(super) fn shorten(&mut self, width: i64, part: f64) {
        let shorter = (width as f64 * part.min(0.5)) as i64;
        self.width = self.width.min(shorter).max(self.least);
    }

    /// A slice was read, with so many messages where `most` were wanted at most.
    pub(super) fn has_read(&mut self, messages: u64, most: u64) {
        let factor = match messages {
            0 => 8,
            few if few < most / 16 => 4,
            some if some < most / 3 => 2,
            _ => 1,
        };
        self.width = self.width.saturating_mul(factor).min(WIDTH_MAX);
    }
}

/// Whole seconds since 1970, the start rounded down and the end up.
pub(super) fn floor_ceil(start: Timestamp, end: Timestamp) -> (i64, i64) {
    (start.micros().div_euclid(SECOND), end.micros().saturating_add(SECOND - 1).div_euclid(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn empty_time_is_passed_in_few_steps() {
        let mut slices = Slices::new(Duration::from_secs(10));
        let (mut at, end, mut steps) = (time(0), time(3650 * 86_400), 0);
        while at < end {
            at = slices.end(at, end);
            slices.has_read(0, 5000);
            steps += 1;
        }
        assert_eq!(at, end);
        assert!(steps < 140, "{steps} steps for ten years");
    }

    #[test]
    fn slices_get_shorter_down_to_twice_the_overlap() {
        let mut slices = Slices::new(Duration::from_secs(10));
        assert_eq!(slices.end(time(0), time(86_400)), time(3600));
        slices.shorten(3600 * SECOND, 0.25);
        assert_eq!(slices.end(time(0), time(86_400)), time(900));
        slices.shorten(900 * SECOND, 0.9);
        assert_eq!(slices.end(time(0), time(86_400)), time(450));
        assert!(slices.can_shorten(450 * SECOND) && !slices.can_shorten(20 * SECOND));
        slices.shorten(450 * SECOND, 0.0);
        assert_eq!(slices.end(time(0), time(86_400)), time(20));
        slices.has_read(4000, 5000);
        assert_eq!(slices.end(time(0), time(86_400)), time(20));
        slices.has_read(1000, 5000);
        assert_eq!(slices.end(time(0), time(86_400)), time(40));
        assert_eq!(slices.end(time(0), time(5)), time(5));
        // Without an overlap, a second.
        let mut slices = Slices::new(Duration::ZERO);
        slices.shorten(HOUR, 0.0);
        assert_eq!(slices.end(time(0), time(86_400)), time(1));
    }

    #[test]
    fn seconds_are_rounded_outwards() {
        let micros = Timestamp::from_micros;
        assert_eq!(floor_ceil(micros(1_999_999), micros(2_000_001)), (1, 3));
        assert_eq!(floor_ceil(micros(2_000_000), micros(3_000_000)), (2, 3));
        assert_eq!(floor_ceil(micros(-1), micros(-1)), (-1, 0));
    }
}
