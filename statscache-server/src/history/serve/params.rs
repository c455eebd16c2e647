//! The parameters of `/raw`, as datagrepper has them. One that nobody here reads is refused: it would be a filter that
//! finds everything.

use serde_json::{Value, json};
use statscache_plugin_sdk::Timestamp;

use crate::http::{problem::Problem, time};

/// Rows of a page unless asked, and at most.
const ROWS: usize = 25;
const ROWS_MAX: usize = 100;
/// How long before its end a span begins of which only the end is given, µs.
const BEFORE_END: i64 = 600_000_000;

const KNOWN: &str = "start, end, delta, page, rows_per_page, order, topic, category, not_topic, not_category, contains";

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    /// Microseconds since 1970; included.
    pub(super) start: Option<i64>,
    /// Included, too.
    pub(super) end: Option<i64>,
    delta: Option<f64>,
    /// From 1 on.
    pub(super) page: usize,
    pub(super) rows: usize,
    pub(super) is_descending: bool,
    topics: Vec<String>,
    categories: Vec<String>,
    not_topics: Vec<String>,
    not_categories: Vec<String>,
    /// Texts of which one must be in a message.
    pub(super) contains: Vec<String>,
}

impl Ask {
    /// Reads the parameters.
    pub(super) fn read(parameters: &[(String, String)], now: Timestamp) -> Result<Self, Problem> {
        let mut ask = Self {
            start: None,
            end: None,
            delta: None,
            page: 1,
            rows: ROWS,
            is_descending: true,
            topics: Vec::new(),
            categories: Vec::new(),
            not_topics: Vec::new(),
            not_categories: Vec::new(),
            contains: Vec::new(),
        };
        for (name, value) in parameters {
            let bad = |allowed: &str| Problem::parameter(name, Some(value), allowed);
            let number = |range: std::ops::RangeInclusive<usize>, allowed: &str| {
                value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| bad(allowed))
            };
            let at = || time::parse(value, now).map(Timestamp::micros).ok_or_else(|| bad(time::ALLOWED));
            match name.as_str() {
                "start" => ask.start = Some(at()?),
                "end" => ask.end = Some(at()?),
                "delta" => ask.delta = Some(seconds(value).ok_or_else(|| bad("seconds, more than 0"))?),
                "page" => ask.page = number(1..=usize::MAX, "a whole number, from 1 on")?,
                "rows_per_page" => ask.rows = number(1..=ROWS_MAX, "a whole number from 1 to 100")?,
                "order" => {
                    ask.is_descending = match value.as_str() {
                        "desc" => true,
                        "asc" => false,
                        _ => return Err(bad("asc, desc")),
                    }
                }
                "topic" => ask.topics.push(value.clone()),
                "category" => ask.categories.push(value.clone()),
                "not_topic" => ask.not_topics.push(value.clone()),
                "not_category" => ask.not_categories.push(value.clone()),
                "contains" => ask.contains.push(value.clone()),
                "user" | "package" | "agent" | "not_user" | "not_package" | "not_agent" => {
                    return Err(bad(
                        "nothing: who and what a message is about is not known here; filter by topic or category",
                    ));
                }
                "meta" | "grouped" | "callback" => {
                    return Err(bad("nothing: only plain messages as JSON are given here"));
                }
                // They are about pages for people.
                "size" | "chrome" => {}
                _ => return Err(Problem::parameter(name, None, KNOWN)),
            }
        }
        if !ask.contains.is_empty() && (ask.start.is_none() || (ask.topics.is_empty() && ask.categories.is_empty())) {
            let allowed = "only together with start, and with topic or category";
            return Err(Problem::parameter("contains", Some(&ask.contains[0]), allowed));
        }
        ask.settle(now.micros());
        Ok(ask)
    }

    /// The span of time, by what was given of start, end and delta.
    fn settle(&mut self, now: i64) {
        let delta = self.delta.map(|delta| (delta * 1e6) as i64);
        (self.start, self.end) = match (self.start, self.end, delta) {
            (None, None, None) => (None, None),
            (None, None, Some(delta)) => (Some(now.saturating_sub(delta)), Some(now)),
            (Some(start), None, None) => (Some(start), Some(now)),
            (Some(start), None, Some(delta)) => (Some(start), Some(start.saturating_add(delta))),
            (None, Some(end), delta) => (Some(end.saturating_sub(delta.unwrap_or(BEFORE_END))), Some(end)),
            (Some(start), Some(end), _) => (Some(start), Some(end)),
        };
    }

    /// Whether messages of this topic are wanted.
    pub(super) fn wants(&self, topic: &str) -> bool {
        let category = category(topic);
        let is_in = |list: &[String], text: &str| list.iter().any(|wanted| wanted == text);
        (self.topics.is_empty() || is_in(&self.topics, topic))
            && (self.categories.is_empty() || is_in(&self.categories, category))
            && !is_in(&self.not_topics, topic)
            && !is_in(&self.not_categories, category)
    }

    /// As the answer repeats it.
    pub(super) fn arguments(&self) -> Value {
        let secs = |micros: Option<i64>| micros.map(|micros| micros as f64 / 1e6);
        json!({
            "start": secs(self.start), "end": secs(self.end), "delta": self.delta,
            "page": self.page, "rows_per_page": self.rows, "order": if self.is_descending { "desc" } else { "asc" },
            "topics": self.topics, "categories": self.categories, "contains": self.contains,
            "not_topics": self.not_topics, "not_categories": self.not_categories,
            "users": [], "packages": [], "not_users": [], "not_packages": [], "meta": [], "grouped": false,
        })
    }
}

