//! What is committed is there again: the same segments, the same answers.

mod damage;
mod migration;
mod set_aside;

use super::backend::Row;
use super::*;
use crate::coverage::{Coverage, Reading, Seen};
use crate::kind::CountRule;
use crate::query::{self, From, Query};
use crate::segment::{All, Cell, Form, PackedChunk, Segment, rows};
use crate::series::SeriesTable;
use crate::view::MetricView;
use statscache_plugin_sdk::{Kind, MetricDescriptor, Tiers, Timestamp};

fn descriptor(name: &str, kind: Kind, dimensions: &[&str]) -> MetricDescriptor {
    MetricDescriptor {
        name: name.to_owned(),
        kind,
        dimensions: dimensions.iter().map(|&name| name.to_owned()).collect(),
        unit: String::new(),
        description: String::new(),
        tiers: Tiers::default(),
        legacy: None,
        moved: None,
    }
}

fn record(instance: &str) -> NamespaceRecord {
    NamespaceRecord {
        instance: instance.to_owned(),
        plugin: "p".to_owned(),
        fingerprint: "1".to_owned(),
        state: NamespaceState::default(),
        metrics: vec![descriptor("a", Kind::Count, &["x"]), descriptor("b", Kind::Latest { n: 2, ttl: None }, &[])],
    }
}

fn packed(cells: impl IntoIterator<Item = (u32, u32, i64)>) -> Vec<PackedChunk> {
    rows::pack(CountRule, cells.into_iter().map(|(series, place, state)| Cell { series, place, state }))
}

const NOW: Timestamp = Timestamp::from_secs(1_600_000_000);

fn key(ns: NamespaceId, tier: u8, partition: i64, commit: u64) -> SegmentKey {
    SegmentKey { ns, metric: 0, tier, partition, form: Form::Rows, commit }
}

/// Two namespaces with cursors, label sets and segments, one of several chunks.
fn sample() -> (Batch, Vec<SegmentKey>) {
    let mut batch = Batch::default();
    let mut keys = Vec::new();
    for (ns, instance) in [(1, "one"), (7, "two")] {
        batch.put_namespace(ns, &record(instance));
        let cursor = Cursor { next: u64::from(ns) * 10, watermark: Some(NOW), missed: 3, ..Cursor::default() };
        batch.put_cursor(ns, &cursor);
        let mut table = SeriesTable::new(1, 1_000_000);
        for part in 0..3 {
            for n in 0..4000 {
                table.resolve(&[format!("label {part} {n}").as_str()]);
            }
            batch.put_series(ns, 0, &table.take_new().expect("new"));
        }
        for (tier, partition, commit) in [(0, -1, 3), (0, 0, 4), (0, 3_125_000, 300), (3, 36, 2), (3, 36, 256)] {
            let large = packed((0..12_000).flat_map(|series| [(series, 1, 1 << 30), (series, 511, -1)]));
            let small = packed([(5, 0, 7)]);
            let chunks = if commit == 300 { large } else { small };
            keys.push(key(ns, tier, partition, commit));
            batch.put_segment(keys[keys.len() - 1], chunks);
        }
    }
    (batch, keys)
}

/// Cells of one segment of counts.
fn cells(store: &Store, segment: &Segment) -> Result<Vec<(u32, u32, i64)>, ReadError> {
    let mut cells = Vec::new();
    segment.for_each(CountRule, store, &All, |cell| cells.push((cell.series, cell.place, cell.state)))?;
    Ok(cells)
}

fn keys_of(namespace: &Namespace) -> Vec<SegmentKey> {
    namespace.segments[0].iter().map(|segment| segment.key()).collect()
}

/// Rows of several answers, through a cache of almost nothing.
fn answer(store: Store, view: &MetricView, query: &Query) -> (query::Answer, Chunks) {
    let chunks = Chunks::new(Arc::new(store), 1);
    let from =
        From { chunks: &chunks, coverage: &Coverage::new(), now: NOW, horizon: NOW, moves: None, cells_max: u64::MAX };
    (query::run(view, query, from).expect("an answer"), chunks)
}

