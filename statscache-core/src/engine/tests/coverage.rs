//! What was seen of the bus, and what an instance has read of it.

use super::*;
use crate::coverage::{BucketCoverage, Coverage, Seen};
use crate::limits::COVERAGE_STORE_MICROS;

fn whole(from: i64, to: i64) -> Claim {
    Claim::Seen(at(from), at(to), Seen::Whole)
}

fn intervals(coverage: &Coverage) -> Vec<(i64, i64, Seen)> {
    let secs = |time: Timestamp| (time.micros() - BASE) / SECOND;
    coverage.intervals().map(|(start, end, seen)| (secs(start), secs(end), seen)).collect()
}

/// What an instance may say of `[from, to)`.
fn of(view: &View, id: &str, from: i64, to: i64) -> BucketCoverage {
    view.instances[id].reading.seen_by(&view.coverage).of(at(from), at(to))
}

#[test]
fn claims_are_in_the_view_and_survive_a_restart() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 5)], at(5));
    daemon.engine.cover(whole(0, 10));
    daemon.engine.cover(Claim::Doubted(at(3), at(4)));
    daemon.engine.cover(Claim::Seen(at(20), at(30), Seen::Part));
    let expected = [(0, 3, Seen::Whole), (3, 4, Seen::Part), (4, 10, Seen::Whole), (20, 30, Seen::Part)];
    assert_eq!(intervals(&daemon.committer.view().coverage), [], "not before the commit");
    let view = daemon.commit(at(30));
    assert_eq!(intervals(&view.coverage), expected);
    assert_eq!(of(&view, "main", 4, 10), BucketCoverage::Complete);
    assert_eq!(
        (of(&view, "main", 2, 5), of(&view, "main", 10, 20)),
        (BucketCoverage::Partial, BucketCoverage::Missing)
    );
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(40));
    assert_eq!(intervals(&daemon.committer.view().coverage), expected);
    assert_eq!(daemon.committer.view().instances["main"].reading, view.instances["main"].reading);
    // Nothing was lost between, so what was seen of that time counts once it is read.
    daemon.engine.cover(whole(30, 45));
    let view = daemon.commit(at(45));
    assert_eq!(of(&view, "main", 30, 45), BucketCoverage::Complete);
}

#[test]
fn without_anything_else_to_write_claims_are_stored_now_and_then() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.commit(at(0));
    let every = COVERAGE_STORE_MICROS / SECOND;
    let mut stored = Vec::new();
    for secs in 1..=35 {
        daemon.engine.cover(whole(secs - 1, secs));
        let before = world.backend.operations();
        let view = daemon.commit(at(secs));
        assert_eq!(intervals(&view.coverage), [(0, secs, Seen::Whole)], "readers know it at once");
        if world.backend.operations() > before {
            stored.push(secs);
        }
    }
    assert_eq!(stored, [every, 2 * every, 3 * every]);
    drop(daemon);
    let contents = Store::open(Box::new(world.backend.clone())).expect("it opens").1;
    assert_eq!(intervals(&contents.coverage), [(0, 3 * every, Seen::Whole)]);
    // With something to write they are stored with it, not before it.
    let mut daemon = world.start(vec![sampler("main")], at(40));
    daemon.send(&[msg(1, 40)], at(40));
    daemon.engine.cover(whole(40, 41));
    daemon.commit(at(41));
    let contents = Store::open(Box::new(world.backend.clone())).expect("it opens").1;
    assert_eq!(intervals(&contents.coverage), [(0, 30, Seen::Whole), (40, 41, Seen::Whole)]);
}

#[test]
fn a_claim_is_not_stored_without_what_it_speaks_of() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for round in 0..20 {
        let secs = i64::from(round) * 20;
        daemon.send(&[msg(round, secs)], at(secs));
        daemon.engine.cover(whole(secs, secs + 20));
        world.backend.fail_after(u64::from(round) % 3);
        let failed = daemon.try_commit(at(secs + 20)).is_err();
        world.backend.heal();
        let contents = Store::open(Box::new(world.backend.clone())).expect("it opens").1;
        let namespace = contents.namespaces.values().next().expect("there");
        let claimed = intervals(&contents.coverage).last().map_or(0, |(_, end, _)| *end);
        assert!(claimed <= (namespace.cursor.next as i64 - 1) * 20, "round {round}: {claimed} {:?}", namespace.cursor);
        if failed {
            drop(daemon);
            daemon = world.start(vec![sampler("main")], at(secs + 20));
            daemon.catch_up(at(secs + 20));
            daemon.commit(at(secs + 20));
        }
    }
}

