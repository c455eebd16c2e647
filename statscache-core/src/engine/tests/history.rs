//! What is fetched from a history service: it fills what is missing, counts once, and says how far it is
//! there.

use super::*;
use crate::coverage::{BucketCoverage, Claim, Seen};
use crate::history::{History, Mark};
use crate::journal::Audience;

fn texts(messages: &[Msg]) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    messages.iter().map(Msg::wire).map(|(topic, body)| (text(topic), text(body))).collect()
}

const ONLY_2: Audience = Audience { first: 2, last: 2 };

impl Daemon {
    fn begin(&mut self, secs: std::ops::Range<i64>, audience: Audience) -> bool {
        let history = History::new(vec![(at(secs.start), at(secs.end))], audience);
        let first = self.engine.intake.journal.first_sequence();
        self.engine.intake.begin_history(history, first).expect("the journal works")
    }

    /// Fetches these messages and marks that time; says how many were accepted.
    fn fill(&mut self, secs: std::ops::Range<i64>, messages: &[Msg], now: Timestamp) -> u64 {
        let intake = &mut self.engine.intake;
        let first = intake.next_sequence();
        let fetched = intake.ingest_history(&texts(messages), now).expect("the journal works").expect("it was begun");
        let mark = Mark { start: at(secs.start), end: at(secs.end), first, seen: Seen::Whole };
        assert!(intake.mark(&mark, now).expect("the journal works"));
        self.catch_up(now);
        fetched.accepted
    }
}

fn coverage(view: &View, id: &str, secs: std::ops::Range<i64>) -> BucketCoverage {
    view.instances[id].reading.seen_by(&view.coverage).of(at(secs.start), at(secs.end))
}

fn some(ids: std::ops::Range<u32>, secs: i64) -> Vec<Msg> {
    ids.map(|id| msg(id, secs)).collect()
}

#[test]
fn a_gap_of_the_bus_is_filled_for_all_and_nothing_counts_twice() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("a"), sampler("b")], at(0));
    daemon.send(&some(0..5, 0), at(0));
    daemon.engine.cover(Claim::Seen(at(0), at(10), Seen::Whole));
    daemon.commit(at(10));
    // Between 10 and 20 the bus was not seen; history has that, and what is around it.
    daemon.send(&some(20..25, 21), at(25));
    daemon.engine.cover(Claim::Seen(at(20), at(25), Seen::Whole));
    assert_eq!(coverage(&daemon.commit(at(25)), "a", 10..20), BucketCoverage::Missing);
    assert!(daemon.begin(0..25, Audience::EVERYONE));
    let page: Vec<Msg> = some(0..5, 0).into_iter().chain(some(5..20, 15)).chain(some(20..25, 21)).collect();
    assert_eq!(daemon.fill(10..20, &page, at(26)), 15);
    let all = page.clone();
    let view = daemon.commit(at(26));
    for id in ["a", "b"] {
        check(&world, &view, id, &all, id);
        assert_eq!(coverage(&view, id, 0..25), BucketCoverage::Complete);
    }
    // Once more, after a crash, and by the bus.
    drop(daemon);
    let mut daemon = world.start(vec![sampler("a"), sampler("b"), sampler("new")], at(27));
    assert!(daemon.begin(0..25, Audience::EVERYONE));
    assert_eq!(daemon.fill(10..20, &page, at(27)), 0);
    daemon.send(&page, at(27));
    daemon.catch_up(at(27));
    let view = daemon.commit(at(27));
    for id in ["a", "b", "new"] {
        check(&world, &view, id, &all, id);
    }
    assert_eq!(
        coverage(&view, "new", 10..20),
        BucketCoverage::Complete,
        "the journal has it for those that come later"
    );
    let counters = daemon.engine.counters();
    assert_eq!((counters.fetched, counters.duplicates), (0, 2 * page.len() as u64));
}

#[test]
fn history_before_the_journal_is_for_the_new_one_only() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("old")], at(100));
    let live = some(100..110, 100);
    daemon.send(&live, at(100));
    daemon.commit(at(100));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("old"), sampler("new")], at(101));
    let history = some(0..30, 50);
    assert!(daemon.begin(0..101, ONLY_2));
    let page = [&history[..], &live[..]].concat();
    assert_eq!(daemon.fill(0..101, &page, at(101)), 30, "what the journal has, it has for the new one, too");
    assert_eq!(
        daemon.engine.intake.ingest_history(&texts(&history), at(101)).ok().flatten().map(|f| f.accepted),
        Some(0)
    );
    // Live messages of that time, known to the old one or not.
    daemon.send(&some(28..32, 50), at(102));
    daemon.catch_up(at(102));
    let view = daemon.commit(at(102));
    check(&world, &view, "old", &[&live[..], &some(28..32, 50)[..]].concat(), "old");
    assert_eq!(coverage(&view, "old", 0..101), BucketCoverage::Missing);
    assert_eq!(coverage(&view, "new", 0..101), BucketCoverage::Complete);
    drop(daemon);
    // For everyone it cannot be told any more what is missing of that time.
    let mut daemon = world.start(vec![sampler("old"), sampler("new")], at(103));
    assert!(!daemon.begin(0..101, Audience::EVERYONE));
    assert_eq!(daemon.engine.intake.ingest_history(&texts(&history), at(103)).expect("works"), None);
}