fn check_reopens(open: impl Fn() -> Box<dyn Backend>) {
    let (store, contents) = Store::open(open()).expect("it opens");
    assert!(contents.namespaces.is_empty() && contents.coverage.is_empty() && contents.garbage.is_empty());
    let (mut batch, keys) = sample();
    let mut coverage = Coverage::new();
    coverage.add(NOW, NOW.plus_micros(5), Seen::Whole);
    batch.put_coverage(&coverage);
    let mut reading = Reading::new(NOW);
    reading.advance(NOW.plus_micros(9));
    batch.put_reading(1, &reading);
    assert!(batch.bytes_len() > 100_000 && batch.len() > 30, "some segment has several chunks");
    store.apply(&batch).expect("it writes");
    store.sync().expect("it syncs");
    assert!(store.disk_bytes() > 0);
    let read = || Store::open(open()).expect("it opens");
    drop(store);
    let (store, mut contents) = read();
    assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1, 7]);
    let stored: Vec<SegmentKey> = contents.namespaces.values().flat_map(keys_of).collect();
    assert_eq!(stored, keys, "in order of time, then commits, also before 1970 and across 255");
    assert_eq!((&contents.coverage, &contents.garbage[..]), (&coverage, &[][..]));
    let first = &contents.namespaces[&1];
    assert_eq!((first.record.clone(), first.cursor.next, first.cursor.missed), (record("one"), 10, 3));
    assert_eq!((first.reading.as_ref(), contents.namespaces[&7].reading.as_ref()), (Some(&reading), None));
    assert_eq!(first.last_commit(), Some(300));
    let (small, large) = (&first.segments[0][0], &first.segments[0][2]);
    assert!(large.chunks().len() > 2 && large.resident_bytes().is_none(), "its chunks stay on disk");
    assert!(small.resident_bytes().is_some(), "what is small is in memory");
    assert_eq!(cells(&store, small).expect("sound"), [(5, 0, 7)]);
    let large_cells: Vec<_> = (0..12_000).flat_map(|series| [(series, 1, 1 << 30), (series, 511, -1)]).collect();
    assert_eq!(cells(&store, large).expect("sound"), large_cells);
    let views = MetricView::restore(contents.namespaces.remove(&1).expect("it is there")).expect("sound");
    assert_eq!((views[0].series_count, views[0].version, views[1].series_count), (12_000, 300, 0));
    let day = Query { start: Some(Timestamp::from_secs(36 * 512 * 86_400)), end: Some(NOW), ..Query::default() };
    let (before, chunks) = answer(store, &views[0], &day);
    assert_eq!(before.rows.len(), 1);
    drop(chunks);

    // A segment replaced by another, and everything of one namespace removed.
    let (store, contents) = read();
    let mut batch = Batch::default();
    let large = contents.namespaces[&1].segments[0][2].clone();
    let garbage = batch.remove_segment(&large).expect("it had chunks of its own");
    batch.put_segment(key(1, 0, 3_125_000, 301), packed([(1, 1, 1)]));
    store.apply(&batch).expect("it writes");
    store.remove_namespace(7).expect("it removes");
    store.sync().expect("it syncs");
    drop(store);
    let (store, mut contents) = read();
    assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1]);
    let first = contents.namespaces.remove(&1).expect("it is there");
    let commits: Vec<u64> = keys_of(&first).iter().map(|key| key.commit).collect();
    assert_eq!(commits, [3, 4, 301, 2, 256], "the old segment is gone");
    assert_eq!(contents.garbage, [garbage]);
    assert_eq!(cells(&store, &large).expect("who still has it may read on"), large_cells);
    let mut batch = Batch::default();
    batch.remove_chunks(garbage.key, 0..garbage.chunks);
    batch.remove_garbage(garbage.key);
    store.apply(&batch).expect("it writes");
    assert!(matches!(cells(&store, &large), Err(ReadError::Gone(key, 0)) if key == keys[2]), "until it is swept");
    store.scan(b"D", &mut |key, _| panic!("{} is left", keys::describe(key))).expect("it reads");
    store.scan(b"G", &mut |key, _| panic!("{} is left", keys::describe(key))).expect("it reads");
    let views = MetricView::restore(first).expect("sound");
    assert_eq!(answer(store, &views[0], &day).0, before);
}

