//! Namespaces: who gets which state, and what happens to the others.

use super::*;
use crate::view::InstanceState;

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
    let left = daemon.engine.intake.journal.first_sequence() as usize;
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
    assert!(rows_of(&world, 1) > 2, "kept for a while, though another has taken its place");
    daemon.commit(at(GRACE));
    assert!(rows_of(&world, 1) > 2);
    drop(daemon);
    let mut daemon = world.start(vec![sampler_of("main", "2")], at(GRACE));
    daemon.commit(at(GRACE + 1));
    assert_eq!(rows_of(&world, 1), 0, "the old rows are gone");
}

/// How long a state is kept, seconds.
const GRACE: i64 = 7 * 86_400;

/// One that holds a few messages.
fn short_journal() -> World {
    let journal = JournalConfig { segment_bytes: 700, retain_bytes: 1, retain_micros: i64::MAX };
    World { journal, ..World::default() }
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
    declaration.metrics[0].legacy = Some(Legacy::new("sampled", "value").steps(["1m"]));
    let declared = declaration.metrics[0].clone();
    for _ in 0..2 {
        let changed = spec("main", "1", declaration.clone(), Native(create::<Sampler>("null").expect("it starts").0));
        let view = world.start(vec![changed], at(0)).committer.view();
        check(&world, &view, "main", &some(0, 3), "nothing is counted anew");
        assert_eq!(view.instances["main"].metrics[0].descriptor, declared);
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
        let world = World::default();
        for (fingerprint, first) in [("1", 0), ("2", 20)] {
            let mut daemon = world.start(vec![sampler_of("main", fingerprint)], at(0));
            daemon.catch_up(at(0));
            daemon.send(&some(first, 20), at(0));
            daemon.commit(at(0));
        }
        world
    };
    let world = fresh();
    let mut daemon = world.start(vec![sampler_of("main", "2")], at(0));
    let before = world.backend.operations();
    daemon.commit(at(GRACE + 1));
    let operations = world.backend.operations() - before;
    assert!(operations > 4, "{operations}");
    drop(daemon);
    for operation in 0..operations {
        for fingerprint in ["1", "2"] {
            let what = format!("interrupted after {operation}, then {fingerprint}");
            let world = fresh();
            let mut daemon = world.start(vec![sampler_of("main", "2")], at(0));
            world.backend.fail_after(operation);
            daemon.try_commit(at(GRACE + 1)).expect_err("interrupted");
            world.backend.heal();
            drop(daemon);
            let mut daemon = world.start(vec![sampler_of("main", fingerprint)], at(GRACE + 1));
            daemon.catch_up(at(GRACE + 1));
            daemon.commit(at(GRACE + 1));
            let view = daemon.commit(at(GRACE + 2));
            check(&world, &view, "main", &some(0, 40), &what);
            let serving = view.instances["main"].ns;
            if fingerprint == "2" {
                assert_eq!(serving, 2, "{what}");
                let namespaces = Store::open(Box::new(world.backend.clone())).expect("it opens").1.namespaces;
                assert_eq!(namespaces.len(), 1, "{what}");
            }
        }
    }
}

#[test]
fn what_serves_goes_on_until_its_successor_has_caught_up() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 50), at(0));
    daemon.commit(at(0));
    drop(daemon);
    // With the old code: both fold what comes.
    let old = InstanceSpec { role: Role::Predecessor, ..sampler("main") };
    let mut daemon = world.start(vec![sampler_of("main", "2"), old], at(0));
    daemon.engine.intake.hold(true);
    daemon.send(&some(50, 10), at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &some(0, 60), "the old one serves, and goes on");
    assert_eq!((view.instances["main"].ns, view.building["main"].ns), (1, 2));
    assert!(view.lag(&view.building["main"]) > 0);
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    assert_eq!((view.instances["main"].ns, view.lag(&view.building["main"])), (1, 0), "held");
    assert!(!daemon.engine.intake.release("other"));
    drop(daemon);
    // Without the old code it serves what it had.
    let mut daemon = world.start(vec![sampler_of("main", "2")], at(0));
    daemon.engine.intake.hold(true);
    daemon.send(&some(60, 10), at(0));
    let view = daemon.commit(at(0));
    assert_eq!((view.instances["main"].state.clone(), view.instances["main"].ns), (InstanceState::Frozen, 1));
    check(&world, &view, "main", &some(0, 60), "as it was");
    assert!(!view.is_whole(&view.instances["main"]));
    assert!(daemon.engine.intake.release("main"));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &some(0, 70), "its successor");
    assert!(view.building.is_empty() && view.instances["main"].ns == 2);
    drop(daemon);
    let view = world.start(vec![sampler_of("main", "2")], at(0)).committer.view();
    check(&world, &view, "main", &some(0, 70), "for good");
}

#[test]
fn history_holds_a_successor_back_until_it_is_there() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 5), at(0));
    daemon.commit(at(0));
    drop(daemon);
    let mut daemon = world.start(vec![sampler_of("main", "2")], at(0));
    daemon.engine.intake.set_unfilled([2].into());
    daemon.catch_up(at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].ns, 1);
    daemon.engine.intake.set_unfilled([].into());
    assert_eq!(daemon.commit(at(0)).instances["main"].ns, 2);
    drop(daemon);
    // By order it need not be there.
    let mut daemon = world.start(vec![sampler_of("main", "3")], at(0));
    daemon.engine.intake.await_history();
    daemon.catch_up(at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].ns, 2);
    assert!(daemon.engine.intake.release("main"));
    assert_eq!(daemon.commit(at(0)).instances["main"].ns, 3);
}

#[test]
fn one_that_is_built_anew_beside_a_damaged_one_takes_its_place() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&some(0, 20), at(0));
    daemon.commit(at(0));
    drop(daemon);
    for _ in 0..2 {
        let rebuilt = InstanceSpec { role: Role::Rebuilt, ..sampler("main") };
        let old = InstanceSpec { role: Role::Predecessor, ..sampler("main") };
        let mut daemon = world.start(vec![rebuilt, old], at(0));
        daemon.engine.intake.hold(true);
        daemon.catch_up(at(0));
        let view = daemon.commit(at(0));
        assert_eq!((view.instances["main"].ns, view.building["main"].ns), (1, 2), "taken up again");
    }
    let rebuilt = InstanceSpec { role: Role::Rebuilt, ..sampler("main") };
    let mut daemon = world.start(vec![rebuilt], at(0));
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &some(0, 20), "anew");
    assert_eq!(view.instances["main"].ns, 2);
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
