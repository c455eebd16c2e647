//! What happens on the demo's bus: an invented company that builds a distribution, with a catalogue of links, clubs,
//! a code forge and web sites. Everything follows from the time: a stretch of it always brings the same messages, so
//! that a year of history can be made up when it is wanted, and made up again.
//!
//! Time is cut into slots; a family says what happens in one of its slots. What happens now comes one by one.

mod bus;
mod cases;
mod cast;
mod random;
mod storage;
mod uptime;

use serde_json::{Value, json};

use random::Random;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Web sites that are one service for whoever buys something: the configuration of `uptime` needs them.
pub(super) use uptime::SHOP;

/// A message of the story.
struct Event {
    /// Seconds since 1970.
    time: i64,
    topic: String,
    msg: Value,
}

impl Event {
    fn new(time: i64, topic: impl Into<String>, msg: Value) -> Self {
        Self { time, topic: topic.into(), msg }
    }

    /// The envelope, in a line.
    fn line(self, random: &mut Random) -> Line {
        let (time, id) = (self.time, random.id(self.time));
        let envelope = json!({"topic": self.topic, "msg": self.msg, "timestamp": time, "msg_id": id});
        Line { time, text: envelope.to_string() }
    }
}

/// A message as it is published.
pub(super) struct Line {
    time: i64,
    /// The envelope.
    pub(super) text: String,
}

/// What happens again and again in the same way.
struct Family {
    name: &'static str,
    /// Length of its slots, seconds.
    slot: i64,
    /// All that happens in the slot that begins then, in any order.
    happens: fn(&mut Random, i64) -> Vec<Event>,
}

const FAMILIES: [Family; 8] = [
    Family { name: "packages", slot: HOUR, happens: bus::packages },
    Family { name: "composes", slot: DAY, happens: bus::composes },
    Family { name: "forge", slot: HOUR, happens: bus::forge },
    Family { name: "usage", slot: HOUR, happens: cases::uses },
    Family { name: "membership", slot: HOUR, happens: cases::reports },
    Family { name: "storage", slot: HOUR, happens: storage::statistics },
    Family { name: "moves", slot: storage::MOVES, happens: storage::moves },
    Family { name: "uptime", slot: HOUR, happens: uptime::checks },
];

/// One thing that happens at a time.
type Happening = fn(&mut Random, i64) -> Event;

/// What happens now: how often in a hundred, and one of it.
const PRESENT: [(u64, Happening); 6] = [
    (50, bus::package),
    (10, bus::forge_event),
    (14, cases::usage),
    (8, cases::report),
    (6, storage::statistic),
    (12, uptime::check),
];

/// All messages with `start <= time < end`, in order of time.
pub(super) fn between(start: i64, end: i64) -> Vec<Line> {
    let mut lines = Vec::new();
    for family in &FAMILIES {
        for number in start.div_euclid(family.slot)..=(end - 1).div_euclid(family.slot) {
            let mut random = Random::of(family.name, number);
            // Each message gets its id whether or not it is wanted: it is the same in every stretch.
            let all = (family.happens)(&mut random, number * family.slot).into_iter();
            lines.extend(all.map(|event| event.line(&mut random)).filter(|line| (start..end).contains(&line.time)));
        }
    }
    // What happens at the same time stays in the order of families.
    lines.sort_by_key(|line| line.time);
    lines
}

/// The message with this number among those of the present; `seed` tells one demo from another.
pub(super) fn present(seed: u64, number: u64, now: i64) -> Line {
    let mut random = Random::of("present", (seed ^ number.rotate_left(32)) as i64);
    let mut ticket = random.below(PRESENT.iter().map(|(share, _)| share).sum());
    for (share, happens) in PRESENT {
        match ticket.checked_sub(share) {
            Some(left) => ticket = left,
            None => return happens(&mut random, now).line(&mut random),
        }
    }
    unreachable!("a ticket is less than the sum of the shares")
}

