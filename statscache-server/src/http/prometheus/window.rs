//! From moments to buckets: which width, which of them, and what a function makes of those before a moment.

use statscache_core::bucket;
use statscache_plugin_sdk::{Kind, Resolution, Tier, Tiers, Timestamp};

use super::{
    answer::ApiError,
    fetch::{BUCKETS_MAX, Buckets, Sparse},
};

/// How far back an instant query looks for the newest sample, and how far ahead of the view it may be;
/// microseconds. Prometheus' default.
pub(super) const LOOKBACK: i64 = 300_000_000;
/// Samples that windows look at, beyond which the query is refused: about half a second.
const VISITS_MAX: usize = 50_000_000;

/// The moments that a question is asked for, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
    /// Whether it is one moment, which may be answered with what is known from shortly before.
    pub(super) is_instant: bool,
}

impl Steps {
    /// All of them.
    pub(super) fn all(self) -> impl Iterator<Item = i64> {
        (0..self.count as i64).map(move |n| self.start + n * self.step)
    }

    /// The last.
    pub(super) fn end(self) -> i64 {
        self.start + (self.count as i64 - 1) * self.step
    }
}

/// Moments at which a selector is looked at; none where the view does not reach.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) at: Vec<Option<i64>>,
    /// Between two of them, 0 if there is but one.
    step: i64,
    first: i64,
    last: i64,
}

impl Moments {
    /// Those of `steps` moved back by `offset`, or all of them `fixed`. `None` if the view has none of them.
    pub(super) fn new(steps: Steps, fixed: Option<i64>, offset: i64, as_of: i64) -> Option<Self> {
        let reached = |at: i64| match at.saturating_sub(as_of) {
            ..=0 => Some(at),
            1..=LOOKBACK if steps.is_instant => Some(as_of),
            _ => None,
        };
        let at: Vec<Option<i64>> =
            steps.all().map(|moment| reached(fixed.unwrap_or(moment).saturating_sub(offset))).collect();
        let (first, last) = (at.iter().flatten().min().copied()?, at.iter().flatten().max().copied()?);
        let step = if steps.is_instant { 0 } else { steps.step };
        Some(Self { at, step, first, last })
    }
}

/// Buckets to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) width: Resolution,
    /// From the start of the first to the end of the last.
    pub(super) range: (i64, i64),
    /// Width of a window, in buckets.
    pub(super) window: i64,
}

impl Plan {
    /// For the newest whole bucket at each moment.
    pub(super) fn bare(moments: &Moments, tiers: &Tiers, fixed: Option<Resolution>, horizon: Timestamp) -> Self {
        let back = if moments.step == 0 { LOOKBACK } else { 0 };
        let wish = seconds(moments.step).filter(|step| {
            let tier = bucket::tier_for_step(tiers, *step);
            tier.is_some_and(|(_, tier)| is_kept(tier, moments.first - step.micros(), horizon))
        });
        let width = fixed.or(wish).unwrap_or_else(|| finest(tiers, moments.first, moments.last, horizon));
        Self::new(moments, width, 1, back)
    }

    /// For windows of that length. `adds_up`: only their sums matter.
    pub(super) fn over(
        moments: &Moments,
        tiers: &Tiers,
        fixed: Option<Resolution>,
        (length, adds_up): (i64, bool),
        horizon: Timestamp,
    ) -> Self {
        let since = moments.first.saturating_sub(length);
        let common = seconds(gcd(gcd(length, moments.step), moments.first)).filter(|width| {
            let tier = bucket::tier_for_step(tiers, *width);
            let few = (moments.last - since) / width.micros() <= BUCKETS_MAX;
            adds_up && few && tier.is_some_and(|(_, tier)| is_kept(tier, since, horizon))
        });
        let width = fixed.or(common).unwrap_or_else(|| finest(tiers, since, moments.last, horizon));
        let window = ((length + width.micros() / 2) / width.micros()).max(1);
        Self::new(moments, width, window, 0)
    }

    fn new(moments: &Moments, width: Resolution, window: i64, back: i64) -> Self {
        let floor = |at: i64| Timestamp::from_micros(at).floor(width).micros();
        let start = floor(moments.first.saturating_sub(back)).saturating_sub(window.saturating_mul(width.micros()));
        Self { width, range: (start, floor(moments.last)), window }
    }

    /// Length of a window, microseconds.
    pub(super) fn length(self) -> i64 {
        self.window * self.width.micros()
    }
}

/// A width of whole seconds.
fn seconds(micros: i64) -> Option<Resolution> {
    Resolution::from_secs(u64::try_from(micros / 1_000_000).ok()?).filter(|width| width.micros() == micros)
}

fn is_kept(tier: Tier, since: i64, horizon: Timestamp) -> bool {
    bucket::kept_since(tier, horizon).is_none_or(|kept| kept.micros() <= since)
}

/// The finest tier that keeps the range and has not too many buckets in it.
fn finest(tiers: &Tiers, since: i64, until: i64, horizon: Timestamp) -> Resolution {
    let tiers = tiers.as_slice();
    let fits = |tier: &&Tier| {
        is_kept(**tier, since, horizon) && until.saturating_sub(since) / tier.resolution.micros() <= BUCKETS_MAX
    };
    tiers.iter().find(fits).unwrap_or(&tiers[tiers.len() - 1]).resolution
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What is made of the buckets of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Increase,
    Rate,
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Last,
}