#[test]
fn an_instance_does_not_claim_what_was_before_its_time_or_what_it_missed() {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1, retain_micros: i64::MAX };
    let world = World { journal, ..World::default() };
    let send = |daemon: &mut Daemon, secs: std::ops::Range<i64>| {
        daemon.engine.cover(whole(secs.start, secs.end));
        secs.for_each(|at_| daemon.send(&[msg(at_ as u32, at_)], at(at_)));
    };
    let mut daemon = world.start(vec![sampler("main"), sampler("slow")], at(0));
    send(&mut daemon, 0..10);
    let view = daemon.commit(at(10));
    assert_eq!(of(&view, "slow", 0, 10), BucketCoverage::Complete);
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(10));
    send(&mut daemon, 10..50);
    daemon.commit(at(50));
    assert!(daemon.engine.retain(at(50)).expect("the journal works") > 5);
    let first = daemon.engine.intake.journal.first_sequence() as i64 - 1;
    assert!((11..50).contains(&first), "{first}");
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("slow"), sampler("new")], at(50));
    let view = daemon.commit(at(50));
    assert_eq!(of(&view, "main", 0, 50), BucketCoverage::Complete);
    assert_eq!(of(&view, "new", 0, 50), BucketCoverage::Missing, "it has read nothing yet");
    assert_eq!(
        (of(&view, "slow", 0, 9), of(&view, "slow", 10, 50)),
        (BucketCoverage::Complete, BucketCoverage::Missing)
    );
    daemon.catch_up(at(50));
    send(&mut daemon, 50..60);
    for restarted in [false, true] {
        let view = daemon.commit(at(60));
        assert_eq!(of(&view, "main", 0, 60), BucketCoverage::Complete, "restarted: {restarted}");
        for (id, before) in [("new", BucketCoverage::Missing), ("slow", BucketCoverage::Complete)] {
            assert_eq!(of(&view, id, 0, 9), before, "{id}, restarted: {restarted}");
            assert_eq!(of(&view, id, 10, first), BucketCoverage::Missing, "{id}, restarted: {restarted}");
            assert_eq!(of(&view, id, first, 60), BucketCoverage::Complete, "{id}, restarted: {restarted}");
        }
        drop(daemon);
        daemon = world.start(vec![sampler("main"), sampler("slow"), sampler("new")], at(60));
    }
}

#[test]
fn an_instance_that_is_quarantined_claims_nothing_more() {
    let mut world = World::default();
    world.limits.quarantine_after = 1;
    let mut daemon = world.start(vec![sampler("main"), sampler("good")], at(0));
    daemon.send(&[msg(1, 1)], at(1));
    daemon.send(&[Msg { act: "fail", ..msg(2, 5) }], at(5));
    daemon.engine.cover(whole(0, 10));
    let view = daemon.commit(at(10));
    assert_eq!(
        (of(&view, "main", 0, 1), of(&view, "main", 5, 10)),
        (BucketCoverage::Complete, BucketCoverage::Missing)
    );
}

#[test]
fn what_a_quarantined_instance_failed_on_stays_missing_after_a_restart() {
    let mut world = World::default();
    world.limits.quarantine_after = 2;
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 1)], at(1));
    // In one batch, and the journal's way below.
    daemon.send(&[Msg { act: "fail", ..msg(2, 5) }, Msg { act: "fail", ..msg(3, 5) }], at(6));
    daemon.commit(at(7));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(9));
    daemon.send(&[msg(4, 10)], at(10));
    daemon.engine.cover(Claim::Seen(at(0), at(11), Seen::Whole));
    let view = daemon.commit(at(11));
    let seen = view.instances["main"].reading.seen_by(&view.coverage);
    assert_eq!(seen.of(at(5), at(6)), BucketCoverage::Partial);
    assert_eq!(seen.of(at(7), at(10)), BucketCoverage::Complete);
}