/// So many times within a slot of an hour, fewer at night and on weekends: `most` at noon of a working day.
fn times(random: &mut Random, start: i64, most: f64) -> Vec<i64> {
    let mean = most * rhythm(start);
    // What is left over happens sometimes.
    let count = mean as u64 + u64::from(random.chance(mean.fract()));
    (0..count).map(|_| start + random.below(HOUR as u64) as i64).collect()
}

/// How lively it is at that time, from almost 0 to 1.
fn rhythm(time: i64) -> f64 {
    let (hour, weekday) = (time.rem_euclid(DAY) as f64 / HOUR as f64, (time.div_euclid(DAY) + 3).rem_euclid(7));
    let daylight = (std::f64::consts::PI * (hour - 5.0) / 15.0).sin();
    let day = if (5.0..20.0).contains(&hour) { 0.12 + 0.88 * daylight } else { 0.12 };
    if weekday >= 5 { 0.35 * day } else { day }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// 2026-03-02, a Monday.
    const MONDAY: i64 = 1_772_409_600;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn a_stretch_of_time_is_the_same_however_it_is_cut() {
        let (start, end) = (MONDAY - 1234, MONDAY + 5 * DAY + 77);
        let whole = between(start, end);
        assert!(whole.is_sorted_by_key(|line| line.time) && whole.len() > 1000, "{}", whole.len());
        let mut pieces = Vec::new();
        let mut from = start;
        for to in [start + 1, MONDAY, start + 5000, MONDAY + DAY + 3, end] {
            pieces.extend(between(from, to));
            from = to;
        }
        assert!(texts(&whole) == texts(&pieces), "{} and {} messages", whole.len(), pieces.len());
    }

    #[test]
    fn each_message_has_an_id_of_its_own() {
        let lines = between(MONDAY, MONDAY + 7 * DAY);
        let present: Vec<Line> = (0..5000).map(|number| present(7, number, MONDAY)).collect();
        let mut ids = BTreeSet::new();
        for line in lines.iter().chain(&present) {
            let envelope: Value = serde_json::from_str(&line.text).expect("JSON");
            let id = envelope["msg_id"].as_str().expect("an id").to_owned();
            assert!(id.starts_with("2026-") && id.len() == 41, "{id}");
            assert!(ids.insert(id), "twice: {}", line.text);
        }
    }

    /// Every case has something to show in any week, and in the present.
    #[test]
    fn a_week_and_the_present_have_all_cases() {
        let categories = |lines: &[Line]| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for line in lines {
                let envelope: Value = serde_json::from_str(&line.text).expect("JSON");
                let category =
                    envelope["topic"].as_str().and_then(|topic| topic.split('.').nth(3)).expect("a category");
                *counts.entry(category.to_owned()).or_default() += 1;
            }
            counts
        };
        let present: Vec<Line> = (0..1000).map(|number| present(1, number, MONDAY + number as i64)).collect();
        for lines in [between(MONDAY - 7 * DAY, MONDAY), present] {
            let counts = categories(&lines);
            for category in ["usage", "membership", "storage", "uptime", "pagure", "buildsys", "git", "bodhi"] {
                assert!(counts.get(category).is_some_and(|count| *count > 10), "{category}: {counts:?}");
            }
        }
        assert!(categories(&between(MONDAY - 7 * DAY, MONDAY)).contains_key("compose"));
    }

    #[test]
    fn nights_and_weekends_are_quiet() {
        let count = |day: i64, from: i64, to: i64| {
            let start = MONDAY + day * DAY;
            let lines = between(start + from * HOUR, start + to * HOUR);
            lines.iter().filter(|line| !line.text.contains(".uptime.")).count()
        };
        let (noon, night, sunday) = (count(1, 10, 14), count(1, 0, 4), count(6, 10, 14));
        assert!(noon > 3 * night && noon > 2 * sunday, "{noon}, {night} at night, {sunday} on a Sunday");
    }
}
