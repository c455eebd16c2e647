//! Segments whose chunks stay on disk, and views that are older than what is there.

use super::*;
use crate::query::{self, From, Query, QueryError, RowValue};
use statscache_plugin_sdk::host::Value;
use statscache_plugin_sdk::{Label, Resolution};

const SERIES: u32 = 9_000;

/// Every message counts once for each of many labels.
fn many() -> InstanceSpec {
    let code = Raw(move |message: &Message<'_>, sink: &mut dyn Sink| {
        for n in 0..SERIES {
            sink.update(0, &[Label::text(&format!("label {n}"))], message.time(), Value::Add(1 << 30));
        }
        Ok(())
    });
    let declaration = create::<Sampler>("null").expect("it starts").1;
    spec("main", "1", declaration, code)
}

fn total(view: &View) -> Result<i64, QueryError> {
    let query = Query {
        start: Some(at(0)),
        end: Some(at(3600)),
        step: Some(Resolution::HOUR),
        by: Some(Vec::new()),
        ..Query::default()
    };
    let from = From {
        chunks: &*view.chunks,
        coverage: &view.coverage,
        now: view.as_of,
        horizon: view.as_of,
        moves: None,
        cells_max: crate::limits::QUERY_CELLS_MAX,
    };
    let answer = query::run(&view.instances["main"].metrics[0], &query, from)?;
    Ok(answer.rows.iter().map(|row| if let RowValue::Number(n) = row.value { n >> 30 } else { -1 }).sum())
}

fn world(cache_bytes: u64) -> World {
    let mut world = World::default();
    world.limits.cache_bytes = cache_bytes;
    world
}

#[test]
fn an_old_view_answers_right_or_says_that_it_is_stale() {
    let all = i64::from(SERIES);
    let world = world(1);
    let mut daemon = world.start(vec![many()], at(0));
    let mut views = Vec::new();
    for round in 0..4 {
        daemon.send(&[msg(round, 0)], at(0));
        let view = daemon.commit(at(0));
        let hours = &view.instances["main"].metrics[0].tiers[2];
        let newest = hours.partitions.values().next().and_then(|segments| segments.last()).expect("there");
        assert!(newest.chunks().len() > 2 && newest.resident_bytes().is_none(), "it is not in memory");
        views.push(view);
    }
    let check = |daemon: &Daemon, expected: [bool; 4], context: &str| {
        for (round, is_there) in expected.into_iter().enumerate() {
            let sum = (round as i64 + 1) * all;
            match total(&views[round]) {
                Ok(found) => assert!(is_there && found == sum, "view {round}, {context}: {found}"),
                Err(QueryError::Stale(_)) => assert!(!is_there, "view {round} is stale, {context}"),
                Err(error) => panic!("view {round}, {context}: {error}"),
            }
        }
        assert_eq!(total(&daemon.committer.view()).expect("the present one is whole"), 4 * all, "{context}");
    };
    check(&daemon, [true; 4], "at once");
    daemon.commit(at(60).plus_micros(-1));
    check(&daemon, [true; 4], "a microsecond before the sweep");
    daemon.commit(at(60));
    check(&daemon, [false, false, false, true], "swept");
    drop(daemon);
    let daemon = world.start(vec![many()], at(60));
    assert_eq!(total(&daemon.committer.view()).expect("an answer"), 4 * all, "after a restart");
}

#[test]
fn what_is_in_the_cache_is_right_whoever_asks() {
    let all = i64::from(SERIES);
    let world = world(64 << 20);
    let mut daemon = world.start(vec![many()], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    let old = daemon.commit(at(0));
    assert_eq!(total(&old).expect("an answer"), all);
    let (hits, misses) = old.chunks.hits_and_misses();
    assert_eq!(total(&old).expect("an answer"), all);
    let (hits_after, misses_after) = old.chunks.hits_and_misses();
    assert!(hits_after > hits && misses_after == misses, "the second reads nothing");
    daemon.send(&[msg(2, 0)], at(0));
    daemon.commit(at(0));
    daemon.commit(at(61));
    assert_eq!(total(&old).expect("it is in the cache still"), all);
    assert_eq!(total(&daemon.committer.view()).expect("an answer"), 2 * all);
}

#[test]
fn what_a_kill_leaves_to_be_swept_is_swept_by_the_next() {
    let world = world(1);
    let mut daemon = world.start(vec![many()], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    daemon.commit(at(0));
    daemon.send(&[msg(2, 0)], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let rows = |tag: u8| world.backend.all().iter().filter(|(key, _)| key[0] == tag).count();
    let (chunks, garbage) = (rows(b'D'), rows(b'G'));
    assert!(garbage > 2, "{garbage}");
    let mut daemon = world.start(vec![many()], at(1));
    daemon.commit(at(1));
    assert_eq!((rows(b'G'), rows(b'D') < chunks), (0, true));
    assert_eq!(total(&daemon.committer.view()).expect("an answer"), 2 * i64::from(SERIES));
}
