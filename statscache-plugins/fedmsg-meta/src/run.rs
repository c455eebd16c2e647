//! What the rules find in one message.

use std::borrow::Cow;

use statscache_plugin_sdk::Json;

use crate::compile::{Compiled, Origin, Program, Texts};
use crate::scan::{Slots, each};

/// Beginnings of the headers in which fedora-messaging lists what a message is about.
const USER_HEADER: &str = "fedora_messaging_user_";
const PACKAGE_HEADER: &str = "fedora_messaging_rpm_";

/// Names of a kind that one message can have; those of both kinds stay far below the updates that it may make.
const NAMES_MAX: usize = 2000;

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
    /// Users and packages, as far as they are asked for, from one pass over the message unless different rules have them.
    pub(crate) fn names<'m>(&self, read: Read<'m>, wanted: [bool; 2]) -> [Names<'_, 'm>; 2] {
        let listed = [USER_HEADER, PACKAGE_HEADER].map(|prefix| in_headers(read.headers, prefix));
        let [users, packages] = self.rules_for(read.topic, [0, 1].map(|side| wanted[side] && listed[side].is_empty()));
        let mut found = listed;
        let by = [users, packages].map(|rule| rule.map_or(By::Nobody, By::Rule));
        match (users, packages) {
            (Some(one), Some(other)) if std::ptr::eq(one, other) => one.collect(read, [true; 2], &mut found),
            _ => {
                users.into_iter().for_each(|rule| rule.collect(read, [true, false], &mut found));
                packages.into_iter().for_each(|rule| rule.collect(read, [false, true], &mut found));
            }
        }
        let mut by = by.into_iter();
        found.map(|found| {
            let by = by.next().unwrap_or(By::Nobody);
            let is_listed = matches!(by, By::Nobody) && !found.is_empty();
            Names { by: if is_listed { By::Headers } else { by }, found: sorted(found) }
        })
    }
}

impl Compiled {
    /// Reads what the rule needs of the message, once, and collects users, packages or both.
    fn collect<'p, 'm>(&'p self, read: Read<'m>, wanted: [bool; 2], found: &mut [Vec<Found<'p, 'm>>; 2]) {
        let sides = [&self.users, &self.packages].map(|choices| choices.as_deref().unwrap_or_default());
        if sides.iter().zip(wanted).all(|(choices, is_wanted)| !is_wanted || choices.is_empty()) {
            return;
        }
        self.fields.find(read.msg.unwrap_or_default(), |slots| {
            for ((choices, found), _) in sides.iter().zip(found).zip(wanted).filter(|(_, is_wanted)| *is_wanted) {
                for choice in *choices {
                    first_that_yields(choice, read.topic, slots, found);
                }
            }
        });
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
                if let Some(text) = Json::from_raw(raw).as_str() {
                    self.refine.names(text, give);
                }
            }),
            Texts::KeysOf(place) => place.values(slots, &mut |raw| {
                if raw.starts_with('{') {
                    each(raw, &mut |key, _| self.refine.names(key, give));
                }
            }),
            Texts::TopicWords(from, to) => self.refine.names(Cow::Borrowed(topic_words(topic, *from, *to)), give),
            Texts::Is(text) => self.refine.names(Cow::Owned(text.clone()), give),
        }
    }
}

/// In order, each name once, and no more than count.
fn sorted<'p, 'm>(mut found: Vec<Found<'p, 'm>>) -> Vec<Found<'p, 'm>> {
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    found.truncate(NAMES_MAX);
    found
}

/// The names that headers of this kind end in.
fn in_headers<'p, 'm>(headers: Option<&'m str>, prefix: &str) -> Vec<Found<'p, 'm>> {
    let mut found = Vec::new();
    let Some(headers) = headers.filter(|headers| headers.starts_with('{') && headers.contains(prefix)) else {
        return found;
    };
    each(headers, &mut |key, value| {
        let name = match key {
            Cow::Borrowed(key) => key.strip_prefix(prefix).map(Cow::Borrowed),
            Cow::Owned(key) => key.strip_prefix(prefix).map(|name| Cow::Owned(name.to_owned())),
        };
        if let Some(name) = name.filter(|name| !name.is_empty() && !matches!(value, "false" | "null")) {
            found.push(Found { name, at: "headers" });
        }
    });
    found
}

/// Words of the topic from one on, up to another and without it; negative numbers count from the end.
fn topic_words(topic: &str, from: i32, to: i32) -> &str {
    let starts: Vec<usize> = std::iter::once(0).chain(topic.match_indices('.').map(|(at, _)| at + 1)).collect();
    let word = |number: i32| match usize::try_from(number) {
        Ok(number) => number.min(starts.len()),
        Err(_) => starts.len().saturating_sub(number.unsigned_abs() as usize),
    };
    let (from, to) = (word(from), word(to));
    if from >= to {
        return "";
    }
    let end = starts.get(to).map_or(topic.len(), |start| start - 1);
    &topic[starts[from]..end]
}
