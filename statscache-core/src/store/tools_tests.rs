//! Sums, checks, export and import over one store in memory: every sort of damage is found, and what
//! is exported comes back.

use std::{collections::BTreeMap, sync::Arc};

use statscache_plugin_sdk::{Kind, MetricDescriptor, Timestamp};

use super::backend::Row;
use super::*;
use crate::{
    bucket, columns,
    coverage::{Coverage, Reading, Seen},
    journal::{Journal, JournalConfig, JournalHandle, Record, SimulatedDir},
    kind::{CountRule, LatestRule, LatestState, Rule, StatRule, StatState},
    segment::{Cell, ChunkMeta, Form, merge_sorted, rows},
    series::{SeriesChunk, SeriesTable},
};
use check::{Finding, Report};
use import::ImportError;

const START: i64 = 1_600_000_000;
const SERIES: u32 = 3000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(START + secs)
}

const LATEST: Kind = Kind::Latest { n: 2, ttl: None };

fn record() -> NamespaceRecord {
    let metric = |name: &str, kind, tiers: &str| MetricDescriptor {
        name: name.to_owned(),
        kind,
        dimensions: vec!["x".to_owned()],
        unit: String::new(),
        description: String::new(),
        tiers: tiers.parse().expect("tiers"),
        legacy: None,
        moved: None,
    };
    let metrics = vec![
        metric("messages", Kind::Count, "1s for 2h, 1m for 7d, 1h forever"),
        metric("sizes", Kind::Stat, "1m for 1d, 1h forever"),
        metric("state", LATEST, "1s for 2h"),
    ];
    let (state, text) = (NamespaceState::Retired { since: at(7) }, str::to_owned);
    NamespaceRecord { instance: text("one"), plugin: text("p"), fingerprint: text("1"), metrics, state }
}

type Event<S> = (u32, Timestamp, S);

/// Cells of all tiers of a metric, as a commit writes them, or as compaction does.
fn put<R: Rule>(batch: &mut Batch, rule: R, metric: u16, (form, commit): (Form, u64), events: &[Event<R::State>]) {
    let descriptor = &record().metrics[usize::from(metric)];
    let tiers = if descriptor.kind.is_bucketed() { descriptor.tiers.as_slice() } else { &[] };
    let mut segments: BTreeMap<SegmentKey, Vec<Cell<R::State>>> = BTreeMap::new();
    let mut add = |tier: usize, (partition, place), series, state: &R::State| {
        let key = SegmentKey { ns: 1, metric, tier: tier as u8, partition, form, commit };
        segments.entry(key).or_default().push(Cell { series, place, state: state.clone() });
    };
    for (series, time, state) in events {
        for (number, tier) in tiers.iter().enumerate() {
            add(number, bucket::locate(*time, tier.resolution), *series, state);
        }
        if tiers.is_empty() {
            add(0, (0, 0), *series, state);
        }
    }
    for (key, cells) in segments {
        let cells = merge_sorted(rule, cells);
        let mut chunks = Vec::new();
        match form {
            Form::Rows => chunks = rows::pack(rule, &cells),
            Form::Columns => columns::pack(rule, cells.into_iter(), |chunk| chunks.push(chunk)),
        }
        batch.put_segment(key, chunks);
    }
}

fn latest(secs: i64, json: &str) -> LatestState {
    let mut state = LatestState::default();
    LatestRule { n: 2, ttl: None }.set(&mut state, at(secs), "id", json);
    state
}

