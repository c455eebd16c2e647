//! The journal on a healthy disk: what is pushed comes back, until retention takes it.

use std::sync::Arc;

use super::*;

pub(super) const SMALL: JournalConfig =
    JournalConfig { segment_bytes: 1 << 10, retain_bytes: u64::MAX, retain_micros: i64::MAX };

/// What the tests push as sequence `n`: sizes, bytes and flags vary, and all follow from `n`. Up to 5
/// they are such as version 1 could keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub topic: Vec<u8>,
    pub body: Vec<u8>,
    n: u64,
}

impl Sample {
    pub(super) fn new(n: u64) -> Self {
        let body = (0..n * 37 % 211).map(|at| (at * 7 + n) as u8).collect();
        Self { topic: format!("org.example.{n}").into_bytes(), body, n }
    }

    pub(super) fn record(&self) -> Record<'_> {
        Record {
            received: 1_000_000 + self.n as i64,
            time: -(self.n as i64),
            identity: u128::MAX - u128::from(self.n),
            audience: match self.n / 6 % 2 {
                0 => Audience::EVERYONE,
                _ => Audience { first: self.n as u32, last: u32::MAX - 1 },
            },
            is_stamped: self.n / 12 % 2 != 1,
            is_mark: self.n / 24 % 2 == 1,
            topic: &self.topic,
            body: &self.body,
        }
    }
}

pub(super) fn open(dir: &SimulatedDir) -> (Journal, Recovery) {
    Journal::open(Arc::new(dir.clone()), SMALL).unwrap()
}

/// Pushes the samples that come next, and writes them as one group.
pub(super) fn append(journal: &mut Journal, count: u64) -> Result<(), JournalError> {
    for _ in 0..count {
        let sample = Sample::new(journal.next_sequence());
        journal.push(&sample.record());
    }
    journal.write()
}

/// All sequences that can be read from `from` on, each compared with its sample, and the gaps.
pub(super) fn read(mut reader: Reader) -> (Vec<u64>, Vec<Gap>) {
    let (mut sequences, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let chunk = reader.next_chunk(0).unwrap();
        gaps.extend(chunk.gap().cloned());
        assert_eq!(chunk.iter().count(), chunk.len());
        for (sequence, record) in &chunk {
            assert_eq!(record, Sample::new(sequence).record(), "sequence {sequence}");
            sequences.push(sequence);
        }
        assert_eq!(chunk.next_sequence(), reader.next_sequence());
        if chunk.is_empty() {
            return (sequences, gaps);
        }
        reader.recycle(chunk);
    }
}

pub(super) fn all(journal: &Journal) -> Vec<u64> {
    let (sequences, gaps) = read(journal.reader(journal.first_sequence()));
    assert_eq!(gaps, []);
    sequences
}

fn range(first: u64, last: u64) -> Vec<u64> {
    (first..=last).collect()
}

#[test]
fn what_is_written_is_read_and_survives_reopening() {
    let dir = SimulatedDir::new();
    let (mut journal, recovery) = open(&dir);
    assert_eq!(recovery, Recovery { first: 1, next: 1, ..Recovery::default() });
    append(&mut journal, 10).unwrap();
    append(&mut journal, 1).unwrap();
    assert_eq!(all(&journal), range(1, 11));
    drop(journal);
    let (mut journal, recovery) = open(&dir);
    assert_eq!(recovery, Recovery { first: 1, next: 12, ..Recovery::default() });
    assert_eq!(journal.next_sequence(), 12);
    append(&mut journal, 30).unwrap();
    assert_eq!(all(&journal), range(1, 41));
}

#[test]
fn pushed_is_not_written_and_discarded_takes_the_sequences_back() {
    let (mut journal, _) = open(&SimulatedDir::new());
    append(&mut journal, 2).unwrap();
    assert_eq!(journal.push(&Sample::new(3).record()), 3);
    assert_eq!((journal.next_sequence(), journal.stats().next), (4, 3));
    assert_eq!(all(&journal), range(1, 2));
    assert_eq!(journal.discard(), 1);
    assert_eq!(journal.next_sequence(), 3);
    append(&mut journal, 1).unwrap();
    assert_eq!(all(&journal), range(1, 3));
}

