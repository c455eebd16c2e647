//! The seven guards. Each test fails when its guard is taken out; where a guard can only be seen
//! from outside of the process, the test looks at what it calls.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::limits::STORE_BATCH_ROWS_MAX;

fn row(n: u64, value: &[u8]) -> Row {
    (n.to_be_bytes().to_vec(), Some(value.to_vec()))
}

fn rows(backend: &SledBackend) -> Vec<Row> {
    let mut rows = Vec::new();
    backend
        .scan(b"", &mut |key, value| {
            rows.push((key.to_vec(), Some(value.to_vec())));
            true
        })
        .expect("it reads");
    rows
}

fn opened(dir: &Path) -> SledBackend {
    SledBackend::open(dir).expect("it opens")
}

#[test]
fn what_was_written_is_there_again_and_what_was_removed_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = opened(dir.path());
    backend.apply(&[row(1, b"one"), row(2, b"two"), row(256, b"three")]).expect("it writes");
    backend.apply(&[row(1, b"uno"), (2_u64.to_be_bytes().to_vec(), None), row(3, b"")]).expect("it writes");
    backend.sync().expect("it syncs");
    let expected = vec![row(1, b"uno"), row(3, b""), row(256, b"three")];
    assert_eq!(rows(&backend), expected);
    drop(backend);
    let backend = opened(dir.path());
    assert_eq!(rows(&backend), expected);
    let mut seen = 0;
    backend
        .scan(b"", &mut |_, _| {
            seen += 1;
            seen < 2
        })
        .expect("it reads");
    assert_eq!(seen, 2, "a scan ends when its visitor has enough");
    let mut found = Vec::new();
    let prefix = [0, 0, 0, 0, 0, 0, 1];
    backend
        .scan(&prefix, &mut |key, _| {
            found.push(key.to_vec());
            true
        })
        .expect("it reads");
    assert_eq!(found, [256_u64.to_be_bytes()], "only keys with the prefix");
    assert!(backend.disk_bytes() > 0);
}

/// Guard 1. Garbage of this thread is collected while batches are applied, not some day.
#[test]
fn guard_1_a_batch_leaves_no_garbage_behind() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    const ROWS: u64 = 2000;
    let dir = tempfile::tempdir().expect("a directory");
    let backend = opened(dir.path());
    let freed = Arc::new(AtomicUsize::new(0));
    let mut deferred = 0;
    for round in 0..20_u64 {
        let freed = freed.clone();
        crossbeam_epoch::pin().defer(move || freed.fetch_add(1, Ordering::Relaxed));
        deferred += 1;
        let batch: Vec<Row> = (0..ROWS).map(|n| row(n, &(n * round).to_be_bytes())).collect();
        backend.apply(&batch).expect("it writes");
    }
    // Threads of other tests can hold an epoch for a moment: a few more batches are fair.
    let left = || deferred - freed.load(Ordering::Relaxed);
    for _ in 0..20 {
        if left() > 2 {
            backend.apply(&[row(0, b"")]).expect("it writes");
        }
    }
    assert!(left() <= 2, "{} of {deferred} wait to be freed", left());
}

/// Guard 2. A sync reaches the disk through sled's own file: one that cannot be synced fails it.
#[test]
fn guard_2_sync_is_an_fsync_of_the_file_that_sled_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut backend = opened(dir.path());
    backend.apply(&[row(1, b"one")]).expect("it writes");
    backend.sync().expect("it syncs");
    let (held, named) = (backend.file.metadata(), fs::metadata(dir.path().join("db")));
    let (held, named) = (held.expect("a file"), named.expect("a file"));
    assert_eq!((held.dev(), held.ino()), (named.dev(), named.ino()), "it is the file that sled writes");
    assert!(held.len() > 0);
    // A pipe has no disk: fsync refuses it.
    let (_reader, writer) = io::pipe().expect("a pipe");
    backend.file = File::from(std::os::fd::OwnedFd::from(writer));
    let error = backend.sync().expect_err("the file cannot be synced");
    assert!(matches!(error, BackendError::Io { .. }), "{error:?}");
}

/// Guard 3. What a kill in the middle of a snapshot leaves does not keep it from opening.
#[test]
fn guard_3_half_written_snapshots_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = opened(dir.path());
    backend.apply(&[row(1, b"one")]).expect("it writes");
    backend.sync().expect("it syncs");
    drop(backend);
    let half = dir.path().join("snap.0000000000000ABC.generating");
    for bytes in [&b""[..], b"half a snapshot"] {
        fs::write(&half, bytes).expect("written");
        let other = dir.path().join("snap.notes");
        fs::write(&other, b"").expect("written");
        remove_half_snapshots(dir.path()).expect("it may");
        assert!(!half.exists() && other.exists(), "only half-written snapshots go");
        fs::remove_file(other).expect("removed");
        fs::write(&half, bytes).expect("written");
        assert_eq!(rows(&opened(dir.path())), [row(1, b"one")]);
        assert!(!half.exists());
    }
}

