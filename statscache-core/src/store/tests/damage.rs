//! Whatever row is damaged: it is told by name, it costs a namespace at most, and it stays as it is.

use super::*;
use crate::bytes::Corrupt;
use crate::store::{check, export, import};

/// The sample with a row of every sort, as a store that was opened before.
fn every_sort() -> MemoryBackend {
    let backend = MemoryBackend::default();
    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    let (mut batch, _) = sample();
    let mut reading = Reading::new(NOW);
    reading.advance(NOW.plus_micros(9));
    let mut coverage = Coverage::new();
    coverage.add(NOW, NOW.plus_micros(5), Seen::Whole);
    batch.put_coverage(&coverage);
    for ns in [1, 7] {
        batch.put_reading(ns, &reading);
        batch.put_garbage(Garbage { key: key(ns, 1, 0, 9), chunks: 3 });
        let segment = batch.put_segment(key(ns, 2, 0, 8), packed([(1, 1, 1)])).expect("a cell");
        batch.set_aside_segment(&segment, "it was damaged");
    }
    store.apply(&batch).expect("it writes");
    backend
}

fn open(backend: &MemoryBackend) -> Contents {
    Store::open(Box::new(backend.clone())).expect("it opens").1
}

/// A row that was damaged, and the namespace that goes with it.
type Told = (String, Option<(NamespaceId, Option<String>)>);

fn told(contents: &Contents) -> Vec<Told> {
    contents.damaged.iter().map(|row| (row.key.clone(), row.namespace.clone())).collect()
}

#[test]
fn a_damaged_row_is_told_by_name_and_costs_a_namespace_at_most() {
    let whole = all(&every_sort());
    let mut sorts = std::collections::BTreeMap::new();
    for (row, _) in &whole {
        *sorts.entry(row[0]).or_insert(0) += 1;
        let backend = every_sort();
        flip(&backend, row);
        let damaged = all(&backend);
        let named = keys::describe(row);
        let opened = Store::open(Box::new(backend.clone()));
        if row[0] == b'F' {
            let error = opened.err().expect("nothing is known of the other rows");
            assert!(matches!(&error, StoreError::Damaged { key, .. } if *key == named), "{error:?}");
            assert!(error.to_string().contains("restore a backup"), "{error}");
            continue;
        }
        let (store, contents) = opened.unwrap_or_else(|error| panic!("{named}: {error}"));
        let ns = keys::read_namespace(row).ok();
        let instance = ns.map(|ns| if ns == 1 { "one" } else { "two" }.to_owned());
        let (damaged_ns, is_told) = match row[0] {
            b'N' => (ns.map(|ns| (ns, None)), true),
            b'P' | b'R' | b'S' | b'I' => (ns.map(|ns| (ns, instance)), true),
            b'V' | b'G' | b'X' => (None, true),
            // Not read before somebody wants it; then it is the chunk that is named.
            _ => {
                let (segment, number) = keys::read_chunk(row).expect("a key");
                let namespace = &contents.namespaces[&segment.ns];
                let owner = namespace.segments[0].iter().find(|owner| owner.key() == segment).expect("it is there");
                let error = cells(&store, owner).expect_err("damaged");
                assert!(matches!(error, ReadError::Damaged(of, at, _) if (of, at) == (segment, number)), "{error}");
                (None, false)
            }
        };
        let expected: Vec<Told> = is_told.then(|| (named.clone(), damaged_ns.clone())).into_iter().collect();
        assert_eq!(told(&contents), expected);
        let left: Vec<NamespaceId> = contents.namespaces.keys().copied().collect();
        match damaged_ns {
            Some((1, _)) => assert_eq!(left, [7], "{named}"),
            Some(_) => assert_eq!(left, [1], "{named}"),
            None => assert_eq!(left, [1, 7], "{named}"),
        }
        assert_eq!(contents.coverage.is_empty(), row[0] == b'V', "{named}");
        let garbage = 2 - usize::from(row[0] == b'G' || left.len() == 1);
        assert_eq!(contents.garbage.len(), garbage, "{named}: of a namespace that is set aside nothing goes");
        assert_eq!(contents.set_aside.len(), 2 - usize::from(row[0] == b'X'), "{named}");
        assert_eq!(contents.next_namespace, 8, "{named}");
        assert_eq!(all(&backend), damaged, "{named}: nothing is written");
    }
    let sorts: Vec<u8> = sorts.into_keys().collect();
    assert_eq!(sorts, b"DFGINPRSVX", "every sort of row");
}

