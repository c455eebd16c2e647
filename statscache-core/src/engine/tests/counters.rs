//! What is counted of updates is a fact about messages: a crash and a replay count the same.

use super::*;
use crate::store::Cursor;
use proptest::prelude::*;
use statscache_plugin_sdk::host::Value;
use statscache_plugin_sdk::{Label, Tiers};

/// Has no tier that keeps everything, refuses what is long, and folds what is much.
fn strict(id: &str) -> InstanceSpec {
    let (_, mut declaration) = create::<Sampler>("null").expect("it starts");
    declaration.metrics[0].tiers = "1s for 1m, 1m for 1h".parse::<Tiers>().expect("tiers");
    let code = |message: &Message<'_>, sink: &mut dyn Sink| {
        let time = message.time();
        let label = format!("label {}", time.micros() / SECOND % 5);
        sink.update(0, &[Label::text(&label)], time, Value::Add(1));
        let json = if time.micros() / SECOND % 3 == 0 { "123456789" } else { "1" };
        sink.update(2, &[Label::text("x")], time, Value::Set(json));
        Ok(())
    };
    spec(id, "1", declaration, Raw(code))
}

fn world() -> World {
    let mut world = World::default();
    world.limits.value_bytes = 5;
    world.limits.series_per_metric = 2;
    world
}

#[test]
fn late_and_too_late_go_by_the_newest_event_before() {
    let world = world();
    let mut daemon = world.start(vec![strict("main")], at(0));
    // The first comes when nothing is known of the present, and is in time.
    for (id, secs, late, too_late) in [
        (1, -9000, 0, 0),
        (2, 0, 0, 0),
        (3, -59, 0, 0),
        (4, -60, 0, 0),
        (5, -61, 1, 0),
        (6, -3599, 2, 0),
        (7, -3660, 2, 1),
        (8, -90_000, 2, 2),
    ] {
        daemon.send(&[msg(id, secs)], at(0));
        let cursor = daemon.commit(at(0)).instances["main"].cursor;
        assert_eq!((cursor.late, cursor.too_late), (late, too_late), "message {id}, {secs} s");
    }
    let cursor = daemon.commit(at(0)).instances["main"].cursor;
    assert_eq!(cursor.refused, cursor.limited - cursor.folded);
    assert!(cursor.refused > 0 && cursor.folded > 0, "{cursor:?}");
}

fn of(world: &World, all: &[i64], plan: &[(usize, u8)]) -> Cursor {
    let mut daemon = world.start(vec![strict("main")], at(0));
    let (mut rest, mut id) = (all, 0);
    for (len, then) in plan {
        let (part, later) = rest.split_at((*len).min(rest.len()));
        rest = later;
        let messages: Vec<Msg> = (id..).zip(part).map(|(id, secs)| msg(id, *secs)).collect();
        id += part.len() as u32;
        daemon.send(&messages, at(0));
        match then {
            0 => {}
            1 => drop(daemon.commit(at(0))),
            _ => {
                // Killed; what was not committed is read again, later.
                drop(daemon);
                daemon = world.start(vec![strict("main")], at(500));
                daemon.catch_up(at(500));
            }
        }
    }
    let messages: Vec<Msg> = (id..).zip(rest).map(|(id, secs)| msg(id, *secs)).collect();
    daemon.send(&messages, at(0));
    daemon.commit(at(1000)).instances["main"].cursor
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn they_depend_on_the_messages_and_their_order_alone(
        all in proptest::collection::vec(prop_oneof![-100..0_i64, -5000..0_i64], 1..40),
        plan in proptest::collection::vec((1..9_usize, 0..3_u8), 0..8),
    ) {
        let live = of(&world(), &all, &[]);
        let world = world();
        prop_assert_eq!(of(&world, &all, &plan), live);
        let mut daemon = world.start(vec![strict("main"), strict("again")], at(2000));
        daemon.catch_up(at(2000));
        let view = daemon.commit(at(2000));
        prop_assert_eq!(view.instances["again"].cursor, live, "read from the journal");
    }
}
