//! Formats 1 and 2, byte by byte, become the present one, wherever that is interrupted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::bytes::{put_bytes, put_i64, put_u64};
use crate::kind::{LatestRule, LatestState, LatestValue, Rule};
use crate::segment::Merged;
use crate::store::backend::BackendError;

/// As format 1 wrote it: metric 0 is a count in two tiers, 1 has the two latest values.
const RECORD: &str = r#"{"instance":"INSTANCE","plugin":"p","fingerprint":"1","metrics":[
    {"name":"a","kind":{"type":"count"},"dimensions":["x"],"unit":"","description":"","tiers":"1s for 1h, 1h forever"},
    {"name":"b","kind":{"type":"latest","n":2},"dimensions":["x"],"unit":"","description":"","tiers":"1s forever"}]}"#;

fn be(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag][..], &parts.concat()].concat()
}

fn cells_key(ns: u32, metric: u16, tier: u8, partition: i64, commit: u64, chunk: u32) -> Vec<u8> {
    let partition = (partition as u64) ^ (1 << 63);
    let parts: [&[u8]; 6] = [
        &ns.to_be_bytes(),
        &metric.to_be_bytes(),
        &[tier],
        &partition.to_be_bytes(),
        &commit.to_be_bytes(),
        &chunk.to_be_bytes(),
    ];
    be(b'B', &parts)
}

type Cells<'a> = &'a [(u32, Vec<u8>)];

