//! Who did what to what: user names and packages of fedmsg messages, by rules.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{Declare, Message, PluginError};

/// One rule, as an operator writes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Which topics it is for.
    pub topic: String,
}

/// All rules, the operator's before the shipped ones.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// The operator's own, and behind them the shipped ones.
    pub fn with(own: Vec<Rule>) -> Result<Self, PluginError> {
        Ok(Self { rules: own })
    }
}

/// What of it a plugin reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// User names only.
    Users,
    /// Packages only.
    Packages,
    /// Both.
    Both,
}

/// The rules with the fields that they read, for `Plugin::process`.
pub struct Meta {
    rules: Rules,
}

impl Meta {
    /// Declares the fields.
    pub fn declare(rules: Rules, _wanted: Wanted, _declare: &mut Declare) -> Self {
        Self { rules }
    }

    /// User names, each once, in order.
    pub fn users<'m>(&self, _message: &Message<'m>) -> Vec<Cow<'m, str>> {
        let _ = &self.rules.rules;
        Vec::new()
    }

    /// Packages, each once, in order.
    pub fn packages<'m>(&self, _message: &Message<'m>) -> Vec<Cow<'m, str>> {
        Vec::new()
    }
}
