//! Late, early and impossible times; retention.

use super::*;
use statscache_plugin_sdk::Label;
use statscache_plugin_sdk::host::Value;

fn partitions(view: &View, tier: usize) -> usize {
    view.instances["main"].metrics[0].tiers[tier].partitions.len()
}

#[test]
fn late_events_land_where_they_are_still_kept() {
    // Tiers: 1s for 1m, 1m for 2h, 1h forever. Ends of buckets decide.
    for (late, tiers) in [
        (0, vec![0, 1, 2]),
        (60, vec![0, 1, 2]),
        (61, vec![1, 2]),
        (7200 + 59, vec![1, 2]),
        (7200 + 60, vec![2]),
        (500 * 86_400, vec![2]),
    ] {
        let world = World::default();
        let mut daemon = world.start(vec![sampler("main")], at(0));
        // The last microsecond of the second before `late` seconds ago.
        let accepted = [Msg { time: BASE - late * SECOND - 1, ..msg(1, 0) }];
        tick(&mut daemon, 0, at(0).plus_micros(-1));
        daemon.send(&accepted, at(0));
        let now = at(0).plus_micros(-1);
        let view = daemon.commit(now);
        let found: Vec<usize> = (0..3).filter(|tier| partitions(&view, *tier) > 0).collect();
        assert_eq!(found, tiers, "{late} s late");
        check(&world, &view, "main", &accepted, &format!("{late} s late"));
    }
}

#[test]
fn retention_drops_whole_partitions_in_view_and_rows() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let accepted = [msg(1, 0), msg(2, -30)];
    daemon.send(&accepted, at(0));
    daemon.commit(at(0));
    // The partition of seconds ends somewhere within the next 512 s, and its last bucket is kept
    // a minute longer.
    let width = 512 * SECOND;
    let end = (BASE.div_euclid(width) + 1) * width;
    let last = Timestamp::from_micros(end + 60 * SECOND - 1);
    let rows = world.backend.all().len();
    let view = daemon.commit(last.plus_micros(1));
    assert_eq!((partitions(&view, 0), world.backend.all().len()), (1, rows), "an idle bus drops nothing");
    tick(&mut daemon, 3, last);
    let view = daemon.commit(last);
    assert_eq!((partitions(&view, 0), world.backend.all().len()), (1, rows), "a microsecond before");
    tick(&mut daemon, 4, last.plus_micros(1));
    let view = daemon.commit(last.plus_micros(1));
    assert_eq!((partitions(&view, 0), partitions(&view, 1)), (0, 1));
    assert_eq!(world.backend.all().len(), rows - 2, "one row of each of both counts");
    check(&world, &view, "main", &accepted, "coarser tiers are untouched");
    tick(&mut daemon, 5, at(86_400 * 30));
    let view = daemon.commit(at(86_400 * 30));
    assert_eq!((partitions(&view, 0), partitions(&view, 1), partitions(&view, 2)), (0, 0, 1));
    check(&world, &view, "main", &accepted, "hours are kept for ever");
    drop(daemon);
    let daemon = world.start(vec![sampler("main")], at(86_400 * 30));
    check(&world, &daemon.committer.view(), "main", &accepted, "after a restart");
}

#[test]
fn an_old_partition_goes_even_when_a_future_one_stays() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    // As far ahead as is believed.
    daemon.send(&[msg(1, 0), msg(2, 86_400)], at(0));
    assert_eq!(partitions(&daemon.commit(at(0)), 0), 2);
    // The newest event is ahead of the clock: then the clock decides.
    assert_eq!(partitions(&daemon.commit(at(3600)), 0), 1);
}

