//! Build results per package, and the newest one of each.
//!
//! Copy this folder, change what is between `declare` and the tests, and you have a plugin.

use schemars::JsonSchema;
use serde::Deserialize;
use statscache_plugin_sdk::*;

/// What the operator may write under `config`. Doc comments become the help at
/// `/plugins/builds/schema`; what is missing in the file takes the defaults.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Config {
    /// Whether builds that were canceled count, too.
    canceled: bool,
}

/// The plugin: handles of what it declared, and nothing that changes.
struct Builds {
    canceled: bool,
    package: Field,
    state: Field,
    builds: Count,
    newest: Latest,
}

impl Plugin for Builds {
    const ID: &str = "builds";
    const SUMMARY: &str = "build results per package";
    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["org.fedoraproject.*.buildsys.build.state.change"]);
        Ok(Self {
            canceled: config.canceled,
            package: declare.field("/msg/name"),
            state: declare.field("/msg/new"),
            builds: declare.count(
                Metric::new("builds").by(["package", "result"]).unit("builds").describe("Builds that came to an end."),
            ),
            newest: declare
                .latest(Metric::new("newest").by(["package"]).describe("The newest result of each package.")),
        })
    }

    fn process(&self, message: &Message, updates: &mut Updates) -> Result<(), PluginError> {
        let Some(package) = message.get(self.package).as_str() else { return Ok(()) };
        let result = match message.get(self.state).as_i64() {
            Some(1) => "complete",
            Some(3) => "failed",
            Some(4) if self.canceled => "canceled",
            _ => return Ok(()),
        };
        updates.add(self.builds, [&*package, result], 1);
        updates.set(self.newest, [&package], result)
    }
}

export_plugins!(Builds);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use statscache_plugin_sdk::testing::Harness;

    use super::Builds;

    const TOPIC: &str = "org.fedoraproject.prod.buildsys.build.state.change";

    #[test]
    fn builds_are_counted_when_they_end() {
        let mut harness = Harness::<Builds>::new(());
        for state in [0, 3, 0, 1, 4] {
            harness.send(TOPIC, json!({"name": "bash", "new": state}));
        }
        assert_eq!(harness.count("builds", ["bash", "complete"]), 1);
        assert_eq!(harness.count("builds", ["bash", "failed"]), 1);
        assert_eq!(harness.count("builds", ["bash", "canceled"]), 0);
        assert_eq!(harness.latest("newest", ["bash"]), Some(json!("complete")));
    }

    #[test]
    fn canceled_builds_count_when_the_operator_says_so() {
        let mut harness = Harness::<Builds>::new(json!({"canceled": true}));
        harness.send(TOPIC, json!({"name": "bash", "new": 4}));
        assert_eq!(harness.count("builds", ["bash", "canceled"]), 1);
    }
}