/// One namespace, with every kind of row.
fn sample() -> MemoryBackend {
    let backend = MemoryBackend::default();
    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    let mut batch = Batch::default();
    batch.put_namespace(1, &record());
    batch.put_cursor(1, &Cursor { next: 11, since: 3, watermark: Some(at(3000)), processed: 10, ..Cursor::default() });
    let mut reading = Reading::new(at(0));
    reading.advance(at(3001));
    reading.gap(at(5), at(6));
    reading.fill(at(-9), at(6), Seen::Part);
    batch.put_reading(1, &reading);
    let mut coverage = Coverage::new();
    coverage.add(at(0), at(3000), Seen::Whole);
    coverage.lower(at(10), at(11), Some(Seen::Part));
    batch.put_coverage(&coverage);
    for metric in 0..3 {
        let mut table = SeriesTable::new(1, SERIES);
        for range in [0..SERIES / 2, SERIES / 2..SERIES] {
            for n in range {
                table.resolve(&[format!("label {n}").as_str()]);
            }
            batch.put_series(1, metric, &table.take_new().expect("new"));
        }
    }
    let counts = |step: i64| -> Vec<Event<i64>> {
        (0..SERIES).map(|n| (n, at(i64::from(n) * step % 3000), i64::from(n) << 30)).collect()
    };
    put(&mut batch, CountRule, 0, (Form::Columns, 2), &[(1, at(1), 5), (1, at(2), 6), (2, at(2), 7)]);
    put(&mut batch, CountRule, 0, (Form::Rows, 3), &counts(0));
    put(&mut batch, CountRule, 0, (Form::Rows, 4), &counts(7));
    // Together they are nothing.
    put(&mut batch, CountRule, 0, (Form::Rows, 5), &[(9, at(2900), 4)]);
    put(&mut batch, CountRule, 0, (Form::Rows, 6), &[(9, at(2900), -4)]);
    let mut stat = StatState::default();
    [1.5, -3.0, 1e300].iter().for_each(|x| stat.observe(*x));
    let stats: Vec<Event<StatState>> = (0..40).map(|n| (n, at(i64::from(n) * 50), stat.clone())).collect();
    put(&mut batch, StatRule, 1, (Form::Columns, 3), &stats[..20]);
    put(&mut batch, StatRule, 1, (Form::Rows, 4), &stats[10..]);
    let rule = LatestRule { n: 2, ttl: None };
    let mut removed = latest(7, "{\"b\":1,\"a\":[1.50]}");
    rule.remove(&mut removed, at(3));
    put(&mut batch, rule, 2, (Form::Columns, 3), &[(0, at(0), latest(1, "{\n}")), (1, at(0), removed)]);
    put(&mut batch, rule, 2, (Form::Rows, 4), &[(0, at(0), latest(2, " 1")), (2, at(0), latest(2, "\"ä\""))]);
    // What compaction has left, and what is still to be written of its next segment.
    let garbage = SegmentKey { ns: 1, metric: 0, tier: 0, partition: 1, form: Form::Columns, commit: 9 };
    let chunk = rows::pack(CountRule, [Cell { series: 0, place: 0, state: 1 }]).remove(0);
    batch.put_chunk(garbage, 0, chunk);
    batch.put_garbage(Garbage { key: garbage, chunks: 2 });
    store.apply(&batch).expect("it writes");
    backend
}

fn all(backend: &MemoryBackend) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| rows.insert(key.to_vec(), value.to_vec()).is_none();
    backend.scan(b"", &mut visit).expect("memory");
    rows
}

/// The sample after a change of its rows.
fn changed(change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) -> MemoryBackend {
    let mut rows = all(&sample());
    change(&mut rows);
    let backend = MemoryBackend::default();
    let rows: Vec<Row> = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
    backend.apply(&rows).expect("memory");
    backend
}

fn checked(backend: &MemoryBackend, journal: Option<&JournalHandle>, now: Timestamp) -> (Report, Vec<Finding>) {
    let mut found = Vec::new();
    let report = check::check(backend, journal, now, &mut |finding| found.push(finding)).expect("it reads");
    assert_eq!(report.problems as usize, found.iter().filter(|finding| finding.is_problem).count());
    (report, found)
}

fn problems(backend: &MemoryBackend) -> Vec<String> {
    let (_, found) = checked(backend, None, at(4000));
    found.into_iter().filter(|finding| finding.is_problem).map(|finding| finding.what).collect()
}

fn assert_told(problems: &[String], words: &[&str], what: &str) {
    assert!(
        problems.iter().any(|problem| words.iter().all(|word| problem.contains(word))),
        "{what}: no {words:?} in {problems:#?}"
    );
}

