//! Instances that lag read the journal; those that are up to date do not wait for them.

use super::*;

fn all(count: u32) -> Vec<Msg> {
    (0..count).map(|id| Msg { n: i64::from(id), ..msg(id, -i64::from(id) * 7) }).collect()
}

#[test]
fn a_new_instance_catches_up_while_others_run_live() {
    let world = World::default();
    let messages = all(200);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&messages[..100], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("new")], at(0));
    let mut turns = 0;
    for group in messages[100..].chunks(5) {
        daemon.send(group, at(0));
        daemon.engine.catch_up(1000, at(0)).expect("the journal works");
        let view = daemon.commit(at(0));
        let (main, new) = (&view.instances["main"], &view.instances["new"]);
        assert_eq!(view.lag(main), 0, "the one that is up to date stays so");
        turns += usize::from(view.lag(new) > 0);
        let seen = new.cursor.next as usize - 1;
        check(&world, &view, "new", &messages[..seen], "on the way");
    }
    assert!(turns > 3, "it took {turns} commits");
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &messages, "main");
    check(&world, &view, "new", &messages, "new");
    assert!(view.is_whole(&view.instances["new"]));
}

#[test]
fn one_with_a_long_way_to_go_does_not_hold_up_one_that_is_nearly_there() {
    let world = World::default();
    let messages = all(200);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&messages[..195], at(0));
    daemon.commit(at(0));
    daemon.send(&messages[195..], at(0));
    // Killed before the commit: five are to be read again.
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("new")], at(0));
    for _ in 0..3 {
        daemon.engine.catch_up(1, at(0)).expect("the journal works");
    }
    let view = daemon.commit(at(0));
    assert_eq!(view.lag(&view.instances["main"]), 0);
    assert!(view.lag(&view.instances["new"]) > 100, "{}", view.lag(&view.instances["new"]));
}

#[test]
fn retention_spares_what_no_commit_holds() {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1, retain_micros: i64::MAX };
    let world = World { journal, ..World::default() };
    let messages = all(40);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for message in &messages {
        daemon.send(std::slice::from_ref(message), at(0));
        daemon.engine.retain(at(0)).expect("the journal works");
    }
    // A commit that is taken and not written holds nothing either.
    drop(daemon.engine.take_commit(at(0)));
    daemon.engine.retain(at(0)).expect("the journal works");
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &messages, "all came back from the journal");
    assert!(daemon.engine.retain(at(0)).expect("the journal works") > 5, "now it may go");
}

#[test]
fn two_that_lag_differently_meet() {
    let world = World::default();
    let messages = all(90);
    let mut daemon = world.start(vec![sampler("a")], at(0));
    daemon.send(&messages[..30], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("b")], at(0));
    daemon.send(&messages[30..60], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("a"), sampler("b"), sampler("c")], at(0));
    daemon.send(&messages[60..], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    // b had been added when there were messages already: it has read them from the journal.
    for id in ["a", "b", "c"] {
        check(&world, &view, id, &messages, id);
    }
}

#[test]
fn what_retention_took_before_it_was_read_is_counted() {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1, retain_micros: i64::MAX };
    let world = World { journal, ..World::default() };
    let messages = all(60);
    let mut daemon = world.start(vec![sampler("main"), sampler("slow")], at(0));
    daemon.send(&messages[..10], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for message in &messages[10..50] {
        daemon.send(std::slice::from_ref(message), at(0));
    }
    daemon.commit(at(0));
    assert!(daemon.engine.retain(at(0)).expect("the journal works") > 5);
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("slow"), sampler("new")], at(0));
    let first = daemon.engine.intake.journal.first_sequence();
    assert!((12..50).contains(&first), "{first}");
    daemon.send(&messages[50..], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    let slow = &view.instances["slow"];
    assert_eq!((slow.cursor.missed, slow.cursor.next), (first - 11, 61));
    assert_eq!((view.lag(slow), view.is_whole(slow)), (0, true), "whole as far as the journal goes");
    let kept = [&messages[..10], &messages[first as usize - 1..]].concat();
    check(&world, &view, "slow", &kept, "slow has all but the gap");
    check(&world, &view, "main", &messages, "main has all");
    check(&world, &view, "new", &messages[first as usize - 1..], "new has what is left");
    let new = &view.instances["new"];
    assert_eq!((new.cursor.missed, view.is_whole(new)), (0, true), "before its time nothing was missed");
}

#[test]
fn a_journal_that_is_gone_is_a_gap_and_no_end() {
    let mut world = World::default();
    let messages = all(30);
    let mut daemon = world.start(vec![sampler("main"), sampler("slow")], at(0));
    daemon.send(&messages[..10], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&messages[10..20], at(0));
    daemon.commit(at(0));
    drop(daemon);
    world.dir = SimulatedDir::new();
    let mut daemon = world.start(vec![sampler("main"), sampler("slow")], at(0));
    daemon.catch_up(at(0));
    daemon.send(&messages[20..], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &messages, "main had them all");
    check(&world, &view, "slow", &[&messages[..10], &messages[20..]].concat(), "slow missed ten");
    let cursor = view.instances["slow"].cursor;
    assert_eq!((cursor.missed, cursor.next), (10, 31));
}

#[test]
fn duplicates_are_known_across_a_restart() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&all(20), at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(1));
    let again: Vec<Msg> = all(25).into_iter().map(|message| Msg { with_year: true, ..message }).collect();
    daemon.send(&again, at(1));
    assert_eq!((daemon.engine.counters().accepted, daemon.engine.counters().duplicates), (5, 20));
    daemon.catch_up(at(1));
    check(&world, &daemon.commit(at(1)), "main", &all(25), "once each");
}

#[test]
fn messages_with_numbers_that_are_none_read_the_same_live_and_from_the_journal() {
    let body = br#"{"msg_id": "nan", "timestamp": 1600002000.5, "msg": {"a": NaN, "kind": "x", "b": [Infinity, -Infinity], "n": 4}}"#;
    let world = World::default();
    let mut daemon = world.start(vec![sampler("live")], at(0));
    let rejected = daemon.engine.ingest([(&b"org.example.a"[..], &body[..])].into_iter(), at(0)).expect("taken");
    assert_eq!((rejected, daemon.engine.counters().repaired), (vec![], 1));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("live"), sampler("late")], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    assert_eq!(canonical(&view, "live"), canonical(&view, "late"));
    let latest = &contents(&view, "late").latest[&("newest".to_owned(), vec!["x".to_owned()])];
    assert_eq!(*latest, [(BASE + 500_000, "nan".to_owned(), "4".to_owned())]);
}

#[test]
fn messages_without_id_are_told_apart_by_pointers_or_by_all() {
    let pointers = vec!["/msg/url".to_owned(), "/msg/at".to_owned()];
    let world = World { naming: identity::Naming { pointers, ..Default::default() }, ..World::default() };
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let bodies = [
        r#"{"msg": {"url": "a", "at": 1, "n": 1}}"#,
        r#"{"msg": {"url": "a", "at": 1, "n": 2}}"#,
        r#"{"msg": {"url": "a", "at": 2}}"#,
        r#"{"msg": {"url": "a"}}"#,
        r#"{"msg": {"url": "a"}}"#,
        r#"{"msg": {"url": "a" }}"#,
    ];
    let batch = bodies.iter().map(|body| (&b"org.example.a"[..], body.as_bytes()));
    daemon.engine.ingest(batch, at(0)).expect("the journal works");
    assert_eq!((daemon.engine.counters().accepted, daemon.engine.counters().duplicates), (4, 2));
}
