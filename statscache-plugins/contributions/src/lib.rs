//! Who contributed what on which day.
//!
//! Each message counts once for each user that it names, under its category. Days are kept for ever: they are the
//! calendar of a person's years, and what a profile page or a ranking asks for.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_fedmsg_meta::{Meta, Rule, Rules, UNCLASSIFIED, Wanted, category};
use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

#[cfg(test)]
mod tests;

export_plugins!(Contributions);

/// Accounts of services on Fedora's bus, and names that are nobody's.
const BOTS: [&str; 12] = [
    "anitya",
    "anonymous",
    "apache",
    "bodhi",
    "hotness",
    "koschei",
    "masher",
    "packit",
    "releng",
    "root",
    "upstream-release-monitoring",
    "zodbot",
];

/// Categories of other plugins' messages, which say who used or joined something, not who made it.
const NO_WORK: [&str; 2] = ["membership", "usage"];

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics whose messages are contributions; `*.*.*.git.#` and `*.*.*.wiki.#` for those of two services alone.
    pub topics: Vec<String>,
    /// Users that are left out: bots. A list given here stands instead of the default one.
    pub ignore_users: BTreeSet<String>,
    /// Categories that are left out: who uses a thing does not contribute. A list given here stands instead of the
    /// default one.
    pub ignore_categories: BTreeSet<String>,
    /// Rules for user names, tried before the shipped ones.
    pub rules: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: vec!["#".to_owned()],
            ignore_users: BOTS.into_iter().map(str::to_owned).collect(),
            ignore_categories: NO_WORK.into_iter().map(str::to_owned).collect(),
            rules: Vec::new(),
        }
    }
}

/// The plugin `contributions`.
pub struct Contributions {
    actions: Count,
    users: Meta,
    ignore_users: BTreeSet<String>,
    ignore_categories: BTreeSet<String>,
}

impl Plugin for Contributions {
    const ID: &'static str = "contributions";
    const SUMMARY: &'static str = "who contributed what on which day";
    const DESCRIPTION: &'static str = "\
`actions` counts each message once for each user that it names, under the category of its topic (the fourth word, as in \
`volume`), in hours for eight days and in days for ever.

Users are found by rules: the headers of fedora-messaging where there are any, then `config.rules`, then the shipped \
rules for the services of Fedora's bus. A message that names nobody counts for nobody, and neither do the users of \
`config.ignore_users`, nor messages of `config.ignore_categories`.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        if config.topics.is_empty() {
            return Err(PluginError::new("config.topics: is empty, so there would be nothing to count")
                .with_hint("leave it out for all topics"));
        }
        declare.topics(config.topics.iter().map(String::as_str));
        let rules = Rules::with(config.rules)?;
        Ok(Self {
            actions: declare.count(
                Metric::new("actions")
                    .by(["user", "category"])
                    .unit("actions")
                    .describe("Messages that name a user, of each category.")
                    .tiers("1h for 8d, 1d forever"),
            ),
            users: Meta::declare(rules, Wanted::Users, declare),
            ignore_users: config.ignore_users,
            ignore_categories: config.ignore_categories,
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let category = category(message.topic()).unwrap_or(UNCLASSIFIED);
        if self.ignore_categories.contains(category) {
            return Ok(());
        }
        for user in self.users.users(message).iter().filter(|user| !self.ignore_users.contains(&***user)) {
            updates.add(self.actions, [&**user, category], 1);
        }
        Ok(())
    }
}
