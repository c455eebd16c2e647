//! Namespaces: who gets which state, and what happens to the others.

use super::*;

fn some(first: u32, count: u32) -> Vec<Msg> {
    (first..first + count).map(|id| Msg { n: i64::from(id), ..msg(id, 0) }).collect()
}

/// Rows whose key names this namespace.
fn rows_of(world: &World, ns: u32) -> usize {
    world.backend.all().iter().filter(|(key, _)| key.len() > 4 && key[1..5] == ns.to_be_bytes()).count()
}

#[test]
fn another_fingerprint_starts_anew_from_the_journal_and_the_old_rows_go_with_it() {
    let world = short_journal();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for message in some(0, 20) {
        daemon.send(&[message], at(0));
    }
    daemon.commit(at(0));
    daemon.engine.retain(at(0)).expect("the journal works");
    let left = daemon.engine.journal.first_sequence() as usize;
    assert!(left > 5);
    drop(daemon);
    assert!(rows_of(&world, 1) > 2);
    let mut daemon = world.start(vec![sampler_of("main", "2")], at(0));
    assert!(rows_of(&world, 1) > 2, "kept, should the change be taken back");
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &some(0, 20)[left - 1..], "what the journal still has");
    let instance = &view.instances["main"];
    assert_eq!((instance.ns, instance.cursor.missed), (2, 0));
    // The journal goes on until it does not reach back to the old rows any more.
    send_and_retain(&mut daemon, 20);
    drop(daemon);
    world.start(vec![sampler_of("main", "2")], at(0));
    assert_eq!(rows_of(&world, 1), 0, "the old rows are gone");
}

/// One that holds a few messages.
fn short_journal() -> World {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1, retain_micros: i64::MAX };
    World { journal, ..World::default() }
}

/// So many messages that nothing from before is left in a short journal.
fn send_and_retain(daemon: &mut Daemon, first: u32) {
    for message in some(first, 20) {
        daemon.send(&[message], at(0));
    }
    daemon.commit(at(0));
    daemon.engine.retain(at(0)).expect("the journal works");
}

#[test]
fn a_change_that_is_taken_back_finds_the_old_numbers() {
    let world = World::default();
    for (fingerprint, first) in [("1", 0), ("2", 3), ("1", 6)] {
        let mut daemon = world.start(vec![sampler_of("main", fingerprint)], at(0));
        daemon.catch_up(at(0));
        daemon.send(&some(first, 3), at(0));
        let view = daemon.commit(at(0));
        check(&world, &view, "main", &some(0, first + 3), "everything once");
        assert_eq!(view.instances["main"].ns, fingerprint.parse::<u32>().expect("a number"));
    }
}

#[test]
fn other_words_about_a_metric_are_no_other_metric() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 3), at(0));
    daemon.commit(at(0));
    drop(daemon);
    let (_, mut declaration) = create::<Sampler>("null").expect("it starts");
    declaration.metrics[0].description = "better told".to_owned();
    declaration.metrics[0].unit = "things".to_owned();
    for _ in 0..2 {
        let changed = spec("main", "1", declaration.clone(), Native(create::<Sampler>("null").expect("it starts").0));
        let view = world.start(vec![changed], at(0)).committer.view();
        check(&world, &view, "main", &some(0, 3), "nothing is counted anew");
        assert_eq!(view.instances["main"].metrics[0].descriptor.unit, "things");
    }
}

#[test]
fn other_metrics_are_another_namespace_too() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 3), at(0));
    daemon.commit(at(0));
    drop(daemon);
    let (plugin, mut declaration) = create::<Sampler>("null").expect("it starts");
    declaration.metrics[0].tiers = "1m for 2h".parse().expect("tiers");
    let changed = spec("main", "1", declaration, Native(plugin));
    let mut daemon = world.start(vec![changed], at(0));
    daemon.catch_up(at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].cursor.processed, 3);
}

