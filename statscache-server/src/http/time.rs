//! Time in URLs and answers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use statscache_plugin_sdk::{Resolution, Timestamp};

/// What a time may look like, for error messages.
pub(crate) const ALLOWED: &str = "RFC 3339 (2026-01-31T12:00:00Z; without an offset it is UTC: 2026-01-31T12:00), \
    a date (2026-01-31), seconds since 1970 (no milliseconds, no year 2026, no day 20260131), now, now-1h, now+5m, now-PT1H";

/// What a span of time may look like, for error messages.
pub(crate) const SPANS: &str =
    "a span of whole seconds such as 15s, 1m, 1h30m, 7d, 2w, or by ISO 8601 such as PT15S, PT1H30M, P7D";

/// Years 0 to 9999, which RFC 3339 can write.
const FIRST_SECOND: i64 = -62_167_219_200;
const END_SECOND: i64 = 253_402_300_800;

/// Reads a time; `now` is what the text means by it.
pub(crate) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(offset) = text.strip_prefix("now") {
        return parse_offset(offset).map(|micros| now.plus_micros(micros));
    }
    if let Some(time) = parse_epoch(text) {
        return Some(time);
    }
    // A plus sign that was not escaped arrives as a blank: 12:00:00 02:00.
    let text = match text.rsplit_once(' ') {
        Some((before, offset)) if before.contains(['T', ':']) => format!("{before}+{offset}"),
        _ => text.to_owned(),
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_micros(time.as_microsecond()));
    }
    // jiff reads much more as a time of day, and as a date whatever follows it.
    if !is_civil(&text) {
        return None;
    }
    let time = text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(time.timestamp().as_microsecond()))
}

/// Whether it looks like `2026-01-31`, or that with `T12:00`, `T12:00:00` or `T12:00:00.5` behind
/// it, in which a blank may stand for the T.
fn is_civil(text: &str) -> bool {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_whole = matches!(seconds.len(), 10 | 16 | 19) && (seconds.len() == 19 || !text.contains('.'));
    let fits = |(byte, form): (u8, u8)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => byte == b'T' || byte == b' ',
        other => byte == other,
    };
    is_whole
        && seconds.bytes().zip(*b"dddd-dd-ddTdd:dd:dd").all(fits)
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// `-1h`, `+5m`, or nothing; in microseconds. A blank is a plus sign that was not escaped.
fn parse_offset(text: &str) -> Option<i64> {
    let Some(sign) = text.chars().next() else { return Some(0) };
    let span = parse_span(&text[sign.len_utf8()..])?;
    match sign {
        '-' => Some(-span.micros()),
        '+' | ' ' => Some(span.micros()),
        _ => None,
    }
}

/// A span: `15s`, `1h30m`, or by ISO 8601 `PT15S`, `P1DT12H`, in which a day has 24 hours. Years and months are not:
/// nobody knows how long they are.
pub(crate) fn parse_span(text: &str) -> Option<Resolution> {
    if !text.starts_with('P') {
        return text.parse().ok();
    }
    let span: jiff::Span = text.parse().ok()?;
    let finer = span.get_milliseconds() != 0 || span.get_microseconds() != 0 || span.get_nanoseconds() != 0;
    if span.get_years() != 0 || span.get_months() != 0 || finer || !span.is_positive() {
        return None;
    }
    let parts = [
        (i64::from(span.get_weeks()), 604_800),
        (i64::from(span.get_days()), 86_400),
        (i64::from(span.get_hours()), 3600),
        (span.get_minutes(), 60),
        (span.get_seconds(), 1),
    ];
    let secs = parts.iter().try_fold(0_i64, |sum, (n, width)| sum.checked_add(n.checked_mul(*width)?))?;
    Resolution::from_secs(secs.try_into().ok()?)
}

/// Seconds. `2026` and `20260131` are not: whoever writes them means no moment of the year 1970, and
/// who does can write `2026.0`.
fn parse_epoch(text: &str) -> Option<Timestamp> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    let is_date = matches!(text.len(), 4 | 8)
        && text.bytes().all(|b| b.is_ascii_digit())
        && text[..4].parse().is_ok_and(|year: u32| (1900..=2100).contains(&year));
    let secs: f64 = text.parse().ok().filter(|_| is_number && !is_date)?;
    let can_be_written = (FIRST_SECOND as f64..END_SECOND as f64).contains(&secs);
    can_be_written.then(|| Timestamp::from_micros((secs * 1e6).round() as i64))
}

/// RFC 3339 in UTC, with as many digits of the second as it has. Times outside of the years that
/// RFC 3339 can write are moved to the nearest it can.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    // jiff leaves two hours of the last day out, for offsets.
    let micros = time.micros().clamp(FIRST_SECOND * 1_000_000, jiff::Timestamp::MAX.as_second() * 1_000_000);
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// How times are written in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// `2026-01-31T12:00:00Z`.
    #[default]
    Rfc3339,
    /// Seconds since 1970, with a fraction where there is one.
    Epoch,
    /// Milliseconds since 1970, rounded down.
    EpochMs,
}

impl TimeForm {
    /// All of them, by the names that clients use.
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("rfc3339", Self::Rfc3339), ("epoch", Self::Epoch), ("epoch_ms", Self::EpochMs)];
}

