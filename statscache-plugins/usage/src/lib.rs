//! Who uses which link of a catalogue.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Usage);

/// The plugin `usage`.
pub struct Usage {
    messages: Count,
}

impl Plugin for Usage {
    const ID: &'static str = "usage";
    const SUMMARY: &'static str = "who uses which link of a catalogue";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["*.*.*.usage.#"]);
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