/// A chunk: number of series; for each its distance, number of cells and their bytes.
fn chunk(series: &[(u32, Cells<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, series.len() as u64);
    let mut before = 0;
    for (number, cells) in series {
        put_u64(&mut out, u64::from(number - before));
        before = *number;
        put_u64(&mut out, cells.len() as u64);
        let (mut bytes, mut place_before) = (Vec::new(), 0);
        for (place, state) in *cells {
            put_u64(&mut bytes, u64::from(place - place_before));
            place_before = *place;
            bytes.extend(state);
        }
        put_bytes(&mut out, &bytes);
    }
    out
}

fn count(n: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_i64(&mut out, n);
    out
}

fn latest(values: &[(i64, &str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, values.len() as u64);
    for (time, id, json) in values {
        put_i64(&mut out, *time);
        put_bytes(&mut out, id.as_bytes());
        put_bytes(&mut out, json.as_bytes());
    }
    out
}

/// Two namespaces; a third whose removal was interrupted, so that it has no cursor.
fn format_1() -> Vec<Row> {
    let mut rows = vec![(b"F".to_vec(), 1_u32.to_be_bytes().to_vec())];
    for ns in [1_u32, 2, 9] {
        rows.push((be(b'N', &[&ns.to_be_bytes()]), RECORD.replace("INSTANCE", &format!("i{ns}")).into_bytes()));
        let mut cursor = Vec::new();
        put_u64(&mut cursor, 40 + u64::from(ns));
        put_u64(&mut cursor, 1);
        put_i64(&mut cursor, NOW.micros());
        (10..15).for_each(|counter| put_u64(&mut cursor, counter));
        if ns < 9 {
            rows.push((be(b'C', &[&ns.to_be_bytes()]), cursor));
        }
        let mut table = SeriesTable::new(1, 10);
        for n in 0..6 {
            table.resolve(&[format!("label {n}").as_str()]);
        }
        let labels = table.take_new().expect("new").bytes.to_vec();
        for metric in [0_u16, 1] {
            rows.push((be(b'S', &[&ns.to_be_bytes(), &metric.to_be_bytes(), &0_u32.to_be_bytes()]), labels.clone()));
        }
        // Before 1970, a segment of two chunks, a zero, and two commits of one partition.
        rows.push((
            cells_key(ns, 0, 0, -1, 3, 0),
            chunk(&[(0, &[(0, count(-5)), (511, count(6))]), (3, &[(7, count(0))])]),
        ));
        rows.push((cells_key(ns, 0, 0, 5, 4, 0), chunk(&[(1, &[(2, count(1 << 40))])])));
        rows.push((cells_key(ns, 0, 0, 5, 4, 1), chunk(&[(2, &[(2, count(8))]), (5, &[(300, count(9))])])));
        rows.push((cells_key(ns, 0, 0, 5, 300, 0), chunk(&[(1, &[(2, count(1))])])));
        rows.push((cells_key(ns, 0, 1, 0, 4, 0), chunk(&[(1, &[(2, count(10))])])));
        let values = latest(&[(7, "m2", "\"two\""), (5, "m1", "1")]);
        rows.push((cells_key(ns, 1, 0, 0, 4, 0), chunk(&[(4, &[(0, values)])])));
        // Of a metric that nobody declares.
        rows.push((cells_key(ns, 7, 0, 0, 4, 0), chunk(&[(1, &[(2, count(10))])])));
    }
    rows.into_iter().map(|(key, value)| (key, Some(values::seal(value)))).collect()
}

fn all_cells<R: Rule>(rule: R, store: &Store, segments: &[Arc<Segment>]) -> Vec<(SegmentKey, u32, u32, R::State)> {
    let mut cells = Vec::new();
    for segment in segments {
        for cell in Merged::new(rule, store, [&**segment], 0).expect("sound") {
            let cell = cell.expect("sound");
            cells.push((segment.key(), cell.series, cell.place, cell.state));
        }
    }
    cells
}

fn check(backend: Box<dyn Backend>, context: &str) {
    let (store, contents) = Store::open(backend).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1, 2], "{context}");
    assert!(contents.coverage.is_empty() && contents.garbage.is_empty(), "{context}");
    for (ns, namespace) in &contents.namespaces {
        assert_eq!(namespace.record.instance, format!("i{ns}"));
        assert_eq!(namespace.record.metrics[1].kind, Kind::Latest { n: 2, ttl: None });
        let cursor = Cursor {
            next: 40 + u64::from(*ns),
            watermark: Some(NOW),
            processed: 10,
            failed: 11,
            updates: 12,
            limited: 13,
            missed: 14,
            ..Cursor::default()
        };
        assert_eq!((namespace.cursor, namespace.reading.as_ref()), (cursor, None), "{context}");
        assert_eq!(namespace.last_commit(), Some(300));
        let key = |tier, partition, commit| SegmentKey { ns: *ns, ..key(1, tier, partition, commit) };
        assert_eq!(
            all_cells(CountRule, &store, &namespace.segments[0]),
            [
                (key(0, -1, 3), 0, 0, -5),
                (key(0, -1, 3), 0, 511, 6),
                (key(0, 5, 4), 1, 2, 1 << 40),
                (key(0, 5, 4), 2, 2, 8),
                (key(0, 5, 4), 5, 300, 9),
                (key(0, 5, 300), 1, 2, 1),
                (key(1, 0, 4), 1, 2, 10),
            ],
            "{context}"
        );
        let value = |time, id: &str, json: &str| LatestValue {
            time: Timestamp::from_micros(time),
            id: id.into(),
            json: json.into(),
        };
        let state = LatestState { removed: None, values: vec![value(7, "m2", "\"two\""), value(5, "m1", "1")] };
        let key = SegmentKey { metric: 1, ..key(0, 0, 4) };
        let rule = LatestRule { n: 2, ttl: None };
        assert_eq!(all_cells(rule, &store, &namespace.segments[1]), [(key, 4, 0, state)], "{context}");
    }
    MetricView::restore(Store::open(store.backend).expect("it opens").1.namespaces.remove(&1).expect("there"))
        .expect("sound");
}

/// Fails after so many writes and syncs.
struct Failing {
    rows: MemoryBackend,
    left: AtomicU64,
}

impl Failing {
    fn operate(&self) -> Result<(), BackendError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        left.map(drop).map_err(|_| BackendError::Io { path: "test".into(), source })
    }
}

impl Backend for Failing {
    fn apply(&self, rows: &[Row]) -> Result<(), BackendError> {
        self.operate()?;
        self.rows.apply(rows)
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.operate()?;
        self.rows.sync()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.rows.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), BackendError> {
        self.rows.scan(prefix, visit)
    }

    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.rows.last_key(prefix)
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}

#[test]
fn format_1_becomes_the_present_one_wherever_it_is_interrupted() {
    let whole = of(format_1());
    check(Box::new(whole.clone()), "at once");
    let migrated = all(&whole);
    for (key, _) in &migrated {
        assert!(b"FNPSID".contains(&key[0]), "{} is left", keys::describe(key));
        assert!(key.get(1..5) != Some(&9_u32.to_be_bytes()[..]), "what was half removed is gone");
    }
    check(Box::new(whole.clone()), "again");
    assert_eq!(all(&whole), migrated, "opening it again changes nothing");
    let mut interruptions = 0;
    for operations in 0.. {
        let rows = of(format_1());
        let opened = Store::open(Box::new(Failing { rows: rows.clone(), left: AtomicU64::new(operations) }));
        let is_done = opened.is_ok();
        drop(opened);
        check(Box::new(rows.clone()), &format!("interrupted after {operations}"));
        assert_eq!(all(&rows), migrated, "interrupted after {operations}");
        if is_done {
            break;
        }
        interruptions += 1;
    }
    assert!(interruptions > 15, "{interruptions}");
}

