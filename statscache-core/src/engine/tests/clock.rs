//! The clock of the machine is wrong for a while.

use super::*;
use crate::coverage::{BucketCoverage, Seen};
use statscache_plugin_sdk::Label;
use statscache_plugin_sdk::host::Value;

const YEAR: i64 = 365 * 86_400;

/// A message a second, each with its own time, while the clock says something else.
fn run(offsets: &[i64], restarts: bool) {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let mut accepted = Vec::new();
    for (round, offset) in (0..).zip(offsets) {
        let secs = i64::from(round) * 10;
        let now = at(secs + offset);
        if restarts {
            drop(daemon);
            daemon = world.start(vec![sampler("main")], now);
            daemon.catch_up(now);
        }
        let messages = [msg(round * 2, secs), msg(round * 2 + 1, secs - 50)];
        daemon.send(&messages, now);
        accepted.extend(messages);
        let view = daemon.commit(now);
        check(&world, &view, "main", &accepted, &format!("round {round}, the clock is {offset} s off"));
        daemon.commit(now);
    }
    let now = at(offsets.len() as i64 * 10);
    let view = daemon.commit(now);
    check(&world, &view, "main", &accepted, "at the end");
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("again")], now);
    daemon.catch_up(now);
    let view = daemon.commit(now);
    check(&world, &view, "main", &accepted, "after a restart");
    assert_eq!(contents(&view, "again"), contents(&view, "main"), "counted anew");
    assert_eq!(view.instances["again"].cursor, view.instances["main"].cursor);
}

#[test]
fn ten_years_ahead_for_a_while_drops_nothing_and_misplaces_nothing() {
    for restarts in [false, true] {
        run(&[0, 0, 10 * YEAR, 10 * YEAR, 10 * YEAR, 0, 0, 0], restarts);
        run(&[10 * YEAR, 10 * YEAR, 0, 0], restarts);
        run(&[0, 1, 100 * YEAR, 0], restarts);
    }
}

#[test]
fn an_hour_back_drops_nothing_and_misplaces_nothing() {
    for restarts in [false, true] {
        run(&[0, 0, -3600, -3600, -3600, 0, 0], restarts);
        run(&[0, 0, -3600, -3600, -3600, -3600, -3600], restarts);
        run(&[3600, 3600, 0, 0], restarts);
    }
}

#[test]
fn what_is_dropped_goes_by_events_also_after_a_jump() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let accepted: Vec<Msg> = (0..8).map(|id| msg(id, i64::from(id) * 700)).collect();
    for (round, message) in accepted.iter().enumerate() {
        let jump = if round == 3 { 10 * YEAR } else { 0 };
        let now = at(round as i64 * 700 + jump);
        daemon.send(std::slice::from_ref(message), now);
        let view = daemon.commit(now);
        check(&world, &view, "main", &accepted[..=round], &format!("round {round}"));
        let seconds = &view.instances["main"].metrics[0].tiers[0];
        assert!(seconds.partitions.len() <= 2, "retention goes on");
    }
}

#[test]
fn a_store_that_is_built_anew_holds_what_the_old_one_held() {
    // Nothing came in for days. The clock alone drops nothing, neither live nor when counted anew.
    let mut world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let accepted: Vec<Msg> = (0..40).map(|id| msg(id, -i64::from(id) * 3)).rev().collect();
    for group in accepted.chunks(7) {
        daemon.send(group, at(0));
        daemon.commit(at(0));
    }
    let view = daemon.commit(at(5 * 86_400));
    check(&world, &view, "main", &accepted, "idle for days");
    drop(daemon);
    world.backend = TestBackend::default();
    let mut daemon = world.start(vec![sampler("main")], at(5 * 86_400));
    daemon.catch_up(at(5 * 86_400));
    let again = daemon.commit(at(5 * 86_400));
    check(&world, &again, "main", &accepted, "built anew");
    assert_eq!(again.instances["main"].cursor, view.instances["main"].cursor);
}

#[test]
fn what_is_swept_and_stored_now_and_then_goes_on_after_a_jump() {
    let many = |message: &Message<'_>, sink: &mut dyn Sink| {
        for n in 0..9_000 {
            sink.update(0, &[Label::text(&format!("label {n}"))], message.time(), Value::Add(1 << 30));
        }
        Ok(())
    };
    let world = World::default();
    let declaration = create::<Sampler>("null").expect("it starts").1;
    let mut daemon = world.start(vec![spec("main", "1", declaration, Raw(many))], at(0));
    for (id, secs) in [(1, 0), (2, 10 * YEAR), (3, 1)] {
        daemon.send(&[msg(id, 0)], at(secs));
        daemon.engine.cover(Claim::Seen(at(secs), at(secs + 1), Seen::Whole));
        daemon.commit(at(secs));
    }
    let garbage = || world.backend.all().iter().filter(|(key, _)| key[0] == b'G').count();
    assert!(garbage() > 0);
    for secs in 2..64 {
        daemon.engine.cover(Claim::Seen(at(secs - 1), at(secs), Seen::Whole));
        daemon.commit(at(secs));
    }
    assert_eq!(garbage(), 0, "it does not wait for ten years");
    let stored = Store::open(Box::new(world.backend.clone())).expect("it opens").1.coverage;
    assert_eq!(stored.of(at(1), at(50)), BucketCoverage::Complete, "nor does what was seen");
}

/// A message that does not say when it happens.
fn send_unstamped(daemon: &mut Daemon, id: &str, now: Timestamp) {
    let body = format!("{{\"msg_id\": \"{id}\", \"msg\": {{}}}}");
    let rejected = daemon.engine.ingest([(&b"org.example.a"[..], body.as_bytes())].into_iter(), now);
    assert_eq!(rejected.expect("the journal works"), []);
}

#[test]
fn what_a_wrong_clock_dates_drops_nothing_that_others_date() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    daemon.commit(at(0));
    for (id, offset) in [("a", YEAR), ("b", YEAR + 1)] {
        send_unstamped(&mut daemon, id, at(offset));
        daemon.commit(at(offset));
    }
    let view = daemon.commit(at(10));
    assert_eq!(view.horizon, at(0));
    let minutes = &view.instances["main"].metrics[0].tiers[1];
    assert!(minutes.partitions.values().flatten().map(|segment| segment.cells()).sum::<u64>() >= 1);
    drop(daemon);
    let mut anew = world.start(vec![sampler("main")], at(20));
    assert_eq!(anew.commit(at(20)).horizon, at(0), "nor does a restart");
}

#[test]
fn a_bus_that_dates_nothing_goes_by_the_clock() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for (id, secs) in [("a", 0), ("b", 100)] {
        send_unstamped(&mut daemon, id, at(secs));
        assert_eq!(daemon.commit(at(secs)).horizon, at(secs));
    }
}

#[test]
fn a_clock_that_lost_its_battery_quarantines_nothing() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let now = Timestamp::from_secs(60);
    let mut daemon = world.start(vec![sampler("main")], now);
    daemon.send(&[msg(2, 5), msg(3, -70)], now);
    let view = daemon.commit(now);
    assert_eq!(daemon.engine.counters().future, 0);
    assert_eq!(view.instances["main"].cursor.processed, 3);
    drop(daemon);
    let again = world.start(vec![sampler("main")], at(10)).commit(at(10));
    check(&world, &again, "main", &[msg(1, 0), msg(2, 5), msg(3, -70)], "when the clock is right again");
}
