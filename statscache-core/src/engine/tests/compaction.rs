//! Closed partitions become columns, whatever happens meanwhile.

use super::*;
use crate::limits::SWEEP_AFTER_MICROS;
use crate::segment::{Form, Segment};
use statscache_plugin_sdk::Label;
use statscache_plugin_sdk::host::Value;

/// Nothing is ever dropped, and a partition of seconds closes every 512 s.
const FOREVER: &Widths = &[(SECOND, i64::MAX), (60 * SECOND, i64::MAX)];

fn forever() -> InstanceSpec {
    let (plugin, mut declaration) = create::<Sampler>("null").expect("it starts");
    for metric in &mut declaration.metrics[..2] {
        metric.tiers = "1s forever, 1m forever".parse().expect("tiers");
    }
    spec("main", "1", declaration, Native(plugin))
}

fn segments(view: &View, metric: usize, tier: usize) -> Vec<(i64, Vec<Arc<Segment>>)> {
    let tier = &view.instances["main"].metrics[metric].tiers[tier];
    tier.partitions.iter().map(|(partition, segments)| (*partition, segments.clone())).collect()
}

/// Forms of the segments of partitions of seconds that ended so long ago that they are closed.
fn closed(view: &View, metric: usize) -> Vec<Vec<Form>> {
    let is_closed = |partition: &i64| (partition + 1) * 512 * SECOND + 60 * SECOND <= horizon(view).micros();
    let forms = |segments: Vec<Arc<Segment>>| segments.iter().map(|segment| segment.key().form).collect();
    segments(view, metric, 0).into_iter().filter(|(at, _)| is_closed(at)).map(|(_, segments)| forms(segments)).collect()
}

fn messages(round: u32) -> Vec<Msg> {
    const KINDS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let one = |n: u32| {
        let id = round * 8 + n;
        let kind = Some(KINDS[id as usize % 5]);
        Msg { n: i64::from(id % 7) - 3, kind, ..msg(id, i64::from(round) * 60 - i64::from(n) * 13) }
    };
    (0..8).map(one).collect()
}

/// An hour and a half of commits. Ends early where the disk does; returns what was accepted.
fn workload(world: &World) -> Vec<Msg> {
    let mut accepted = Vec::new();
    let Ok(mut daemon) = world.try_start(vec![forever()], at(0)) else { return accepted };
    for round in 0..30 {
        // Two minutes at a time: a partition takes four commits.
        let now = at(i64::from(round) * 120);
        let messages: Vec<Msg> = messages(round * 2);
        daemon.send(&messages, now);
        accepted.extend(messages);
        if daemon.try_commit(now).is_err() {
            break;
        }
    }
    accepted
}

/// Rows of chunks that neither an index nor a garbage row speaks of, and rows of garbage.
fn orphans_and_garbage(backend: &TestBackend) -> (usize, usize) {
    let rows = backend.all();
    let of = |tag: u8| rows.iter().map(|(key, _)| &key[..]).filter(move |key| key[0] == tag);
    let is_known = |chunk: &[u8]| of(b'I').chain(of(b'G')).any(|key| key[1..] == chunk[1..chunk.len() - 4]);
    (of(b'D').filter(|chunk| !is_known(chunk)).count(), of(b'G').count())
}

/// Commits until everything is swept that is to be swept.
fn sweep(daemon: &mut Daemon, now: Timestamp) -> Timestamp {
    let mut now = now;
    for _ in 0..3 {
        now = now.plus_micros(SWEEP_AFTER_MICROS);
        daemon.commit(now);
    }
    now
}

