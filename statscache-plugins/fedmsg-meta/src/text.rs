//! From a text of a message to the names in it.

use std::{borrow::Cow, ops::Range};

use regex::Regex;

use crate::rule::Step;

/// What is done with the texts of a source.
#[derive(Clone, Debug)]
pub(crate) struct Refine {
    pub(crate) find: Option<Regex>,
    pub(crate) steps: Vec<Step>,
    pub(crate) not: Vec<Glob>,
}

/// A text that may begin or end with anything.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    text: String,
    open: (bool, bool),
}

impl Glob {
    pub(crate) fn new(text: &str) -> Self {
        let begin = text.strip_prefix('*');
        let rest = begin.unwrap_or(text);
        let end = rest.strip_suffix('*');
        Self { text: end.unwrap_or(rest).to_owned(), open: (begin.is_some(), end.is_some()) }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.open {
            (false, false) => text == self.text,
            (false, true) => text.starts_with(&self.text),
            (true, false) => text.ends_with(&self.text),
            (true, true) => text.contains(&self.text),
        }
    }
}

impl Refine {
    /// Gives each name in the text to `give`.
    pub(crate) fn names<'m>(&self, text: Cow<'m, str>, give: &mut dyn FnMut(Cow<'m, str>)) {
        let Some(find) = &self.find else { return self.step(&self.steps, text, give) };
        let matches: Vec<Range<usize>> = find
            .captures_iter(&text)
            .filter_map(|found| found.get(1).or_else(|| found.get(0)).map(|part| part.range()))
            .collect();
        for range in matches {
            self.step(&self.steps, cut(&text, range), give);
        }
    }

    fn step<'m>(&self, steps: &[Step], text: Cow<'m, str>, give: &mut dyn FnMut(Cow<'m, str>)) {
        let Some((step, rest)) = steps.split_first() else { return self.name(text, give) };
        match step {
            Step::Words => {
                for range in words(&text) {
                    self.step(rest, cut(&text, range), give);
                }
            }
            Step::Nvr => self.step(rest, cut(&text, 0..nvr_name(&text)), give),
            Step::Lower if text.chars().any(char::is_uppercase) => {
                self.step(rest, Cow::Owned(text.to_lowercase()), give);
            }
            Step::Lower => self.step(rest, text, give),
            Step::Account => {
                if let Some(range) = account(&text) {
                    self.step(rest, cut(&text, range), give);
                }
            }
        }
    }

    /// Blanks around a name are no part of it.
    fn name<'m>(&self, text: Cow<'m, str>, give: &mut dyn FnMut(Cow<'m, str>)) {
        let name = cut(&text, range_in(&text, text.trim()));
        if !name.is_empty() && !self.not.iter().any(|not| not.matches(&name)) {
            give(name);
        }
    }
}

/// A part of a text, borrowed if that is.
fn cut<'m>(text: &Cow<'m, str>, range: Range<usize>) -> Cow<'m, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    }
}

/// Where a part of a text lies in it.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

fn words(text: &str) -> Vec<Range<usize>> {
    let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.map(|part| range_in(text, part)).collect()
}

/// How long the name in a `name-version-release` is. A text with fewer dashes is taken for a name with what it has.
fn nvr_name(text: &str) -> usize {
    text.rmatch_indices('-').take(2).last().map_or(text.len(), |(at, _)| at)
}

/// Where the account of an address is; nothing if it is one of another place.
fn account(text: &str) -> Option<Range<usize>> {
    let address = match text.rsplit_once('<') {
        Some((_, address)) => address.split('>').next().unwrap_or(address),
        None => text,
    };
    let address = address.trim();
    let host = address.split_once("://").map_or(address, |(_, host)| host).trim_end_matches('/');
    let account = host.strip_suffix(".id.fedoraproject.org").or_else(|| host.strip_suffix("@fedoraproject.org"));
    let account = account.unwrap_or(address);
    let is_address = account.contains(['@', ':', '/']) || account.chars().any(char::is_whitespace);
    (!is_address).then(|| range_in(text, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step], find: Option<&str>, not: &[&str], text: &str) -> Vec<String> {
        let find = find.map(|find| Regex::new(find).expect("a regular expression"));
        let refine = Refine { find, steps: steps.to_vec(), not: not.iter().map(|not| Glob::new(not)).collect() };
        let mut names = Vec::new();
        refine.names(Cow::Borrowed(text), &mut |name| names.push(name.into_owned()));
        let mut owned = Vec::new();
        refine.names(Cow::Owned(text.to_owned()), &mut |name| owned.push(name.into_owned()));
        assert_eq!(names, owned, "{text:?}");
        names
    }

    #[test]
    fn builds_have_a_name() {
        for (text, name) in [
            ("bash-5.2-1.fc40", "bash"),
            ("python3-foo-bar-1.0-2", "python3-foo-bar"),
            ("bash-5.2", "bash"),
            ("bash", "bash"),
            ("größe-1-2", "größe"),
        ] {
            assert_eq!(names(&[Step::Nvr], None, &[], text), [name]);
        }
        assert_eq!(names(&[Step::Words, Step::Nvr], None, &[], " a-1-2, b-c-3-4 ,\nd"), ["a", "b-c", "d"]);
        assert!(names(&[Step::Nvr], None, &[], "-1-2").is_empty());
    }

    #[test]
    fn accounts_of_addresses() {
        for (text, account) in [
            ("anna@fedoraproject.org", Some("anna")),
            ("Anna Example <anna@fedoraproject.org>", Some("anna")),
            ("http://anna.id.fedoraproject.org/", Some("anna")),
            ("https://anna.id.fedoraproject.org", Some("anna")),
            ("anna.id.fedoraproject.org", Some("anna")),
            (" anna ", Some("anna")),
            ("anna", Some("anna")),
            ("anna@example.org", None),
            ("Anna Example <anna@example.org>", None),
            ("Anna Example", None),
            ("https://example.org/anna", None),
            ("<", None),
            ("", None),
        ] {
            assert_eq!(names(&[Step::Account], None, &[], text), Vec::from_iter(account), "{text:?}");
        }
    }

    #[test]
    fn found_lowered_and_left_out() {
        assert_eq!(names(&[], Some(r"@(\w+)"), &["bot*"], "thanks @anna, @bot7 and @Bert"), ["anna", "Bert"]);
        assert_eq!(names(&[Step::Lower], Some(r"\w+"), &["*x", "*mid*", "no"], "ÄB no amidst box b"), ["äb", "b"]);
        assert!(names(&[], None, &[], "  ").is_empty());
    }
}