#[test]
fn a_mark_says_nothing_to_one_that_has_not_read_all_before_it() {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 2000, retain_micros: i64::MAX };
    let world = World { journal, ..World::default() };
    let mut daemon = world.start(vec![sampler("main")], at(0));
    assert!(daemon.begin(-100..0, Audience::EVERYONE));
    let history: Vec<Msg> = (0..20).map(|id| msg(id, i64::from(id) - 100)).collect();
    daemon.fill(-100..0, &history, at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &history, "main");
    assert_eq!(coverage(&view, "main", -100..0), BucketCoverage::Complete);
    daemon.commit(at(1));
    assert!(daemon.engine.retain(at(1)).expect("the journal works") > 0);
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("late")], at(2));
    daemon.catch_up(at(2));
    let view = daemon.commit(at(2));
    assert!(view.instances["late"].cursor.processed < 20);
    assert_eq!(coverage(&view, "late", -100..0), BucketCoverage::Partial);
    assert_eq!(coverage(&view, "main", -100..0), BucketCoverage::Complete);
}

#[test]
fn messages_of_other_times_are_not_taken() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    assert_eq!(daemon.engine.intake.ingest_history(&texts(&some(0..3, 0)), at(0)).expect("works"), None, "not begun");
    assert!(daemon.begin(0..10, Audience::EVERYONE));
    let page = [some(0..3, 5), some(3..5, -1), some(5..7, 10)].concat();
    let fetched = daemon.engine.intake.ingest_history(&texts(&page), at(20)).expect("works").expect("begun");
    assert_eq!((fetched.accepted, fetched.unwanted, fetched.duplicates, fetched.rejected), (3, 4, 0, 0));
    let page = [("a".to_owned(), "{".to_owned()), ("a".to_owned(), "{\"msg_id\": \"x\"}".to_owned())];
    let fetched = daemon.engine.intake.ingest_history(&page, at(20)).expect("works").expect("begun");
    assert_eq!((fetched.rejected, fetched.unwanted), (1, 1), "one that does not say when it was is of no use");
    daemon.engine.intake.end_history();
    let mark = Mark { start: at(0), end: at(10), first: 1, seen: Seen::Whole };
    assert!(!daemon.engine.intake.mark(&mark, at(20)).expect("works"));
}

#[test]
fn one_id_of_two_messages_is_two_messages() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let first = msg(1, 0);
    let other_topic = Msg { topic: "org.example.b.c", ..msg(1, 1) };
    let other_content = Msg { n: 7, ..msg(1, 2) };
    let respelled = Msg { with_year: true, time: BASE + 5 * SECOND, ..msg(1, 0) };
    daemon.send(&[first.clone(), other_topic.clone(), respelled.clone(), first.clone()], at(3));
    daemon.send(&[other_content.clone(), other_topic.clone(), respelled.clone(), other_content.clone()], at(3));
    let all = [first.clone(), other_topic.clone(), other_content.clone()];
    let counters = daemon.engine.counters();
    assert_eq!((counters.accepted, counters.duplicates, counters.id_conflicts), (3, 5, 2));
    check(&world, &daemon.commit(at(3)), "main", &all, "live");
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(4));
    daemon.send(&[other_content, respelled, other_topic, first], at(4));
    check(&world, &daemon.commit(at(4)), "main", &all, "after a restart");
    assert_eq!((daemon.engine.counters().accepted, daemon.engine.counters().duplicates), (0, 4));
}

#[test]
fn what_the_window_cannot_tell_is_counted() {
    let limits = Limits { dedupe_window: 60 * SECOND, ..Limits::default() };
    let world = World { limits, ..World::default() };
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, -61), msg(2, -60), msg(3, 0)], at(0));
    assert_eq!(daemon.engine.counters().unchecked, 1);
}

