//! The power goes at every write of the store and at every operation of the journal.

use super::*;
use crate::journal::{Fault, PowerCut};

/// A day in the life: live messages, retention, a commit, a new version of the plugin, a second
/// instance. Ends early where the disk does. Returns what was accepted.
fn workload(world: &World) -> Vec<Msg> {
    let mut accepted = Vec::new();
    let specs = |part: u32| match part {
        0 => vec![sampler("main")],
        1 => vec![sampler("main"), sampler("second")],
        _ => vec![sampler_of("main", "2"), sampler("second")],
    };
    for part in 0..3 {
        let now = at(i64::from(part) * 900);
        let Ok(mut daemon) = world.try_start(specs(part), now) else { return accepted };
        for round in 0..4 {
            let first = part * 40 + round * 10;
            let secs = i64::from(part) * 900 - i64::from(round) * 100;
            let messages: Vec<Msg> = (first..first + 10).map(|id| Msg { n: i64::from(id), ..msg(id, secs) }).collect();
            if daemon.try_send(&messages, now).is_err() {
                return accepted;
            }
            accepted.extend(messages);
            if daemon.engine.catch_up(300, now).is_err() || daemon.try_commit(now).is_err() {
                return accepted;
            }
        }
    }
    accepted
}

fn check_recovery(world: &World, accepted: &[Msg], context: &str) {
    let now = at(4000);
    for round in 0..2 {
        let mut daemon = world.start(vec![sampler_of("main", "2"), sampler("second")], now);
        let next = daemon.engine.intake.journal.stats().next;
        let kept = &accepted[..(next as usize - 1).min(accepted.len())];
        daemon.catch_up(now);
        let view = daemon.commit(now);
        for id in ["main", "second"] {
            let context = format!("{context}, start {round}");
            check(world, &view, id, kept, &context);
            assert_eq!(view.instances[id].cursor.missed, 0, "{context}: no state ran ahead of the journal");
        }
    }
}

#[test]
fn power_cut_at_every_write_of_the_store() {
    let healthy = World::default();
    assert_eq!(workload(&healthy).len(), 120);
    let operations = healthy.backend.operations();
    assert!(operations > 30, "{operations}");
    for operation in 0..=operations {
        let world = World::default();
        world.backend.fail_after(operation);
        let accepted = workload(&world);
        for (cut, batches) in [(PowerCut::LosesAll, 0), (PowerCut::LosesNothing, 1), (PowerCut::Random(operation), 9)] {
            let image =
                World { dir: world.dir.power_cut(cut), backend: world.backend.power_cut(batches), ..world.clone() };
            check_recovery(&image, &accepted, &format!("store fails after {operation}, {cut:?}"));
        }
    }
}

#[test]
fn power_cut_at_every_operation_of_the_journal() {
    let healthy = World::default();
    workload(&healthy);
    let operations = healthy.dir.operations();
    assert!(operations > 20, "{operations}");
    for operation in 0..=operations {
        let world = World::default();
        world.dir.fail_after(operation, Fault::Broken);
        let mut accepted = workload(&world);
        // The group that failed may be in the file nevertheless.
        let part = accepted.len() as u32 / 40;
        let (first, secs) =
            (accepted.len() as u32, i64::from(part) * 900 - i64::from(accepted.len() as u32 % 40 / 10) * 100);
        accepted.extend((first..first + 10).map(|id| Msg { n: i64::from(id), ..msg(id, secs) }));
        for cut in
            [PowerCut::LosesAll, PowerCut::LosesNothing, PowerCut::Random(operation), PowerCut::Random(!operation)]
        {
            let image = World { dir: world.dir.power_cut(cut), backend: world.backend.power_cut(9), ..world.clone() };
            check_recovery(&image, &accepted, &format!("journal fails after {operation}, {cut:?}"));
        }
    }
}
