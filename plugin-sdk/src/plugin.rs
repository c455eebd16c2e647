//! What an author implements.

use crate::{Declare, Message, PluginError, Updates};

/// A pure function from messages to updates of declared metrics.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// Name in URLs and configuration: lower-case letters, digits, `-`; unique in a daemon.
    const ID: &'static str;
    /// One line for `/plugins`: what it keeps statistics about.
    const SUMMARY: &'static str = "";
    /// More, in Markdown.
    const DESCRIPTION: &'static str = "";
    /// Raise it when the same messages shall give other numbers than before: the daemon then
    /// folds its journal anew instead of adding to numbers of the old meaning.
    const STATE_VERSION: u32 = 1;

    /// Its configuration; `()` for none. What is missing in the operator's file takes the defaults
    /// that serde knows of, so `#[serde(default)]` on the struct lets a plugin start without any.
    /// Unknown keys are refused before [`Plugin::declare`] is called.
    type Config: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// Declares topics, fields and metrics and keeps their handles. Called once per instance.
    fn declare(config: Self::Config, declare: &mut Declare) -> Result<Self, PluginError>;

    /// Says what one message means. What it says depends on the message alone.
    ///
    /// An error or a panic takes back every update of this message; the message counts as failed.
    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError>;
}