fn rows_of(tag: u8) -> Vec<Vec<u8>> {
    all(&sample()).into_keys().filter(|key| key[0] == tag).collect()
}

#[test]
fn a_sound_store_has_no_problem_and_everything_was_looked_at() {
    let backend = sample();
    let (before, (report, found)) = (all(&backend), checked(&backend, None, at(4000)));
    assert!(found.iter().all(|finding| !finding.is_problem), "{found:#?}");
    assert_eq!(all(&backend), before, "it changes nothing");
    assert_eq!(report.rows, before.len() as u64);
    let of = &report.namespaces[0];
    assert_eq!((of.instance.as_str(), of.series, of.problems), ("one", 9000, 0));
    assert!(of.segments > 20 && of.chunks > of.segments && of.cells > 12_000 && of.buckets > 6000, "{of:?}");
}

#[test]
fn a_flipped_bit_in_any_row_is_found_and_so_are_all_of_several() {
    let rows = all(&sample());
    assert!(rows.len() > 40);
    for (key, value) in &rows {
        for byte in [0, value.len() / 2, value.len() - 1] {
            let backend = changed(|rows| rows.get_mut(key).expect("there")[byte] ^= 4);
            let problems = problems(&backend);
            // Of what is garbage nobody minds.
            if key[0] == b'D' && keys::read_chunk(key).expect("a chunk").0.commit == 9 {
                assert_eq!(problems, [] as [&str; 0]);
            } else {
                assert_told(&problems, &[&keys::describe(key), "checksum"], "a flipped bit");
            }
        }
    }
    let backend = changed(|rows| rows.values_mut().for_each(|value| value[0] ^= 1));
    assert!(problems(&backend).len() > 3, "all that does not depend on others: {:#?}", problems(&backend));
}

#[test]
fn a_row_that_is_missing_is_found() {
    for (tag, words) in [(b'F', "format"), (b'N', "no record that reads"), (b'S', "label set")] {
        // Of the other metrics no cell has one of the later label sets.
        let is_used = |key: &Vec<u8>| tag != b'S' || matches!(keys::read_series(key), Ok((0, _) | (_, 0)));
        for key in rows_of(tag).into_iter().filter(is_used) {
            let problems = problems(&changed(|rows| drop(rows.remove(&key))));
            assert_told(&problems, &[words], &keys::describe(&key));
        }
    }
    let (mut first, mut last, mut laws) = (0, 0, 0);
    for key in rows_of(b'D') {
        let (segment, number) = keys::read_chunk(&key).expect("a chunk");
        if segment.commit == 9 {
            continue;
        }
        let chunks = rows_of(b'D').iter().filter(|key| keys::read_chunk(key).expect("a chunk").0 == segment).count();
        let is_last = number as usize + 1 == chunks;
        let words = if is_last { "missing" } else { "the chunk before it is missing" };
        (first, last) = (first + u32::from(!is_last), last + u32::from(is_last));
        assert_told(&problems(&changed(|rows| drop(rows.remove(&key)))), &[words], &keys::describe(&key));
    }
    for key in rows_of(b'I') {
        let segment = keys::read_segment(&key).expect("a segment");
        let problems = problems(&changed(|rows| drop(rows.remove(&key))));
        match all(&sample()).contains_key(&keys::chunk(segment, 0)) {
            true => assert_told(&problems, &["no index and no garbage row"], &keys::describe(&key)),
            // Latest values are not told twice; the two that are nothing together show in no sum.
            false if segment.metric == 2 => assert_eq!(problems, [] as [&str; 0]),
            false => {
                laws += 1;
                assert_told(&problems, &["are not the sum of"], &keys::describe(&key));
            }
        }
    }
    assert!(first > 0 && last > 0 && laws > 3, "{first} {last} {laws}");
    let (_, found) = checked(&changed(|rows| drop(rows.remove(&keys::cursor(1)))), None, at(4000));
    assert!(found.iter().any(|finding| finding.what.contains("half removed")), "{found:#?}");
}

