//! Reads two fields and makes two updates: the same code behind the ABI and linked in.

use statscache_plugin_sdk::{Count, Declare, Field, Message, Metric, Plugin, PluginError, Updates, export_plugins};

export_plugins!(TwoFields);

/// Counts by each of two fields.
#[derive(Debug)]
pub struct TwoFields {
    user: Field,
    package: Field,
    by_user: Count,
    by_package: Count,
}

impl Plugin for TwoFields {
    const ID: &'static str = "two-fields";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        Ok(Self {
            user: declare.field("/msg/user"),
            package: declare.field("/msg/package"),
            by_user: declare.count(Metric::new("by_user").by(["user"])),
            by_package: declare.count(Metric::new("by_package").by(["package"])),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        if let Some(user) = message.get(self.user).as_str() {
            updates.add(self.by_user, [&*user], 1);
        }
        if let Some(package) = message.get(self.package).as_str() {
            updates.add(self.by_package, [&*package], 1);
        }
        Ok(())
    }
}
