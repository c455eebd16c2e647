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