#[test]
fn every_damaged_row_is_told_and_a_namespace_that_is_set_aside_can_be_removed() {
    let backend = every_sort();
    let rows = [keys::cursor(7), keys::index(key(7, 0, 0, 4)), keys::reading(7), keys::COVERAGE.to_vec()];
    rows.iter().for_each(|row| flip(&backend, row));
    let contents = open(&backend);
    let expected = rows.map(|row| {
        let of = (row != keys::COVERAGE).then(|| (7, Some("two".to_owned())));
        (keys::describe(&row), of)
    });
    assert_eq!(told(&contents), expected);
    assert!(contents.damaged.iter().all(|row| row.what == Corrupt("its checksum does not fit")));
    let error = export::export(Box::new(backend.clone()), &mut Vec::new()).expect_err("it would not be whole");
    assert!(error.to_string().contains(&expected[0].0), "{error}");

    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    store.remove_namespace(7).expect("it removes");
    let left = all(&backend);
    assert!(left.iter().all(|(key, _)| key.get(1..5) != Some(&7_u32.to_be_bytes()[..])), "all of it is gone");
    let contents = open(&backend);
    assert_eq!((told(&contents).len(), contents.next_namespace), (1, 2), "the coverage is still damaged");
    assert_eq!((contents.garbage.len(), contents.set_aside.len()), (1, 1));
}

#[test]
fn a_namespace_whose_record_is_damaged_keeps_its_number_until_it_is_removed() {
    let backend = MemoryBackend::default();
    let (store, contents) = Store::open(Box::new(backend.clone())).expect("it opens");
    assert_eq!((contents.next_namespace, contents.damaged.len()), (1, 0));
    let mut batch = Batch::default();
    batch.put_namespace(5, &record("five"));
    batch.put_cursor(5, &Cursor::default());
    store.apply(&batch).expect("it writes");
    flip(&backend, &keys::namespace(5));
    let contents = open(&backend);
    assert_eq!(told(&contents), [(keys::describe(&keys::namespace(5)), Some((5, None)))]);
    assert_eq!((contents.namespaces.len(), contents.next_namespace), (0, 6));
    let refused = import::import(Box::new(backend.clone()), &mut &b""[..]).expect_err("it is not empty");
    assert!(refused.to_string().contains("it has state of namespace 5, which is damaged"), "{refused}");
    store.remove_namespace(5).expect("it removes");
    assert_eq!(all(&backend).len(), 1, "the format");
    assert_eq!(open(&backend).next_namespace, 1);
}

/// Each sort of row of a namespace, alone.
fn one_of_each_sort(ns: NamespaceId) -> Vec<Vec<u8>> {
    let segment = key(ns, 0, 0, 1);
    let series = keys::series(ns, 0, 0);
    let (index, chunk, garbage) = (keys::index(segment), keys::chunk(segment, 0), keys::garbage(segment));
    let set_aside = keys::set_aside(segment);
    vec![keys::namespace(ns), keys::cursor(ns), keys::reading(ns), series, index, chunk, garbage, set_aside]
}

fn check_next_namespace(backend: Box<dyn Backend>, row: Vec<u8>) {
    let rows = [
        (keys::FORMAT.to_vec(), Some(values::seal(FORMAT_VERSION.to_be_bytes().to_vec()))),
        // Longer than sled takes in one row.
        (row.clone(), Some(vec![1; 20_000])),
    ];
    backend.apply(&rows).expect("it writes");
    let contents = Store::open(backend).expect("it opens").1;
    assert_eq!(contents.next_namespace, 0x1_0001, "{}", keys::describe(&row));
}

#[test]
fn no_number_is_given_twice_whatever_row_still_has_it() {
    for row in one_of_each_sort(0x1_0000) {
        check_next_namespace(Box::new(MemoryBackend::default()), row.clone());
        let dir = tempfile::tempdir().expect("a directory");
        check_next_namespace(Box::new(SledBackend::open(dir.path()).expect("it opens")), row);
    }
    let sorts: Vec<u8> = one_of_each_sort(1).iter().map(|row| row[0]).collect();
    let known = |tag: &u8| keys::kind(&[*tag]).is_some() && !b"FV".contains(tag);
    assert!((0..=u8::MAX).filter(known).all(|tag| sorts.contains(&tag)), "a new sort of row belongs here");
}

#[test]
fn a_cursor_that_has_read_from_behind_its_end_on_is_found() {
    for (since, is_fine) in [(10, true), (11, false)] {
        let backend = MemoryBackend::default();
        let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
        let mut batch = Batch::default();
        batch.put_namespace(1, &record("one"));
        batch.put_cursor(1, &Cursor { next: 10, since, ..Cursor::default() });
        store.apply(&batch).expect("it writes");
        let mut problems = Vec::new();
        let mut found = |finding: check::Finding| problems.extend(finding.is_problem.then_some(finding.what));
        check::check(&backend, None, NOW, &mut found).expect("it reads");
        assert_eq!(problems.is_empty(), is_fine, "{problems:?}");
        assert!(is_fine || problems[0].contains("from sequence 11 on, and goes on with 10"), "{problems:?}");
    }
}
