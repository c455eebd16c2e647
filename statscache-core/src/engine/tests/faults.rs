//! Disks that fill up, plugins that fail, commits that must be written again.

use super::*;
use crate::journal::Fault;
use crate::view::InstanceState;

fn failing(id: u32) -> Msg {
    Msg { act: "fail", ..msg(id, 0) }
}

#[test]
fn what_the_journal_did_not_take_has_not_happened() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    world.dir.fail_after(0, Fault::Full);
    for _ in 0..3 {
        let error = daemon.try_send(&[msg(1, 0), msg(2, 0), msg(3, 0)], at(0)).expect_err("full");
        assert!(error.is_full(), "{error}");
    }
    assert_eq!(daemon.engine.counters(), Counters { accepted: 1, ..Counters::default() });
    assert_eq!(daemon.engine.intake.journal.pending(), (0, 0), "nothing is left to be written later");
    world.dir.heal();
    daemon.send(&[msg(2, 0), msg(3, 0), msg(1, 0)], at(0));
    assert_eq!(daemon.engine.counters(), Counters { accepted: 3, duplicates: 1, ..Counters::default() });
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &[msg(1, 0), msg(2, 0), msg(3, 0)], "after the disk was full");
}

#[test]
fn one_failing_message_is_a_count() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0), failing(2), msg(3, 0), Msg { kind: Some("only in a failure"), ..failing(4) }], at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &[msg(1, 0), msg(3, 0)], "updates of failing messages are taken back");
    let cursor = view.instances["main"].cursor;
    assert_eq!((cursor.processed, cursor.failed, cursor.next), (4, 2, 5));
    assert_eq!(view.instances["main"].metrics[1].series_count, 1, "no label set is left of a failing message");
}

#[test]
fn failing_messages_do_not_use_up_series() {
    let mut world = World::default();
    world.limits.series_per_metric = 2;
    let mut daemon = world.start(vec![sampler("main")], at(0));
    for (id, kind) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        daemon.send(&[Msg { kind: Some(kind), ..failing(id) }], at(0));
    }
    let accepted = [Msg { kind: Some("x"), ..msg(5, 0) }, Msg { kind: Some("y"), ..msg(6, 0) }];
    daemon.send(&accepted, at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &accepted, "room for both");
    // The same across a restart: numbers in the rows and in the table agree.
    drop(daemon);
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let more = [Msg { kind: Some("y"), ..msg(7, 0) }];
    daemon.send(&more, at(0));
    let view = daemon.commit(at(0));
    check(&world, &view, "main", &[&accepted[..], &more].concat(), "after a restart");
}

#[test]
fn failing_too_often_in_a_row_is_quarantine_until_restart() {
    let mut world = World::default();
    world.limits.quarantine_after = 3;
    let always_fails = |_: &Message<'_>, _: &mut dyn Sink| Err(Failure("no luck".to_owned()));
    let declaration = || create::<Sampler>("null").expect("it starts").1;
    let specs = || vec![sampler("main"), spec("bad", "1", declaration(), Raw(always_fails))];
    let mut daemon = world.start(specs(), at(0));
    let messages: Vec<Msg> = (1..=2).map(|id| msg(id, 0)).collect();
    daemon.send(&messages, at(0));
    let view = daemon.commit(at(0));
    assert_eq!(view.instances["bad"].state, InstanceState::Running, "two failures are not three");
    daemon.send(&(3..=6).map(|id| msg(id, 0)).collect::<Vec<_>>(), at(7));
    let view = daemon.commit(at(8));
    let bad = &view.instances["bad"];
    assert_eq!(bad.state, InstanceState::Quarantined { reason: "no luck".to_owned(), since: at(7) });
    assert_eq!((bad.cursor.next, bad.cursor.processed, bad.cursor.failed), (4, 3, 3));
    assert_eq!((view.lag(bad), view.is_whole(bad)), (3, false));
    let all: Vec<Msg> = (1..=6).map(|id| msg(id, 0)).collect();
    check(&world, &view, "main", &all, "its neighbour goes on");

    // It does not come back by itself, neither live nor by catching up.
    daemon.catch_up(at(9));
    daemon.send(&[msg(7, 0)], at(9));
    let view = daemon.commit(at(9));
    assert_eq!(view.instances["bad"].cursor.next, 4);
    drop(daemon);

    // A restart revives it where it stopped, behind the message that was the last straw.
    let good = create::<Sampler>("null").expect("it starts");
    let mut daemon = world.start(vec![sampler("main"), spec("bad", "1", good.1, Native(good.0))], at(10));
    daemon.catch_up(at(10));
    let view = daemon.commit(at(10));
    let rest: Vec<Msg> = (4..=7).map(|id| msg(id, 0)).collect();
    check(&world, &view, "bad", &rest, "it goes on where it stopped");
    assert_eq!(view.instances["bad"].state, InstanceState::Running);
}