/// The sample with these rows added, or in the place of others.
fn with(put: impl FnOnce(&mut Batch)) -> MemoryBackend {
    let (backend, mut batch) = (sample(), Batch::default());
    put(&mut batch);
    backend.apply(&batch.rows).expect("memory");
    backend
}

#[test]
fn rows_that_contradict_each_other_are_found() {
    let key = SegmentKey { ns: 1, metric: 0, tier: 1, partition: 52_083, form: Form::Rows, commit: 50 };
    let chunk = |series, place| rows::pack(CountRule, [Cell { series, place, state: 1 }]);
    let check = |backend: &MemoryBackend, words: &[&str]| assert_told(&problems(backend), words, "contradiction");
    check(&with(|batch| drop(batch.put_segment(key, chunk(7, 30)))), &["tier 1m", "1 of", "label set 7"]);
    check(&with(|batch| batch.put_chunk(key, 3, chunk(7, 3).remove(0))), &["chunk 3", "no garbage row"]);
    let garbage = SegmentKey { tier: 0, partition: 1, form: Form::Columns, commit: 9, ..key };
    check(&with(|batch| batch.put_chunk(garbage, 2, chunk(7, 3).remove(0))), &["chunk 2", "no garbage row"]);
    check(&with(|batch| drop(batch.put_segment(key, chunk(SERIES, 3)))), &["a label set that is not there"]);
    check(&with(|batch| drop(batch.put_segment(key, chunk(1, 512)))), &["beyond its partition"]);
    let (other_tier, other_metric) = (SegmentKey { tier: 3, ..key }, SegmentKey { metric: 3, ..key });
    check(&with(|batch| drop(batch.put_segment(other_tier, chunk(1, 1)))), &["no metric or tier"]);
    check(&with(|batch| drop(batch.put_segment(other_metric, chunk(1, 1)))), &["no metric or tier"]);
    check(&with(|batch| drop(batch.put_segment(SegmentKey { ns: 9, ..key }, chunk(1, 1)))), &["1 rows of namespace 9"]);
    let meta = |change: fn(&mut ChunkMeta)| {
        with(|batch| {
            let chunk = chunk(7, 3).remove(0);
            let mut meta = chunk.meta();
            change(&mut meta);
            batch.put_chunk(key, 0, chunk);
            batch.put_index(key, vec![meta]);
        })
    };
    check(&meta(|meta| meta.cells += 1), &["it has 1 cells, its index says 2"]);
    check(&meta(|meta| meta.first -= 1), &["its series go from 7 to 7, its index says 6 to 7"]);
    check(&meta(|meta| meta.last += 1), &["its index says 7 to 8"]);
    check(&meta(|meta| meta.len += 1), &["its index says"]);
    let mut table = SeriesTable::new(1, 10);
    table.resolve(&["label 5"]);
    let twice = SeriesChunk { first: SERIES, ..table.take_new().expect("new") };
    check(&with(|batch| batch.put_series(1, 0, &twice)), &["are there already"]);
    check(&changed(|rows| drop(rows.insert(b"Yx".to_vec(), values::seal(Vec::new())))), &["nothing is known"]);
}

#[test]
fn buckets_that_are_kept_no_longer_are_not_compared() {
    // The first 1 s partitions have gone, as retention takes them, and the 1 m ones have not.
    let (first, last) = (at(0).micros() / 512_000_000, at(3000).micros() / 512_000_000);
    let gone = |rows: &mut BTreeMap<Vec<u8>, Vec<u8>>| {
        rows.retain(|key, _| {
            let Ok(segment) = keys::read_segment(key) else { return true };
            !([b'I', b'D'].contains(&key[0]) && segment.metric == 0 && segment.tier == 0 && segment.partition == first)
        });
    };
    assert!(first < last);
    assert_told(&problems(&changed(gone)), &["are not the sum of their tier 1s"], "too early");
    // The last minute that begins in it does so after 500 s; two hours after the end of its first
    // second, that second is kept no longer.
    let end = 501 + 7200;
    for (watermark, is_fine) in [(end - 1, false), (end, true)] {
        let backend = changed(|rows| {
            gone(rows);
            let cursor = Cursor { next: 11, watermark: Some(at(watermark)), ..Cursor::default() };
            rows.insert(keys::cursor(1), values::seal(values::cursor(&cursor)));
        });
        let found = problems(&backend);
        assert_eq!(found.is_empty(), is_fine, "{watermark}: {found:#?}");
    }
}

