//! What projects take up, added up along their namespaces.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Storage);

/// The plugin `storage`.
pub struct Storage {
    messages: Count,
}

impl Plugin for Storage {
    const ID: &'static str = "storage";
    const SUMMARY: &'static str = "what projects take up, added up along their namespaces";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["*.*.*.storage.#"]);
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
