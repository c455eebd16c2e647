//! All rules together: where they come from and in which order they are tried.

use serde::Deserialize;
use statscache_plugin_sdk::PluginError;
use toml::Spanned;

use crate::Wanted;
use crate::compile::{Named, Program};
use crate::rule::Rule;

/// The rules of Fedora's services.
const SHIPPED: &str = include_str!("../rules.toml");
/// Their file, as `explain` names it.
const SHIPPED_NAME: &str = "fedmsg-meta/rules.toml";

/// All rules, the operator's before the shipped ones.
#[derive(Clone, Debug)]
pub struct Rules {
    named: Vec<Named>,
    /// How many of them are shipped; they are the last.
    shipped: usize,
}

/// A file of rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rules: Vec<Spanned<Rule>>,
}

impl Rules {
    /// The operator's own, and behind them the shipped ones. Errors name the first rule that is wrong, and the key.
    pub fn with(own: Vec<Rule>) -> Result<Self, PluginError> {
        let own = own.into_iter().enumerate();
        Self::before_shipped(
            own.map(|(number, rule)| Named { name: format!("config.rules[{number}]"), rule }).collect(),
        )
    }

    /// The same with rules from a TOML text: `[[rules]]`, each with its `topic`. `file` stands in errors.
    pub fn with_toml(file: &str, text: &str) -> Result<Self, PluginError> {
        Self::before_shipped(parse(file, text)?)
    }

    fn before_shipped(mut named: Vec<Named>) -> Result<Self, PluginError> {
        // Both kinds, whatever the plugin reads: the operator shall hear of each mistake.
        Program::new(&named, Wanted::Both)?;
        let shipped = parse(SHIPPED_NAME, SHIPPED)?;
        named.extend_from_slice(&shipped);
        Ok(Self { named, shipped: shipped.len() })
    }

    /// Names of all rules, in the order in which they are tried, and whether each is a shipped one.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let own = self.named.len() - self.shipped;
        self.named.iter().enumerate().map(move |(number, named)| (named.name.as_str(), number >= own))
    }

    /// What is run for a plugin that reads this.
    pub(crate) fn program(&self, wanted: Wanted) -> Program {
        Program::new(&self.named, wanted)
            .expect("the operator's were compiled when they were read, the shipped ones in a test")
    }

    /// Only the rules that a test keeps.
    #[cfg(test)]
    pub(crate) fn retain(&mut self, keep: impl Fn(&Rule) -> bool) {
        self.named.retain(|named| keep(&named.rule));
    }
}

fn parse(file: &str, text: &str) -> Result<Vec<Named>, PluginError> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let rules = toml::from_str::<File>(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        PluginError::new(format!("{file}:{}: {}", line(at), error.message()))
    })?;
    let named = rules.rules.into_iter().map(|rule| {
        let name = format!("{file}:{}", line(rule.span().start));
        Named { name, rule: rule.into_inner() }
    });
    Ok(named.collect())
}
