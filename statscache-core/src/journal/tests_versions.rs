//! Records with all that the format can say about them, and segments of the version before.

use std::sync::Arc;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::tests::{SMALL, Sample, all, append, open, read};
use super::tests_faults::{GROUPS, all_cuts, check_consistent, workload};
use super::*;

fn name(base: u64) -> String {
    format::segment_name(base)
}

/// What the release before wrote: two records from sequence 7 on, synced by nobody.
const VERSION_1: &str = "\
    53434a4f55524e4c01000000000000000700000000000000000000000000000000000000000000000000000000000080\
    3b36e85000000000534554544c454400650b07bc3800000001401e18240a060000401e18240a06000200000000000000\
    00000000100000000d0000006f72672e6578616d706c652e617b226e223a317d7886ebb1250000000500000000000000\
    0500000000000000030000000000000000000000000000000100000074";

fn version_1() -> (Vec<u8>, [Record<'static>; 2]) {
    let bytes = VERSION_1.as_bytes().chunks(2);
    let bytes = bytes.map(|hex| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap()).collect();
    let stamped = Record {
        received: 1_700_000_000_000_001,
        time: 1_700_000_000_000_000,
        identity: 1 << 100 | 2,
        is_stamped: true,
        topic: b"org.example.a",
        body: b"{\"n\":1}",
        ..Record::default()
    };
    (bytes, [stamped, Record { received: 5, time: 5, identity: 3, topic: b"t", ..Record::default() }])
}

/// A segment of version 1, laid out without the code under test.
fn segment_v1<'r>(base: u64, records: impl IntoIterator<Item = Record<'r>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(b"SCJOURNL");
    bytes.extend(1u64.to_le_bytes());
    bytes.extend([base, 0, 0, i64::MIN as u64].map(u64::to_le_bytes).concat());
    bytes.extend(u64::from(crc32fast::hash(&bytes)).to_le_bytes());
    bytes.extend(b"SETTLED\0");
    for (record, sequence) in records.into_iter().zip(base..) {
        let Record { received, time, identity, topic, body, .. } = record;
        let mut rest = (36 + topic.len() as u32 + body.len() as u32).to_le_bytes().to_vec();
        rest.extend([received, time].map(i64::to_le_bytes).concat());
        rest.extend(identity.to_le_bytes());
        rest.extend((topic.len() as u32).to_le_bytes());
        rest.extend([topic, body].concat());
        bytes.extend((xxh3_64(&rest) as u32 ^ sequence as u32).to_le_bytes());
        bytes.extend(rest);
    }
    bytes
}

/// A journal of version 1 with the samples up to `last`, at most 5.
fn samples_v1(last: u64) -> SimulatedDir {
    let samples: Vec<Sample> = (1..=last).map(Sample::new).collect();
    let dir = SimulatedDir::new();
    dir.put(&name(1), segment_v1(1, samples.iter().map(Sample::record)));
    dir
}

#[test]
fn a_segment_of_version_1_is_read_as_it_was_written() {
    let (bytes, records) = version_1();
    assert_eq!(segment_v1(7, records), bytes, "the tests know version 1");
    let dir = SimulatedDir::new();
    dir.put(&name(7), bytes);
    let (journal, recovery) = open(&dir);
    assert_eq!(recovery, Recovery { first: 7, next: 9, ..Recovery::default() });
    let chunk = journal.reader(1).next_chunk(0).unwrap();
    assert_eq!(chunk.iter().collect::<Vec<_>>(), [(7, records[0]), (8, records[1])]);
    assert!(records.iter().all(|record| record.audience.is_everyone() && !record.is_mark));
}

