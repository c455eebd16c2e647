//! Bounds, from both sides.

use super::*;
use crate::limits::{COUNT_ADD_MAX, STORE_BATCH_ROWS_MAX, UPDATES_PER_MESSAGE_MAX};
use crate::series::OTHER;
use statscache_plugin_sdk::Label;
use statscache_plugin_sdk::host::Value;

/// Sends one message to code that talks to the sink, with the metrics of a [`Sampler`]:
/// 0 and 1 are counts by one label, 2 is `latest` by one, 3 `latest(3)` by none.
fn one(limits: Limits, act: impl FnMut(&mut dyn Sink) + Send + 'static) -> Arc<View> {
    let world = World { limits, ..World::default() };
    let mut act = act;
    let code = Raw(move |_: &Message<'_>, sink: &mut dyn Sink| {
        act(sink);
        Ok(())
    });
    let declaration = create::<Sampler>("null").expect("it starts").1;
    let mut daemon = world.start(vec![spec("main", "1", declaration, code)], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    daemon.commit(at(0))
}

fn check_fault(expect_fault: bool, what: &str, act: impl FnMut(&mut dyn Sink) + Send + 'static) {
    let view = one(Limits { quarantine_after: 1, ..Limits::default() }, act);
    let instance = &view.instances["main"];
    assert_eq!(instance.cursor.failed, u64::from(expect_fault), "{what}: {:?}", instance.state);
    if expect_fault {
        assert_eq!(contents(&view, "main"), Contents::default(), "{what}: nothing of it counts");
        assert_eq!(instance.metrics.iter().map(|metric| metric.series_count).sum::<u32>(), 0, "{what}: no label set");
    }
}

const X: [Label<'static>; 1] = [Label::text("x")];

#[test]
fn what_was_not_declared_is_a_fault() {
    use statscache_plugin_sdk::InternedLabel;
    check_fault(false, "a sound update", |sink| sink.update(0, &X, at(0), Value::Add(1)));
    check_fault(false, "a declared handle", |sink| {
        sink.update(0, &[Label::interned(InternedLabel(0))], at(0), Value::Add(1));
    });
    check_fault(true, "no such handle", |sink| {
        sink.update(0, &X, at(0), Value::Add(1));
        sink.update(0, &[Label::interned(InternedLabel(1))], at(0), Value::Add(1));
    });
    check_fault(true, "no such metric", |sink| {
        sink.update(0, &X, at(0), Value::Add(1));
        sink.update(4, &X, at(0), Value::Add(1));
    });
    check_fault(true, "too few labels", |sink| sink.update(0, &[], at(0), Value::Add(1)));
    check_fault(true, "too many labels", |sink| sink.update(0, &[X[0], X[0]], at(0), Value::Add(1)));
    check_fault(true, "a value for a count", |sink| sink.update(0, &X, at(0), Value::Set("1")));
    check_fault(true, "a number for a latest value", |sink| sink.update(2, &X, at(0), Value::Add(1)));
}

#[test]
fn too_many_updates_are_a_fault() {
    for (updates, fault) in [(UPDATES_PER_MESSAGE_MAX, false), (UPDATES_PER_MESSAGE_MAX + 1, true)] {
        check_fault(fault, &format!("{updates} updates"), move |sink| {
            (0..updates).for_each(|_| sink.update(0, &X, at(0), Value::Add(1)));
        });
    }
}

#[test]
fn too_large_an_addition_is_a_fault() {
    for (n, fault) in [
        (COUNT_ADD_MAX, false),
        (-COUNT_ADD_MAX, false),
        (COUNT_ADD_MAX + 1, true),
        (-COUNT_ADD_MAX - 1, true),
        (i64::MAX, true),
        (i64::MIN, true),
    ] {
        check_fault(fault, &format!("adding {n}"), move |sink| sink.update(0, &X, at(0), Value::Add(n)));
    }
}

#[test]
fn values_beyond_the_limit_are_refused_and_counted() {
    let limits = Limits { value_bytes: 4, ..Limits::default() };
    let view = one(limits, |sink| {
        sink.update(2, &X, at(0), Value::Set("1234"));
        sink.update(2, &[Label::text("y")], at(0), Value::Set("12345"));
    });
    let instance = &view.instances["main"];
    assert_eq!((instance.cursor.updates, instance.cursor.limited, instance.cursor.failed), (1, 1, 0));
    assert_eq!(labels_of(&instance.metrics[2]), [["x"]]);
}

#[test]
fn labels_beyond_the_limit_are_cut_between_characters() {
    let limits = Limits { label_bytes: 4, ..Limits::default() };
    let view = one(limits, |sink| {
        for label in ["abcd", "abcde", "abcdf", "abcé", ""] {
            sink.update(0, &[Label::text(label)], at(0), Value::Add(1));
        }
    });
    let instance = &view.instances["main"];
    assert_eq!(labels_of(&instance.metrics[0]), [["abcd"], ["abc"], [""]]);
    assert_eq!((instance.cursor.updates, instance.cursor.limited), (5, 3));
}

#[test]
fn beyond_the_limit_of_series_totals_stay_exact_also_across_restarts() {
    let mut world = World::default();
    world.limits.series_per_metric = 5;
    const KINDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", OTHER, "l"];
    let mut accepted = Vec::new();
    for round in 0..6 {
        let mut daemon = world.start(vec![sampler("main")], at(0));
        daemon.catch_up(at(0));
        let messages: Vec<Msg> = (0..12)
            .map(|k| Msg { kind: Some(KINDS[(k * 5 + round * 3) % 12]), ..msg((round * 12 + k) as u32, 0) })
            .collect();
        daemon.send(&messages, at(0));
        accepted.extend(messages);
        let view = daemon.commit(at(0));
        let instance = &view.instances["main"];
        let found = contents(&view, "main").counts;
        let labels = labels_of(&instance.metrics[1]);
        assert!(labels.len() <= 6 && labels.iter().filter(|set| set[0] == OTHER).count() == 1, "{labels:?}");
        for tier in 0..3 {
            let of_tier = |contents: &BTreeMap<(String, usize, Vec<String>, i64), i64>| -> BTreeMap<String, i64> {
                let of_tier =
                    contents.iter().filter(|((metric, number, ..), _)| metric == "by_kind" && *number == tier);
                of_tier.map(|((_, _, labels, _), n)| (labels[0].clone(), *n)).collect()
            };
            let (found, expected) = (of_tier(&found), of_tier(&recount(&accepted, at(0)).counts));
            assert_eq!(found.values().sum::<i64>(), expected.values().sum::<i64>(), "tier {tier}");
            for (label, n) in found.iter().filter(|(label, _)| *label != OTHER) {
                assert_eq!(expected[label], *n, "{label} in tier {tier}, round {round}");
            }
        }
        assert!(instance.cursor.limited > 0);
    }
}

#[test]
fn a_limit_that_was_lowered_keeps_the_series_that_are_there() {
    let mut world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[Msg { kind: Some("a"), ..msg(1, 0) }, Msg { kind: Some("b"), ..msg(2, 0) }], at(0));
    daemon.commit(at(0));
    drop(daemon);
    world.limits.series_per_metric = 1;
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[Msg { kind: Some("b"), ..msg(3, 0) }, Msg { kind: Some("c"), ..msg(4, 0) }], at(0));
    let view = daemon.commit(at(0));
    assert_eq!(labels_of(&view.instances["main"].metrics[1]), [["a"], ["b"], [OTHER]]);
}

