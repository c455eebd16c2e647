//! Whether an instance wants a topic. Pure, but for a memory of what was asked before.

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::TopicPattern;

use crate::limits::ROUTES_MAX;

pub(super) struct Router {
    patterns: Vec<TopicPattern>,
    known: FxHashMap<Box<str>, bool>,
}

impl Router {
    /// By these patterns; none for all topics.
    pub(super) fn new(patterns: Vec<TopicPattern>) -> Self {
        Self { patterns, known: FxHashMap::default() }
    }

    /// Whether one of the patterns fits.
    #[inline]
    pub(super) fn wants(&mut self, topic: &str) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        match self.known.get(topic) {
            Some(wanted) => *wanted,
            None => self.learn(topic),
        }
    }

    #[cold]
    fn learn(&mut self, topic: &str) -> bool {
        if self.known.len() >= ROUTES_MAX {
            self.known.clear();
        }
        let wanted = self.patterns.iter().any(|pattern| pattern.matches(topic));
        self.known.insert(topic.into(), wanted);
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_the_second_time() {
        let router = |text: &[&str]| Router::new(text.iter().map(|text| text.parse().expect("pattern")).collect());
        let mut routers = [router(&[]), router(&["a.#", "*.b"]), router(&["c"])];
        for (topic, wanted) in [
            ("a.b", [true, true, false]),
            ("c", [true, false, true]),
            ("x", [true, false, false]),
            ("a", [true, true, false]),
        ] {
            assert_eq!(routers.each_mut().map(|router| router.wants(topic)), wanted, "{topic}");
            assert_eq!(routers.each_mut().map(|router| router.wants(topic)), wanted, "{topic} again");
        }
    }
}