#[test]
fn what_follows_version_1_goes_into_a_segment_of_its_own_and_readers_go_across() {
    let dir = samples_v1(5);
    let before = dir.bytes(&name(1)).unwrap();
    let config = JournalConfig { segment_bytes: 64 << 20, ..SMALL };
    let (mut journal, _) = Journal::open(Arc::new(dir.clone()), config).unwrap();
    for _ in 0..3 {
        append(&mut journal, 15).unwrap();
    }
    assert_eq!(dir.bytes(&name(1)).unwrap(), before);
    assert_eq!(dir.bytes(&name(6)).unwrap()[8..12], [2, 0, 0, 0]);
    assert_eq!(journal.stats().segments, 2, "one new segment is enough");
    assert_eq!(all(&journal), (1..=50).collect::<Vec<_>>());
    journal.dirty().sync().unwrap();
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(recovery.is_clean(), "{recovery}");
    for from in 1..=51 {
        assert_eq!(read(journal.reader(from)), ((from..=50).collect(), vec![]), "from {from}");
    }
}

#[test]
fn damage_in_version_1_costs_one_record_as_well() {
    let dir = samples_v1(5);
    let (mut journal, _) = open(&dir);
    append(&mut journal, 3).unwrap();
    journal.dirty().sync().unwrap();
    drop(journal);
    let mut bytes = dir.bytes(&name(1)).unwrap();
    let second = HEADER_BYTES as usize + format::decode_record(&bytes[64..], Version::V1).1;
    bytes[second + 20] ^= 1;
    dir.put(&name(1), bytes);
    let (journal, _) = open(&dir);
    let cause = GapCause::Damaged { segment: name(1), offset: second as u64 };
    assert_eq!(read(journal.reader(1)), (vec![1, 3, 4, 5, 6, 7, 8], vec![Gap { first: 2, last: 2, cause }]));
}

#[test]
fn a_torn_tail_of_version_1_is_cut() {
    let whole = samples_v1(5).bytes(&name(1)).unwrap();
    let fifth = samples_v1(4).bytes(&name(1)).unwrap().len();
    for length in fifth + 1..whole.len() {
        let dir = SimulatedDir::new();
        dir.put(&name(1), whole[..length].to_vec());
        let (mut journal, recovery) = open(&dir);
        assert_eq!((recovery.next, recovery.cut.map(|cut| cut.at)), (5, Some(fifth as u64)));
        append(&mut journal, 20).unwrap();
        assert_eq!(all(&journal), (1..25).collect::<Vec<_>>());
    }
}

#[test]
fn a_cut_tail_of_version_1_with_whole_records_is_kept() {
    // Shorter than any record of version 2.
    let dir = SimulatedDir::new();
    let mut bytes = segment_v1(1, [Record::default(); 3]);
    bytes[64 + 44 + 20] ^= 1;
    dir.put(&name(1), bytes);
    let (journal, recovery) = open(&dir);
    assert_eq!(journal.next_sequence(), 2, "{recovery}");
    let [aside] = &recovery.set_aside[..] else { panic!("{recovery}") };
    assert_eq!((aside.reason, aside.bytes), (SetAsideReason::TailWithRecords, 2 * 44));
}

#[test]
fn power_cuts_after_an_upgrade_lose_nothing_promised() {
    // The last segment of version 1 with records, and one without: that is replaced.
    for last in [5, 0] {
        let done = samples_v1(last);
        workload(&done, GROUPS);
        for operations in 0..=done.operations() {
            let dir = samples_v1(last);
            dir.fail_after(operations, Fault::Broken);
            let (promised, journal) = workload(&dir, GROUPS);
            let written = journal.map_or(last + 1, |journal| journal.next_sequence());
            for cut in all_cuts(10) {
                let context = format!("{last} records of version 1, power cut after {operations}, {cut:?}");
                check_consistent(&dir.power_cut(cut), promised.max(last + 1), written, &context);
            }
        }
    }
}

#[test]
fn an_empty_segment_of_version_1_holds_the_place_until_it_is_replaced() {
    for operations in 0..3 {
        let dir = SimulatedDir::new();
        dir.put(&name(70), segment_v1(70, []));
        let (mut journal, _) = open(&dir);
        dir.fail_after(operations, Fault::Full);
        append(&mut journal, 2).unwrap_err();
        let (other, recovery) = open(&dir.power_cut(PowerCut::LosesNothing));
        assert_eq!(other.next_sequence(), 70, "full after {operations}: {recovery}");
        dir.heal();
        journal.write().unwrap();
        assert_eq!(all(&journal), [70, 71]);
        assert_eq!(dir.list().unwrap(), [name(70)]);
        drop(journal);
        assert_eq!(all(&open(&dir).0), [70, 71]);
    }
}

