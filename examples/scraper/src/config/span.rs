//! Spans of time as operators write them.

use std::time::Duration;

use serde::Deserialize;

/// A span such as `500ms`, `30s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const MILLIS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let read = |(unit, millis): (&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(millis);
        let millis = MILLIS.into_iter().find_map(read);
        millis.map(|millis| Self(Duration::from_millis(millis))).ok_or_else(|| {
            format!("`{text}` is not a span of time: write a whole number with its unit, such as 500ms, 30s, 5m, 1h")
        })
    }
}