#[test]
fn what_says_that_it_is_later_than_tomorrow_is_kept_and_handed_to_nobody() {
    let mut world = World::default();
    let tomorrow = 86_400;
    let accepted = [msg(1, tomorrow), msg(3, 0)];
    let future = [msg(2, tomorrow + 1), Msg { kind: Some("far"), ..msg(4, 2 * tomorrow) }];
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[accepted[0].clone(), future[0].clone()], at(0));
    daemon.send(&[future[1].clone(), accepted[1].clone()], at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &accepted, "live");
    let cursor = view.instances["main"].cursor;
    assert_eq!((cursor.watermark, cursor.next, cursor.processed), (Some(at(tomorrow)), 5, 2));
    assert_eq!((view.lag(&view.instances["main"]), view.instances["main"].metrics[1].series_count), (0, 1));
    assert_eq!((daemon.engine.counters().future, daemon.engine.counters().accepted), (2, 4));
    drop(daemon);

    // They are in the journal, and not for who reads it.
    let mut daemon = world.start(vec![sampler("main"), sampler("same")], at(0));
    daemon.send(&future, at(0));
    assert_eq!(daemon.engine.counters().duplicates, 2, "they are known");
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "same", &accepted, "from the journal");
    assert_eq!(view.instances["same"].cursor, cursor);
    drop(daemon);
    // What was decided when they came stays decided: by another limit, and when their time has come.
    world.limits.event_ahead *= 2;
    for now in [at(0), at(10 * tomorrow)] {
        let mut daemon = world.start(vec![sampler("same"), sampler_of("main", &format!("{now:?}"))], now);
        daemon.catch_up(now);
        let view = daemon.commit(now);
        check(&world, &view, "main", &accepted, "by a larger limit");
        assert_eq!(view.instances["main"].cursor, cursor);
        assert_eq!(view.instances["same"].cursor, cursor);
    }
}

#[test]
fn times_at_the_ends_of_everything_neither_panic_nor_get_lost() {
    let extremes = [
        i64::MIN,
        i64::MIN + 1,
        i64::MIN + 86_400_000_000,
        -1,
        0,
        253_402_300_799_999_999,
        i64::MAX - 86_400_000_000,
        i64::MAX - 1,
        i64::MAX,
    ];
    for now in [at(0), Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX), Timestamp::from_micros(0)] {
        let world = World::default();
        let code = move |_: &Message<'_>, sink: &mut dyn Sink| {
            for time in extremes {
                sink.update(0, &[Label::text("x")], Timestamp::from_micros(time), Value::Add(1));
                sink.update(2, &[Label::text("x")], Timestamp::from_micros(time), Value::Set("1"));
            }
            Ok(())
        };
        let declaration = create::<Sampler>("null").expect("it starts").1;
        let mut daemon = world.start(vec![spec("main", "1", declaration, Raw(code))], now);
        // Without a time of its own it happens when it comes in.
        let rejected = daemon.engine.ingest([(&b"org.example.a"[..], &b"{}"[..])].into_iter(), now).expect("taken");
        assert_eq!(rejected, []);
        let view = daemon.commit(now);
        let metric = &view.instances["main"].metrics[0];
        let cells = cells_of(CountRule, &*view.chunks, &metric.tiers[2]);
        let total: i64 = cells.iter().flat_map(|(_, cells)| cells).map(|cell| cell.state).sum();
        assert_eq!(total, extremes.len() as i64, "the tier that is for ever has all, now {now:?}");
        let newest =
            cells_of(LatestRule { n: 1, ttl: None }, &*view.chunks, &view.instances["main"].metrics[2].tiers[0]);
        // What lies too far after the message's own time takes that instead.
        let own = view.instances["main"].cursor.watermark.expect("a message came");
        let believed = |time: &i64| *time <= own.plus_micros(world.limits.event_ahead).micros();
        let latest = extremes.into_iter().filter(believed).chain([own.micros()]).max().expect("some");
        assert_eq!(newest[0].1[0].state.values[0].time, Timestamp::from_micros(latest), "now {now:?}");
        let limited = 2 * extremes.iter().filter(|time| !believed(time)).count() as u64;
        assert_eq!(view.instances["main"].cursor.limited, limited, "now {now:?}");
        daemon.commit(now.plus_micros(SECOND));
        drop(daemon);
        let daemon = world.start(vec![sampler("main")], now);
        let again = daemon.committer.view();
        assert_eq!(
            cells_of(CountRule, &*again.chunks, &again.instances["main"].metrics[0].tiers[2]),
            cells,
            "now {now:?}"
        );
    }
}

#[test]
fn the_watermark_is_the_newest_event_time() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].cursor.watermark, None);
    daemon.send(&[msg(1, -5), msg(2, -9)], at(0));
    daemon.send(&[], at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].cursor.watermark, Some(at(-5)));
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main"), sampler("late")], at(0));
    daemon.send(&[msg(3, -7)], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    assert_eq!(view.instances["main"].cursor.watermark, Some(at(-5)), "it does not go back");
    assert_eq!(view.instances["late"].cursor.watermark, Some(at(-5)), "and is the same when it was caught up");
}
