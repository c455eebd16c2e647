//! A segment with a damaged chunk is set aside: it counts no more, and nothing of it is thrown away.

use super::*;
use crate::store::{check, stats};

/// The sample with a damaged chunk in the large segment of the first namespace; that segment, and the
/// row that is damaged.
fn damaged() -> (MemoryBackend, Store, Arc<Segment>, Vec<u8>) {
    let backend = MemoryBackend::default();
    let (store, _) = Store::open(Box::new(backend.clone())).expect("it opens");
    store.apply(&sample().0).expect("it writes");
    let row = keys::chunk(key(1, 0, 3_125_000, 300), 1);
    flip(&backend, &row);
    let (store, contents) = Store::open(Box::new(backend.clone())).expect("chunks are not read");
    let segment = contents.namespaces[&1].segments[0][2].clone();
    (backend, store, segment, row)
}

fn problems(backend: &MemoryBackend) -> Vec<(Option<NamespaceId>, String)> {
    let mut problems = Vec::new();
    let mut found = |finding: check::Finding| {
        if finding.is_problem {
            problems.push((finding.ns, finding.what));
        }
    };
    check::check(backend, None, NOW, &mut found).expect("it reads");
    problems
}

#[test]
fn a_segment_with_a_damaged_chunk_is_set_aside_and_nothing_of_it_is_lost() {
    let (backend, store, segment, row) = damaged();
    let why = cells(&store, &segment).expect_err("damaged").to_string();
    let before = all(&backend);
    let mut batch = Batch::default();
    batch.set_aside_segment(&segment, &why);
    store.apply(&batch).expect("it writes");
    let after = all(&backend);
    let set_aside = keys::set_aside(segment.key());
    let index = keys::index(segment.key());
    assert!(before.iter().filter(|(key, _)| *key != index).all(|row| after.contains(row)), "chunks stay");
    assert_eq!(after.len(), before.len(), "one row for another");
    let value = backend.get(&set_aside).expect("memory").expect("it is there");
    let kept = values::open(&value).and_then(|value| values::read_set_aside(segment.key(), value)).expect("it reads");
    assert_eq!((kept.0.as_str(), kept.1.chunks()), (why.as_str(), segment.chunks()));

    let (store, contents) = Store::open(Box::new(backend.clone())).expect("it opens");
    assert_eq!(contents.set_aside, [(segment.key(), why.clone())]);
    assert!(contents.damaged.is_empty() && contents.garbage.is_empty());
    let first = &contents.namespaces[&1];
    assert!(!keys_of(first).contains(&segment.key()) && keys_of(first).len() == 4);
    for segment in &first.segments[0] {
        cells(&store, segment).expect("all others are sound");
    }

    let stats = stats::stats(&backend).expect("it reads");
    let expected = (1, segment.chunks().len() as u64, segment.cells(), segment.bytes_len());
    let told = stats.set_aside;
    assert_eq!((told.segments, told.chunks, told.cells, told.bytes), expected);
    assert_eq!(stats.rows["segments that are set aside"].rows, 1);
    let found = problems(&backend);
    let (segment_told, cells_told) = (keys::describe(&set_aside), format!("its {} cells", segment.cells()));
    let of_it = |(ns, what): &&(Option<NamespaceId>, String)| {
        *ns == Some(1) && [&segment_told, &cells_told, &why].iter().all(|words| what.contains(*words))
    };
    assert_eq!(found.iter().filter(of_it).count(), 1, "{found:#?}");
    let of_chunk = |(_, what): &&(Option<NamespaceId>, String)| what.contains(&keys::describe(&row));
    assert_eq!(found.iter().filter(of_chunk).count(), 1, "told once: {found:#?}");
    assert!(!found.iter().any(|(_, what)| what.contains("garbage row")), "its chunks are nobody else's: {found:#?}");

    store.remove_namespace(1).expect("it removes");
    let left = all(&backend);
    assert!(left.iter().all(|(key, _)| key.get(1..5) != Some(&1_u32.to_be_bytes()[..])), "with its namespace it goes");
}

#[test]
fn a_segment_whose_chunk_is_in_its_index_is_kept_whole() {
    let (backend, store, _, _) = damaged();
    let (_, contents) = Store::open(Box::new(backend.clone())).expect("it opens");
    let small = contents.namespaces[&1].segments[0][0].clone();
    let mut batch = Batch::default();
    batch.set_aside_segment(&small, "a test says so");
    store.apply(&batch).expect("it writes");
    let value = backend.get(&keys::set_aside(small.key())).expect("memory").expect("it is there");
    let (_, kept) =
        values::open(&value).and_then(|value| values::read_set_aside(small.key(), value)).expect("it reads");
    assert_eq!(kept.resident_bytes(), small.resident_bytes());
    assert_eq!(cells(&store, &kept).expect("sound"), [(5, 0, 7)]);
}