#[test]
fn a_reader_starts_anywhere_and_follows_the_writer() {
    let (mut journal, _) = open(&SimulatedDir::new());
    for _ in 0..50 {
        append(&mut journal, 3).unwrap();
    }
    assert!(journal.stats().segments > 5, "{:?}", journal.stats());
    for from in 1..=151 {
        assert_eq!(read(journal.reader(from)), (range(from, 150), vec![]), "from {from}");
    }
    let mut behind = journal.reader(150);
    assert_eq!(behind.next_chunk(1).unwrap().len(), 1);
    assert!(behind.next_chunk(1).unwrap().is_empty());
    append(&mut journal, 1).unwrap();
    assert_eq!(behind.next_chunk(1).unwrap().first_sequence(), 151);
}

#[test]
fn a_chunk_is_about_as_long_as_asked_and_holds_at_least_one_record() {
    let dir = SimulatedDir::new();
    let config = JournalConfig { segment_bytes: 64 << 20, ..SMALL };
    let (mut journal, _) = Journal::open(Arc::new(dir), config).unwrap();
    let long = vec![7; 1 << 20];
    for length in [10, 1 << 20, 10, 10] {
        journal.push(&Record { body: &long[..length], ..Sample::new(1).record() });
    }
    journal.write().unwrap();
    let mut reader = journal.reader(1);
    let mut lengths = Vec::new();
    while let Some(chunk) = Some(reader.next_chunk(100).unwrap()).filter(|chunk| !chunk.is_empty()) {
        lengths.push(chunk.iter().map(|(_, record)| record.body.len()).collect::<Vec<_>>());
    }
    assert_eq!(lengths, [vec![10], vec![1 << 20], vec![10, 10]]);
}

#[test]
fn what_is_written_out_is_what_a_reader_reads_and_buffers_go_round() {
    let (mut journal, _) = open(&SimulatedDir::new());
    let mut reader = journal.reader(1);
    let mut spare = Vec::with_capacity(1 << 16);
    for count in [1, 30, 2, 0, 50] {
        let buffer = spare.as_ptr();
        for _ in 0..count {
            journal.push(&Sample::new(journal.next_sequence()).record());
        }
        let (pending, next) = (journal.pending().1, journal.next_sequence());
        let Some(written) = journal.write_out(spare).unwrap() else {
            assert_eq!(count, 0);
            spare = Vec::with_capacity(1 << 16);
            continue;
        };
        assert_eq!((written.len() as u64, written.next_sequence(), written.byte_len()), (count, next, pending));
        assert_eq!((journal.pending(), journal.next_sequence(), journal.stats().next), ((0, 0), next, next));
        let read = reader.next_chunk(1 << 20).unwrap();
        assert!(read.iter().eq(written.iter()));
        assert_eq!((read.len(), read.byte_len(), written.gap()), (written.len(), pending, None));
        spare = written.into_spare();
        assert!(spare.is_empty());
        // The group is in the buffer that was given, and gives it back the next time.
        assert_eq!(journal.group.bytes.as_ptr(), buffer);
    }
    assert_eq!(all(&journal), range(1, 83));
}

#[test]
fn one_record_is_found_wherever_it_is_and_a_missing_one_is_not() {
    let (mut journal, _) = open(&SimulatedDir::new());
    for count in [200, 30, 1] {
        append(&mut journal, count).unwrap();
    }
    journal.ensure_next(240).unwrap();
    append(&mut journal, 10).unwrap();
    let mut reader = journal.handle().reader(1);
    // Backwards and forwards, so that it is not where the reader stands already.
    for sequence in (0..260).rev().chain(0..260) {
        let found = reader.only(sequence).unwrap();
        let is_there = (1..=231).contains(&sequence) || (240..250).contains(&sequence);
        assert_eq!(found.is_some(), is_there, "sequence {sequence}");
        if let Some(chunk) = found {
            assert_eq!(chunk.iter().next(), Some((sequence, Sample::new(sequence).record())));
            assert!(chunk.byte_len() <= 4 << 10, "{} bytes for one", chunk.byte_len());
            assert_eq!(chunk.next_sequence(), reader.next_sequence());
            reader.recycle(chunk);
        }
    }
}

