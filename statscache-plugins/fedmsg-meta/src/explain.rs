//! Which rule says what about a message, and where it found it.

use serde::Serialize;
use statscache_plugin_sdk::{Json, PluginError, host::FieldSet};

use crate::compile::Program;
use crate::run::{By, Names, Read};
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
    /// Each once, in order, with the place where it was found.
    pub names: Vec<(String, String)>,
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
    slots: [usize; 3],
}

impl Explainer {
    /// For these rules.
    pub fn new(rules: &Rules) -> Self {
        let mut fields = FieldSet::default();
        let slots = ["/topic", "/msg", "/headers"].map(|pointer| fields.insert(pointer));
        Self { program: rules.program(Wanted::Both), fields, slots }
    }

    /// The topic of a whole envelope, and what the rules say about it. An error where it is none.
    pub fn explain(&self, envelope: &str) -> Result<(String, Explanation), PluginError> {
        let mut found = vec![None; self.fields.len()];
        self.fields.extract(envelope, &mut found).map_err(|error| PluginError::new(format!("it is not JSON: {error}")))?;
        let [topic, msg, headers] = self.slots.map(|slot| found[slot]);
        let topic = topic.and_then(|raw| Json::from_raw(raw).as_str());
        let topic = topic.ok_or_else(|| PluginError::new("it has no `topic` that is a text"))?;
        let [users, packages] = self.program.names(Read { topic: &topic, msg, headers }, [true; 2]);
        let explanation = Explanation { users: users.into(), packages: packages.into() };
        Ok((topic.clone().into_owned(), explanation))
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
        let names = names.found.into_iter().map(|found| (found.name.into_owned(), found.at.to_owned()));
        Self { by, names: names.collect() }
    }
}
