//! The disk fails, fills up, or the power goes: at every operation, in every way the layer knows.

use std::sync::Arc;

use super::tests::{Sample, all, append, open, read};
use super::*;

/// Groups of growing size over several segments, with a sync now and then, until something fails.
/// Returns the sequence up to which a sync has promised durability, and the journal if it got open.
pub(super) fn workload(dir: &SimulatedDir, groups: u64) -> (u64, Option<Journal>) {
    let mut promised = 1;
    let Ok((mut journal, _)) = Journal::open(Arc::new(dir.clone()), super::tests::SMALL) else {
        return (promised, None);
    };
    for group in 0..groups {
        if append(&mut journal, 1 + group % 5).is_err() {
            break;
        }
        if group % 4 == 3 {
            match journal.dirty().sync() {
                Ok(sequence) => promised = sequence,
                Err(_) => break,
            }
        }
    }
    (promised, Some(journal))
}

fn operations_of(groups: u64) -> u64 {
    let dir = SimulatedDir::new();
    workload(&dir, groups);
    dir.operations()
}

pub(super) const GROUPS: u64 = 24;

pub(super) fn all_cuts(seeds: u64) -> impl Iterator<Item = PowerCut> {
    [PowerCut::LosesAll, PowerCut::LosesNothing].into_iter().chain((0..seeds).map(PowerCut::Random))
}

/// What was promised is there, the rest is a prefix, and the journal goes on.
pub(super) fn check_consistent(dir: &SimulatedDir, promised: u64, written: u64, context: &str) -> Journal {
    let (mut journal, recovery) = open(dir);
    assert_eq!(journal.first_sequence(), 1, "{context}: {recovery}");
    assert!(recovery.missing.is_empty(), "{context}: {recovery}");
    let next = journal.next_sequence();
    assert!(next >= promised, "{context}: lost {next}..{promised}: {recovery}");
    assert!(next <= written, "{context}: {next} > {written}: {recovery}");
    assert_eq!(read(journal.reader(1)), ((1..next).collect(), vec![]), "{context}: {recovery}");
    append(&mut journal, 2).unwrap();
    assert_eq!(all(&journal), (1..next + 2).collect::<Vec<_>>(), "{context}: {recovery}");
    journal
}

#[test]
fn power_cut_at_every_operation_loses_nothing_promised_and_leaves_no_hole() {
    let mut torn_between_segments = 0;
    for operations in 0..=operations_of(GROUPS) {
        let dir = SimulatedDir::new();
        dir.fail_after(operations, Fault::Broken);
        let (promised, journal) = workload(&dir, GROUPS);
        // Pending records may be in the file as well: the write failed half way.
        let written = journal.map_or(1, |journal| journal.next_sequence());
        for cut in all_cuts(40) {
            let context = format!("power cut after operation {operations}, {cut:?}");
            let image = dir.power_cut(cut);
            let (_, looked) = Journal::look(Arc::new(image.power_cut(PowerCut::LosesAll))).unwrap();
            torn_between_segments +=
                looked.set_aside.iter().filter(|aside| aside.reason == SetAsideReason::BehindTornTail).count();
            check_consistent(&image, promised, written, &context);
        }
    }
    assert!(torn_between_segments > 0, "the hard case did not come up");
}

#[test]
fn a_second_power_cut_during_recovery_and_after_it_changes_nothing() {
    for operations in (0..=operations_of(GROUPS)).step_by(3) {
        for seed in 0..6 {
            let dir = SimulatedDir::new();
            dir.fail_after(operations, Fault::Broken);
            let (promised, journal) = workload(&dir, GROUPS);
            let written = journal.map_or(1, |journal| journal.next_sequence());
            for second in 0..6 {
                let context = format!("cuts after {operations} and {second}, seed {seed}");
                let image = dir.power_cut(PowerCut::Random(seed));
                image.fail_after(second, Fault::Broken);
                let opened = Journal::open(Arc::new(image.clone()), super::tests::SMALL);
                drop(opened);
                let again = image.power_cut(PowerCut::Random(seed * 7 + second));
                let mut journal = check_consistent(&again, promised, written, &context);
                let promised = journal.dirty().sync().unwrap();
                append(&mut journal, 30).unwrap();
                let written = journal.next_sequence();
                let last = again.power_cut(PowerCut::Random(seed + second));
                check_consistent(&last, promised, written, &format!("{context}, and a third"));
            }
        }
    }
}

#[test]
fn kill_at_every_operation_loses_nothing_written() {
    for operations in 0..=operations_of(GROUPS) {
        let dir = SimulatedDir::new();
        dir.fail_after(operations, Fault::Broken);
        let (_, journal) = workload(&dir, GROUPS);
        let (written, pushed) = journal.map_or((1, 1), |journal| (journal.stats().next, journal.next_sequence()));
        let image = dir.power_cut(PowerCut::LosesNothing);
        check_consistent(&image, written, pushed, &format!("killed after {operations}"));
    }
}

