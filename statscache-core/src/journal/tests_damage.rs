//! Files that are not as they were left: every one is reported, and costs no more than it must.

use std::sync::Arc;

use super::tests::{SMALL, Sample, all, append, open, read};
use super::*;

fn name(base: u64) -> String {
    format::segment_name(base)
}

/// Three groups in three segments, synced, closed. Returns the first sequences of the segments.
fn three_segments() -> (SimulatedDir, Vec<u64>) {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    for _ in 0..3 {
        append(&mut journal, 8).unwrap();
        journal.dirty().sync().unwrap();
    }
    let bases: Vec<u64> = journal.shared.segments().iter().map(|segment| segment.base).collect();
    assert_eq!(bases, [1, 9, 17]);
    (dir, bases)
}

fn flip(dir: &SimulatedDir, name: &str, at: usize, bit: u8) {
    let mut bytes = dir.bytes(name).unwrap();
    bytes[at] ^= 1 << bit;
    dir.put(name, bytes);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 4).unwrap();
    let before = journal.stats().bytes as usize;
    append(&mut journal, 1).unwrap();
    drop(journal);
    let whole = dir.bytes(&name(1)).unwrap();
    for length in before..=whole.len() {
        let torn = SimulatedDir::new();
        torn.put(&name(1), whole[..length].to_vec());
        let (mut journal, recovery) = open(&torn);
        let (next, cut) = match length {
            _ if length == whole.len() => (6, None),
            _ if length == before => (5, None),
            _ => {
                let (at, bytes) = (before as u64, (length - before) as u64);
                (5, Some(Cut { segment: name(1), at, bytes, sequence: 5 }))
            }
        };
        assert_eq!(recovery, Recovery { first: 1, next, cut, ..Recovery::default() });
        append(&mut journal, 3).unwrap();
        assert_eq!(all(&journal), (1..next + 3).collect::<Vec<_>>(), "torn at {length}");
    }
}

#[test]
fn no_flipped_bit_in_a_sealed_segment_goes_unnoticed_or_costs_its_neighbours() {
    let (clean, _) = three_segments();
    let size = clean.bytes(&name(9)).unwrap().len();
    for at in HEADER_BYTES as usize..size {
        let dir = clean.power_cut(PowerCut::LosesNothing);
        flip(&dir, &name(9), at, (at % 8) as u8);
        let (journal, recovery) = open(&dir);
        assert!(recovery.is_clean(), "sealed segments are not read on open: {recovery}");
        let (sequences, gaps) = read(journal.reader(1));
        let [gap] = &gaps[..] else { panic!("flipped byte {at}: {gaps:?}") };
        assert!(matches!(&gap.cause, GapCause::Damaged { segment, .. } if *segment == name(9)));
        assert!(gap.first >= 9 && gap.last <= 16, "{gap:?}");
        let expected: Vec<u64> = (1..gap.first).chain(gap.last + 1..=24).collect();
        assert_eq!(sequences, expected, "flipped byte {at}");
    }
}

#[test]
fn damage_that_leaves_the_length_alone_costs_one_record() {
    let (dir, _) = three_segments();
    flip(&dir, &name(9), HEADER_BYTES as usize + 20, 3);
    let (journal, _) = open(&dir);
    let cause = GapCause::Damaged { segment: name(9), offset: HEADER_BYTES };
    let gap = Gap { first: 9, last: 9, cause };
    let after = |from| (from..=24).filter(|&sequence| sequence != 9).collect::<Vec<_>>();
    for from in 1..=9 {
        let gap = Gap { first: gap.first.max(from), ..gap.clone() };
        assert_eq!(read(journal.reader(from)), (after(from), vec![gap]), "from {from}");
    }
    // Whoever starts behind the damage does not miss anything.
    assert_eq!(read(journal.reader(10)), (after(10), vec![]));
}

#[test]
fn a_flipped_bit_in_the_last_segment_cuts_it_and_keeps_a_copy() {
    let (clean, _) = three_segments();
    let bytes = clean.bytes(&name(17)).unwrap();
    let second = HEADER_BYTES as usize + format::decode_record(&bytes[64..], Version::V2).1;
    flip(&clean, &name(17), second + 30, 0);
    let tail = clean.bytes(&name(17)).unwrap()[second..].to_vec();
    let (_, looked) = Journal::look(Arc::new(clean.clone())).unwrap();
    let (journal, recovery) = open(&clean);
    assert_eq!(looked, recovery, "looking says what opening will do");
    assert_eq!(all(&journal), (1..=17).collect::<Vec<_>>());
    let [aside] = &recovery.set_aside[..] else { panic!("{recovery}") };
    assert_eq!(aside.reason, SetAsideReason::TailWithRecords);
    assert_eq!(clean.bytes(&aside.file).unwrap(), tail);
    assert_eq!(recovery.cut.unwrap().sequence, 18);
}

