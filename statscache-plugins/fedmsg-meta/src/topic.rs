//! From a topic to the rules that may be for it, without allocating.

use statscache_plugin_sdk::{TopicPattern, TopicPatternError};

/// The word of a fedmsg topic that names the service: `bodhi` in `org.fedoraproject.prod.bodhi.update.comment`.
const SERVICE: usize = 3;

/// A [`TopicPattern`], cut into words once.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    words: Vec<Word>,
    /// The whole text, where it is a prefix.
    prefix: Option<String>,
}

#[derive(Clone, Debug)]
enum Word {
    One,
    Many,
    Is(String),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, TopicPatternError> {
        let text = text.parse::<TopicPattern>()?;
        let prefix = Some(text.as_str().to_owned()).filter(|text| text.ends_with('.'));
        let word = |word: &str| match word {
            "*" => Word::One,
            "#" => Word::Many,
            word => Word::Is(word.to_owned()),
        };
        Ok(Self { words: text.as_str().split('.').map(word).collect(), prefix })
    }

    /// Whether it takes every topic.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self.words[..], [Word::Many])
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        match &self.prefix {
            Some(prefix) => topic.starts_with(prefix.as_str()),
            None => fits(&self.words, words(topic)),
        }
    }

    /// The service that it is for; nothing if it may be for several.
    fn service(&self) -> Option<&str> {
        let before = self.words.get(..SERVICE)?;
        match self.words.get(SERVICE)? {
            Word::Is(word) if self.prefix.is_none() && !before.iter().any(|word| matches!(word, Word::Many)) => {
                Some(word)
            }
            _ => None,
        }
    }
}

/// The words of a topic. Quicker than `str::split`, which prepares for long ones.
#[derive(Clone)]
struct Words<'t>(Option<&'t str>);

fn words(topic: &str) -> Words<'_> {
    Words(Some(topic))
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let rest = self.0?;
        let dot = rest.bytes().position(|byte| byte == b'.');
        self.0 = dot.map(|dot| &rest[dot + 1..]);
        Some(dot.map_or(rest, |dot| &rest[..dot]))
    }
}

/// Greedy match with one point to fall back to, so the cost stays below pattern x words.
fn fits(mut pattern: &[Word], mut words: Words<'_>) -> bool {
    let mut fallback: Option<(&[Word], Words<'_>)> = None;
    loop {
        let rest = words.clone();
        let Some(word) = words.next() else { return pattern.iter().all(|word| matches!(word, Word::Many)) };
        match pattern.split_first() {
            Some((Word::Many, [])) => return true,
            Some((Word::Many, behind)) => {
                fallback = Some((behind, words));
                (pattern, words) = (behind, rest);
            }
            Some((Word::One, behind)) => pattern = behind,
            Some((Word::Is(expected), behind)) if expected == word => pattern = behind,
            _ => {
                let Some((behind, taken)) = &mut fallback else { return false };
                (pattern, words) = (*behind, taken.clone());
                taken.next();
            }
        }
    }
}

/// Numbers of the patterns that may fit a topic, in order, by service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    by_service: Vec<(String, Vec<usize>)>,
    /// For services that no pattern names.
    others: Vec<usize>,
}

impl Index {
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = (usize, &'p Pattern)>) -> Self {
        let mut index = Self::default();
        for (number, pattern) in patterns {
            match pattern.service() {
                Some(service) => index.of(service).push(number),
                None => {
                    index.others.push(number);
                    index.by_service.iter_mut().for_each(|(_, numbers)| numbers.push(number));
                }
            }
        }
        index
    }

    fn of(&mut self, service: &str) -> &mut Vec<usize> {
        let at = match self.position(service) {
            Ok(at) => at,
            Err(at) => {
                self.by_service.insert(at, (service.to_owned(), self.others.clone()));
                at
            }
        };
        &mut self.by_service[at].1
    }

    fn position(&self, service: &str) -> Result<usize, usize> {
        let order = |text: &str| (text.len(), text.as_bytes().first().copied());
        let by = |known: &str| order(known).cmp(&order(service)).then_with(|| known.cmp(service));
        self.by_service.binary_search_by(|(known, _)| by(known))
    }

    pub(crate) fn candidates(&self, topic: &str) -> &[usize] {
        let known = words(topic).nth(SERVICE).and_then(|service| self.position(service).ok());
        known.map_or(&self.others, |at| &self.by_service[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_as_the_sdk_says() {
        let words = ["a", "b", "c", "*", "#"];
        let patterns: Vec<String> = (0..5_usize.pow(4))
            .map(|n| (0..4).map(|at| words[n / 5_usize.pow(at) % 5]).collect::<Vec<_>>().join("."))
            .chain(["#", "*", "a", "a.", "a.b."].map(str::to_owned))
            .collect();
        let topics = ["", "a", "a.b", "a.a.b", "a.b.c", "b.a.b.c", "a.b.c.a", "c.c.c.c.c", "a..b", "a.b.a.b.a.b"];
        for pattern in &patterns {
            let (ours, reference) =
                (Pattern::parse(pattern).expect(pattern), pattern.parse::<TopicPattern>().expect(pattern));
            for topic in topics {
                assert_eq!(ours.matches(topic), reference.matches(topic), "{pattern} on {topic:?}");
            }
        }
    }

    #[test]
    fn candidates_keep_their_order_and_miss_none() {
        let texts = ["#.x", "*.*.*.a.#", "*.*.*.b", "a.#", "*.*.*.a.x", "#.a.b", "o.p.q.", "#"];
        let patterns = texts.map(|text| Pattern::parse(text).expect(text));
        let index = Index::new(patterns.iter().enumerate());
        for topic in ["o.p.q.a.x", "o.p.q.b", "o.p.q.c", "a.b", "", "a.b.c.a.b", "o.p.q.a"] {
            let expected: Vec<usize> = (0..patterns.len()).filter(|n| patterns[*n].matches(topic)).collect();
            let candidates = index.candidates(topic);
            let found: Vec<usize> = candidates.iter().copied().filter(|n| patterns[*n].matches(topic)).collect();
            assert_eq!(found, expected, "{topic}");
        }
        assert_eq!(index.candidates("o.p.q.b"), [0, 2, 3, 5, 6, 7]);
    }
}
