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
}
