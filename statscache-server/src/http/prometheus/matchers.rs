//! Selectors: which names they mean, which label sets of those, and how much of that the core can do.

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::VectorSelector,
};
use statscache_core::{limits::QUERY_PATTERNS_MAX, query::Filter};
use statscache_plugin_sdk::Resolution;

use super::{answer::ApiError, families::Family};

/// The label that is the name.
pub(super) const NAME: &str = "__name__";
/// What fixes the width of the buckets; no label of any series.
const STEP: &str = "__step__";

/// Whether a label may be called so.
pub(super) fn is_label(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a selector asks for.
#[derive(Debug)]
pub(super) struct Selector {
    names: Vec<Matcher>,
    labels: Vec<Matcher>,
    /// Width of the buckets, if it is fixed.
    pub(super) step: Option<Resolution>,
}

impl Selector {
    /// Reads one.
    pub(super) fn new(selector: &VectorSelector) -> Result<Self, ApiError> {
        if !selector.matchers.or_matchers.is_empty() {
            return Err(ApiError::bad_data("`or` between matchers is not supported; write one `=~` with |"));
        }
        let mut read = Self { names: Vec::new(), labels: Vec::new(), step: None };
        read.names.extend(selector.name.iter().map(|name| Matcher::new(MatchOp::Equal, NAME, name)));
        for matcher in &selector.matchers.matchers {
            match matcher.name.as_str() {
                NAME => read.names.push(matcher.clone()),
                STEP => read.step = Some(step(matcher)?),
                _ => read.labels.push(matcher.clone()),
            }
        }
        Ok(read)
    }

    /// Everything.
    pub(super) fn any() -> Self {
        Self { names: Vec::new(), labels: Vec::new(), step: None }
    }

    /// Whether there may be such series of that name.
    pub(super) fn wants(&self, family: &Family) -> bool {
        let has = |label: &str| family.dimension(label).is_some() || family.part.label() == Some(label);
        self.names.iter().all(|matcher| matcher.is_match(&family.name))
            && self.labels.iter().all(|matcher| has(&matcher.name) || matcher.is_match(""))
    }

    /// What the core can leave out for it, which is never something that is wanted, and the dimensions of which it
    /// cannot tell all: they have to be kept.
    pub(super) fn filters(&self, family: &Family) -> (Vec<Filter>, Vec<usize>) {
        let (mut filters, mut undecided, mut left) = (Vec::new(), Vec::new(), QUERY_PATTERNS_MAX);
        for matcher in &self.labels {
            let Some(dimension) = family.dimension(&matcher.name) else { continue };
            let patterns = patterns(matcher).filter(|patterns| patterns.len() <= left);
            if patterns.as_ref().is_none_or(|all| all.iter().any(|pattern| pattern.contains('*'))) {
                undecided.push(dimension);
            }
            if let Some(patterns) = patterns {
                left -= patterns.len();
                filters.push(Filter { dimension, patterns });
            }
        }
        (filters, undecided)
    }

    /// Whether the series is wanted; `label` tells a label of it, empty for one that it does not have, `None` for
    /// one that is decided.
    pub(super) fn fits<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.labels.iter().all(|matcher| label(&matcher.name).is_none_or(|value| matcher.is_match(value)))
    }
}

fn step(matcher: &Matcher) -> Result<Resolution, ApiError> {
    let step = matcher.value.parse().ok().filter(|_| matches!(matcher.op, MatchOp::Equal));
    step.ok_or_else(|| ApiError::bad_data(format!("{STEP} fixes the width of the buckets: {STEP}=\"1h\"")))
}

/// Patterns of the core, of which one must fit; `None` if it cannot tell.
fn patterns(matcher: &Matcher) -> Option<Vec<String>> {
    match matcher.op {
        MatchOp::Equal => Some(vec![matcher.value.clone()]),
        MatchOp::Re(_) => globs(&matcher.value),
        MatchOp::NotEqual | MatchOp::NotRe(_) => None,
    }
}

/// Patterns with `*` that let through what a simple regular expression does, and maybe more.
fn globs(regex: &str) -> Option<Vec<String>> {
    let inner = regex.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(regex);
    let mut globs = vec![String::new()];
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        let glob = globs.last_mut()?;
        match c {
            '|' => globs.push(String::new()),
            '.' => {
                // One character or some are any text to the core.
                chars.next_if(|next| matches!(next, '*' | '+'));
                glob.push('*');
            }
            '\\' => glob.push(chars.next().filter(|c| c.is_ascii_punctuation())?),
            _ if "()[]{}*+?^$".contains(c) => return None,
            _ => glob.push(c),
        }
        if chars.peek().is_some_and(|next| "*+?{".contains(*next)) {
            return None;
        }
    }
    (globs.len() <= QUERY_PATTERNS_MAX).then_some(globs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_regular_expressions_are_patterns() {
        for (regex, expected) in [
            ("git", Some("git")),
            ("git|bodhi", Some("git bodhi")),
            ("(git|bodhi)", Some("git bodhi")),
            ("", Some("")),
            ("git|", Some("git ")),
            ("org\\.fedora.*", Some("org.fedora*")),
            (".+b.", Some("*b*")),
            ("a\\|b", Some("a|b")),
            ("a*", None),
            ("a.?", None),
            ("a.{2}", None),
            ("(a)|(b)", None),
            ("a(b|c)", None),
            ("a\\d", None),
            ("a\\.*", None),
            ("[ab]", None),
            ("^a$", None),
            ("a?", None),
        ] {
            assert_eq!(globs(regex).map(|globs| globs.join(" ")).as_deref(), expected, "{regex}");
        }
    }
}