/// A time in an answer.
pub(crate) struct When(pub(crate) Timestamp, pub(crate) TimeForm);

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = self.0.micros();
        match self.1 {
            TimeForm::Rfc3339 => serializer.serialize_str(&rfc3339(self.0)),
            TimeForm::Epoch if micros % 1_000_000 == 0 => serializer.serialize_i64(micros / 1_000_000),
            TimeForm::Epoch => serializer.serialize_f64(micros as f64 / 1e6),
            TimeForm::EpochMs => serializer.serialize_i64(micros.div_euclid(1000)),
        }
    }
}

impl JsonSchema for When {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "number" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn all_forms_are_read() {
        for (text, secs) in [
            ("now", 1_700_000_000.0),
            ("now-1h", 1_699_996_400.0),
            ("now+90s", 1_700_000_090.0),
            ("now 90s", 1_700_000_090.0),
            ("2023-11-14T22:13:20Z", 1_700_000_000.0),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
            ("2023-11-14T23:13:20 01:00", 1_700_000_000.0),
            ("2023-11-14T22:13:20.25Z", 1_700_000_000.25),
            ("2023-11-14", 1_699_920_000.0),
            ("1700000000", 1_700_000_000.0),
            ("1700000000.5", 1_700_000_000.5),
            ("-1", -1.0),
            ("0", 0.0),
            ("1899", 1899.0),
            ("2101", 2101.0),
            ("2026.0", 2026.0),
            ("-2026", -2026.0),
            ("202611", 202_611.0),
            ("18991231", 18_991_231.0),
            ("21010101", 21_010_101.0),
            ("2023-11-14T22:13", 1_699_999_980.0),
            ("2023-11-14T22:13:20", 1_700_000_000.0),
            ("2023-11-14T22:13:20.25", 1_700_000_000.25),
            ("2023-11-14 22:13", 1_699_999_980.0),
            ("2023-11-14 22:13:20", 1_700_000_000.0),
            ("2023-11-14 22:13:20Z", 1_700_000_000.0),
            ("2023-11-14 23:13:20 01:00", 1_700_000_000.0),
        ] {
            assert_eq!(parse(text, NOW).map(|time| time.micros() as f64 / 1e6), Some(secs), "{text}");
        }
        for text in ["", "soon", "now-", "now-1", "now*1h", "1e9", "nan", "999999999999", "2023-13-01", "now-é"] {
            assert_eq!(parse(text, NOW), None, "{text:?}");
        }
        // What may be meant otherwise than it would be read.
        for text in [
            "2026",
            "1900",
            "2100",
            "20261121",
            "20261399",
            "2026-11",
            "2026-1-1",
            "2026-325",
            "2026-11-21T",
            "2026-11-21 ",
            " 2026-11-21",
            "2026-11-21T05",
            "2026-11-21T5:00",
            "2026-11-21T0500",
            "2026-11-21T05:00:",
            "2026-11-21T05:00.5",
            "2026-11-21T05:00:00.",
            "2026-11-21.5",
            "2026-11-21T24:00",
            "2026-11-21T05:60",
            "2026-02-29T05:00",
            "2026-11-21T05:00:00+99:00",
            "2026-11-21 01:00 02:00 03:00",
            "2026-11-21x05:00",
            "2026-11-2é",
        ] {
            assert_eq!(parse(text, NOW), None, "{text:?}");
        }
    }

    #[test]
    fn times_are_written_as_short_as_exact() {
        for (micros, text) in [
            (1_700_000_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_250_000, "2023-11-14T22:13:20.25Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_micros(micros)), text);
        }
    }

    #[test]
    fn spans_are_read_in_both_forms() {
        for (text, secs) in [
            ("15s", 15),
            ("1h30m", 5400),
            ("PT15S", 15),
            ("PT1H30M", 5400),
            ("PT90M", 5400),
            ("P1D", 86_400),
            ("P1DT12H", 129_600),
            ("P2W", 1_209_600),
        ] {
            assert_eq!(parse_span(text).map(|span| span.micros() / 1_000_000), Some(secs), "{text}");
        }
        for text in
            ["", "P", "PT", "P1M", "P1Y", "PT0S", "PT0.5S", "PT1.5S", "-PT1H", "P-1D", "PT1H ", "1 hour", "P99999999W"]
        {
            assert_eq!(parse_span(text), None, "{text:?}");
        }
        assert_eq!(parse("now-PT1H", NOW), Some(NOW.plus_micros(-3_600_000_000)));
    }

    #[test]
    fn times_are_written_in_the_form_asked_for() {
        let text = |micros, form| serde_json::to_string(&When(Timestamp::from_micros(micros), form)).expect("JSON");
        for (micros, epoch, epoch_ms) in [
            (1_700_000_000_000_000, "1700000000", "1700000000000"),
            (1_700_000_000_250_999, "1700000000.250999", "1700000000250"),
            (-1, "-1e-6", "-1"),
            (0, "0", "0"),
        ] {
            assert_eq!(text(micros, TimeForm::Epoch), epoch);
            assert_eq!(text(micros, TimeForm::EpochMs), epoch_ms);
        }
        assert_eq!(text(0, TimeForm::Rfc3339), "\"1970-01-01T00:00:00Z\"");
    }
}
