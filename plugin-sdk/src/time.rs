//! Instants and widths of buckets: arithmetic only, no clock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An instant: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant that many microseconds after (or before) the Unix epoch.
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant that many seconds after the Unix epoch; the ends of the range where it does not fit.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Start of the bucket of this width that holds this instant. Buckets are half-open,
    /// `[start, start + width)`, and aligned to the Unix epoch, before it as well as after.
    #[inline]
    pub const fn floor(self, width: Resolution) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(width.0)))
    }

    /// This instant moved by a number of microseconds; stops at the ends of the range.
    #[inline]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Width of a bucket: a whole number of seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution(i64);

impl Resolution {
    /// One second.
    pub const SECOND: Self = Self(1_000_000);
    /// Sixty seconds.
    pub const MINUTE: Self = Self(60_000_000);
    /// Sixty minutes.
    pub const HOUR: Self = Self(3_600_000_000);
    /// Twenty-four hours of UTC.
    pub const DAY: Self = Self(86_400_000_000);
    /// The widest there is, a hundred years of 366 days.
    pub const MAX: Self = Self(100 * 366 * Self::DAY.0);

    /// That many seconds; `None` for zero, and beyond a hundred years.
    pub const fn from_secs(secs: u64) -> Option<Self> {
        if secs == 0 || secs > Self::MAX.0 as u64 / 1_000_000 {
            return None;
        }
        Some(Self(secs as i64 * 1_000_000))
    }

    /// Width in microseconds.
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether buckets of this width are made of whole buckets of the other.
    pub const fn is_multiple_of(self, finer: Self) -> bool {
        self.0 % finer.0 == 0
    }
}

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut secs = self.0 as u64 / 1_000_000;
        for (unit, width) in &UNITS[1..] {
            if secs >= *width {
                write!(f, "{}{unit}", secs / width)?;
                secs %= width;
            }
        }
        Ok(())
    }
}

/// A text that is not a span of time such as `15s`, `1m`, `1h30m`, `7d` or `2w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolutionError(String);

impl fmt::Display for ResolutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a span of time: write whole seconds or more, such as 15s, 1m, 1h30m, 7d", self.0)
    }
}

impl std::error::Error for ResolutionError {}

impl FromStr for Resolution {
    type Err = ResolutionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ResolutionError(text.to_owned());
        let (mut secs, mut number) = (0_u64, None);
        for c in text.chars() {
            if let Some(digit) = c.to_digit(10) {
                let so_far: u64 = number.unwrap_or(0);
                number = Some(so_far.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit))).ok_or_else(error)?);
            } else {
                let (_, width) = UNITS.iter().find(|(unit, _)| *unit == c).ok_or_else(error)?;
                let part = number.take().ok_or_else(error)?.checked_mul(*width).ok_or_else(error)?;
                secs = secs.checked_add(part).ok_or_else(error)?;
            }
        }
        match number {
            None => Self::from_secs(secs).ok_or_else(error),
            Some(_) => Err(error()),
        }
    }
}

impl Serialize for Resolution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_half_open_on_both_sides_of_the_epoch() {
        for (at, start) in [
            (59_999_999, 0),
            (60_000_000, 60_000_000),
            (0, 0),
            (-1, -60_000_000),
            (-60_000_000, -60_000_000),
            (-60_000_001, -120_000_000),
        ] {
            assert_eq!(Timestamp::from_micros(at).floor(Resolution::MINUTE).micros(), start, "at {at}");
        }
    }

    #[test]
    fn spans_are_read_and_written() {
        for (text, secs, back) in [
            ("15s", 15, "15s"),
            ("1m", 60, "1m"),
            ("90m", 5400, "1h30m"),
            ("1w", 604_800, "7d"),
            ("1d1h1m1s", 90_061, "1d1h1m1s"),
        ] {
            let parsed: Resolution = text.parse().expect(text);
            assert_eq!((parsed.micros(), parsed.to_string().as_str()), (secs * 1_000_000, back), "{text}");
        }
        for text in ["", "0s", "s", "1", "1.5h", "-1s", "1y", "99999999999999999999s", "1s2"] {
            assert!(text.parse::<Resolution>().is_err(), "{text:?} must be refused");
        }
    }
}
