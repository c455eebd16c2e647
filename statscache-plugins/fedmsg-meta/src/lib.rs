//! Who did what to what: the names of users and packages in messages of a fedmsg bus.
//!
//! Publishers put them where they like, so there are rules: for some topics, here are the users, there the packages.
//! [`rules.toml`](../rules.toml) holds those of Fedora's services; an operator's own come before them. Publishers that
//! use fedora-messaging say it themselves, in the headers; then no rule is asked.

use std::borrow::Cow;

use statscache_plugin_sdk::{Declare, Field, Message};

use crate::compile::Program;
use crate::run::{Names, Read};

mod category;
mod compile;
mod explain;
mod place;
mod rule;
mod rules;
mod run;
mod scan;
mod text;
mod topic;

#[cfg(test)]
mod tests;

pub use category::{UNCLASSIFIED, category};
pub use explain::{Explainer, Explanation, Finding, Name, Speaker};
pub use rule::{Condition, Detail, Rule, Source, Step};
pub use rules::Rules;

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
#[derive(Debug)]
pub struct Meta {
    program: Program,
    msg: Field,
    headers: Field,
}

impl Meta {
    /// Declares the fields: `msg` and `headers` as a whole, however many places the rules name. Each message is then
    /// searched for the few that its own rule needs.
    pub fn declare(rules: Rules, wanted: Wanted, declare: &mut Declare) -> Self {
        Self { program: rules.program(wanted), msg: declare.field("/msg"), headers: declare.field("/headers") }
    }

    /// User names, each once, in order.
    pub fn users<'m>(&self, message: &Message<'m>) -> Vec<Cow<'m, str>> {
        let [users, _] = self.program.names(self.read(message), [true, false]);
        texts(users)
    }

    /// Packages, each once, in order.
    pub fn packages<'m>(&self, message: &Message<'m>) -> Vec<Cow<'m, str>> {
        let [_, packages] = self.program.names(self.read(message), [false, true]);
        texts(packages)
    }

    /// Users and packages at once, for half the work.
    pub fn both<'m>(&self, message: &Message<'m>) -> (Vec<Cow<'m, str>>, Vec<Cow<'m, str>>) {
        let [users, packages] = self.program.names(self.read(message), [true; 2]);
        (texts(users), texts(packages))
    }

    fn read<'m>(&self, message: &Message<'m>) -> Read<'m> {
        Read { topic: message.topic(), msg: message.get(self.msg).raw(), headers: message.get(self.headers).raw() }
    }
}

fn texts<'m>(names: Names<'_, 'm>) -> Vec<Cow<'m, str>> {
    names.found.into_iter().map(|found| found.name).collect()
}
