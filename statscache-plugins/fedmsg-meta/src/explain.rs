//! Which rule says what about a message, and where it found it.

use std::fmt;

use serde::Serialize;
use statscache_plugin_sdk::{Json, PluginError, host::FieldSet};

use crate::compile::Program;
use crate::run::{By, Found, Names, Read};
use crate::{Rules, Wanted};

/// What the rules say about one message.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Users.
    pub users: Finding,
    /// Packages.
    pub packages: Finding,
}

/// Names of one kind.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Who said them, or that there are none.
    pub by: Speaker,
    /// Each once, in order.
    pub names: Vec<Name>,
}

/// A name, and where it was found: a place in `msg`, or words for another source.
#[derive(Debug, Serialize)]
pub struct Name {
    /// The user or package.
    pub name: String,
    /// The place.
    pub at: String,
}

/// Who decides what the names are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The publisher, in headers of fedora-messaging.
    Headers,
    /// The rule with this name.
    Rule(String),
    /// The rule with this name, which is for every topic.
    Generic(String),
    /// No rule is for the topic.
    Nobody,
}

/// Explains messages without a daemon.
#[derive(Debug)]
pub struct Explainer {
    program: Program,
    fields: FieldSet,
    slots: [usize; 4],
}

impl Explainer {
    /// For these rules.
    pub fn new(rules: &Rules) -> Self {
        let mut fields = FieldSet::default();
        let slots = ["/topic", "/msg", "/headers", "/message"].map(|pointer| fields.insert(pointer));
        Self { program: rules.program(Wanted::Both), fields, slots }
    }

    /// The topic of a whole envelope, and what the rules say about it. Archives keep it as the `message` of an object;
    /// that is looked into. An error where there is none.
    pub fn explain(&self, envelope: &str) -> Result<(String, Explanation), PluginError> {
        let mut found = vec![None; self.fields.len()];
        let not_json = |error| PluginError::new(format!("it is not JSON: {error}"));
        self.fields.extract(envelope, &mut found).map_err(not_json)?;
        let [topic, _, _, wrapped] = self.slots.map(|slot| found[slot]);
        if let (None, Some(message)) = (topic, wrapped) {
            self.fields.extract(message, &mut found).map_err(not_json)?;
        }
        let [topic, msg, headers, _] = self.slots.map(|slot| found[slot]);
        let topic = topic.and_then(|raw| Json::from_raw(raw).as_str());
        let topic = topic.ok_or_else(|| PluginError::new("it has no `topic` that is a text"))?;
        let [users, packages] = self.program.names(Read { topic: &topic, msg, headers }, [true; 2]);
        let explanation = Explanation { users: users.into(), packages: packages.into() };
        Ok((topic.clone().into_owned(), explanation))
    }
}

impl Speaker {
    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Rule(name) | Self::Generic(name) => Some(name),
            Self::Headers | Self::Nobody => None,
        }
    }
}

/// As `explain` prints it.
impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Headers => f.write_str("headers"),
            Self::Rule(name) => f.write_str(name),
            Self::Generic(name) => write!(f, "{name} (generic)"),
            Self::Nobody => f.write_str("no rule"),
        }
    }
}

impl From<Names<'_, '_>> for Finding {
    fn from(names: Names<'_, '_>) -> Self {
        let by = match names.by {
            By::Headers => Speaker::Headers,
            By::Rule(rule) if rule.topic.is_all() => Speaker::Generic(rule.name.clone()),
            By::Rule(rule) => Speaker::Rule(rule.name.clone()),
            By::Nobody => Speaker::Nobody,
        };
        let name = |found: Found<'_, '_>| Name { name: found.name.into_owned(), at: found.at.to_owned() };
        let names = names.found.into_iter().map(name);
        Self { by, names: names.collect() }
    }
}
