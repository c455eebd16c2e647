//! What is fed and what must come of it: messages, and their updates, that follow from a seed and their number alone,
//! and the offline recount of the first so many of them.

use std::collections::BTreeMap;

use statscache_plugin_sdk::{Keep, Kind, MetricDescriptor, Tiers, Timestamp, TopicPattern};

use statscache_server::bench::Random;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
/// When the first message comes.
const BASE: i64 = 1_735_689_600 * SECOND;
/// Between two messages: a partition of the finest tier closes every 74.
const STEP: i64 = 7 * SECOND;
const TIERS: &str = "1s for 10m, 1m for 6h, 1h forever";
/// The kind of the metric for the newest of all.
const RECENT: u32 = 3;
/// Updates of one message beyond those that every message has.
const HITS: u64 = 24;

/// Instances: their ids, and what they want.
pub(super) const INSTANCES: [(&str, &str); 2] = [("all", "org.example.#"), ("some", "org.example.some.#")];

/// One update: added to a count, or set as a latest value.
pub(super) struct Update {
    pub(super) metric: usize,
    /// Which label set of the metric.
    pub(super) series: u32,
    pub(super) time: Timestamp,
    pub(super) n: i64,
}

/// The stream of one seed. Messages are numbered from 1, as in the journal.
#[derive(Clone, Copy)]
pub struct Stream {
    pub seed: u64,
}

impl Stream {
    /// When a message comes.
    pub(super) fn arrival(self, number: u64) -> Timestamp {
        Timestamp::from_micros(BASE + number as i64 * STEP)
    }

    /// When it says that it happened: mostly just now, now and then hours ago.
    pub(super) fn time(self, number: u64) -> Timestamp {
        let mut random = Random::for_number(self.seed, number);
        let age = if random.below(12) == 0 { random.below(30 * HOUR as u64) } else { random.below(5 * SECOND as u64) };
        Timestamp::from_micros(self.arrival(number).micros() - age as i64)
    }

    pub(super) fn topic(self, number: u64) -> &'static str {
        match Random::for_number(!self.seed, number).below(3) {
            0 => "org.example.some.kind",
            _ => "org.example.other",
        }
    }

    pub(super) fn body(self, number: u64) -> String {
        let time = self.time(number).micros();
        let (secs, micros) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
        let pad = "x".repeat(Random::for_number(self.seed, number).below(300) as usize);
        format!(
            "{{\"msg_id\": \"{}\", \"timestamp\": {secs}.{micros:06}, \"msg\": {{\"pad\": \"{pad}\"}}}}",
            Self::id(number)
        )
    }

    pub(super) fn id(number: u64) -> String {
        format!("m{number:08}")
    }

    /// The number in an id.
    pub(super) fn number(id: &str) -> Option<u64> {
        id.strip_prefix('m')?.parse().ok()
    }

    /// What a message means, to every instance that gets it.
    pub(super) fn updates(self, number: u64) -> Vec<Update> {
        let mut random = Random::for_number(self.seed.rotate_left(32), number);
        let time = self.time(number);
        // There are more and more of them.
        let places = 30 + number / 2;
        let mut updates: Vec<Update> = (0..HITS)
            .map(|_| Update {
                metric: 0,
                series: random.below(places) as u32,
                time: time.plus_micros(-(random.below(60) as i64) * SECOND),
                n: random.below(1000) as i64 - 100,
            })
            .collect();
        for (metric, series) in [(1, number / 3), (2, random.below(places)), (RECENT, 0)] {
            let n = random.below(1 << 40) as i64;
            updates.push(Update { metric: metric as usize, series: series as u32, time, n });
        }
        updates
    }

    /// The labels of a label set.
    pub(super) fn labels(metric: usize, series: u32) -> Vec<String> {
        match metric {
            0 | 2 => vec![format!("place{series:06}")],
            1 => vec![format!("who{series:06}"), format!("what{}", "y".repeat(series as usize % 400))],
            _ => vec![],
        }
    }

    /// Which label set these are.
    pub(super) fn series(labels: &[&str]) -> Option<u32> {
        labels.first().map_or(Some(0), |label| label.trim_start_matches(char::is_alphabetic).parse().ok())
    }

    /// The text of a latest value.
    pub(super) fn json(n: i64) -> String {
        format!("{{\"n\":{n},\"pad\":\"{}\"}}", "z".repeat(n as usize % 120))
    }
}