/// As format 2 wrote it: a cursor with nine numbers, a reading without times filled.
fn format_2() -> Vec<Row> {
    let mut rows = vec![(b"F".to_vec(), 2_u32.to_be_bytes().to_vec())];
    for ns in [1_u32, 7] {
        rows.push((be(b'N', &[&ns.to_be_bytes()]), RECORD.replace("INSTANCE", &format!("i{ns}")).into_bytes()));
        let mut cursor = Vec::new();
        [40, 0, 0, 9].iter().for_each(|number| put_u64(&mut cursor, *number));
        (10..19).for_each(|counter| put_u64(&mut cursor, counter));
        rows.push((be(b'P', &[&ns.to_be_bytes()]), cursor));
        // Until 100 µs; from 10 µs on whole, from 90 µs on nothing: two changes.
        rows.push((be(b'R', &[&ns.to_be_bytes()]), vec![0xc8, 1, 2, 20, 2, 80, 0]));
    }
    rows.into_iter().map(|(key, value)| (key, Some(values::seal(value)))).collect()
}

#[test]
fn format_2_becomes_the_present_one_wherever_it_is_interrupted() {
    let micros = Timestamp::from_micros;
    let check = |rows: &MemoryBackend, context: &str| {
        let (store, contents) = Store::open(Box::new(rows.clone())).expect(context);
        assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1, 7], "{context}");
        for namespace in contents.namespaces.values() {
            let reading = namespace.reading.as_ref().expect(context);
            assert_eq!(reading.until(), micros(100), "{context}");
            let read: Vec<_> = reading.read().intervals().collect();
            assert_eq!(read, [(micros(10), micros(90), Seen::Whole)], "{context}");
            assert!(reading.filled().is_empty(), "{context}");
            let cursor = namespace.cursor;
            assert_eq!((cursor.next, cursor.processed, cursor.too_late), (40, 10, 18), "{context}");
        }
        drop(store);
        let version = rows.get(keys::FORMAT).expect("memory").expect("a version");
        assert_eq!(version, values::seal(FORMAT_VERSION.to_be_bytes().to_vec()), "{context}");
    };
    for operations in 0..4 {
        let rows = of(format_2());
        let opened = Store::open(Box::new(Failing { rows: rows.clone(), left: AtomicU64::new(operations) }));
        assert_eq!(opened.is_ok(), operations >= 2, "one write, one sync");
        check(&rows, &format!("interrupted after {operations}"));
        let migrated = all(&rows);
        check(&rows, "again");
        assert_eq!(all(&rows), migrated, "opening it again changes nothing");
    }
}

#[test]
fn a_damaged_reading_of_format_2_costs_its_namespace_only() {
    let rows = of(format_2());
    flip(&rows, &keys::reading(7));
    let damaged = rows.get(&keys::reading(7)).expect("memory");
    let (_, contents) = Store::open(Box::new(rows.clone())).expect("it opens");
    assert_eq!(contents.namespaces.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(contents.damaged[0].namespace, Some((7, Some("i7".to_owned()))));
    assert_eq!(rows.get(&keys::reading(7)).expect("memory"), damaged, "it stays as it was");
}

#[test]
fn a_damaged_row_of_format_1_is_refused_by_name_if_it_is_to_be_written_anew() {
    for number in 0..format_1().len() {
        let mut rows = format_1();
        let (key, value) = &mut rows[number];
        if let Some(byte) = value.as_mut().and_then(|value| value.first_mut()) {
            *byte ^= 0x40;
        }
        let key = key.clone();
        // What goes anyway is not looked at.
        if key[0] == b'S' && key[1..5] == 9_u32.to_be_bytes() {
            continue;
        }
        let opened = Store::open(Box::new(of(rows)));
        if key[0] == b'S' {
            let contents = opened.expect("label sets are as they were").1;
            assert_eq!(contents.damaged.len(), 1, "{:?}", contents.damaged);
            assert_eq!((&contents.damaged[0].key, contents.namespaces.len()), (&keys::describe(&key), 1));
            continue;
        }
        let error = opened.err().unwrap_or_else(|| panic!("row {key:?} was taken"));
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
