//! Time in URLs and answers.

use statscache_plugin_sdk::{Resolution, Timestamp};

/// What a time may look like, for error messages.
pub(super) const ALLOWED: &str =
    "RFC 3339 (2026-01-31T12:00:00Z), a date (2026-01-31), seconds since 1970, now, now-1h, now+5m";

/// Years 0 to 9999, which RFC 3339 can write.
const FIRST_SECOND: i64 = -62_167_219_200;
const END_SECOND: i64 = 253_402_300_800;

/// Reads a time; `now` is what the text means by it.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(offset) = text.strip_prefix("now") {
        return parse_offset(offset).map(|micros| now.plus_micros(micros));
    }
    if let Some(time) = parse_epoch(text) {
        return Some(time);
    }
    // A plus sign that was not escaped arrives as a blank: 12:00:00 02:00.
    let text = match text.rsplit_once(' ') {
        Some((before, offset)) if before.contains('T') => format!("{before}+{offset}"),
        _ => text.to_owned(),
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_micros(time.as_microsecond()));
    }
    let midnight = text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(midnight.timestamp().as_microsecond()))
}

/// `-1h`, `+5m`, or nothing; in microseconds. A blank is a plus sign that was not escaped.
fn parse_offset(text: &str) -> Option<i64> {
    let Some(sign) = text.chars().next() else { return Some(0) };
    let span: Resolution = text[sign.len_utf8()..].parse().ok()?;
    match sign {
        '-' => Some(-span.micros()),
        '+' | ' ' => Some(span.micros()),
        _ => None,
    }
}

fn parse_epoch(text: &str) -> Option<Timestamp> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    let secs: f64 = text.parse().ok().filter(|_| is_number)?;
    let can_be_written = (FIRST_SECOND as f64..END_SECOND as f64).contains(&secs);
    can_be_written.then(|| Timestamp::from_micros((secs * 1e6).round() as i64))
}

/// RFC 3339 in UTC, with as many digits of the second as it has. Times outside of the years that
/// RFC 3339 can write are moved to the nearest it can.
pub(super) fn rfc3339(time: Timestamp) -> String {
    // jiff leaves two hours of the last day out, for offsets.
    let micros = time.micros().clamp(FIRST_SECOND * 1_000_000, jiff::Timestamp::MAX.as_second() * 1_000_000);
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
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
        ] {
            assert_eq!(parse(text, NOW).map(|time| time.micros() as f64 / 1e6), Some(secs), "{text}");
        }
        for text in ["", "soon", "now-", "now-1", "now*1h", "1e9", "nan", "999999999999", "2023-13-01", "now-é"] {
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
}
