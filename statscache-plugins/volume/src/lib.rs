//! How many messages the bus carries: altogether, by category, topic, user and package; and what
//! each topic carried last.
//!
//! It sees every message. Of the body it reads what the rules of `statscache-fedmsg-meta` need
//! for the message's topic, and stops there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use statscache_fedmsg_meta::{Meta, Rule, Rules, UNCLASSIFIED, Wanted, category};
use statscache_plugin_sdk::{
    Count, Declare, Field, InternedLabel, Label, Latest, Legacy, Message, Metric, Plugin, PluginError, Updates,
    export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Volume);

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Whether `latest_by_topic` keeps what the newest message of each topic said (its `msg`),
    /// rather than its size alone.
    pub latest_body: bool,
    /// With `latest_body`: a `msg` of more bytes than this is left out, and only its size kept.
    pub latest_body_bytes_max: u32,
    /// Rules that say where messages name users and packages, before the shipped ones.
    pub rules: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Self {
        // 4 KiB holds nine of ten messages of a fedmsg bus; times 30,000 topics it is 120 MB.
        Self { latest_body: false, latest_body_bytes_max: 4096, rules: Vec::new() }
    }
}

/// The plugin `volume`.
pub struct Volume {
    messages: Count,
    by_category: Count,
    by_topic: Count,
    by_user: Count,
    by_package: Count,
    meta: Meta,
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
    const SUMMARY: &'static str = "how many messages the bus carries, by category, topic, user and package";
    const DESCRIPTION: &'static str = "\
Counts every message, in buckets from one second to one day.

The **category** is the fourth word of the topic (`bodhi` in `org.fedoraproject.prod.bodhi.update.comment`); the
third where the topic contains `VirtualTopic`, as those of the unified message bus do; and `unclassified` where the
topic is too short to have one.

Users and packages are found by rules for the services of Fedora, by your own `rules` before them, and by the headers of
fedora-messaging before both. A message counts once for each user and each package that it names, so their sum is not
the number of messages. `statscache meta explain` shows what is found where.

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
            by_user: declare.count(
                Metric::new("by_user")
                    .by(["user"])
                    .unit("messages")
                    .describe("Messages that name each user.")
                    .legacy(Legacy::new("volume-by-user", "volume").steps(["1s", "5s", "1m"])),
            ),
            by_package: declare.count(
                Metric::new("by_package")
                    .by(["package"])
                    .unit("messages")
                    .describe("Messages that name each package.")
                    .legacy(Legacy::new("volume-by-package", "volume").steps(["1s", "5s", "1m"])),
            ),
            meta: Meta::declare(Rules::with(config.rules)?, Wanted::Both, declare),
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
        let (users, packages) = self.meta.both(message);
        for user in &users {
            updates.add(self.by_user, [&**user], 1);
        }
        for package in &packages {
            updates.add(self.by_package, [&**package], 1);
        }
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
