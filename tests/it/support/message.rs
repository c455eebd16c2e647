//! Messages as fedmsg sends them.

use std::{
    collections::BTreeMap,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use statscache_server::clock::{Clock, SystemClock};

/// The present, in seconds.
pub fn now_secs() -> i64 {
    SystemClock.now().micros().div_euclid(1_000_000)
}

/// A message, by default with an id of its own and the present as its time.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub time: f64,
    pub id: String,
    pub msg: Value,
}

impl Message {
    pub fn new(topic: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("2026-{:08x}-0000-4000-8000-{number:012x}", process::id());
        Self { topic: topic.to_owned(), time: now_secs() as f64, id, msg: json!({}) }
    }

    pub fn at(mut self, secs: i64) -> Self {
        self.time = secs as f64;
        self
    }

    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    pub fn msg(mut self, msg: Value) -> Self {
        self.msg = msg;
        self
    }

    /// The envelope as text.
    pub fn body(&self) -> String {
        json!({"topic": self.topic, "timestamp": self.time, "msg_id": self.id, "msg": self.msg}).to_string()
    }

    /// The id as the daemon shows it: without the year.
    pub fn shown_id(&self) -> &str {
        self.id.strip_prefix("2026-").unwrap_or(&self.id)
    }

    /// Start of the bucket of that width, in seconds.
    pub fn bucket(&self, width: i64) -> i64 {
        (self.time as i64).div_euclid(width) * width
    }

    pub fn category(&self) -> &str {
        self.topic.split('.').nth(3).unwrap_or("unclassified")
    }
}

/// Messages of each topic.
pub fn topic_counts(messages: &[Message]) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(message.topic.clone()).or_default() += 1;
    }
    counts
}

/// RFC 3339 as the daemon writes it, by the rule for civil dates.
pub fn rfc3339(secs: i64) -> String {
    let (days, rest) = (secs.div_euclid(86_400) + 719_468, secs.rem_euclid(86_400));
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