/// What the instances declare.
pub(super) fn metrics() -> Vec<MetricDescriptor> {
    let tiers: Tiers = TIERS.parse().expect("they are well written");
    let metric = |name: &str, kind, dimensions: &[&str]| MetricDescriptor {
        name: name.to_owned(),
        kind,
        dimensions: dimensions.iter().map(|text| (*text).to_owned()).collect(),
        unit: String::new(),
        description: String::new(),
        tiers: tiers.clone(),
        legacy: None,
        moved: None,
    };
    vec![
        metric("hits", Kind::Count, &["place"]),
        metric("pairs", Kind::Count, &["who", "what"]),
        metric("newest", Kind::Latest { n: 1, ttl: None }, &["place"]),
        metric("recent", Kind::Latest { n: 3, ttl: None }, &[]),
    ]
}

/// Time, id and JSON of a latest value.
type Latest = (i64, String, String);

/// What an instance holds: counts by metric, tier, label set and start (microseconds); latest values, newest first, by
/// metric and label set; and how many messages it has processed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) counts: BTreeMap<(usize, usize, u32, i64), i64>,
    pub(super) latest: BTreeMap<(usize, u32), Vec<Latest>>,
    pub(super) processed: u64,
}

impl Contents {
    /// What an instance must hold of the messages before `next`, of buckets that are kept at `now`.
    pub(super) fn recount(stream: Stream, topics: &str, next: u64, now: Timestamp) -> Self {
        let pattern: TopicPattern = topics.parse().expect("it is well written");
        let metrics = metrics();
        let mut contents = Self::default();
        for number in (1..next).filter(|number| pattern.matches(stream.topic(*number))) {
            contents.processed += 1;
            for Update { metric, series, time, n } in stream.updates(number) {
                let Kind::Latest { n: keeps, .. } = metrics[metric].kind else {
                    for (tier, of) in metrics[metric].tiers.as_slice().iter().enumerate() {
                        let width = of.resolution.micros();
                        let start = time.micros().div_euclid(width) * width;
                        let is_kept = match of.keep {
                            Keep::Forever => true,
                            Keep::For(keep) => start + width + keep.micros() > now.micros(),
                        };
                        if is_kept {
                            *contents.counts.entry((metric, tier, series, start)).or_default() += n;
                        }
                    }
                    continue;
                };
                let values = contents.latest.entry((metric, series)).or_default();
                values.push((time.micros(), Stream::id(number), Stream::json(n)));
                values.sort_by(|a, b| b.cmp(a));
                values.truncate(keeps as usize);
            }
        }
        contents.counts.retain(|_, n| *n != 0);
        contents
    }

    /// Where it is not as it should be; `None` if it is.
    pub(super) fn difference(&self, expected: &Self) -> Option<String> {
        let mut found = Vec::new();
        if self.processed != expected.processed {
            found.push(format!("processed {} messages, should be {}", self.processed, expected.processed));
        }
        let keys = self.counts.keys().chain(expected.counts.keys().filter(|key| !self.counts.contains_key(key)));
        for key in keys {
            let (is, should) = (self.counts.get(key), expected.counts.get(key));
            if is != should {
                found.push(format!("count {key:?} is {is:?}, should be {should:?}"));
            }
        }
        let keys = self.latest.keys().chain(expected.latest.keys().filter(|key| !self.latest.contains_key(key)));
        for key in keys {
            let (is, should) = (self.latest.get(key), expected.latest.get(key));
            if is != should {
                found.push(format!("latest {key:?} is {is:?}, should be {should:?}"));
            }
        }
        let count = found.len();
        found.truncate(3);
        (count > 0).then(|| format!("{count} differences: {}", found.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recount_knows_what_is_missing_and_what_is_there_twice() {
        let stream = Stream { seed: 7 };
        let recount = |next| Contents::recount(stream, INSTANCES[0].1, next, stream.arrival(200));
        assert_eq!(recount(200).difference(&recount(200)), None);
        for (is, should) in [(199, 200), (200, 199)] {
            let difference = recount(is).difference(&recount(should)).expect("one message less");
            assert!(difference.contains("processed"), "{difference}");
        }
        assert!(recount(200).counts.keys().any(|(_, tier, ..)| *tier == 2), "late ones reach the coarsest tier");
        let some = Contents::recount(stream, INSTANCES[1].1, 200, stream.arrival(200));
        assert!(some.processed > 0 && some.processed < 199);
    }

    #[test]
    fn labels_tell_their_number() {
        for series in [0, 1, 399, 400, 123_456] {
            for metric in 0..3 {
                let labels = Stream::labels(metric, series);
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                assert_eq!(Stream::series(&labels), Some(series));
            }
        }
    }
}
