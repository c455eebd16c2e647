//! Spans of time and sizes in bytes, as operators write them.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// `15s`, `1m30s`, `250ms`, `7d`; `None` for anything else.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = leading(rest, |c| c.is_ascii_digit());
        let (unit, after) = leading(after, |c| c.is_ascii_alphabetic());
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

/// The reverse of [`parse_duration`], for whole milliseconds; nothing above days.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in &DURATION_UNITS[1..] {
        if millis >= *factor {
            text.push_str(&format!("{}{unit}", millis / factor));
            millis %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `64MiB`, `10 MB`, `1500` (bytes), whatever the case of the unit; `None` for anything else, `64M` too, since it has
/// two meanings.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = leading(text, |c| c.is_ascii_digit());
    let number: u64 = number.parse().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let unit = unit.trim_start();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// The reverse of [`parse_size`]: in the largest unit that loses nothing.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    match SIZE_UNITS.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn leading(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_and_written() {
        for (text, millis, back) in [
            ("15s", 15_000, "15s"),
            ("1m30s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("1s250ms", 1250, "1s250ms"),
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("90m", 5_400_000, "1h30m"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!((duration.as_millis(), show_duration(duration).as_str()), (millis, back), "{text}");
        }
        for text in
            ["", "15", "s", "1.5h", "-1s", "1 s", "1y", "1S", "1s2", "99999999999999999999s", "18446744073709551615w"]
        {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, back) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1 gib", 1 << 30, "1GiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("10MB", 10_000_000, "10MB"),
            ("1500", 1500, "1500B"),
            ("2KB", 2000, "2kB"),
            ("0", 0, "0B"),
            ("7b", 7, "7B"),
        ] {
            let size = parse_size(text).expect(text);
            assert_eq!((size, show_size(size).as_str()), (bytes, back), "{text}");
        }
        for text in
            ["", "MiB", "64M", "64m", "1.5GiB", "-1", "64MiBs", "99999999999999999999", "18446744073709551615KiB"]
        {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }
}
