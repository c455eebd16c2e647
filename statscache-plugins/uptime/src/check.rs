//! What one message says of a site, and the verdict.

use std::borrow::Cow;

use jiff::civil::DateTime;
use serde::Serialize;
use statscache_plugin_sdk::{Json, Message};

use super::{Fields, Timestamp, status::Statuses};

/// Longest word for the network's trouble; it becomes a label.
const WORD_BYTES_MAX: usize = 32;
/// A number of seconds beyond the year 5138 is one of milliseconds, as JavaScript has them.
const MILLIS_FROM: f64 = 1e11;
/// No time is after the year 9999.
const SECS_MAX: f64 = 253_402_300_800.0;

/// How a site was found: the value of `state` and of its kin.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Check<'m> {
    pub(crate) up: bool,
    /// `ok`, or the first thing that was wrong; the label `result`.
    pub(crate) reason: Cow<'m, str>,
    http_status: Option<u16>,
    network_status: Cow<'m, str>,
    #[serde(rename = "match")]
    is_match: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_seconds: Option<f64>,
}

impl<'m> Check<'m> {
    /// What the message says; `None` where it says nothing of either network or HTTP.
    pub(crate) fn read(message: &Message<'m>, fields: &Fields, good: &Statuses) -> Option<Self> {
        let http_status = http_status(message.get(fields.http_status));
        let network_status = match message.get(fields.network_status).as_text() {
            Some(text) => network_word(text),
            None => http_status.map(|_| "ok".into())?,
        };
        let is_match = message.get(fields.r#match).as_bool();
        let is_expected = message.get(fields.status_ok).as_bool();
        let reason = match http_status {
            _ if network_status != "ok" => network_status.clone(),
            None => "no_status".into(),
            Some(status) if !is_expected.unwrap_or_else(|| good.contains(status)) => format!("http_{status}").into(),
            Some(_) if is_match == Some(false) => "match".into(),
            Some(_) => "ok".into(),
        };
        // No answer takes longer than a day; one absurd number would spoil the quantiles of all the others.
        let seconds =
            message.get(fields.response_seconds).as_f64().filter(|seconds| (0.0..=86_400.0).contains(seconds));
        Some(Self { up: reason == "ok", reason, http_status, network_status, is_match, response_seconds: seconds })
    }
}

/// The status, as a number or as text; 0 is what some clients say where there was no answer. Some write 200 as `200.0`.
fn http_status(field: Json<'_>) -> Option<u16> {
    let status: f64 = field.as_text()?.trim().parse().ok()?;
    ((100.0..1000.0).contains(&status) && status.fract() == 0.0).then_some(status as u16)
}

/// `ok`, or what was wrong in one word that can be a label.
fn network_word(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    match text.trim() {
        "ok" | "OK" | "Ok" | "true" | "0" => "ok".into(),
        "false" | "" => "error".into(),
        word if word.len() == text.len() && word.len() <= WORD_BYTES_MAX && word.bytes().all(is_plain) => text,
        other => {
            let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
            other.chars().map(letter).take(WORD_BYTES_MAX).collect::<String>().into()
        }
    }
}

/// When the site was looked at; `None` where that cannot be read.
pub(crate) fn event_time(field: Json<'_>) -> Option<Timestamp> {
    let text = field.as_text()?;
    if let Ok(number) = text.parse::<f64>() {
        let secs = if number.abs() < MILLIS_FROM { number } else { number / 1000.0 };
        return (0.0..SECS_MAX).contains(&secs).then(|| Timestamp::from_micros((secs * 1e6).round() as i64));
    }
    let with_offset = text.parse::<jiff::Timestamp>().ok();
    let time = with_offset
        .or_else(|| text.parse::<DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp()));
    time.map(|time| Timestamp::from_micros(time.as_microsecond()))
}