#[test]
fn what_is_committed_in_memory_is_there_again() {
    let backend = MemoryBackend::default();
    check_reopens(|| Box::new(backend.clone()));
}

#[test]
fn what_is_committed_in_sled_is_there_again() {
    let dir = tempfile::tempdir().expect("a directory");
    check_reopens(|| Box::new(SledBackend::open(dir.path()).expect("it opens")));
}

fn all(backend: &MemoryBackend) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    backend
        .scan(b"", &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            true
        })
        .expect("memory");
    rows
}

/// The row with a bit flipped in its middle.
fn flip(backend: &MemoryBackend, key: &[u8]) {
    let mut value = backend.get(key).expect("memory").expect("there");
    let middle = value.len() / 2;
    value[middle] ^= 1;
    backend.apply(&[(key.to_vec(), Some(value))]).expect("memory");
}

fn of(rows: impl IntoIterator<Item = Row>) -> MemoryBackend {
    let backend = MemoryBackend::default();
    backend.apply(&rows.into_iter().collect::<Vec<_>>()).expect("memory");
    backend
}

#[test]
fn a_chunk_that_is_missing_is_noticed_by_who_reads_it() {
    let backend = MemoryBackend::default();
    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    store.apply(&sample().0).expect("it writes");
    let missing = keys::chunk(key(1, 0, 3_125_000, 300), 1);
    let rest = all(&backend).into_iter().filter(|(key, _)| *key != missing).map(|(key, value)| (key, Some(value)));
    let (store, contents) = Store::open(Box::new(of(rest))).expect("chunks are not read");
    let error = cells(&store, &contents.namespaces[&1].segments[0][2]).expect_err("it is not there");
    assert!(matches!(error, ReadError::Gone(_, 1)), "{error}");
    assert_eq!(cells(&store, &contents.namespaces[&7].segments[0][2]).expect("another is whole").len(), 24_000);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    for (version, accepted) in [(FORMAT_VERSION, true), (FORMAT_VERSION + 1, false), (u32::MAX, false)] {
        let backend = of([(keys::FORMAT.to_vec(), Some(values::seal(version.to_be_bytes().to_vec())))]);
        let before = all(&backend);
        match Store::open(Box::new(backend.clone())) {
            Ok(_) => assert!(accepted, "format {version}"),
            Err(error) => {
                assert!(!accepted, "format {version}: {error}");
                assert!(matches!(error, StoreError::FormatTooNew { found } if found == version), "{error:?}");
            }
        }
        assert_eq!(all(&backend), before);
    }
}

#[test]
fn a_failing_disk_is_an_error_and_no_namespace() {
    let backend = MemoryBackend::default();
    backend.set_failing(true);
    let error = Store::open(Box::new(backend.clone())).err().expect("it cannot write its format");
    assert!(matches!(error, StoreError::Backend { action: "write", .. }), "{error:?}");
    backend.set_failing(false);
    Store::open(Box::new(backend)).expect("the disk works again");
}

#[test]
fn a_namespace_without_cursor_is_half_removed() {
    let (batch, _) = sample();
    let backend = MemoryBackend::default();
    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    store.apply(&batch).expect("it writes");
    backend.apply(&[(keys::cursor(7), None)]).expect("memory");
    let (_, contents) = Store::open(Box::new(backend.clone())).expect("it opens");
    assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1]);
    assert!(all(&backend).iter().all(|(key, _)| key.get(1..5) != Some(&7_u32.to_be_bytes()[..])), "its rest is gone");
}
