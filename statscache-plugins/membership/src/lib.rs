//! Distinct members and cities of groups.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Membership);

/// The plugin `membership`.
pub struct Membership {
    messages: Count,
}

impl Plugin for Membership {
    const ID: &'static str = "membership";
    const SUMMARY: &'static str = "distinct members and cities of groups";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["*.*.*.membership.#"]);
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
