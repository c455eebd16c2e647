//! Who uses which link of a catalogue: uses and different users of each link, users who were
//! active, what each of them uses most, and what has not been used for long.
//!
//! One message is one use. Where a message has no link there is nothing to count; one without a
//! user is a use by nobody in particular.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{
    Count, Declare, Distinct, Field, Latest, Message, Metric, Plugin, PluginError, Updates, export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Usage);

/// Hours for a month, so that "the last 30 days" is exact to the hour; days for ever.
const TIERS: &str = "1h for 35d, 1d forever";
/// Days alone for what has many label sets or heavy buckets.
const DAYS: &str = "1d forever";

/// What the operator can choose: which messages are uses, and where they say what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics of messages about a use; `*` is one word, `#` any number of words.
    pub topics: Vec<String>,
    /// JSON pointer to the link: a path, a URL, a name or a number.
    pub link: String,
    /// JSON pointer to the user: a name or a number.
    pub user: String,
    /// JSON pointer to the title of the link, for people.
    pub title: String,
    /// JSON pointer to where the link leads, if that is not the link itself.
    pub url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: vec!["*.*.*.usage.#".to_owned()],
            link: "/msg/link".to_owned(),
            user: "/msg/user".to_owned(),
            title: "/msg/title".to_owned(),
            url: "/msg/url".to_owned(),
        }
    }
}

/// The plugin `usage`.
pub struct Usage {
    uses: Count,
    users: Distinct,
    active_users: Distinct,
    favourites: Count,
    links: Latest,
    link: Field,
    user: Field,
    title: Field,
    url: Field,
}

/// A value of `links`: what the newest use said of the link.
#[derive(Serialize)]
struct Link<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
}

impl Plugin for Usage {
    const ID: &'static str = "usage";
    const SUMMARY: &'static str = "who uses which link of a catalogue";
    const DESCRIPTION: &'static str = "\
Counts one use for each message that names a link: `/msg/link`, and if known `/msg/user`, `/msg/title` and `/msg/url`.

`uses` and `users` are by link; `active_users` is how many different users there were at all; `favourites` is how often \
each user used each link. `links` holds what the newest use of a link said of it, and its time is when that was.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        if config.topics.is_empty() {
            return Err(PluginError::new("config.topics: there is none").with_hint("leave it out for the default"));
        }
        declare.topics(config.topics.iter().map(String::as_str));
        Ok(Self {
            uses: declare
                .count(Metric::new("uses").by(["link"]).unit("uses").tiers(TIERS).describe("Uses of each link.")),
            users: declare.distinct(
                Metric::new("users").by(["link"]).unit("users").tiers(DAYS).describe("Different users of each link."),
            ),
            active_users: declare.distinct(
                Metric::new("active_users").unit("users").tiers(TIERS).describe("Different users of any link."),
            ),
            favourites: declare.count(
                Metric::new("favourites")
                    .by(["user", "link"])
                    .unit("uses")
                    .tiers(DAYS)
                    .describe("Uses of each link by each user."),
            ),
            links: declare.latest(
                Metric::new("links").by(["link"]).describe("When each link was last used, with its `title` and `url`."),
            ),
            link: declare.field(&config.link),
            user: declare.field(&config.user),
            title: declare.field(&config.title),
            url: declare.field(&config.url),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let Some(link) = message.get(self.link).as_label() else { return Ok(()) };
        let link = &*link;
        updates.add(self.uses, [link], 1);
        if let Some(user) = message.get(self.user).as_label() {
            updates.insert(self.users, [link], &user);
            updates.insert(self.active_users, (), &user);
            updates.add(self.favourites, [&*user, link], 1);
        }
        let newest = Link { title: message.get(self.title).as_label(), url: message.get(self.url).as_label() };
        updates.set(self.links, [link], &newest)
    }
}
