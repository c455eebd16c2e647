//! Contributions to pagure.io, by user and by project.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Pagure);

/// The plugin `pagure`.
pub struct Pagure {
    messages: Count,
}

impl Plugin for Pagure {
    const ID: &'static str = "pagure";
    const SUMMARY: &'static str = "contributions to pagure.io, by user and by project";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["io.pagure.prod.#"]);
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