#[test]
fn a_large_commit_is_several_writes_each_whole_for_its_instances() {
    let world = World::default();
    let ids = ["a", "b", "c"];
    let specs = || ids.iter().map(|id| sampler(id)).collect();
    // Each message lands in hourly partitions of its own: two metrics, one row each.
    let per_instance = STORE_BATCH_ROWS_MAX * 2 / 3;
    let many: Vec<Msg> = (0..per_instance as i64 / 2)
        .map(|id| Msg { time: BASE + id * 512 * 3600 * SECOND, n: id, ..msg(id as u32, 0) })
        .collect();
    // The present is after all of them.
    let now = at(per_instance as i64 * 256 * 3600);
    let mut daemon = world.start(specs(), now);
    daemon.send(&many, now);
    let before = world.backend.disk.lock().expect("no panic").rows_of_batches.len();
    let view = daemon.commit(now);
    let batches = world.backend.disk.lock().expect("no panic").rows_of_batches[before..].to_vec();
    assert!(batches.len() > 1, "{batches:?}");
    for id in ids {
        check(&world, &view, id, &many, id);
    }
    // Interrupted between two writes, each instance is whole by itself.
    let world = World::default();
    let mut daemon = world.start(specs(), now);
    daemon.send(&many, now);
    world.backend.fail_after(1);
    daemon.try_commit(now).expect_err("the disk is full after the first write");
    drop(daemon);
    world.backend.heal();
    let mut daemon = world.start(specs(), now);
    let seen: Vec<u64> = ids.iter().map(|id| daemon.committer.view().instances[*id].cursor.next).collect();
    assert!(seen.contains(&1) && seen.iter().any(|next| *next > 1), "{seen:?}");
    daemon.catch_up(now);
    let view = daemon.commit(now);
    for id in ids {
        check(&world, &view, id, &many, id);
    }
}

#[test]
fn a_message_that_no_record_can_hold_is_rejected_and_nothing_panics() {
    let mut daemon = World::default().start(vec![sampler("main")], at(0));
    let body_of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let longest = crate::journal::RECORD_BYTES_MAX - crate::journal::RECORD_OVERHEAD_BYTES_MAX - 1;
    for (bytes, expected) in [(longest + 1, vec![(0, Rejection::TooLong)]), (longest, vec![])] {
        let body = body_of(bytes);
        let rejected = daemon.engine.ingest([(&b"t"[..], &body[..])].into_iter(), at(0)).expect("the journal works");
        assert_eq!(rejected, expected, "{bytes} bytes");
    }
}
