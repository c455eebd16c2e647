//! Who contributed what on which day.

use statscache_plugin_sdk::{Count, Declare, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(Contributions);

/// The plugin `contributions`.
pub struct Contributions {
    messages: Count,
}

impl Plugin for Contributions {
    const ID: &'static str = "contributions";
    const SUMMARY: &'static str = "who contributed what on which day";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        Ok(Self { messages: declare.count(Metric::new("messages").unit("messages")) })
    }

    fn process(&self, _: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.messages, (), 1);
        Ok(())
    }
}