#[test]
fn flags_that_nobody_knows_are_damage() {
    for bit in 0..32 {
        let dir = SimulatedDir::new();
        let (mut journal, _) = open(&dir);
        append(&mut journal, 8).unwrap();
        append(&mut journal, 1).unwrap();
        journal.dirty().sync().unwrap();
        drop(journal);
        let mut bytes = dir.bytes(&name(1)).unwrap();
        let len = format::decode_record(&bytes[64..], Version::V2).1;
        bytes[64 + 40 + bit / 8] ^= 1 << (bit % 8);
        // As somebody would who means it: with the right checksum.
        let sum = xxh3_64(&bytes[68..64 + len]) as u32 ^ 1;
        bytes[64..68].copy_from_slice(&sum.to_le_bytes());
        dir.put(&name(1), bytes);
        let (journal, _) = open(&dir);
        let chunk = journal.reader(1).next_chunk(0).unwrap();
        let known = format::check_record(&dir.bytes(&name(1)).unwrap()[64..], 1, Version::V2);
        if bit < 3 {
            assert_eq!((known, chunk.gap()), (format::Check::Whole(len), None), "bit {bit}");
        } else {
            assert_eq!(known, format::Check::Damaged(Some(len)), "bit {bit}");
            let cause = GapCause::Damaged { segment: name(1), offset: HEADER_BYTES };
            assert_eq!(chunk.gap(), Some(&Gap { first: 1, last: 1, cause }));
            assert_eq!(chunk.first_sequence(), 2);
        }
    }
}

#[test]
fn an_audience_has_its_ends_and_nobody_when_they_are_crossed() {
    let audience = Audience { first: 3, last: 5 };
    let had: Vec<u32> = (0..10).filter(|&namespace| audience.has(namespace)).collect();
    assert_eq!(had, [3, 4, 5]);
    assert!(Audience::EVERYONE.has(0) && Audience::EVERYONE.has(u32::MAX) && Audience::EVERYONE.is_everyone());
    assert!(!audience.is_everyone() && !Audience { first: 0, last: u32::MAX - 1 }.is_everyone());
    assert!((0..10).all(|namespace| !Audience { first: 5, last: 3 }.has(namespace)));
}

prop_compose! {
    fn records()(
        (received, time, identity) in any::<(i64, i64, u128)>(),
        audience in prop_oneof![Just((0, u32::MAX)), any::<(u32, u32)>()],
        (is_stamped, is_mark) in any::<(bool, bool)>(),
        topic in prop::collection::vec(any::<u8>(), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) -> (Record<'static>, Vec<u8>, Vec<u8>) {
        let audience = Audience { first: audience.0, last: audience.1 };
        (Record { received, time, identity, audience, is_stamped, is_mark, ..Record::default() }, topic, body)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// All that a record says comes back, from the group and from the file, and costs what it must.
    #[test]
    fn what_is_pushed_is_what_is_read(records in prop::collection::vec(records(), 1..40)) {
        let records: Vec<Record<'_>> =
            records.iter().map(|(record, topic, body)| Record { topic, body, ..*record }).collect();
        let dir = SimulatedDir::new();
        let (mut journal, _) = open(&dir);
        for record in &records {
            let (_, before) = journal.pending();
            journal.push(record);
            let overhead = journal.pending().1 - before - record.topic.len() - record.body.len();
            prop_assert_eq!(overhead, if record.audience.is_everyone() { 48 } else { RECORD_OVERHEAD_BYTES_MAX });
        }
        let written = journal.write_out(Vec::new()).unwrap().unwrap();
        prop_assert!(written.iter().map(|(_, record)| record).eq(records.iter().copied()));
        drop(journal);
        let chunk = open(&dir).0.reader(1).next_chunk(1 << 20).unwrap();
        prop_assert_eq!(chunk.byte_len(), written.byte_len());
        prop_assert!(chunk.iter().eq(written.iter()));
    }
}
