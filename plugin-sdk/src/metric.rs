//! What a metric is made of: its kind, and the tiers in which its buckets are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::time::{Resolution, ResolutionError};

/// What the values of a metric are and how two of them merge. Every kind is a commutative
/// monoid: merging in any order and any grouping gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Kind {
    /// A whole number per time bucket that only addition changes. JSON value: `12`.
    Count,
    /// Numbers, summed up. JSON value: `{"n": 3, "sum": 6.5, "min": 1, "max": 4, "mean": 2.17, "stddev": 1.31}`.
    Stat,
    /// How many different texts there were, estimated. JSON value: `{"estimate": 1200, "error": 0.01625}`, the error relative.
    Distinct,
    /// How numbers are distributed. JSON value: `{"n": 3, "min": 1, "max": 4, "p50": 1.5, "p90": 4, "p95": 4, "p99": 4}`.
    Dist,
    /// The texts with the greatest weights. JSON value: `[{"key": "bash", "count": 7, "error": 0}]`, greatest first.
    Top {
        /// How many are asked for, 1 to 1000.
        k: u32,
    },
    /// The newest `n` values per label set, each with time and message id. JSON value: the value as it was set.
    Latest {
        /// How many are kept, 1 to 1000; 1 is the rolling latest value.
        n: u32,
        /// How long after its time a value is still one; without it, until there are newer ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<Resolution>,
    },
}

impl Kind {
    /// Whether values live in time buckets (and so have tiers) or per label set.
    pub const fn is_bucketed(self) -> bool {
        !matches!(self, Self::Latest { .. })
    }

    /// Name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Stat => "stat",
            Self::Distinct => "distinct",
            Self::Dist => "dist",
            Self::Top { .. } => "top",
            Self::Latest { .. } => "latest",
        }
    }
}

/// How long a tier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    /// That long after the end of the bucket.
    For(Resolution),
    /// Never dropped.
    Forever,
}

/// One width of buckets and how long they are kept; written `1m for 7d` or `1d forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Width of the buckets.
    pub resolution: Resolution,
    /// Retention.
    pub keep: Keep,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Keep::For(keep) => write!(f, "{} for {keep}", self.resolution),
            Keep::Forever => write!(f, "{} forever", self.resolution),
        }
    }
}

/// Tiers of a metric, finest first. Each width is a multiple of the one before, and each tier is
/// kept at least as long as the one before, so coarser buckets derive from finer ones by merging.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tiers(Vec<Tier>);

impl Tiers {
    /// The tiers, finest first; never empty.
    pub fn as_slice(&self) -> &[Tier] {
        &self.0
    }

    /// The tier with the smallest buckets.
    pub fn finest(&self) -> Tier {
        self.0[0]
    }
}

impl Default for Tiers {
    /// `1s for 2h, 1m for 7d, 1h for 400d, 1d forever`.
    fn default() -> Self {
        let tier = |resolution, keep: Option<u64>| Tier {
            resolution,
            keep: keep.and_then(Resolution::from_secs).map_or(Keep::Forever, Keep::For),
        };
        Self(vec![
            tier(Resolution::SECOND, Some(2 * 3600)),
            tier(Resolution::MINUTE, Some(7 * 86_400)),
            tier(Resolution::HOUR, Some(400 * 86_400)),
            tier(Resolution::DAY, None),
        ])
    }
}

/// Why a text is not a list of tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierError {
    /// Not of the form `1m for 7d` or `1d forever`.
    Form(String),
    /// A span that cannot be read.
    Span(ResolutionError),
    /// This tier's width is not a multiple of the one before, or not larger.
    NotAMultiple(Tier, Tier),
    /// This tier is dropped before the finer one before it.
    KeptShorter(Tier, Tier),
    /// More than eight tiers, or none.
    Number(usize),
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => write!(f, "`{text}` is not a tier: write `1m for 7d` or `1d forever`"),
            Self::Span(error) => error.fmt(f),
            Self::NotAMultiple(tier, finer) => {
                write!(f, "tier `{tier}` must be a larger multiple of the tier before it, `{finer}`")
            }
            Self::KeptShorter(tier, finer) => {
                write!(f, "tier `{tier}` must be kept at least as long as the tier before it, `{finer}`")
            }
            Self::Number(n) => write!(f, "a metric has one to eight tiers, not {n}"),
        }
    }
}