#[test]
fn the_index_is_sparse_and_right_however_it_came_about() {
    let dir = SimulatedDir::new();
    let config = JournalConfig { segment_bytes: 64 << 20, ..SMALL };
    let open = || Journal::open(Arc::new(dir.clone()), config).unwrap().0;
    let check = |journal: &Journal, how: &str| {
        let [segment] = &journal.shared.segments()[..] else { panic!("{:?}", journal.stats()) };
        let bytes = dir.bytes(&segment.name).unwrap();
        let waypoints = segment.waypoints();
        let count = bytes.len() as u64 / segment::WAYPOINT_BYTES;
        assert!((count / 2..count + 2).contains(&(waypoints.len() as u64)), "{how}: {waypoints:?}");
        for waypoint in waypoints {
            let found = format::check_record(&bytes[waypoint.offset as usize..], waypoint.sequence, Version::V2);
            assert!(matches!(found, format::Check::Whole(_)), "{how}: {waypoint:?}: {found:?}");
        }
    };
    let mut journal = open();
    append(&mut journal, 6000).unwrap();
    check(&journal, "one large group");
    for _ in 0..2000 {
        append(&mut journal, 1).unwrap();
    }
    check(&journal, "small groups");
    all(&journal);
    check(&journal, "small chunks");
    drop(journal);
    check(&open(), "scanned");
}

#[test]
fn a_segment_ends_before_the_group_that_would_not_fit() {
    for (segment_bytes, segments) in [(64 + 2 * 148, 1), (64 + 2 * 148 - 1, 2)] {
        let config = JournalConfig { segment_bytes, ..SMALL };
        let (mut journal, _) = Journal::open(Arc::new(SimulatedDir::new()), config).unwrap();
        for _ in 0..2 {
            journal.push(&Record { topic: &[1; 40], body: &[2; 60], ..Sample::new(1).record() });
            journal.write().unwrap();
        }
        let stats = journal.stats();
        assert_eq!(stats.segments, segments, "with segments of {segment_bytes}: {stats:?}");
        assert_eq!(stats.bytes, segments as u64 * 64 + 2 * 148);
    }
}

/// Ten segments of one group each; the newest record in segment `n` (from 0) is `10 * n + 9`.
fn ten_segments(config: JournalConfig) -> (SimulatedDir, Journal) {
    let dir = SimulatedDir::new();
    let config = JournalConfig { segment_bytes: 65, ..config };
    let (mut journal, _) = Journal::open(Arc::new(dir.clone()), config).unwrap();
    for n in 0..10 {
        for received in [10 * n + 3, 10 * n + 9, 10 * n] {
            journal.push(&Record { received, topic: &[], body: &[], ..Sample::new(1).record() });
        }
        journal.write().unwrap();
    }
    (dir, journal)
}

const SEGMENT_BYTES: u64 = 64 + 3 * 48;

#[test]
fn retention_by_size_drops_the_oldest_segments_until_the_rest_fits() {
    for (retain_bytes, kept) in [
        (10 * SEGMENT_BYTES, 10),
        (10 * SEGMENT_BYTES - 1, 9),
        (3 * SEGMENT_BYTES, 3),
        (3 * SEGMENT_BYTES - 1, 2),
        (0, 1),
    ] {
        let (_, mut journal) = ten_segments(JournalConfig { retain_bytes, ..SMALL });
        let dropped = journal.retain(0, u64::MAX).unwrap();
        let stats = journal.stats();
        assert_eq!(stats.segments, kept, "retain {retain_bytes}: {dropped:?}");
        assert_eq!(stats.first, 31 - 3 * kept as u64);
        assert_eq!(dropped.len(), 10 - kept);
        if let Some(first) = dropped.first() {
            assert_eq!((first.first, first.last, first.bytes), (1, 3, SEGMENT_BYTES));
            assert_eq!(first.reason, DropReason::Size);
        }
    }
}

#[test]
fn retention_by_age_goes_by_the_newest_record_of_a_segment_also_after_reopening() {
    let config = JournalConfig { retain_micros: 100, ..SMALL };
    for (now, first) in [(109, 1), (110, 4), (119, 4), (120, 7), (i64::MAX, 28)] {
        for reopen in [false, true] {
            let (dir, mut journal) = ten_segments(config);
            if reopen {
                journal.dirty().sync().unwrap();
                drop(journal);
                journal = Journal::open(Arc::new(dir), config).unwrap().0;
            }
            let dropped = journal.retain(now, u64::MAX).unwrap();
            assert_eq!(journal.first_sequence(), first, "at {now}: {dropped:?}");
            assert!(dropped.iter().all(|dropped| dropped.reason == DropReason::Age));
            let gaps = read_gaps(journal.reader(1));
            let gap = Gap { first: 1, last: first - 1, cause: GapCause::Retention };
            assert_eq!(gaps, if first == 1 { vec![] } else { vec![gap] });
        }
    }
}