#[test]
fn state_of_an_instance_that_is_not_configured_waits() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main"), sampler("away")], at(0));
    daemon.send(&some(0, 10), at(0));
    daemon.commit(at(0));
    let ns = daemon.committer.view().instances["away"].ns;
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(10, 10), at(0));
    let view = daemon.commit(at(0));
    assert!(!view.instances.contains_key("away"));
    drop(daemon);
    // Another newcomer meanwhile does not get its number.
    let mut daemon = world.start(vec![sampler("main"), sampler("third")], at(0));
    daemon.catch_up(at(0));
    assert!(daemon.commit(at(0)).instances["third"].ns > ns);
    drop(daemon);
    let mut daemon = world.start(vec![sampler("away")], at(0));
    let before = daemon.committer.view();
    check(&world, &before, "away", &some(0, 10), "as it was left");
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "away", &some(0, 20), "taken up again");
    assert_eq!((view.instances["away"].ns, view.instances["away"].cursor.missed), (ns, 0));
}

#[test]
fn the_order_of_instances_does_not_matter() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("a"), sampler_of("b", "2")], at(0));
    daemon.send(&some(0, 5), at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler_of("b", "2"), sampler("a")], at(0));
    daemon.send(&some(5, 5), at(0));
    let view = daemon.commit(at(0));
    for id in ["a", "b"] {
        check(&world, &view, id, &some(0, 10), id);
        assert_eq!(view.instances[id].cursor.processed, 10);
    }
}

#[test]
fn a_removal_that_was_interrupted_is_finished_and_its_rest_is_never_taken_up() {
    let fresh = || {
        let world = short_journal();
        for (fingerprint, first) in [("1", 0), ("2", 20)] {
            let mut daemon = world.start(vec![sampler_of("main", fingerprint)], at(0));
            daemon.catch_up(at(0));
            send_and_retain(&mut daemon, first);
        }
        world
    };
    let world = fresh();
    let before = world.backend.operations();
    let daemon = world.start(vec![sampler_of("main", "2")], at(0));
    let operations = world.backend.operations() - before;
    assert!(operations > 4, "{operations}");
    let kept = some(0, 40)[daemon.engine.journal.first_sequence() as usize - 1..].to_vec();
    let counted = daemon.committer.view().instances["main"].cursor.processed;
    drop(daemon);
    for operation in 0..operations {
        for (fingerprint, namespaces_left) in [("1", 2), ("2", 1)] {
            let what = format!("interrupted after {operation}, then {fingerprint}");
            let world = fresh();
            world.backend.fail_after(operation);
            world.try_start(vec![sampler_of("main", "2")], at(0)).err().expect("interrupted");
            world.backend.heal();
            let mut daemon = world.start(vec![sampler_of("main", fingerprint)], at(0));
            daemon.catch_up(at(0));
            let view = daemon.commit(at(0));
            let instance = &view.instances["main"];
            // Configured again before its removal began, the old one goes on with what it had.
            if fingerprint == "1" && instance.ns != 1 {
                check(&world, &view, "main", &kept, &what);
            }
            if fingerprint == "2" {
                assert_eq!((instance.ns, instance.cursor.processed), (2, counted), "{what}");
            }
            let namespaces = Store::open(Box::new(world.backend.clone())).expect("it opens").1.namespaces;
            assert_eq!(namespaces.len(), namespaces_left, "{what}");
        }
    }
}

#[test]
fn commit_numbers_grow_across_restarts_and_no_segment_is_overwritten() {
    let world = World::default();
    let mut version = 0;
    let mut accepted = Vec::new();
    for round in 0..6 {
        let mut daemon = world.start(vec![sampler("main")], at(0));
        daemon.catch_up(at(0));
        // Much, then little: the small segments stay beside the large one.
        let messages: Vec<Msg> = match round {
            0 => (0..100).map(|id| msg(id, -i64::from(id))).collect(),
            _ => vec![msg(100 + round, 0)],
        };
        daemon.send(&messages, at(0));
        accepted.extend(messages);
        let view = daemon.commit(at(0));
        assert!(view.version > version, "{} after {version}", view.version);
        version = view.version;
        check(&world, &view, "main", &accepted, &format!("round {round}"));
    }
}

#[test]
fn no_version_of_the_view_comes_twice_even_if_commits_wrote_no_segment() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 3), at(0));
    let mut versions = vec![daemon.commit(at(0)).version];
    for second in 1..5 {
        daemon.send(&[Msg { topic: "org.other", ..msg(second as u32 + 100, 0) }], at(second));
        versions.push(daemon.commit(at(second)).version);
    }
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(5));
    versions.push(daemon.committer.view().version);
    versions.push(daemon.commit(at(6)).version);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}