#[test]
fn a_full_disk_refuses_the_group_and_takes_it_once_there_is_room() {
    for discard in [false, true] {
        for operations in 0..operations_of(GROUPS) {
            let dir = SimulatedDir::new();
            dir.fail_after(operations, Fault::Full);
            let (mut journal, _) = open(&dir);
            let mut failed = None;
            for group in 0..GROUPS {
                let before = journal.next_sequence();
                if let Err(err) = append(&mut journal, 1 + group % 5) {
                    assert!(err.is_full(), "{err:?}");
                    failed = Some(before);
                    break;
                }
                if group % 4 == 3 {
                    let _ = journal.dirty().sync();
                }
            }
            let Some(before) = failed else { continue };
            let context = format!("full after operation {operations}, discard {discard}");
            assert_eq!(journal.stats().next, before, "{context}");
            assert_eq!(all(&journal), (1..before).collect::<Vec<_>>(), "{context}");
            assert!(journal.write().is_err_and(|err| err.is_full()), "{context}");
            if discard {
                assert!(journal.discard() > 0);
                assert_eq!(journal.next_sequence(), before, "{context}");
                // Not in the file either: not for the next process, and not after a power cut.
                for cut in all_cuts(20) {
                    let (other, _) = open(&dir.power_cut(cut));
                    assert!(other.next_sequence() <= before, "{context}, {cut:?}");
                }
                assert_eq!(dir.list().unwrap().len(), journal.stats().segments, "{context}");
            }
            dir.heal();
            append(&mut journal, 7).unwrap();
            let next = journal.next_sequence();
            assert_eq!(all(&journal), (1..next).collect::<Vec<_>>(), "{context}");
            assert_eq!(journal.dirty().sync().unwrap(), next);
            drop(journal);
            check_consistent(&dir.power_cut(PowerCut::LosesAll), next, next, &context);
        }
    }
}

#[test]
fn what_cannot_be_written_out_stays_pending_as_it_was() {
    for operations in 0..3 {
        let dir = SimulatedDir::new();
        let (mut journal, _) = open(&dir);
        append(&mut journal, 20).unwrap();
        for _ in 0..4 {
            journal.push(&Sample::new(journal.next_sequence()).record());
        }
        let pending = journal.pending();
        dir.fail_after(operations, Fault::Full);
        // A new segment is created, its header and the group are written: three operations.
        for spare in [Vec::new(), Vec::with_capacity(100)] {
            assert!(journal.write_out(spare).unwrap_err().is_full());
            assert_eq!((journal.pending(), journal.next_sequence(), journal.stats().next), (pending, 25, 21));
        }
        dir.heal();
        let written = journal.write_out(Vec::new()).unwrap().unwrap();
        assert_eq!((written.first_sequence(), written.byte_len()), (21, pending.1));
        assert!(written.iter().eq(journal.reader(21).next_chunk(1 << 20).unwrap().iter()));
        assert_eq!(all(&journal), (1..=24).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_repair_is_made_up_for_by_the_next_write() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 3).unwrap();
    let good = journal.stats().bytes;
    dir.fail_after(0, Fault::Broken);
    append(&mut journal, 3).unwrap_err();
    assert!(dir.bytes(&format::segment_name(1)).unwrap().len() as u64 > good, "nothing to repair");
    dir.heal();
    journal.discard();
    append(&mut journal, 1).unwrap();
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(recovery.is_clean(), "{recovery}");
    assert_eq!(all(&journal), [1, 2, 3, 4]);
}

#[test]
fn a_failed_sync_stops_the_writer_until_it_is_reopened() {
    // First the directory is synced, then the file.
    for operations in [0, 1] {
        let dir = SimulatedDir::new();
        let (mut journal, _) = open(&dir);
        append(&mut journal, 3).unwrap();
        let ticket = journal.dirty();
        dir.fail_after(operations, Fault::Broken);
        assert!(matches!(ticket.sync(), Err(JournalError::Io { .. })));
        dir.heal();
        let err = append(&mut journal, 1).unwrap_err();
        assert!(matches!(err, JournalError::Poisoned { .. }), "{err:?}");
        assert!(matches!(journal.dirty().sync(), Err(JournalError::Poisoned { .. })));
        // Readers go on with what is there.
        assert_eq!(all(&journal), [1, 2, 3]);
        drop(journal);
        let (mut journal, _) = open(&dir);
        append(&mut journal, 1).unwrap();
        assert_eq!(journal.dirty().sync().unwrap(), 5);
    }
}

#[test]
fn a_ticket_covers_what_was_written_before_it_and_a_dropped_one_is_made_up_for() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 3).unwrap();
    let ticket = journal.dirty();
    assert_eq!(ticket.sync().unwrap(), 4);
    let ticket = journal.dirty();
    append(&mut journal, 1).unwrap();
    assert_eq!(ticket.sync().unwrap(), 4);
    assert_eq!(open(&dir.power_cut(PowerCut::LosesAll)).0.next_sequence(), 4);
    let early = journal.dirty();
    append(&mut journal, 1).unwrap();
    assert_eq!(early.sync().unwrap(), 5);
    assert!(!journal.dirty().is_clean(), "sequence 5 is not durable by promise");
    append(&mut journal, 18).unwrap();
    drop(journal.dirty());
    let ticket = journal.dirty();
    assert!(!ticket.is_clean());
    assert_eq!(ticket.sync().unwrap(), 24);
    assert!(journal.dirty().is_clean());
    assert_eq!(open(&dir.power_cut(PowerCut::LosesAll)).0.next_sequence(), 24);
}

#[test]
fn retention_that_fails_keeps_the_segment() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    for _ in 0..10 {
        append(&mut journal, 8).unwrap();
    }
    journal.config.retain_bytes = 0;
    dir.fail_after(2, Fault::Broken);
    journal.retain(0, u64::MAX).unwrap_err();
    let first = journal.first_sequence();
    assert!(first > 1);
    assert_eq!(dir.list().unwrap().len(), journal.stats().segments);
    assert_eq!(all(&journal), (first..=80).collect::<Vec<_>>());
    dir.heal();
    journal.retain(0, u64::MAX).unwrap();
    assert_eq!(journal.stats().segments, 1);
}
