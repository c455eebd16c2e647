//! Contributions to pagure.io: altogether, by user and by project.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_fedmsg_meta::{Meta, Rule, Rules, Wanted};
use statscache_plugin_sdk::{
    Count, Declare, Field, Legacy, Message, Metric, Plugin, PluginError, Updates, export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Pagure);

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics of the forge: every message on them is a contribution. `org.fedoraproject.prod.pagure.#` for the Pagure
    /// in front of Fedora's package sources.
    pub topics: Vec<String>,
    /// Where the name of the project may be, as JSON pointers into the envelope; the first that is there counts.
    pub project_pointers: Vec<String>,
    /// Rules for user names, tried before the shipped ones.
    pub rules: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Self {
        let pointers = [
            "/msg/pullrequest/project/name",
            "/msg/project/name",
            "/msg/repo/name",
            // Pushes until 2016.
            "/msg/commit/repo/name",
        ];
        Self {
            topics: vec!["io.pagure.prod.#".to_owned()],
            project_pointers: pointers.map(str::to_owned).to_vec(),
            rules: Vec::new(),
        }
    }
}

/// The plugin `pagure`.
pub struct Pagure {
    contributions: Count,
    by_user: Count,
    by_project: Count,
    users: Meta,
    projects: Vec<Field>,
}

/// The end of the topic of an edit that counts for its user, but not for its project.
const EDITED: &str = ".pagure.issue.comment.edited";
/// Buckets of all metrics.
const TIERS: &str = "1m for 7d, 1h for 400d, 1d forever";

impl Plugin for Pagure {
    const ID: &'static str = "pagure";
    const SUMMARY: &'static str = "contributions to pagure.io, by user and by project";
    const DESCRIPTION: &'static str = "\
A contribution is a message on one of the topics of `config.topics`, by default everything that pagure.io says: pushes, \
issues, comments, pull requests, forks and new projects.

It counts once for each of its users, who are found as in the plugin `contributions`, and once for its project: the name at \
the first of `config.project_pointers` that the message has. A namespace is no part of that name. Edited comments of \
issues do not count for a project, as they did not in the original statscache.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        if config.topics.is_empty() {
            return Err(PluginError::new("config.topics: is empty, so there would be nothing to count")
                .with_hint("leave it out for pagure.io"));
        }
        declare.topics(config.topics.iter().map(String::as_str));
        let rules = Rules::with(config.rules)?;
        Ok(Self {
            contributions: declare.count(metric("contributions", "number-of-contribution-to-pagure.io")),
            by_user: declare.count(
                metric("by_user", "number-of-contribution-per-user-to-pagure.io")
                    .by(["user"])
                    .describe("Contributions of each user."),
            ),
            by_project: declare.count(
                metric("by_project", "number-of-contribution-per-project-to-pagure.io")
                    .by(["project"])
                    .describe("Contributions to each project."),
            ),
            users: Meta::declare(rules, Wanted::Users, declare),
            projects: config.project_pointers.iter().map(|pointer| declare.field(pointer)).collect(),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.contributions, (), 1);
        for user in self.users.users(message) {
            updates.add(self.by_user, [&*user], 1);
        }
        if let Some(project) = self.project(message) {
            updates.add(self.by_project, [&*project], 1);
        }
        Ok(())
    }
}

impl Pagure {
    fn project<'m>(&self, message: &Message<'m>) -> Option<Cow<'m, str>> {
        if message.topic().ends_with(EDITED) {
            return None;
        }
        let mut names = self.projects.iter().filter_map(|field| message.get(*field).as_str());
        names.find(|name| !name.is_empty())
    }
}

/// A metric, and what it was called in the original.
fn metric(name: &str, ident: &str) -> Metric {
    Metric::new(name)
        .unit("contributions")
        .describe("All contributions.")
        .tiers(TIERS)
        .legacy(Legacy::new(ident, "volume").steps(["1d"]))
}
