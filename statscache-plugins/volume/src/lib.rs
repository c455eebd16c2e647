//! How many messages the bus carries: altogether, by category, by topic; and what each topic
//! carried last.
//!
//! It sees every message, so the default configuration parses nothing of the body and allocates
//! nothing of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use statscache_plugin_sdk::{
    Count, Declare, Field, InternedLabel, Label, Latest, Legacy, Message, Metric, Plugin, PluginError, Updates,
    export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Volume);

/// Category of messages whose topic has none.
pub const UNCLASSIFIED: &str = "unclassified";

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Whether `latest_by_topic` keeps what the newest message of each topic said (its `msg`),
    /// rather than its size alone.
    pub latest_body: bool,
    /// With `latest_body`: a `msg` of more bytes than this is left out, and only its size kept.
    pub latest_body_bytes_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        // 4 KiB holds nine of ten messages of a fedmsg bus; times 30,000 topics it is 120 MB.
        Self { latest_body: false, latest_body_bytes_max: 4096 }
    }
}

/// The plugin `volume`.
pub struct Volume {
    messages: Count,
    by_category: Count,
    by_topic: Count,
    latest_by_topic: Latest,
    unclassified: InternedLabel,
    /// The `msg` of the envelope and the most bytes to keep of it, where that is wanted.
    msg: Option<(Field, usize)>,
}

/// A value of `latest_by_topic`.
#[derive(Serialize)]
struct Newest<'a> {
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a RawValue>,
}

impl Plugin for Volume {
    const ID: &'static str = "volume";
    const SUMMARY: &'static str = "how many messages the bus carries, by category and by topic";
    const DESCRIPTION: &'static str = "\
Counts every message, in buckets from one second to one day.

The **category** is the fourth word of the topic (`bodhi` in `org.fedoraproject.prod.bodhi.update.comment`); the
third where the topic contains `VirtualTopic`, as those of the unified message bus do; and `unclassified` where the
topic is too short to have one.

`latest_by_topic` answers with `{\"bytes\": 812}`, the size of the whole envelope, for the newest message of each topic,
and tells thereby when each topic was last seen. With `latest_body = true` it holds the `msg` of the message, too,
unless that is longer than `latest_body_bytes_max`.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        Ok(Self {
            messages: declare.count(
                Metric::new("messages")
                    .unit("messages")
                    .describe("All messages.")
                    .legacy(Legacy::new("volume", "volume").steps(["1s", "5s", "1m"])),
            ),
            by_category: declare.count(
                Metric::new("by_category")
                    .by(["category"])
                    .unit("messages")
                    .describe("Messages of each category.")
                    .legacy(Legacy::new("volume-by-category", "volume").steps(["1s", "15s", "1m", "1h", "1d"])),
            ),
            by_topic: declare.count(
                Metric::new("by_topic")
                    .by(["topic"])
                    .unit("messages")
                    .describe("Messages of each topic.")
                    .legacy(Legacy::new("volume-by-topic", "volume").steps(["1s", "5s", "1m"])),
            ),
            latest_by_topic: declare.latest(
                Metric::new("latest_by_topic")
                    .by(["topic"])
                    .describe("The newest message of each topic: its size in `bytes`, and its `msg` if so configured."),
            ),
            unclassified: declare.label(UNCLASSIFIED),
            msg: config.latest_body.then(|| (declare.field("/msg"), config.latest_body_bytes_max as usize)),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let topic = message.topic();
        let category = category(topic).map_or(Label::interned(self.unclassified), Label::text);
        updates.add(self.messages, (), 1);
        updates.add(self.by_category, [category], 1);
        updates.add(self.by_topic, [topic], 1);
        updates.set(self.latest_by_topic, [topic], &Newest { bytes: message.body().len(), msg: self.kept(message)? })
    }
}

impl Volume {
    fn kept<'a>(&self, message: &Message<'a>) -> Result<Option<&'a RawValue>, PluginError> {
        let Some((msg, bytes_max)) = self.msg else { return Ok(None) };
        match message.get(msg).raw() {
            Some(raw) if raw.len() <= bytes_max => Ok(Some(serde_json::from_str(raw)?)),
            _ => Ok(None),
        }
    }
}

/// The category of a topic: its fourth word, the third where it contains `VirtualTopic`.
fn category(topic: &str) -> Option<&str> {
    let position = if topic.contains("VirtualTopic") { 2 } else { 3 };
    topic.split('.').nth(position).filter(|word| !word.is_empty())
}