#[test]
fn what_an_instance_failed_on_is_missing_from_what_was_filled() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(100));
    assert!(daemon.begin(0..100, Audience::EVERYONE));
    let page = [msg(1, 10), Msg { act: "fail", ..msg(2, 50) }, msg(3, 90)];
    assert_eq!(daemon.fill(0..100, &page, at(100)), 3);
    let view = daemon.commit(at(101));
    assert_eq!(coverage(&view, "main", 50..51), BucketCoverage::Partial);
    assert_eq!(coverage(&view, "main", 0..50), BucketCoverage::Complete);
    assert_eq!(coverage(&view, "main", 51..100), BucketCoverage::Complete);
}

#[test]
fn what_was_there_before_it_was_fetched_belongs_to_the_mark() {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1500, retain_micros: i64::MAX };
    let world = World { journal, ..World::default() };
    let mut daemon = world.start(vec![sampler("main")], at(0));
    // Half of it came by the bus, which was seen in part; the rest is fetched.
    let seen: Vec<Msg> = (0..10).map(|id| msg(id, i64::from(id))).collect();
    daemon.send(&seen, at(10));
    daemon.engine.cover(Claim::Seen(at(0), at(10), Seen::Part));
    daemon.commit(at(11));
    assert!(daemon.begin(0..10, Audience::EVERYONE));
    let page: Vec<Msg> = seen.iter().cloned().chain((10..14).map(|id| msg(id, i64::from(id) - 5))).collect();
    assert_eq!(daemon.fill(0..10, &page, at(12)), 4);
    check(&world, &daemon.commit(at(12)), "main", &page, "main");
    daemon.commit(at(13));
    assert!(daemon.engine.retain(at(13)).expect("the journal works") > 0);
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("late")], at(14));
    daemon.catch_up(at(14));
    let view = daemon.commit(at(14));
    assert!(
        (4..14).contains(&view.instances["late"].cursor.processed),
        "it has read the rest, and not what came first"
    );
    assert_eq!(coverage(&view, "late", 0..10), BucketCoverage::Partial);
    assert_eq!(coverage(&view, "main", 0..10), BucketCoverage::Complete);
}

#[test]
fn what_was_fetched_for_several_is_known_for_each_and_not_for_more() {
    let world = World::default();
    let audience = |first, last| Audience { first, last };
    let mut daemon = world.start(vec![sampler("a"), sampler("b"), sampler("c")], at(100));
    let page = some(0..5, 50);
    assert!(daemon.begin(0..100, audience(1, 2)));
    assert_eq!(daemon.fill(0..100, &page, at(100)), 5);
    for ns in 1..=2 {
        assert!(daemon.begin(0..100, audience(ns, ns)));
        assert_eq!(daemon.fill(0..100, &page, at(100)), 0, "of {ns}");
    }
    assert!(!daemon.begin(0..100, audience(2, 3)), "one has it, one has not");
    assert!(daemon.begin(0..100, audience(3, 3)));
    assert_eq!(daemon.fill(0..100, &page, at(100)), 5);
    let view = daemon.commit(at(100));
    ["a", "b", "c"].iter().for_each(|id| check(&world, &view, id, &page, id));
}

#[test]
fn what_history_gave_to_some_and_the_bus_gives_to_all_counts_once() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("old")], at(100));
    daemon.send(&some(100..110, 100), at(100));
    daemon.commit(at(100));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("old"), sampler("new")], at(101));
    assert!(daemon.begin(0..101, ONLY_2));
    let page = [&some(0..30, 50)[..], &some(100..110, 100)[..]].concat();
    assert_eq!(daemon.fill(0..101, &page, at(101)), 30);
    daemon.send(&some(28..32, 50), at(102));
    daemon.catch_up(at(102));
    let view = daemon.commit(at(102));
    let all = [&page[..], &some(30..32, 50)[..]].concat();
    check(&world, &view, "new", &all, "new");
    let of_old = [&some(100..110, 100)[..], &some(28..32, 50)[..]].concat();
    check(&world, &view, "old", &of_old, "old");
    // Nor after a restart, and nor by way of the journal.
    drop(daemon);
    let mut daemon = world.start(vec![sampler("old"), sampler("new"), sampler("late")], at(103));
    daemon.send(&some(25..32, 50), at(103));
    daemon.send(&some(25..32, 50), at(103));
    daemon.catch_up(at(103));
    let view = daemon.commit(at(103));
    check(&world, &view, "new", &all, "new, again");
    let of_the_bus = [&some(100..110, 100)[..], &some(25..32, 50)[..]].concat();
    check(&world, &view, "old", &of_the_bus, "old, again");
    check(&world, &view, "late", &of_the_bus, "late");
}