#[test]
fn a_closed_partition_is_one_segment_of_columns() {
    let world = World::default();
    let mut accepted = workload(&world);
    assert_eq!(accepted.len(), 240);
    let mut daemon = world.start(vec![forever()], at(3600));
    tick(&mut daemon, 90_000, at(3700));
    let view = daemon.commit(at(3700));
    for metric in 0..2 {
        let forms = closed(&view, metric);
        assert!(forms.len() >= 6 && forms.iter().all(|forms| *forms == [Form::Columns]), "{forms:?}");
        let open = segments(&view, metric, 1).into_iter().flat_map(|(_, segments)| segments);
        assert!(open.into_iter().all(|segment| segment.key().form == Form::Rows), "minutes are open still");
    }
    check_in(FOREVER, &world, &view, "main", &accepted, "compacted");
    // Late events lie beside the columns until they are enough to be written again with them.
    let mut seen = (false, false);
    for id in 1000..1040 {
        let late = [Msg { n: 5, ..msg(id, i64::from(id % 10) * 50) }];
        daemon.send(&late, at(3700));
        accepted.extend(late);
        let view = daemon.commit(at(3700));
        check_in(FOREVER, &world, &view, "main", &accepted, "late");
        for forms in closed(&view, 0) {
            assert_eq!(forms[0], Form::Columns);
            assert!(forms[1..].iter().all(|form| *form == Form::Rows), "{forms:?}");
            seen = (seen.0 || forms.len() == 1, seen.1 || forms.len() > 1);
        }
    }
    assert_eq!(seen, (true, true));
    sweep(&mut daemon, at(3700));
    assert_eq!(orphans_and_garbage(&world.backend), (0, 0));
    drop(daemon);
    let daemon = world.start(vec![forever()], at(3700));
    check_in(FOREVER, &world, &daemon.committer.view(), "main", &accepted, "after a restart");
}

#[test]
fn a_crash_at_any_write_leaves_the_old_segments_or_the_new_one() {
    let healthy = World::default();
    workload(&healthy);
    let operations = healthy.backend.operations();
    assert!(operations > 60, "{operations}");
    for operation in 0..=operations {
        let world = World::default();
        world.backend.fail_after(operation);
        let accepted = workload(&world);
        // A kill loses nothing that was applied; a power cut what was not synced.
        for batches in [0, 1, 2, usize::MAX] {
            let context = format!("store fails after {operation}, {batches} batches kept");
            let world = World { backend: world.backend.power_cut(batches), ..world.clone() };
            let now = at(3600);
            let mut daemon = world.start(vec![forever()], now);
            let before = contents(&daemon.committer.view(), "main");
            daemon.catch_up(now);
            let view = daemon.commit(now);
            check_in(FOREVER, &world, &view, "main", &accepted, &context);
            let seen = daemon.committer.view().instances["main"].cursor.next as usize - 1;
            assert!(seen == accepted.len() && before.counts.len() <= contents(&view, "main").counts.len());
            let now = sweep(&mut daemon, now);
            let view = daemon.commit(now);
            check_in(FOREVER, &world, &view, "main", &accepted, &context);
            assert!(closed(&view, 0).iter().all(|forms| forms[..] == [Form::Columns]), "{context}");
            assert_eq!(orphans_and_garbage(&world.backend), (0, 0), "{context}");
            assert!(daemon.committer.take_unreadable().is_none(), "{context}");
        }
    }
}

/// Latest values so large that one commit does not get through with them.
fn large_values() -> InstanceSpec {
    let mut round = 0;
    let code = Raw(move |message: &Message<'_>, sink: &mut dyn Sink| {
        let json = format!("\"{}\"", "v".repeat(60_000));
        for n in 0..60 {
            sink.update(2, &[Label::text(&format!("{round}/{n}"))], message.time(), Value::Set(&json));
        }
        round += 1;
        Ok(())
    });
    let declaration = create::<Sampler>("null").expect("it starts").1;
    spec("main", "1", declaration, code)
}

fn values(view: &View) -> usize {
    contents(view, "main").latest.values().filter(|values| values[0].2.len() == 60_002).count()
}

/// Six hundred of them; the next commit is the first that compacts.
fn before_collection(world: &World) -> Daemon {
    let mut daemon = world.start(vec![large_values()], at(0));
    daemon.send(&(0..10).map(|id| msg(id, 0)).collect::<Vec<_>>(), at(0));
    daemon.commit(at(0));
    tick(&mut daemon, 100, at(3600));
    daemon
}