#[test]
fn a_cut_tail_without_whole_records_is_not_kept() {
    let (dir, _) = three_segments();
    let mut bytes = dir.bytes(&name(17)).unwrap();
    let second = HEADER_BYTES as usize + format::decode_record(&bytes[64..], Version::V2).1;
    bytes[second + 30..].fill(0);
    dir.put(&name(17), bytes);
    let (_, recovery) = open(&dir);
    assert_eq!(recovery.set_aside, []);
    assert_eq!(recovery.cut.unwrap().sequence, 18);
}

#[test]
fn what_was_cut_does_not_come_back_behind_what_is_appended() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 6).unwrap();
    drop(journal);
    let bytes = dir.bytes(&name(1)).unwrap();
    let fifth = (1..5).fold(HEADER_BYTES as usize, |at, _| at + format::decode_record(&bytes[at..], Version::V2).1);
    flip(&dir, &name(1), fifth + 30, 0);
    let (mut journal, _) = open(&dir);
    append(&mut journal, 1).unwrap();
    assert_eq!(journal.next_sequence(), 6);
    for seed in 0..40 {
        let (journal, recovery) = open(&dir.power_cut(PowerCut::Random(seed)));
        assert!(journal.next_sequence() <= 6, "seed {seed}: {recovery}");
    }
}

#[test]
fn what_is_set_aside_replaces_nothing() {
    let (dir, _) = three_segments();
    let taken = format!("{}.damaged", name(9));
    dir.put(&taken, b"an earlier accident".to_vec());
    flip(&dir, &name(9), 0, 0);
    let (_, recovery) = open(&dir);
    assert_eq!(recovery.set_aside[0].file, format!("{taken}.2"));
    assert_eq!(dir.bytes(&taken).unwrap(), b"an earlier accident");
}

/// Two groups in two segments that only one sync at the end made durable.
#[test]
fn what_one_sync_promised_over_several_segments_is_not_set_aside_for_damage_before_it() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 8).unwrap();
    append(&mut journal, 8).unwrap();
    journal.dirty().sync().unwrap();
    drop(journal);
    flip(&dir, &name(1), HEADER_BYTES as usize + 20, 0);
    let (journal, recovery) = open(&dir);
    assert_eq!(journal.next_sequence(), 17, "{recovery}");
    assert_eq!(read(journal.reader(1)).0, (2..=16).collect::<Vec<_>>());
}

#[test]
fn a_segment_without_records_is_no_obstacle() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    append(&mut journal, 5).unwrap();
    journal.ensure_next(100).unwrap();
    append(&mut journal, 1).unwrap();
    drop(journal);
    let header = Header { version: Version::NEWEST, base: 50, previous: None, settled: true };
    dir.put(&name(50), header.encode().to_vec());
    let (journal, _) = open(&dir);
    assert_eq!(read(journal.reader(1)).0, [1, 2, 3, 4, 5, 100]);
}

#[test]
fn a_last_segment_without_records_goes_when_the_sequence_is_moved() {
    let dir = SimulatedDir::new();
    dir.put(&name(7), Header { version: Version::NEWEST, base: 7, previous: None, settled: true }.encode().to_vec());
    let (mut journal, _) = open(&dir);
    assert_eq!(journal.next_sequence(), 7);
    journal.ensure_next(9).unwrap();
    append(&mut journal, 1).unwrap();
    assert_eq!(dir.list().unwrap(), [name(9)]);
}

