//! Tiers, buckets and partitions: arithmetic on time. Pure; the present is an argument.
//!
//! A **partition** is [`PARTITION_BUCKETS`] consecutive buckets of one tier: the unit in which
//! buckets are stored together and dropped. It is named by the number of its first bucket divided
//! by that, so partition 0 begins at the Unix epoch.

use statscache_plugin_sdk::{Keep, Resolution, Tier, Tiers, Timestamp};

use crate::limits::PARTITION_BUCKETS;

/// Number of a partition within its tier.
pub type Partition = i64;

/// Partition of the bucket that holds this instant, and the bucket's place in it.
#[inline]
pub fn locate(time: Timestamp, resolution: Resolution) -> (Partition, u32) {
    let bucket = time.micros().div_euclid(resolution.micros());
    (bucket.div_euclid(PARTITION_BUCKETS), bucket.rem_euclid(PARTITION_BUCKETS) as u32)
}

/// Start of a bucket, the inverse of [`locate`].
#[inline]
pub fn start_of(partition: Partition, place: u32, resolution: Resolution) -> Timestamp {
    let bucket = partition.saturating_mul(PARTITION_BUCKETS).saturating_add(i64::from(place));
    Timestamp::from_micros(bucket.saturating_mul(resolution.micros()))
}

/// Whether the tier still keeps the bucket that holds this instant: its end is no longer ago
/// than the tier's retention.
#[inline]
pub fn is_kept(tier: Tier, time: Timestamp, now: Timestamp) -> bool {
    match tier.keep {
        Keep::Forever => true,
        Keep::For(keep) => {
            let end = time.floor(tier.resolution).plus_micros(tier.resolution.micros());
            end.plus_micros(keep.micros()) > now
        }
    }
}

/// Whether every bucket of the partition is beyond the tier's retention.
pub fn is_expired(tier: Tier, partition: Partition, now: Timestamp) -> bool {
    let last = start_of(partition, PARTITION_BUCKETS as u32 - 1, tier.resolution);
    !is_kept(tier, last, now)
}

/// Oldest instant whose bucket the tier still keeps, if there is one.
pub fn kept_since(tier: Tier, now: Timestamp) -> Option<Timestamp> {
    match tier.keep {
        Keep::Forever => None,
        Keep::For(keep) => Some(now.plus_micros(-keep.micros()).floor(tier.resolution)),
    }
}

/// The tier that answers `step` exactly: the coarsest whose buckets make up whole steps, or a
/// finer one where the coarser is not needed. `None` if no tier's width divides the step.
pub fn tier_for_step(tiers: &Tiers, step: Resolution) -> Option<(usize, Tier)> {
    tiers.as_slice().iter().copied().enumerate().rfind(|(_, tier)| step.is_multiple_of(tier.resolution))
}

/// The finest tier that still has `start` and needs at most `points` buckets up to `end`; the
/// coarsest if none does.
pub fn tier_for_range(
    tiers: &Tiers,
    (start, end): (Timestamp, Timestamp),
    now: Timestamp,
    points: i64,
) -> (usize, Tier) {
    let span = end.micros().saturating_sub(start.micros());
    let fits = |tier: Tier| {
        span / tier.resolution.micros() <= points && kept_since(tier, now).is_none_or(|since| since <= start)
    };
    let tiers = tiers.as_slice();
    let index = tiers.iter().position(|tier| fits(*tier)).unwrap_or(tiers.len() - 1);
    (index, tiers[index])
}

/// Widths that people count in, seconds.
const ROUND: [u64; 27] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200,
    86_400, 172_800, 604_800, 1_209_600, 2_419_200, 4_838_400,
];