/// Guard 4. At every open entries are synced, up to its name in the directory above. Below `/proc`, directories refuse to
/// be synced, so there it must fail.
#[test]
#[cfg(target_os = "linux")]
fn guard_4_entries_are_synced_at_every_open() {
    use std::os::fd::AsRawFd;
    let dir = tempfile::tempdir().expect("a directory");
    let handle = File::open(dir.path()).expect("a directory");
    let through_proc = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    for _ in 0..2 {
        let error = SledBackend::open(&through_proc).expect_err("/proc/self/fd cannot be synced");
        assert!(matches!(error, BackendError::Io { .. }), "{error:?}");
    }
    drop(SledBackend::open(dir.path()).expect("by its own name it can"));
}

/// Guard 5. Nothing in the crate calls what can deadlock, and there is one tree.
#[test]
fn guard_5_no_flush_async_and_one_tree() {
    let source = include_str!("../sled.rs");
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for forbidden in ["flush_async", "open_tree", "transaction"] {
        assert!(!code.iter().any(|line| line.contains(forbidden)), "sled.rs uses {forbidden}");
    }
    // The other files do not name sled at all.
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("source").map(|entry| entry.expect("source").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if !entry.ends_with("store/sled.rs") && !entry.ends_with("store/sled/tests.rs") {
                files += 1;
                let text = fs::read_to_string(&entry).expect("source");
                let uses = text.lines().find(|line| line.contains("sled::") && !line.contains("self::sled::"));
                assert_eq!(uses, None, "{} names sled", entry.display());
            }
        }
    }
    assert!(files > 20, "{files}");
}

/// Guard 6. The largest batch that the committer builds is applied whole; that it is the largest,
/// `engine::tests::limits` shows.
#[test]
fn guard_6_a_batch_of_the_largest_size_is_applied() {
    const _: () = assert!(STORE_BATCH_ROWS_MAX <= 20_000);
    let dir = tempfile::tempdir().expect("a directory");
    let backend = opened(dir.path());
    let batch: Vec<Row> = (0..STORE_BATCH_ROWS_MAX as u64).map(|n| row(n, b"v")).collect();
    backend.apply(&batch).expect("it writes");
    assert_eq!(rows(&backend).len(), STORE_BATCH_ROWS_MAX);
}

#[test]
fn a_directory_in_use_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = opened(dir.path());
    let error = SledBackend::open(dir.path()).expect_err("in use");
    assert!(matches!(&error, BackendError::InUse(path) if path == dir.path()), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    opened(dir.path());
}

#[test]
fn a_path_that_is_no_directory_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    fs::write(&path, b"x").expect("written");
    let error = SledBackend::open(&path).expect_err("a file is no directory");
    assert!(error.to_string().contains("file"), "{error}");
}

/// Guard 7. No leaf is so large that sled makes a file of it.
#[test]
fn guard_7_large_values_leave_no_files_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = opened(dir.path());
    let large = |round: u64, n: u64| vec![(round + n) as u8; 20_000 + 3_000 * (n as usize % 5)];
    for round in 0..20 {
        let batch: Vec<Row> = (0..40).map(|n| row(n, &large(round, n))).collect();
        backend.apply(&batch).expect("it writes");
        backend.sync().expect("it syncs");
    }
    let expected: Vec<Row> = (0..40).map(|n| row(n, &large(19, n))).collect();
    assert_eq!(rows(&backend), expected);
    assert_eq!(backend.get(&7_u64.to_be_bytes()).expect("it reads"), expected[7].1);
    let last = |prefix: &[u8]| backend.last_key(prefix).expect("it reads");
    assert_eq!(last(b""), Some(39_u64.to_be_bytes().to_vec()), "a part is no row");
    assert_eq!((last(&7_u64.to_be_bytes()), last(b"x")), (Some(7_u64.to_be_bytes().to_vec()), None));
    let files = fs::read_dir(dir.path().join("blobs")).expect("it is there").count();
    assert_eq!(files, 0, "blobs of sled");
    // Parts go with their row, and those of a longer value before with the shorter one.
    let mut batch: Vec<Row> = (1..40_u64).map(|n| (n.to_be_bytes().to_vec(), None)).collect();
    batch.push(row(0, &[1; 7_000]));
    backend.apply(&batch).expect("it writes");
    drop(backend);
    let backend = opened(dir.path());
    assert_eq!(rows(&backend), [row(0, &[1; 7_000])]);
    assert_eq!(backend.db.len(), 3, "a row and two parts");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    // A torn `conf` and what was beside it, as a power cut leaves them on the way.
    fs::create_dir_all(path.join("creating/blobs")).expect("created");
    fs::write(path.join("creating/conf"), [0; 62]).expect("written");
    fs::write(path.join("conf.new"), [0; 62]).expect("written");
    for _ in 0..2 {
        drop(SledBackend::open(&path).expect("it opens"));
    }
    assert!(!path.join("creating").exists() && !path.join("conf.new").exists());
}