#[test]
fn compaction_that_takes_several_commits_can_be_interrupted_anywhere() {
    let world = World::default();
    let mut daemon = before_collection(&world);
    let mut images = vec![world.backend.power_cut(usize::MAX)];
    for commit in 0..2 {
        let view = daemon.commit(at(3600));
        assert_eq!(values(&view), 600);
        let forms: Vec<Form> = segments(&view, 2, 0)[0].1.iter().map(|segment| segment.key().form).collect();
        assert_eq!(forms, [[Form::Rows], [Form::Columns]][commit], "after {commit}");
        assert_eq!(orphans_and_garbage(&world.backend), (0, 1), "after {commit}");
        images.push(world.backend.power_cut(usize::MAX));
    }
    sweep(&mut daemon, at(3600));
    assert_eq!(orphans_and_garbage(&world.backend), (0, 0));
    drop(daemon);
    // The clock may be behind when the process starts again: numbers of commits are not used twice.
    for (cut, image) in images.into_iter().enumerate() {
        for start in [at(0), at(3600), at(9000)] {
            let context = format!("cut after {cut}, started at {start:?}");
            let world = World { backend: image.power_cut(0), ..world.clone() };
            let mut daemon = world.start(vec![large_values()], start);
            daemon.catch_up(start);
            for round in 0..4 {
                let now = start.max(at(3600)).plus_micros(3600 * SECOND + round);
                tick(&mut daemon, 101 + round as u32, now);
                assert_eq!(values(&daemon.commit(now)), 600, "{context}");
            }
            sweep(&mut daemon, at(20_000));
            assert_eq!(values(&daemon.committer.view()), 600, "{context}");
            assert_eq!(orphans_and_garbage(&world.backend), (0, 0), "{context}");
            assert!(daemon.committer.take_unreadable().is_none(), "{context}");
        }
    }
}

#[test]
fn a_commit_that_is_written_twice_compacts_once() {
    let world = World::default();
    let mut daemon = before_collection(&world);
    for _ in 0..2 {
        let mut prepared = daemon.committer.prepare(daemon.engine.take_commit(at(3600))).expect("sound");
        for operations in [0, 1, 2] {
            world.backend.fail_after(operations);
            let _ = daemon.committer.write(&mut prepared);
        }
        world.backend.heal();
        daemon.committer.write(&mut prepared).expect("the disk works");
        daemon.engine.commit_written();
    }
    assert_eq!(values(&daemon.committer.view()), 600);
    sweep(&mut daemon, at(3600));
    assert_eq!(orphans_and_garbage(&world.backend), (0, 0));
    drop(daemon);
    assert_eq!(values(&world.start(vec![large_values()], at(9000)).committer.view()), 600);
}

#[test]
fn what_does_not_read_is_set_aside_by_name_and_the_rest_is_served() {
    let world = World::default();
    let mut daemon = before_collection(&world);
    let chunk = world.backend.all().into_iter().find(|(key, _)| key[0] == b'D').expect("large ones have chunks");
    world.backend.rows.apply(&[(chunk.0.clone(), Some(b"damaged".to_vec()))]).expect("memory");
    let view = (0..4).map(|secs| daemon.commit(at(3600 + secs))).last().expect("four");
    let told = daemon.committer.take_unreadable().expect("it is told");
    let why = std::error::Error::source(&told).expect("and why").to_string();
    assert!(told.to_string().contains("is damaged") && why.contains("checksum"), "{told}: {why}");
    let aside = daemon.committer.take_set_aside();
    assert_eq!((aside.len(), &*aside[0].instance, &*aside[0].metric), (1, "main", "newest"), "{aside:?}");
    assert!(aside[0].why.contains("checksum"), "{aside:?}");
    assert!(segments(&view, 2, 0).is_empty() && view.instances["main"].is_damaged());
    drop(daemon);
    let mut daemon = world.start(vec![large_values()], at(3604));
    let view = daemon.committer.view();
    assert!(view.instances["main"].is_damaged(), "after a restart as well");
    assert_eq!(daemon.commit(at(3605)).instances["main"].metrics[2].tiers[0].set_aside, [0].into());
    assert!(daemon.committer.take_unreadable().is_none());
}

#[test]
fn a_doubt_about_what_reads_changes_nothing() {
    let world = World::default();
    let mut daemon = before_collection(&world);
    let keys: Vec<_> = daemon.committer.view().instances["main"].metrics[2].segments().map(|it| it.key()).collect();
    keys.into_iter().for_each(|key| daemon.committer.doubt(key));
    let view = daemon.commit(at(3600));
    assert!(daemon.committer.take_set_aside().is_empty() && !view.instances["main"].is_damaged());
}