impl std::error::Error for TierError {}

impl FromStr for Tiers {
    type Err = TierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tiers: Vec<Tier> = text.split(',').map(|part| parse_tier(part.trim())).collect::<Result<_, _>>()?;
        if tiers.len() > 8 {
            return Err(TierError::Number(tiers.len()));
        }
        for pair in tiers.windows(2) {
            let (finer, tier) = (pair[0], pair[1]);
            if tier.resolution <= finer.resolution || !tier.resolution.is_multiple_of(finer.resolution) {
                return Err(TierError::NotAMultiple(tier, finer));
            }
            if tier.keep < finer.keep {
                return Err(TierError::KeptShorter(tier, finer));
            }
        }
        Ok(Self(tiers))
    }
}

fn parse_tier(text: &str) -> Result<Tier, TierError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [resolution, "forever"] => {
            Ok(Tier { resolution: resolution.parse().map_err(TierError::Span)?, keep: Keep::Forever })
        }
        [resolution, "for", keep] => Ok(Tier {
            resolution: resolution.parse().map_err(TierError::Span)?,
            keep: Keep::For(keep.parse().map_err(TierError::Span)?),
        }),
        _ => Err(TierError::Form(text.to_owned())),
    }
}

impl fmt::Display for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tier) in self.0.iter().enumerate() {
            write!(f, "{}{tier}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Tiers {
    type Error = TierError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Tiers> for String {
    fn from(tiers: Tiers) -> Self {
        tiers.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_docs_say() {
        assert_eq!("1s for 2h, 1m for 7d, 1h for 400d, 1d forever".parse(), Ok(Tiers::default()));
        assert_eq!(Tiers::default().to_string(), "1s for 2h, 1m for 7d, 1h for 400d, 1d forever");
    }

    #[test]
    fn kinds_are_read_and_written() {
        let ttl = Some(Resolution::DAY);
        for (kind, json) in [
            (Kind::Count, r#"{"type":"count"}"#),
            (Kind::Stat, r#"{"type":"stat"}"#),
            (Kind::Distinct, r#"{"type":"distinct"}"#),
            (Kind::Dist, r#"{"type":"dist"}"#),
            (Kind::Top { k: 10 }, r#"{"type":"top","k":10}"#),
            (Kind::Latest { n: 1, ttl: None }, r#"{"type":"latest","n":1}"#),
            (Kind::Latest { n: 5, ttl }, r#"{"type":"latest","n":5,"ttl":"1d"}"#),
        ] {
            assert_eq!(serde_json::to_string(&kind).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Kind>(json).expect(json), kind);
            assert!(json.contains(kind.as_str()) && kind.is_bucketed() != json.contains("latest"), "{json}");
        }
        for json in [r#"{"type":"top"}"#, r#"{"type":"latest"}"#, r#"{"type":"latest","n":1,"ttl":"soon"}"#] {
            assert!(serde_json::from_str::<Kind>(json).is_err(), "{json} must be refused");
        }
    }

    #[test]
    fn tiers_that_could_not_derive_are_refused() {
        for (text, why) in [
            ("1m for 7d, 90s for 8d", "multiple"),
            ("1m for 7d, 1m for 8d", "multiple"),
            ("1m for 7d, 1h for 6d", "as long as"),
            ("1m forever, 1h for 6d", "as long as"),
            ("1m", "is not a tier"),
            ("", "is not a tier"),
            ("1m for 0d", "span of time"),
        ] {
            let error = text.parse::<Tiers>().expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