fn journal(records: u64, time: Timestamp) -> Journal {
    let (mut journal, _) =
        Journal::open(Arc::new(SimulatedDir::default()), JournalConfig::default()).expect("it opens");
    for identity in 0..records {
        let record = Record { time: time.micros(), identity: identity.into(), body: b"{}", ..Record::default() };
        journal.push(&record);
    }
    journal.write().expect("it writes");
    journal
}

#[test]
fn cursors_are_compared_with_the_journal_and_the_clock() {
    let found = |records, now| {
        let handle = journal(records, at(0)).handle();
        checked(&sample(), Some(&handle), now).1
    };
    for (records, is_fine) in [(9, false), (10, true), (11, true)] {
        let found = found(records, at(4000));
        assert_eq!(found.is_empty(), is_fine, "{records}: {found:#?}");
    }
    assert!(found(9, at(4000))[0].what.contains("up to sequence 10, but the journal ends with 9"));
    assert!(found(10, at(3001)).is_empty());
    let future = found(10, at(3001).plus_micros(-1));
    assert_eq!((future.len(), future[0].at), (1, Some(at(3001))), "{future:#?}");
    // None yet, as after an import.
    let found = found(0, at(4000));
    assert!(found.len() == 1 && !found[0].is_problem, "{found:#?}");
    let mut ahead = journal(0, at(0));
    ahead.ensure_next(21).expect("it moves");
    ahead.push(&Record { identity: 1, body: b"{}", ..Record::default() });
    ahead.write().expect("it writes");
    let (_, found) = checked(&sample(), Some(&ahead.handle()), at(4000));
    assert!(found.len() == 1 && !found[0].is_problem && found[0].what.contains("will miss 10"), "{found:#?}");
}

#[test]
fn what_is_in_the_journal_and_unread_moves_retention() {
    let finest = |key: &[u8]| keys::read_segment(key).is_ok_and(|key| key.metric == 0 && key.tier == 0);
    let gone = changed(|rows| rows.retain(|key, _| ![b'I', b'D'].contains(&key[0]) || !finest(key)));
    for (time, is_fine) in [(at(0), false), (at(86_400), true)] {
        let handle = journal(20, time).handle();
        let (report, found) = checked(&gone, Some(&handle), at(90_000));
        assert_eq!(report.problems == 0, is_fine, "{found:#?}");
    }
}

#[test]
fn sums_are_those_of_the_rows() {
    let backend = sample();
    let (stats, rows) = (stats::stats(&backend).expect("it reads"), all(&backend));
    assert_eq!((stats.format, stats.disk_bytes, stats.coverage_intervals), (FORMAT_VERSION, backend.disk_bytes(), 3));
    let sum = |field: fn(&stats::RowStats) -> u64| stats.rows.values().map(field).sum::<u64>();
    assert_eq!(sum(|rows| rows.rows), rows.len() as u64);
    assert_eq!(sum(|rows| rows.key_bytes), rows.keys().map(|key| key.len() as u64).sum::<u64>());
    assert_eq!(sum(|rows| rows.value_bytes), rows.values().map(|value| value.len() as u64).sum::<u64>());
    assert_eq!((stats.garbage.segments, stats.garbage.chunks), (1, 2));
    let namespace = &stats.namespaces[0];
    assert!(!namespace.is_half_removed && namespace.metrics.iter().all(|metric| metric.series == 3000));
    let tier = |metric: usize, tier: usize| &namespace.metrics[metric].tiers[tier];
    assert_eq!((tier(0, 0).tier.as_str(), tier(2, 0).tier.as_str()), ("1s for 2h", ""));
    let (report, _) = checked(&backend, None, at(4000));
    let cells =
        namespace.metrics.iter().flat_map(|metric| &metric.tiers).map(|tier| tier.rows.plus(tier.columns).cells);
    assert_eq!(cells.sum::<u64>(), report.namespaces[0].cells);
    let state = tier(2, 0);
    assert_eq!((state.partitions, state.rows.segments, state.rows.cells, state.columns.cells), (1, 1, 2, 2));
    assert_eq!(tier(0, 0).partitions, 6, "3000 s in partitions of 512 s");
    backend.apply(&[(keys::cursor(1), None)]).expect("memory");
    assert!(stats::stats(&backend).expect("it reads").namespaces[0].is_half_removed);
}