impl Over {
    /// By the name of the function.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "increase" => Self::Increase,
            "rate" => Self::Rate,
            "sum_over_time" => Self::Sum,
            "avg_over_time" => Self::Avg,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "count_over_time" => Self::Count,
            "last_over_time" => Self::Last,
            _ => return None,
        })
    }

    /// Whether only the sum of a window matters.
    pub(super) fn is_sum(self) -> bool {
        matches!(self, Self::Increase | Self::Rate | Self::Sum)
    }
}

/// The number of the bucket that begins where the newest whole one at that moment ends.
fn end_of(buckets: &Buckets, moment: i64) -> usize {
    let end = (moment - buckets.start).div_euclid(buckets.width);
    end.clamp(0, buckets.len() as i64) as usize
}

/// The newest whole bucket at each moment; in an instant query the newest that is known, within [`LOOKBACK`].
pub(super) fn newest(buckets: &Buckets, series: &Sparse, moments: &Moments) -> Vec<Option<f64>> {
    let back = if moments.step == 0 { LOOKBACK / buckets.width } else { 0 };
    let value = |moment: i64| {
        let end = (moment - buckets.start).div_euclid(buckets.width);
        let last = (end - 1 - back).max(0)..end.min(buckets.len() as i64);
        last.rev().find_map(|bucket| buckets.value(series, bucket as usize))
    };
    moments.at.iter().map(|moment| moment.and_then(value)).collect()
}

/// What a function makes of the window before each moment.
pub(super) fn over(
    buckets: &Buckets,
    series: &Sparse,
    moments: &Moments,
    (over, window): (Over, i64),
) -> Vec<Option<f64>> {
    let sums = if over.is_sum() { running(&series.values) } else { Vec::new() };
    let value = |moment: i64| {
        let until = end_of(buckets, moment);
        let from = end_of(buckets, moment - window * buckets.width).min(until);
        let at = |bucket: usize| series.at.partition_point(|at| (*at as usize) < bucket);
        let (first, last) = (at(from), at(until));
        let zeros = buckets.zeros(from, until);
        if first == last && zeros == 0 {
            return None;
        }
        let sum = |first: usize, last: usize| (sums[last].0 - sums[first].0) + (sums[last].1 - sums[first].1);
        match over {
            Over::Increase | Over::Sum => Some(sum(first, last)),
            Over::Rate => Some(sum(first, last) / ((window * buckets.width) as f64 / 1e6)),
            Over::Last => (from..until).rev().find_map(|bucket| buckets.value(series, bucket)),
            _ => {
                let is_zero = |at: &&u32| buckets.zeros(**at as usize, **at as usize + 1) == 1;
                let zeros = zeros - series.at[first..last].iter().filter(is_zero).count();
                Some(of_values(over, &series.values[first..last], zeros))
            }
        }
    };
    moments.at.iter().map(|moment| moment.and_then(value)).collect()
}

/// Of some values and so many zeros.
fn of_values(over: Over, values: &[f64], zeros: usize) -> f64 {
    let count = (values.len() + zeros) as f64;
    let all = values.iter().copied().chain((zeros > 0).then_some(0.0));
    match over {
        Over::Min => all.fold(f64::INFINITY, f64::min),
        Over::Max => all.fold(f64::NEG_INFINITY, f64::max),
        Over::Avg => values.iter().sum::<f64>() / count,
        _ => count,
    }
}

/// Sums of all before each, as a float and what it lacks: differences are exact for counts, and nearly for others.
fn running(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0)];
    let (mut sum, mut rest) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        let of_value = next - sum;
        rest += (sum - (next - of_value)) + (value - of_value);
        sum = next;
        sums.push((sum, rest));
    }
    sums
}

/// Refuses windows that overlap so much that it would take long.
pub(super) fn check_visits(buckets: &Buckets, moments: &Moments, over: Over, window: i64) -> Result<(), ApiError> {
    let samples: usize = buckets.series.iter().map(|series| series.at.len() + 1).sum();
    let windows_of_each = match moments.step {
        0 => 1,
        step => (window * buckets.width / step).clamp(1, moments.at.len() as i64) as usize,
    };
    match samples.saturating_mul(windows_of_each) {
        visits if visits > VISITS_MAX && !over.is_sum() => Err(ApiError::execution(format!(
            "windows would look at {visits} samples, the most is {VISITS_MAX}; ask for a shorter window or a greater step"
        ))),
        _ => Ok(()),
    }
}

/// What a function of windows says of a kind or part that it is not for.
pub(super) fn not_for(name: &str, function: &str, kind: Kind) -> ApiError {
    let instead = match kind {
        Kind::Latest { .. } => "it is a newest value, which has no buckets; ask for it as it is, or with `offset`",
        _ => {
            "its buckets do not add up; ask for wider ones, as in {__step__=\"1h\"}, or for max_over_time, min_over_time, \
              avg_over_time"
        }
    };
    ApiError::execution(format!("{function}() is not for `{name}`: {instead}"))
}

#[cfg(test)]
mod tests;