fn read_gaps(mut reader: Reader) -> Vec<Gap> {
    let mut gaps = Vec::new();
    loop {
        let chunk = reader.next_chunk(0).unwrap();
        gaps.extend(chunk.gap().cloned());
        if chunk.is_empty() {
            return gaps;
        }
    }
}

#[test]
fn a_reader_overtaken_by_retention_says_what_it_missed() {
    let (_, mut journal) = ten_segments(JournalConfig { retain_bytes: 0, ..SMALL });
    let mut reader = journal.reader(1);
    assert_eq!(reader.next_chunk(0).unwrap().next_sequence(), 4);
    journal.retain(0, u64::MAX).unwrap();
    let chunk = reader.next_chunk(0).unwrap();
    assert_eq!(chunk.gap(), Some(&Gap { first: 4, last: 27, cause: GapCause::Retention }));
    assert_eq!((chunk.first_sequence(), chunk.len()), (28, 3));
}

#[test]
fn the_next_sequence_can_be_moved_up_but_not_down() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    assert_eq!(journal.ensure_next(1).unwrap(), None);
    append(&mut journal, 5).unwrap();
    assert_eq!(journal.ensure_next(6).unwrap(), None);
    let gap = Gap { first: 6, last: 99, cause: GapCause::Missing };
    assert_eq!(journal.ensure_next(100).unwrap().as_ref(), Some(&gap));
    assert_eq!(journal.next_sequence(), 100);
    append(&mut journal, 2).unwrap();
    let expected = ([range(1, 5), range(100, 101)].concat(), vec![gap]);
    assert_eq!(read(journal.reader(1)), expected);
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(recovery.is_clean(), "{recovery}");
    assert_eq!(read(journal.reader(1)), expected);
    assert_eq!(journal.next_sequence(), 102);
}

#[test]
fn an_empty_journal_can_start_late() {
    let dir = SimulatedDir::new();
    let (mut journal, _) = open(&dir);
    journal.ensure_next(50).unwrap();
    append(&mut journal, 1).unwrap();
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert_eq!((recovery.first, recovery.next), (50, 51));
    assert_eq!(all(&journal), [50]);
}

#[test]
fn a_second_writer_is_refused_and_told_where() {
    let temp = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open_path(temp.path(), SMALL).unwrap();
    let err = Journal::open_path(temp.path(), SMALL).unwrap_err();
    assert!(matches!(&err, JournalError::Locked { dir } if dir == temp.path()), "{err:?}");
    assert!(err.to_string().contains(&temp.path().display().to_string()), "{err}");
    drop(journal);
    Journal::open_path(temp.path(), SMALL).unwrap();
}

#[test]
fn on_real_files_beside_somebody_elses() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("deep").join("journal");
    let (mut journal, _) = Journal::open_path(&path, SMALL).unwrap();
    for name in ["notes.txt", "1.journal", "00000000000000000000.journal", "x0000000000000000001.journal"] {
        std::fs::write(path.join(name), "mine").unwrap();
    }
    for _ in 0..20 {
        append(&mut journal, 5).unwrap();
    }
    let ticket = journal.dirty();
    assert_eq!(std::thread::spawn(|| ticket.sync().unwrap()).join().unwrap(), 101);
    // Read-only, while the writer has it: what is written so far.
    assert_eq!(read(Reader::open(&path).unwrap()), (range(1, 100), vec![]));
    drop(journal);
    let (mut journal, recovery) = Journal::open_path(&path, SMALL).unwrap();
    assert!(recovery.is_clean(), "{recovery}");
    assert_eq!(all(&journal), range(1, 100));
    journal.config.retain_bytes = 0;
    journal.retain(0, u64::MAX).unwrap();
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4 + 1 + 1);
}

#[test]
fn a_reader_in_another_thread_sees_every_record_once() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open_path(temp.path(), SMALL).unwrap();
    let mut reader = journal.reader(1);
    let readings = std::thread::spawn(move || {
        while reader.next_sequence() < 2001 {
            let first = reader.next_sequence();
            let chunk = reader.next_chunk(1 << 16).unwrap();
            assert_eq!(chunk.gap(), None);
            for ((sequence, record), expected) in chunk.iter().zip(first..) {
                assert_eq!((sequence, record), (expected, Sample::new(expected).record()));
            }
        }
    });
    for _ in 0..200 {
        append(&mut journal, 10).unwrap();
    }
    readings.join().unwrap();
}