#[test]
fn a_damaged_header_sets_the_segment_aside_by_name() {
    for base in [1, 9, 17] {
        for at in 0..52 {
            // Version 0 never was; a newer one is refused: see below.
            let bit = match at {
                8 => 1,
                9..12 => continue,
                _ => 7,
            };
            let (dir, _) = three_segments();
            flip(&dir, &name(base), at, bit);
            let (mut journal, recovery) = open(&dir);
            let [aside] = &recovery.set_aside[..] else { panic!("{base} at {at}: {recovery}") };
            assert_eq!(aside.segment, name(base));
            assert_eq!(aside.file, format!("{}.damaged", name(base)));
            assert_eq!(aside.reason, SetAsideReason::Header);
            assert!(dir.bytes(&aside.file).is_some());
            append(&mut journal, 1).unwrap();
            let (sequences, gaps) = read(journal.reader(1));
            let next = if base == 17 { 17 } else { 25 };
            let expected: Vec<u64> =
                (1..=next).filter(|sequence| !(base..base + 8).contains(sequence) || base == 17).collect();
            assert_eq!(sequences, expected, "header of {base} damaged at {at}");
            assert_eq!(gaps.iter().map(Gap::count).sum::<u64>(), if base == 17 { 0 } else { 8 });
            let missing = Gap { first: 9, last: 16, cause: GapCause::Missing };
            assert_eq!(recovery.missing, if base == 9 { vec![missing] } else { vec![] });
        }
    }
}

#[test]
fn the_only_segment_damaged_does_not_give_its_sequences_out_again() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    journal.ensure_next(500).unwrap();
    append(&mut journal, 3).unwrap();
    drop(journal);
    flip(&dir, &name(500), 0, 0);
    let (journal, recovery) = open(&dir);
    assert_eq!((recovery.first, journal.next_sequence()), (500, 500), "{recovery}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (dir, _) = three_segments();
    let mut bytes = dir.bytes(&name(9)).unwrap();
    bytes[8..12].copy_from_slice(&3u32.to_le_bytes());
    dir.put(&name(9), bytes.clone());
    let err = Journal::open(Arc::new(dir.clone()), SMALL).unwrap_err();
    assert!(matches!(err, JournalError::FormatTooNew { found: 3, supported: 2, .. }), "{err:?}");
    assert_eq!(dir.bytes(&name(9)).unwrap(), bytes);
}

#[test]
fn a_segment_that_was_never_finished_is_removed() {
    for length in 0..=HEADER_BYTES as usize {
        let (dir, _) = three_segments();
        let header = Header { version: Version::NEWEST, base: 25, previous: None, settled: false }.encode();
        let bytes = if length == 64 { vec![0; 64] } else { header[..length].to_vec() };
        dir.put(&name(25), bytes);
        let (mut journal, recovery) = open(&dir);
        assert_eq!(recovery.unfinished, [name(25)], "length {length}");
        assert_eq!(dir.bytes(&name(25)), None);
        append(&mut journal, 9).unwrap();
        assert_eq!(all(&journal), (1..=33).collect::<Vec<_>>());
    }
}

#[test]
fn a_sealed_segment_cut_short_or_gone_is_a_gap() {
    let (clean, _) = three_segments();
    let whole = clean.bytes(&name(9)).unwrap();
    for length in HEADER_BYTES as usize..whole.len() {
        let dir = clean.power_cut(PowerCut::LosesNothing);
        dir.put(&name(9), whole[..length].to_vec());
        let (journal, _) = open(&dir);
        let (sequences, gaps) = read(journal.reader(1));
        let [gap] = &gaps[..] else { panic!("cut at {length}: {gaps:?}") };
        assert_eq!(gap.last, 16);
        let expected: Vec<u64> = (1..gap.first).chain(17..=24).collect();
        assert_eq!(sequences, expected, "cut at {length}");
    }
    clean.remove(&name(9)).unwrap();
    let (journal, recovery) = open(&clean);
    let gap = Gap { first: 9, last: 16, cause: GapCause::Missing };
    assert_eq!(recovery.missing, std::slice::from_ref(&gap));
    assert_eq!(read(journal.reader(1)).1, [gap]);
}

#[test]
fn a_record_in_the_wrong_place_is_not_taken_for_the_right_one() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    for _ in 0..2 {
        journal.push(&Sample::new(1).record());
    }
    journal.write().unwrap();
    drop(journal);
    let bytes = dir.bytes(&name(1)).unwrap();
    let (record, len) = format::decode_record(&bytes[64..], Version::V2);
    assert_eq!(record, Sample::new(1).record());
    let twice = [&bytes[..64], &bytes[64..64 + len], &bytes[64..64 + len]].concat();
    dir.put(&name(1), twice);
    let (_, recovery) = open(&dir);
    assert_eq!(recovery.next, 2, "{recovery}");
    assert!(recovery.cut.is_some());
}
