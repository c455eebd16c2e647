//! How many there are: different members of groups, and the different cities that they are in.
//!
//! A message reports that a user was seen in a group, in a city. It may be repeated as often as
//! one likes: whoever was counted in a stretch of time is not counted again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{
    Count, Declare, Distinct, Field, Message, Metric, Plugin, PluginError, Updates, export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Membership);

/// Hours for a month, days for ever: a distinct bucket takes up to 2 KiB, so there are no minutes.
const TIERS: &str = "1h for 35d, 1d forever";

/// What the operator can choose: which messages are reports, and where they say what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics of reports; `*` is one word, `#` any number of words.
    pub topics: Vec<String>,
    /// JSON pointer to the group: a name or a number.
    pub group: String,
    /// JSON pointer to the user name.
    pub user: String,
    /// JSON pointer to the city.
    pub city: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: vec!["*.*.*.membership.#".to_owned()],
            group: "/msg/group".to_owned(),
            user: "/msg/user".to_owned(),
            city: "/msg/city".to_owned(),
        }
    }
}

/// The plugin `membership`.
pub struct Membership {
    members: Distinct,
    cities: Distinct,
    all_members: Distinct,
    all_cities: Distinct,
    reports: Count,
    group: Field,
    user: Field,
    city: Field,
}

impl Plugin for Membership {
    const ID: &'static str = "membership";
    const SUMMARY: &'static str = "distinct members and cities of groups";
    const DESCRIPTION: &'static str = "\
Counts how many different users were reported in each group (`members`), and in how many different cities they were \
(`cities`); `all_members` and `all_cities` are over all groups, where one who is in two groups counts once. `reports` is \
how many messages said so, with all repetition.

A number is exact up to 256 and has a standard error of 1.6 % beyond.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        if config.topics.is_empty() {
            return Err(PluginError::new("config.topics: there is none").with_hint("leave it out for the default"));
        }
        declare.topics(config.topics.iter().map(String::as_str));
        let metric = |name, unit, what| Metric::new(name).unit(unit).describe(what).tiers(TIERS);
        let of_group = |name, unit, what| metric(name, unit, what).by(["group"]);
        Ok(Self {
            members: declare.distinct(of_group("members", "users", "Different users of each group.")),
            cities: declare.distinct(of_group("cities", "cities", "Different cities of each group.")),
            all_members: declare.distinct(metric("all_members", "users", "Different users of all groups.")),
            all_cities: declare.distinct(metric("all_cities", "cities", "Different cities of all groups.")),
            reports: declare.count(of_group("reports", "reports", "Reports about each group, repeated ones too.")),
            group: declare.field(&config.group),
            user: declare.field(&config.user),
            city: declare.field(&config.city),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let Some(group) = message.get(self.group).as_label() else { return Ok(()) };
        let group = &*group;
        updates.add(self.reports, [group], 1);
        if let Some(user) = message.get(self.user).as_label() {
            updates.insert(self.members, [group], &user);
            updates.insert(self.all_members, (), &user);
        }
        if let Some(city) = message.get(self.city).as_label() {
            updates.insert(self.cities, [group], &city);
            updates.insert(self.all_cities, (), &city);
        }
        Ok(())
    }
}
