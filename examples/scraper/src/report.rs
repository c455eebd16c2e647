//! What goes onto the bus: an envelope of fedmsg's form, without `msg_id`.
//!
//! An id of the scraper's own would tell two scrapers' messages about the same check apart. Without one, the daemon
//! takes what `[bus] id_pointers` name: the address and the beginning of the interval.

use serde::Serialize;

use crate::check::{Network, Outcome};

/// A message.
#[derive(Serialize)]
pub(crate) struct Envelope<'a> {
    topic: &'a str,
    /// When it was found, seconds since 1970.
    timestamp: f64,
    /// Counts this scraper's messages.
    i: u64,
    msg: Report<'a>,
}

/// How a site was found.
#[derive(Serialize)]
struct Report<'a> {
    url: &'a str,
    http_status: Option<u16>,
    network_status: Network,
    /// `null` where nothing is to be matched, or nothing came that could be.
    r#match: Option<bool>,
    /// Whether the status is one that the site is expected to have, where that is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_ok: Option<bool>,
    response_seconds: Option<f64>,
    /// Beginning of the interval that was checked: not the moment, which differs from scraper to scraper.
    tstamp: i64,
}

impl<'a> Envelope<'a> {
    /// What is said of a site. `now` in microseconds since 1970.
    pub(crate) fn new(
        topic: &'a str,
        (number, now): (u64, i64),
        (url, tstamp): (&'a str, i64),
        found: &Outcome,
    ) -> Self {
        let msg = Report {
            url,
            http_status: found.http_status,
            network_status: found.network,
            r#match: found.is_match,
            status_ok: found.is_expected,
            response_seconds: found.response.map(|took| (took.as_secs_f64() * 1e6).round() / 1e6),
            tstamp,
        };
        Self { topic, timestamp: now as f64 / 1e6, i: number, msg }
    }
}