fn export(backend: &MemoryBackend) -> String {
    let (before, mut out) = (all(backend), Vec::new());
    export::export(Box::new(backend.clone()), &mut out).expect("it exports");
    assert_eq!(all(backend), before, "it changes nothing");
    String::from_utf8(out).expect("text")
}

fn import(backend: &MemoryBackend, text: &str) -> Result<(), ImportError> {
    import::import(Box::new(backend.clone()), &mut text.as_bytes()).map(drop)
}

#[test]
fn what_is_exported_comes_back_the_same() {
    let (text, backend) = (export(&sample()), MemoryBackend::default());
    import(&backend, &text).expect("it imports");
    assert_eq!(export(&backend), text);
    assert_eq!(problems(&backend), [] as [&str; 0]);
    for line in [
        r#"{"cells":{"namespace":1,"metric":"messages","tier":"1s","partition":3125000,"series":2,"labels":["label 2"],"cells":[[1600000000000000,2147483648],[1600000002000000,7],[1600000014000000,2147483648]]}}"#,
        r#"{"cells":{"namespace":1,"metric":"state","tier":null,"partition":0,"series":1,"labels":["label 1"],"cells":[[null,{"removed":1600000003000000,"values":[{"time":1600000007000000,"id":"id","value":{"b":1,"a":[1.50]}}]}]]}}"#,
        r#"[null,{"removed":null,"values":[{"time":1600000002000000,"id":"id","text":" 1"},{"time":1600000001000000,"id":"id","text":"{\n}"}]}]"#,
    ] {
        assert!(text.contains(line), "no {line}");
    }
    let (_, contents) = Store::open(Box::new(backend.clone())).expect("it opens");
    let (_, original) = Store::open(Box::new(sample())).expect("it opens");
    let (copy, original) = (&contents.namespaces[&1], &original.namespaces[&1]);
    assert_eq!((&copy.record, copy.cursor, &copy.reading), (&original.record, original.cursor, &original.reading));
    assert_eq!(contents.coverage.intervals().count(), 3);
    assert!(matches!(import(&backend, &text), Err(ImportError::NotEmpty { instances }) if instances == ["one"]));
}

#[test]
fn an_import_that_ends_early_leaves_nothing() {
    let (text, backend) = (export(&sample()), MemoryBackend::default());
    let empty = export(&backend);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for count in (0..20).chain(lines.len() - 20..lines.len()).chain((0..lines.len()).step_by(997)) {
        let part = lines[..count].concat();
        let error = import(&backend, &part).expect_err("it is not whole");
        assert!(matches!(error, ImportError::Line { number, .. } if number == count as u64 + 1), "{count}: {error}");
        assert_eq!(all(&backend).len(), 1, "after {count} lines: the format only");
    }
    assert!(import(&backend, text.trim_end()).is_err(), "the last line is cut");
    // The process was killed before the last write: there are no cursors, and there is the rest.
    import(&backend, &text).expect("it imports");
    backend.apply(&[(keys::cursor(1), None), (keys::reading(1), None)]).expect("memory");
    assert_eq!(export(&backend).replace(empty.lines().nth(1).expect("a coverage"), "").lines().count(), 3);
    import(&backend, &text).expect("it imports over what is left");
    assert_eq!(export(&backend), text);
    assert_eq!(problems(&backend), [] as [&str; 0]);
}

