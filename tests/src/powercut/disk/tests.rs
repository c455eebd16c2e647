use std::collections::BTreeSet;

use super::*;

fn event(what: What) -> Event {
    Event { thread: 1, what }
}

fn create(path: &str, inode: u64) -> Event {
    event(What::CreateFile { path: path.to_owned(), inode })
}

fn write(inode: u64, offset: usize, data: Range<usize>) -> Event {
    event(What::Write { inode, offset, data })
}

fn sync(path: &str, inode: u64, number: u64) -> [Event; 2] {
    let path = path.to_owned();
    [event(What::SyncBegins { path, inode, number, is_full: false }), event(What::SyncEnds { number })]
}

/// Files and their content in many images of a cut after all events.
fn images(events: Vec<Event>) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    images_of(events, Model::Harsh)
}

fn images_of(events: Vec<Event>, model: Model) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    // Ones, then twos, then threes, a sector each.
    let bytes = [1, 2, 3].into_iter().flat_map(|byte| [byte; SECTOR]).collect();
    let trace = Trace { bytes, events };
    let mut disk = Disk::new(&trace, &Base::default(), "/d", "notes", model);
    disk.advance(trace.events.len()).expect("it makes sense");
    let mut found = BTreeSet::new();
    for seed in 0..400 {
        let dir = tempfile::tempdir().expect("a directory");
        disk.cut(&mut Random(seed), dir.path()).expect("it is written");
        let base = Base::read(dir.path()).expect("it reads").0;
        found.insert(base.into_iter().filter_map(|(path, content)| Some((path, content?.1))).collect());
    }
    found
}

/// The first byte of each sector of the only file.
fn sectors(image: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    Some(image.get("a")?.chunks(SECTOR).map(|sector| sector[0]).collect())
}

#[test]
fn what_is_synced_is_there() {
    let mut events = vec![create("/d/a", 1), write(1, 0, 0..2 * SECTOR)];
    events.extend(sync("/d/a", 1, 1));
    events.extend(sync("/d", 9, 2));
    let images = images(events);
    assert_eq!(images.iter().map(sectors).collect::<Vec<_>>(), [Some(vec![1, 2])]);
}

#[test]
fn what_is_not_synced_is_torn_missing_or_reordered() {
    let mut events = vec![create("/d/a", 1)];
    events.extend(sync("/d", 9, 1));
    events.extend([write(1, 0, 0..2 * SECTOR), write(1, 2 * SECTOR, 2 * SECTOR..3 * SECTOR)]);
    let found: BTreeSet<_> = images(events).iter().map(|image| sectors(image).expect("its entry was synced")).collect();
    // Nothing, all, torn, the second without the first, and zeros at the end of a longer file.
    for expected in [&[][..], &[1, 2, 3], &[1], &[0, 2], &[0, 0, 3], &[1, 2, 0], &[0, 0, 0]] {
        assert!(found.contains(expected), "{expected:?} is not among {found:?}");
    }
}

#[test]
fn writes_after_a_sync_has_begun_are_not_of_it() {
    let mut events = vec![create("/d/a", 1)];
    events.extend(sync("/d", 9, 1));
    let [begins, ends] = sync("/d/a", 1, 2);
    events.extend([write(1, 0, 0..SECTOR), begins, write(1, 0, SECTOR..2 * SECTOR), ends]);
    let found: BTreeSet<_> = images(events).iter().map(sectors).collect();
    assert_eq!(found, BTreeSet::from([Some(vec![1]), Some(vec![2])]));
}

#[test]
fn an_entry_needs_its_directory_to_be_synced() {
    let mut events = vec![create("/d/a", 1), write(1, 0, 0..SECTOR)];
    events.extend(sync("/d/a", 1, 1));
    events.push(event(What::Rename { from: "/d/a".to_owned(), to: "/d/b".to_owned() }));
    let names: BTreeSet<Vec<String>> = images(events).into_iter().map(|image| image.into_keys().collect()).collect();
    let names: Vec<Vec<String>> = names.into_iter().collect();
    assert_eq!(names, [vec![], vec!["a".to_owned()], vec!["b".to_owned()]]);
}

#[test]
fn a_file_that_is_cut_may_be_as_it_was() {
    let mut events = vec![create("/d/a", 1), write(1, 0, 0..3 * SECTOR)];
    events.extend(sync("/d/a", 1, 1));
    events.extend(sync("/d", 9, 2));
    events.extend([event(What::Resize { inode: 1, len: SECTOR })]);
    let found: BTreeSet<_> = images(events).iter().map(sectors).collect();
    assert!(found.contains(&Some(vec![1])) && found.contains(&Some(vec![1, 2, 3])), "{found:?}");
}

/// A snapshot is renamed and the one before removed; then what only that one needed is overwritten.
fn renamed_then_overwritten(is_full: bool) -> Vec<Event> {
    let mut events = vec![create("/d/a", 1), create("/d/b", 2)];
    events.extend(sync("/d", 9, 1));
    events.push(event(What::Remove { path: "/d/a".to_owned() }));
    events.push(write(2, 0, 0..SECTOR));
    let path = "/d/b".to_owned();
    events.push(event(What::SyncBegins { path, inode: 2, number: 2, is_full }));
    events.push(event(What::SyncEnds { number: 2 }));
    events
}

#[test]
fn a_journaling_file_system_keeps_entries_in_order() {
    let names =
        |images: BTreeSet<BTreeMap<String, Vec<u8>>>| -> BTreeSet<usize> { images.iter().map(BTreeMap::len).collect() };
    assert_eq!(names(images_of(renamed_then_overwritten(true), Model::Journaling)), BTreeSet::from([1]));
    for (is_full, model) in [(false, Model::Journaling), (true, Model::Harsh)] {
        assert_eq!(names(images_of(renamed_then_overwritten(is_full), model)), BTreeSet::from([1, 2]));
    }
    let events = vec![create("/d/a", 1), write(1, 0, 0..SECTOR), create("/d/b", 2), write(1, 0, SECTOR..2 * SECTOR)];
    for image in images_of(events, Model::Journaling) {
        let second = image.get("a").is_some_and(|content| content.contains(&2));
        assert!(!second || image.contains_key("b"), "the later write without the entry before it");
    }
}