/// The narrowest round step that makes at most `points` of the range, of those that a tier which still has
/// `start` can answer; the widest there is if none does.
pub fn step_for_points(tiers: &Tiers, (start, end): (Timestamp, Timestamp), now: Timestamp, points: u32) -> Resolution {
    let fits = |step: Resolution| {
        let (width, last) = (i128::from(step.micros()), i128::from(end.micros()) - 1);
        let steps = last.div_euclid(width) - i128::from(start.micros()).div_euclid(width) + 1;
        steps <= i128::from(points)
    };
    let has_start = |tier: Tier| kept_since(tier, now).is_none_or(|since| since <= start);
    let coarsest = tiers.as_slice()[tiers.as_slice().len() - 1];
    let widest = coarsest.resolution.micros() as u64 / 1_000_000;
    let own = tiers.as_slice().iter().map(|tier| tier.resolution.micros() as u64 / 1_000_000);
    let doubled = std::iter::successors(Some(widest), |width: &u64| width.checked_mul(2));
    let mut widths: Vec<Resolution> =
        own.chain(ROUND).chain(doubled.take(48)).filter_map(Resolution::from_secs).collect();
    widths.sort_unstable();
    let answers =
        |step: Resolution| tier_for_step(tiers, step).is_some_and(|(_, tier)| tier == coarsest || has_start(tier));
    let possible = || widths.iter().copied().filter(|step| answers(*step));
    possible().find(|step| fits(*step)).or_else(|| possible().next_back()).unwrap_or(coarsest.resolution)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(text: &str) -> Tier {
        text.parse::<Tiers>().expect(text).finest()
    }

    #[test]
    fn a_bucket_is_found_again_before_and_after_the_epoch() {
        for secs in [-100_000, -512 * 60, -512 * 60 - 1, -1, 0, 59, 60, 512 * 60 - 1, 512 * 60, 1_700_000_000] {
            let time = Timestamp::from_secs(secs);
            let (partition, place) = locate(time, Resolution::MINUTE);
            assert_eq!(start_of(partition, place, Resolution::MINUTE), time.floor(Resolution::MINUTE), "at {secs}");
        }
        assert_eq!(locate(Timestamp::from_secs(512 * 60 - 1), Resolution::MINUTE), (0, 511));
        assert_eq!(locate(Timestamp::from_secs(512 * 60), Resolution::MINUTE), (1, 0));
        assert_eq!(locate(Timestamp::from_micros(-1), Resolution::MINUTE), (-1, 511));
    }

    #[test]
    fn a_bucket_is_kept_until_retention_after_its_end() {
        let tier = tier("1m for 1h");
        let now = Timestamp::from_secs(3660);
        for (micros, kept) in [(59_999_999, false), (60_000_000, true), (0, false), (-1, false)] {
            assert_eq!(is_kept(tier, Timestamp::from_micros(micros), now), kept, "at {micros}");
        }
        let now = Timestamp::from_micros(3_659_999_999);
        assert!(is_kept(tier, Timestamp::from_micros(59_999_999), now), "a microsecond earlier it was kept");
    }

    #[test]
    fn a_partition_expires_with_its_last_bucket() {
        let tier = tier("1s for 10s");
        let end = 512 + 10;
        assert!(!is_expired(tier, 0, Timestamp::from_micros(end * 1_000_000 - 1)));
        assert!(is_expired(tier, 0, Timestamp::from_micros(end * 1_000_000)));
    }

    #[test]
    fn tiers_are_chosen_by_step_or_by_range() {
        let tiers = Tiers::default();
        for (step, index) in [("1s", 0), ("5s", 0), ("1m", 1), ("15m", 1), ("1h", 2), ("6h", 2), ("1d", 3), ("7d", 3)] {
            let step = step.parse().expect("span");
            assert_eq!(tier_for_step(&tiers, step).map(|(index, _)| index), Some(index), "step {step}");
        }
        let coarse: Tiers = "1h forever".parse().expect("tiers");
        assert_eq!(tier_for_step(&coarse, Resolution::MINUTE), None);

        let now = Timestamp::from_secs(1_000_000_000);
        for (ago, index) in [(300, 0), (500, 0), (501, 1), (3 * 3600, 1), (2 * 86_400, 2), (500 * 86_400, 3)] {
            let range = (now.plus_micros(-ago * 1_000_000), now);
            assert_eq!(tier_for_range(&tiers, range, now, 500).0, index, "{ago} s");
        }
        let long_ago = (Timestamp::from_secs(0), Timestamp::from_secs(60));
        assert_eq!(tier_for_range(&tiers, long_ago, now, 500).0, 3, "finer tiers have dropped it");
    }

    #[test]
    fn a_step_for_so_many_points_is_round_and_makes_no_more() {
        let tiers = Tiers::default();
        let now = Timestamp::from_secs(1_700_000_000);
        let step = |ago: i64, points| {
            let range = (now.plus_micros(-ago * 1_000_000), now);
            step_for_points(&tiers, range, now, points).to_string()
        };
        for (ago, points, expected) in [
            (60, 100, "1s"),
            (60, 30, "2s"),
            (60, 29, "5s"),
            (3600, 500, "10s"),
            (3600, 3601, "1s"),
            (3600, 3600, "1s"),
            (3600, 3599, "2s"),
            (3600, 1, "3h"),
            // The seconds are gone.
            (3 * 3600, 10_000, "1m"),
            (3 * 3600, 100, "2m"),
            (7 * 86_400 + 60, 10_000, "1h"),
            (365 * 86_400, 500, "1d"),
            (365 * 86_400, 60, "7d"),
            (365 * 86_400, 7, "64d"),
            (50 * 365 * 86_400, 1, "32768d"),
        ] {
            assert_eq!(step(ago, points), expected, "{ago} s, {points} points");
        }
        let odd: Tiers = "7s for 1h, 35s for 2h".parse().expect("tiers");
        let range = (now.plus_micros(-1_800_000_000), now);
        for (points, expected) in [(300, "7s"), (100, "35s"), (10, "280s"), (1, "")] {
            let step = step_for_points(&odd, range, now, points);
            let steps = (now.micros() - 1).div_euclid(step.micros()) - range.0.micros().div_euclid(step.micros()) + 1;
            assert!(steps <= i64::from(points), "{step} makes {steps}");
            if !expected.is_empty() {
                assert_eq!(step, expected.parse().expect("a span"), "{points}");
            }
        }
    }
}
