//! Which instances want a topic. Pure, but for a memory of what was asked before.

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::TopicPattern;

use crate::limits::ROUTES_MAX;

pub(super) struct Router {
    patterns: Vec<Vec<TopicPattern>>,
    /// Position in `routes` by topic.
    known: FxHashMap<Box<str>, usize>,
    routes: Vec<Box<[u16]>>,
}

impl Router {
    /// Patterns by instance; none for all topics.
    pub(super) fn new(patterns: Vec<Vec<TopicPattern>>) -> Self {
        Self { patterns, known: FxHashMap::default(), routes: Vec::new() }
    }

    /// Positions of the instances that want it, ascending.
    pub(super) fn route(&mut self, topic: &str) -> &[u16] {
        let position = match self.known.get(topic) {
            Some(position) => *position,
            None => self.learn(topic),
        };
        &self.routes[position]
    }

    #[cold]
    fn learn(&mut self, topic: &str) -> usize {
        if self.routes.len() >= ROUTES_MAX {
            self.known.clear();
            self.routes.clear();
        }
        let wanting = self.patterns.iter().enumerate().filter(|(_, patterns)| wants(patterns, topic));
        self.routes.push(wanting.map(|(index, _)| index as u16).collect());
        self.known.insert(topic.into(), self.routes.len() - 1);
        self.routes.len() - 1
    }
}

/// Whether one of the patterns fits; no pattern wants everything.
pub(super) fn wants(patterns: &[TopicPattern], topic: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_the_same_the_second_time() {
        let patterns = |text: &[&str]| text.iter().map(|text| text.parse().expect("pattern")).collect();
        let mut router = Router::new(vec![patterns(&[]), patterns(&["a.#", "*.b"]), patterns(&["c"])]);
        for (topic, route) in [("a.b", vec![0, 1]), ("c", vec![0, 2]), ("x", vec![0]), ("a", vec![0, 1])] {
            assert_eq!(router.route(topic), route, "{topic}");
            assert_eq!(router.route(topic), route, "{topic} again");
        }
    }
}