#[test]
fn a_line_that_does_not_fit_is_refused_by_its_number() {
    let text = export(&sample());
    let lines: Vec<&str> = text.lines().collect();
    for (from, to, why) in [
        ("\"statscache_export\":1", "\"statscache_export\":2", "version 2"),
        ("\"format\":3", "\"format\":1", "format 1"),
        ("\"format\":3", "\"format\":4", "format 4"),
        ("{\"namespace\":", "{\"name\":", "does not read"),
        ("{\"cursor\":{\"namespace\":1", "{\"cursor\":{\"namespace\":2", "no namespace 2"),
        ("\"series\":17,", "\"series\":18,", "label set 17 of metric messages would be the next"),
        ("\"label 17\"]}}", "\"label 16\"]}}", "has this label set already"),
        ("\"label 17\"]}}", "\"label 17\",\"x\"]}}", "has 1 labels, not 2"),
        (
            "\"series\":0,\"labels\":[\"label 0\"],\"cells\"",
            "\"series\":0,\"labels\":[\"label 1\"],\"cells\"",
            "not the labels",
        ),
        ("\"tier\":\"1m\"", "\"tier\":\"2m\"", "has no tier 2m"),
        ("\"tier\":\"1m\"", "\"tier\":null", "none of a count"),
        ("\"cells\":[[1600000000000000,", "\"cells\":[[1600000000000001,", "no bucket of its partition starts at"),
        ("\"cells\":[[1600000000000000,", "\"cells\":[[1500000000000000,", "no bucket of its partition starts at"),
        ("[1600000002000000,7]", "[1600000002000000,0]", "says nothing"),
        ("[1600000002000000,7]", "[1600000002000000,\"7\"]", "is no count"),
        ("[1600000002000000,7]", "[1600000000000000,7]", "not in order"),
        ("\"removed\":1600000003000000", "\"removed\":1600000009000000", "not written as its kind does"),
        ("{\"end\":", "{\"end\":1", "had 1"),
    ] {
        let at = lines.iter().position(|line| line.contains(from)).unwrap_or_else(|| panic!("no {from}"));
        let mut broken = lines.clone();
        let line = broken[at].replacen(from, to, 1);
        broken[at] = &line;
        let backend = MemoryBackend::default();
        let error = import(&backend, &(broken.join("\n") + "\n")).expect_err(to).to_string();
        assert!(error.starts_with(&format!("line {}: ", at + 1)) && error.contains(why), "{to}: {error}");
    }
    let mut swapped = lines.clone();
    swapped.swap(lines.len() - 3, lines.len() - 2);
    let error = import(&MemoryBackend::default(), &(swapped.join("\n") + "\n")).expect_err("out of order");
    assert!(error.to_string().contains("not behind the cells before it"), "{error}");
    let error = import(&MemoryBackend::default(), &(text.clone() + "\n")).expect_err("too much");
    assert!(error.to_string().contains("something follows the end"), "{error}");
    let stat = lines.iter().find(|line| line.contains("\"sizes\"") && line.contains("cells")).expect("a stat");
    assert!(stat.contains("\"]]}}"), "in hexadecimal: {stat}");
    let broken = text.replacen(stat, &stat.replacen("\"]]}}", "0\"]]}}", 1), 1);
    assert!(import(&MemoryBackend::default(), &broken).expect_err("odd").to_string().contains("hexadecimal"));
}

#[test]
fn another_format_is_refused_and_left_alone() {
    for version in [1_u32, FORMAT_VERSION + 1] {
        let backend = changed(|rows| drop(rows.insert(b"F".to_vec(), values::seal(version.to_be_bytes().to_vec()))));
        let errors = [
            stats::stats(&backend).expect_err("refused").to_string(),
            check::check(&backend, None, at(0), &mut |_| {}).expect_err("refused").to_string(),
            export::export(Box::new(backend), &mut Vec::new()).expect_err("refused").to_string(),
        ];
        assert!(errors.iter().all(|error| error.contains(&format!("format {version}"))), "{errors:?}");
    }
}
