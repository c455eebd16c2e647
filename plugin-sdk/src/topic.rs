//! Which topics a plugin wants: the wildcards of AMQP topic exchanges, plus plain prefixes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A pattern of dot-separated words: `*` stands for exactly one word, `#` for any number of
/// words, none included (AMQP 0-9-1, section 3.1.3.3). A pattern without wildcards that ends in
/// a dot is a prefix: `org.example.` takes every topic that starts with those bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern(String);

/// A pattern that could never match, or is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPatternError {
    pattern: String,
    reason: &'static str,
}

impl fmt::Display for TopicPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a topic pattern: {}", self.pattern, self.reason)
    }
}

impl std::error::Error for TopicPatternError {}

impl TopicPattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic fits.
    pub fn matches(&self, topic: &str) -> bool {
        if self.0.ends_with('.') {
            return topic.starts_with(&self.0);
        }
        let pattern: Vec<&str> = self.0.split('.').collect();
        let words: Vec<&str> = topic.split('.').collect();
        matches_words(&pattern, &words)
    }
}

/// Greedy match with one point to fall back to, so the cost stays below pattern x words.
fn matches_words(pattern: &[&str], words: &[&str]) -> bool {
    let (mut p, mut w) = (0, 0);
    let mut fallback = None;
    while w < words.len() {
        match pattern.get(p) {
            Some(&"#") => {
                fallback = Some((p, w));
                p += 1;
            }
            Some(&word) if word == "*" || word == words[w] => {
                p += 1;
                w += 1;
            }
            _ => {
                let Some((hash, taken)) = fallback else { return false };
                fallback = Some((hash, taken + 1));
                p = hash + 1;
                w = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|word| *word == "#")
}

impl FromStr for TopicPattern {
    type Err = TopicPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| Err(TopicPatternError { pattern: text.to_owned(), reason });
        if text.is_empty() {
            return error("it is empty; write # for every topic");
        }
        if text.len() > 255 {
            return error("it is longer than 255 bytes");
        }
        let is_wild = text.split('.').any(|word| word == "*" || word == "#");
        if is_wild && text.ends_with('.') {
            return error("a prefix (it ends in a dot) takes no wildcards");
        }
        if text.split('.').any(|word| word.len() > 1 && word.contains(['*', '#'])) {
            return error("a wildcard stands for whole words, between dots");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = TopicPatternError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TopicPattern> for String {
    fn from(pattern: TopicPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, straight from the specification and exponential.
    fn by_definition(pattern: &[&str], words: &[&str]) -> bool {
        match (pattern.split_first(), words.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                by_definition(rest, words) || (!words.is_empty() && by_definition(pattern, &words[1..]))
            }
            (Some((word, rest)), Some((first, others))) => {
                (*word == "*" || word == first) && by_definition(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            pattern in proptest::collection::vec(prop_oneof!["a", "b", "\\*", "#"], 1..6),
            words in proptest::collection::vec(prop_oneof!["a", "b"], 1..7),
        ) {
            let (p, w) = (pattern.join("."), words.join("."));
            let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let parsed: TopicPattern = p.parse().expect("valid");
            prop_assert_eq!(parsed.matches(&w), by_definition(&pattern, &words), "{} on {}", p, w);
        }
    }

    #[test]
    fn prefixes_and_refusals() {
        let prefix: TopicPattern = "org.example.".parse().expect("valid");
        assert!(prefix.matches("org.example.build") && !prefix.matches("org.example"));
        for text in ["", "a.*b", "a.#.", "*."] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text:?} must be refused");
        }
    }
}