fn seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(|secs: &f64| *secs > 0.0 && *secs < 1e12)
}

/// The part of a topic that datagrepper calls its category.
fn category(topic: &str) -> &str {
    let position = if topic.contains("VirtualTopic") { 2 } else { 3 };
    topic.split('.').nth(position).unwrap_or("Unclassified")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn read(query: &str) -> Result<Ask, Problem> {
        Ask::read(&crate::http::urlquery::parse(query).expect("a query"), NOW)
    }

    #[test]
    fn the_span_is_that_of_datagrepper() {
        for (query, start, end) in [
            ("", None, None),
            ("delta=100", Some(9_900.0), Some(10_000.0)),
            ("start=5000.5", Some(5_000.5), Some(10_000.0)),
            ("start=5000.0&delta=7", Some(5_000.0), Some(5_007.0)),
            ("end=5000.0", Some(4_400.0), Some(5_000.0)),
            ("end=5000.0&delta=7", Some(4_993.0), Some(5_000.0)),
            ("start=10&end=20", Some(10.0), Some(20.0)),
            ("start=10&end=20&delta=5", Some(10.0), Some(20.0)),
            ("start=1970-01-01T00:01:00Z&end=now", Some(60.0), Some(10_000.0)),
        ] {
            let arguments = read(query).expect(query).arguments();
            assert_eq!((&arguments["start"], &arguments["end"]), (&json!(start), &json!(end)), "{query}");
        }
    }

    #[test]
    fn filters_of_one_kind_are_alternatives() {
        let topics = ["org.fedoraproject.prod.git.receive", "org.fedoraproject.prod.bodhi.update", "a.b"];
        for (query, expect) in [
            ("", [true, true, true]),
            ("topic=a.b&topic=org.fedoraproject.prod.git.receive", [true, false, true]),
            ("category=git", [true, false, false]),
            ("category=Unclassified&category=bodhi", [false, true, true]),
            ("category=git&topic=a.b", [false, false, false]),
            ("not_category=git", [false, true, true]),
            ("not_topic=a.b&not_category=bodhi", [true, false, false]),
            ("topic=org.fedoraproject.prod.git", [false, false, false]),
        ] {
            let ask = read(query).expect(query);
            assert_eq!(topics.map(|topic| ask.wants(topic)), expect, "{query}");
        }
        assert_eq!(category("VirtualTopic.eng.brew.task"), "brew");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (query, words) in [
            ("rows_per_page=101", "from 1 to 100"),
            ("rows_per_page=0", "from 1 to 100"),
            ("page=0", "from 1 on"),
            ("order=up", "asc, desc"),
            ("start=soon", "RFC 3339"),
            ("delta=-5", "more than 0"),
            ("delta=inf", "more than 0"),
            ("user=alice", "not known here"),
            ("not_package=kernel", "not known here"),
            ("meta=title", "plain messages"),
            ("stop=5", "not known here; allowed: start, end"),
            ("contains=x", "with topic or category"),
            ("contains=x&topic=a.b", "together with start"),
        ] {
            let problem = format!("{:?}", read(query).expect_err(query));
            assert!(problem.contains(words), "{query}: {problem}");
        }
        let ask = read("page=3&rows_per_page=7&order=asc&size=small&contains=x&start=5&category=c").expect("fine");
        assert_eq!((ask.page, ask.rows, ask.is_descending, ask.contains.len()), (3, 7, false, 1));
    }
}
