//! Whether web sites are up, how fast they answer, and since when they are down.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Uptime);

/// The plugin `uptime`.
pub struct Uptime {
    messages: Count,
}

impl Plugin for Uptime {
    const ID: &'static str = "uptime";
    const SUMMARY: &'static str = "whether web sites are up, how fast they answer, and since when they are down";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["*.*.*.uptime.#"]);
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
