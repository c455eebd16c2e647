//! What the rules find in one message.

use std::borrow::Cow;

use crate::compile::{Choice, Compiled, Origin, Program, Texts};
use crate::json::entries;
use crate::place::Slots;

/// Beginnings of the headers in which fedora-messaging lists what a message is about.
const USER_HEADER: &str = "fedora_messaging_user_";
const PACKAGE_HEADER: &str = "fedora_messaging_rpm_";

/// Fields of a rule that are found without allocating.
const FEW: usize = 24;

/// What is read of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'m> {
    pub(crate) topic: &'m str,
    pub(crate) msg: Option<&'m str>,
    pub(crate) headers: Option<&'m str>,
}

/// A name, and the place where it was.
#[derive(Debug)]
pub(crate) struct Found<'p, 'm> {
    pub(crate) name: Cow<'m, str>,
    pub(crate) at: &'p str,
}

/// Who said the names of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By<'p> {
    /// The publisher, in the headers.
    Headers,
    Rule(&'p Compiled),
    Nobody,
}

/// The names of one kind, each once, in order, and who said them.
#[derive(Debug)]
pub(crate) struct Names<'p, 'm> {
    pub(crate) by: By<'p>,
    pub(crate) found: Vec<Found<'p, 'm>>,
}

impl Program {
    pub(crate) fn users<'m>(&self, read: Read<'m>) -> Names<'_, 'm> {
        self.both(read, true, false).0
    }

    pub(crate) fn packages<'m>(&self, read: Read<'m>) -> Names<'_, 'm> {
        self.both(read, false, true).1
    }

    /// Users and packages from one pass over the message, unless different rules have them.
    pub(crate) fn both<'m>(&self, read: Read<'m>, users: bool, packages: bool) -> (Names<'_, 'm>, Names<'_, 'm>) {
        let mut sides = [
            Side { is_wanted: users, of: |rule| rule.users.as_deref(), header: USER_HEADER, names: Names::none() },
            Side { is_wanted: packages, of: |rule| rule.packages.as_deref(), header: PACKAGE_HEADER, names: Names::none() },
        ];
        for side in &mut sides {
            if side.is_wanted {
                side.decide(self, read);
            }
        }
        let rules = sides.each_ref().map(|side| side.rule());
        match rules {
            [Some(one), Some(other)] if std::ptr::eq(one, other) => run(one, read, &mut sides),
            _ => {
                let [users, packages] = sides.each_mut().map(std::slice::from_mut);
                rules[0].into_iter().for_each(|rule| run(rule, read, users));
                rules[1].into_iter().for_each(|rule| run(rule, read, packages));
            }
        }
        let [users, packages] = sides.map(|side| side.names.sorted());
        (users, packages)
    }
}

/// Users or packages.
struct Side<'p, 'm> {
    is_wanted: bool,
    of: fn(&'p Compiled) -> Option<&'p [Choice]>,
    header: &'static str,
    names: Names<'p, 'm>,
}

impl<'p, 'm> Side<'p, 'm> {
    /// Reads the headers; without names there, finds the rule.
    fn decide(&mut self, program: &'p Program, read: Read<'m>) {
        self.names.found = read.headers.map_or_else(Vec::new, |headers| in_headers(headers, self.header));
        self.names.by = match self.names.found.is_empty() {
            false => By::Headers,
            true => program.first(read.topic, self.of).map_or(By::Nobody, |(rule, _)| By::Rule(rule)),
        };
    }

    /// The rule that is to be run.
    fn rule(&self) -> Option<&'p Compiled> {
        match self.names.by {
            By::Rule(rule) => Some(rule),
            By::Headers | By::Nobody => None,
        }
    }
}

/// Reads what the rule needs of the message, once, and collects the names of the sides.
fn run<'p, 'm>(rule: &'p Compiled, read: Read<'m>, sides: &mut [Side<'p, 'm>]) {
    let choices = |side: &Side<'p, 'm>| (side.of)(rule).unwrap_or_default();
    if sides.iter().all(|side| choices(side).is_empty()) {
        return;
    }
    let (mut few, mut many) = ([None; FEW], Vec::new());
    let slots = match rule.fields.len() {
        len @ ..=FEW => &mut few[..len],
        len => {
            many.resize(len, None);
            &mut many[..]
        }
    };
    if let Some(msg) = read.msg
        && !slots.is_empty()
        && rule.fields.extract(msg, slots).is_err()
    {
        return;
    }
    for side in sides {
        for choice in choices(side) {
            first_that_yields(choice, read.topic, slots, &mut side.names.found);
        }
    }
}

fn first_that_yields<'p, 'm>(
    choice: &'p [Origin],
    topic: &'m str,
    slots: Slots<'_, 'm>,
    found: &mut Vec<Found<'p, 'm>>,
) {
    let before = found.len();
    for origin in choice {
        origin.collect(topic, slots, &mut |name| found.push(Found { name, at: &origin.shown }));
        if found.len() > before {
            return;
        }
    }
}

impl Origin {
    fn collect<'m>(&self, topic: &'m str, slots: Slots<'_, 'm>, give: &mut dyn FnMut(Cow<'m, str>)) {
        if !self.conditions.iter().all(|condition| condition.holds(slots)) {
            return;
        }
        match &self.texts {
            Texts::At(place) => place.values(slots, &mut |raw| {
                if let Some(text) = statscache_plugin_sdk::Json::from_raw(raw).as_str() {
                    self.refine.names(text, give);
                }
            }),
            Texts::KeysOf(place) => place.values(slots, &mut |raw| {
                if raw.starts_with('{') {
                    entries(raw).into_iter().for_each(|(key, _)| self.refine.names(key, give));
                }
            }),
            Texts::TopicWords(from, to) => self.refine.names(Cow::Borrowed(topic_words(topic, *from, *to)), give),
            Texts::Is(text) => self.refine.names(Cow::Owned(text.clone()), give),
        }
    }
}

impl Names<'_, '_> {
    const fn none() -> Self {
        Self { by: By::Nobody, found: Vec::new() }
    }

    fn sorted(mut self) -> Self {
        self.found.sort_by(|a, b| a.name.cmp(&b.name));
        self.found.dedup_by(|a, b| a.name == b.name);
        self
    }
}

/// The names that headers of this kind end in.
fn in_headers<'p, 'm>(headers: &'m str, prefix: &str) -> Vec<Found<'p, 'm>> {
    if !headers.starts_with('{') || !headers.contains(prefix) {
        return Vec::new();
    }
    let listed = entries(headers).into_iter().filter(|(_, value)| !matches!(*value, "false" | "null"));
    let names = listed.filter_map(|(key, _)| match key {
        Cow::Borrowed(key) => key.strip_prefix(prefix).map(Cow::Borrowed),
        Cow::Owned(key) => key.strip_prefix(prefix).map(|name| Cow::Owned(name.to_owned())),
    });
    names.filter(|name| !name.is_empty()).map(|name| Found { name, at: "headers" }).collect()
}

/// Words of the topic from one on, up to another and without it; negative numbers count from the end.
fn topic_words(topic: &str, from: i32, to: i32) -> &str {
    let starts: Vec<usize> = std::iter::once(0).chain(topic.match_indices('.').map(|(at, _)| at + 1)).collect();
    let word = |number: i32| match usize::try_from(number) {
        Ok(number) => number.min(starts.len()),
        Err(_) => starts.len().saturating_sub(number.unsigned_abs() as usize),
    };
    let (from, to) = (word(from), word(to));
    let end = starts.get(to).map_or(topic.len(), |start| start - 1);
    if from < to { &topic[starts[from]..end] } else { "" }
}