#[test]
fn a_success_in_between_starts_the_row_anew() {
    let mut world = World::default();
    world.limits.quarantine_after = 2;
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[failing(1), msg(2, 0), failing(3), msg(4, 0)], at(0));
    assert_eq!(daemon.commit(at(0)).instances["main"].state, InstanceState::Running);
    daemon.send(&[failing(5)], at(0));
    daemon.send(&[failing(6)], at(0));
    let view = daemon.commit(at(0));
    assert!(matches!(view.instances["main"].state, InstanceState::Quarantined { .. }), "across two batches as well");
}

#[test]
fn a_commit_that_failed_is_written_again_whole() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    let accepted: Vec<Msg> = (0..20).map(|id| msg(id, 0)).collect();
    daemon.send(&accepted, at(0));
    let mut prepared = daemon.committer.prepare(daemon.engine.take_commit(at(0))).expect("sound");
    assert!(prepared.rows() > 3 && prepared.bytes_len() > 0);
    for operations in [0, 1, 0, 1] {
        world.backend.fail_after(operations);
        let error = daemon.committer.write(&mut prepared).expect_err("the disk is full");
        assert!(matches!(error, CommitError::Store(_)), "{error:?}");
        assert_eq!(daemon.committer.view().instances["main"].cursor.next, 1, "readers see the commit before");
    }
    world.backend.heal();
    let view = daemon.committer.write(&mut prepared).expect("the disk works");
    check(&world, &view, "main", &accepted, "written at last");
    let again = daemon.committer.write(&mut prepared).expect("the disk works");
    check(&world, &again, "main", &accepted, "twice is once");
}

#[test]
fn nothing_points_into_a_journal_that_is_not_durable() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    let mut prepared = daemon.committer.prepare(daemon.engine.take_commit(at(0))).expect("sound");
    let rows = world.backend.all();
    world.dir.fail_after(0, Fault::Broken);
    for _ in 0..2 {
        let error = daemon.committer.write(&mut prepared).expect_err("the journal's disk is gone");
        assert!(matches!(error, CommitError::Journal(_) | CommitError::JournalUnsure), "{error:?}");
        assert_eq!(world.backend.all(), rows, "no row was written");
    }
    world.dir.heal();
    daemon.committer.write(&mut prepared).expect_err("what the disk lost is known only after a restart");
    assert_eq!(world.backend.all(), rows, "no row was written");
}

#[test]
fn nothing_new_writes_nothing() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    daemon.commit(at(0));
    let operations = world.backend.operations();
    world.backend.fail_after(0);
    let view = daemon.commit(at(1));
    assert_eq!((world.backend.operations(), view.as_of), (operations, at(1)), "but readers learn as of when it is");
}

#[test]
#[should_panic(expected = "in order")]
fn leaving_a_commit_out_would_lose_messages() {
    let mut daemon = World::default().start(vec![sampler("main")], at(0));
    daemon.send(&[msg(1, 0)], at(0));
    let lost = daemon.engine.take_commit(at(0));
    drop(lost);
    let _ = daemon.committer.prepare(daemon.engine.take_commit(at(0)));
}

#[test]
fn a_state_that_is_damaged_is_refused() {
    let world = World::default();
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(
        &["a", "b", "c", "d"].map(|kind| Msg { kind: Some(kind), ..msg(10 + u32::from(kind.as_bytes()[0]), 0) }),
        at(0),
    );
    daemon.commit(at(0));
    drop(daemon);
    // A chunk of label sets is missing: the numbers in the cells would mean other labels. The second
    // is so much smaller than the first that they are two rows.
    let mut daemon = world.start(vec![sampler("main")], at(0));
    daemon.send(&[Msg { kind: Some("y"), ..msg(2, 0) }], at(0));
    daemon.commit(at(0));
    drop(daemon);
    let first_chunk = world.backend.all().into_iter().find(|(key, _)| key.starts_with(b"S\0\0\0\x01\0\x01"));
    let (key, _) = first_chunk.expect("label sets of the second metric");
    world.backend.apply(&[(key, None)]).expect("memory");
    let error = world.try_start(vec![sampler("main")], at(0)).err().expect("refused");
    assert!(matches!(error, StartError::Damaged(_) | StartError::Store(StoreError::Damaged { .. })), "{error:?}");
}
