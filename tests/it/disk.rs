//! A full disk: the daemon says so, serves on, and resumes by itself with nothing lost. On a small file system in
//! memory, which only root may mount; elsewhere this is left out, and said.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use statscache_core::journal::Reader;
use tempfile::TempDir;

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, note, now_secs};

/// A file system of its own; unmounted in the end.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None` where it may not be mounted.
    fn mount(mebibytes: usize) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("statscache-it-disk-").tempdir().expect("a folder");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "statscache-it"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { dir });
        }
        let required = std::env::var_os("STATSCACHE_REQUIRE_MOUNT").is_some_and(|value| value == "1");
        assert!(!required, "STATSCACHE_REQUIRE_MOUNT=1, and a tmpfs cannot be mounted");
        note("SKIPPED: a tmpfs cannot be mounted here (it takes root): a full disk was not tested");
        None
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all room that is left, but for so many bytes.
    fn fill(&self, leave: usize) -> PathBuf {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let path = self.path().join(format!("filler-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let mut file = File::create(&path).expect("created");
        let mut len = 0;
        while let Ok(written) = file.write(&[b'x'; 4096]) {
            len += written as u64;
        }
        file.set_len(len.saturating_sub(leave as u64)).expect("shortened");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn trouble(daemon: &TestDaemon) -> Option<String> {
    let answer = daemon.get("/readyz");
    let json = answer.json();
    assert_eq!(answer.status == 200, json["ready"] == json!(true), "{json}");
    (answer.status == 503).then(|| json["trouble"].to_string())
}

fn journal_len(data: &Path) -> u64 {
    let mut reader = Reader::open(&data.join("journal")).expect("the journal reads");
    let mut len = 0;
    loop {
        let chunk = reader.next_chunk(1 << 20).expect("the journal reads");
        if chunk.is_empty() {
            return len;
        }
        len += chunk.len() as u64;
    }
}

fn counted(daemon: &TestDaemon) -> i64 {
    let rows = daemon.rows("/plugins/volume/messages?start=now-10d&step=1d");
    rows.iter().filter_map(|row| row["value"].as_i64()).sum()
}

/// About 4 KiB, which does not compress away.
fn message(n: u64) -> Message {
    let topic = format!("org.fedoraproject.prod.git.t{}", n % 100);
    let pad: String = (0..250).map(|i| format!("{:016x}", (n * 250 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    Message::new(&topic).at(now_secs() - n as i64 % 3600).msg(json!({"pad": pad}))
}

/// Waits for a commit, so that the next is far away.
fn wait_commit(daemon: &TestDaemon) {
    let commits = daemon.figure("statscache_commits_total");
    daemon.wait_until("commits", |daemon| daemon.figure("statscache_commits_total") > commits);
}

#[test]
fn the_journal_meets_a_full_disk() {
    let Some(disk) = SmallDisk::mount(200) else { return };
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new()
        .data(&disk.path().join("data"))
        .set("journal", "segment", "\"1MiB\"")
        // Time enough between two commits to fill the disk and to make room again.
        .set("data", "commit_interval", "\"1s\"");
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let mut sent = 0;
    let mut send = |publisher: &mut TestPublisher, count: u64| {
        (sent..sent + count).for_each(|n| publisher.send(&message(n)));
        sent += count;
        sent
    };
    daemon.wait_sequence(send(&mut publisher, 500));

    for (round, leave) in [0, 64 << 10, 1 << 20].into_iter().enumerate() {
        wait_commit(&daemon);
        let filler = disk.fill(leave);
        let shown = counted(&daemon);
        let all = send(&mut publisher, 500);
        daemon.wait_until("says that it is in trouble", |daemon| trouble(daemon).is_some());
        let why = trouble(&daemon).unwrap_or_default();
        assert!(why.contains("No space left"), "round {round}: {why}");
        assert!(daemon.logged(&["ERROR", "No space left"]), "round {round}");
        // Readers are served on, with what was there.
        assert!(counted(&daemon) >= shown);
        assert_eq!((daemon.get("/plugins").status, daemon.get("/healthz").status), (200, 200));

        fs::remove_file(filler).expect("it is ours");
        daemon.wait_until("works again", |daemon| trouble(daemon).is_none());
        daemon.wait_sequence(all);
        assert_eq!(counted(&daemon) as u64, all, "round {round}");
    }
    assert_eq!(daemon.figure("statscache_queue_dropped_total"), 0.0);
    let setup = daemon.terminate();
    assert_eq!(journal_len(&setup.data_dir()), sent);
    // What is on the disk is whole.
    let daemon = setup.start();
    daemon.wait_sequence(sent);
    assert_eq!(counted(&daemon) as u64, sent);
    assert_eq!(daemon.plugin("volume")["counters"]["processed"].as_u64(), Some(sent));
}

/// A daemon whose store has met the full disk with so many messages accepted and not committed; and what fills it.
fn with_store_in_trouble(disk: &SmallDisk, publisher: &mut TestPublisher, messages: u64) -> (TestDaemon, PathBuf) {
    // Time enough between accepting and committing to fill the disk.
    let setup = DaemonSetup::new().data(&disk.path().join("data")).set("data", "commit_interval", "\"2s\"");
    let daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    wait_commit(&daemon);
    // So many that the store needs more room.
    (0..messages).for_each(|n| publisher.send(&various(n)));
    daemon.wait_until("accepts", |daemon| daemon.json("/bus")["accepted"].as_u64() == Some(messages));
    let filler = disk.fill(0);
    daemon.wait_until("says that its store is in trouble", |daemon| {
        trouble(daemon).is_some_and(|why| why.contains("store"))
    });
    assert_eq!((daemon.get("/plugins").status, counted(&daemon)), (200, 0), "readers are served on");
    (daemon, filler)
}

#[test]
fn the_store_meets_a_full_disk() {
    let Some(disk) = SmallDisk::mount(200) else { return };
    let mut publisher = TestPublisher::start();
    let (daemon, filler) = with_store_in_trouble(&disk, &mut publisher, 2000);
    fs::remove_file(filler).expect("it is ours");
    daemon.wait_until("works again", |daemon| trouble(daemon).is_none());
    daemon.wait_sequence(2000);
    assert_eq!(counted(&daemon), 2000);
    // And it works on.
    publisher.send(&various(2000));
    daemon.wait_sequence(2001);
    let daemon = daemon.kill().start();
    daemon.wait_sequence(2001);
    assert_eq!(counted(&daemon), 2001);
}

#[test]
fn ended_while_the_store_is_in_trouble() {
    for end in [TestDaemon::kill, end_at_once] {
        let Some(disk) = SmallDisk::mount(200) else { return };
        let mut publisher = TestPublisher::start();
        let (daemon, filler) = with_store_in_trouble(&disk, &mut publisher, 2000);
        let setup = end(daemon);
        fs::remove_file(filler).expect("it is ours");
        let daemon = setup.start();
        daemon.wait_sequence(2000);
        assert_eq!(counted(&daemon), 2000);
    }
}

/// Small, on a topic of its own.
fn various(n: u64) -> Message {
    Message::new(&format!("org.fedoraproject.prod.category{}.topic-{n}-{}", n % 500, "x".repeat(100)))
}

#[test]
fn ended_while_the_journal_is_in_trouble() {
    let Some(disk) = SmallDisk::mount(200) else { return };
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new().data(&disk.path().join("data")).set("journal", "segment", "\"1MiB\"");
    let mut daemon = setup.endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let mut shown = 0;
    for end in [TestDaemon::kill, end_at_once] {
        (0..300).for_each(|n| publisher.send(&message(n)));
        daemon.wait_until("counts", |daemon| counted(daemon) > shown);
        shown = counted(&daemon);
        let filler = disk.fill(0);
        (0..500).for_each(|n| publisher.send(&message(n)));
        daemon.wait_until("says that it is in trouble", |daemon| trouble(daemon).is_some());
        let setup = end(daemon);
        fs::remove_file(filler).expect("it is ours");
        // All that the journal took is counted, and no less than was shown.
        let accepted = journal_len(&setup.data_dir());
        assert!(accepted as i64 >= shown, "{accepted} of {shown}");
        daemon = setup.start();
        publisher.reaches(&daemon);
        daemon.wait_until("counts all that it had accepted", |daemon| counted(daemon) >= accepted as i64);
        daemon.wait_until("is up to date", |daemon| daemon.plugin("volume")["state"] == "running");
        shown = counted(&daemon);
    }
}

/// SIGTERM, and whatever exit code: it cannot write what it has.
fn end_at_once(mut daemon: TestDaemon) -> DaemonSetup {
    crate::support::signal(daemon.pid(), "TERM");
    let started = Instant::now();
    let status = daemon.wait_end();
    assert!(
        status.code().is_some() && started.elapsed() < Duration::from_secs(10),
        "{status}, {:?}",
        started.elapsed()
    );
    daemon.take_setup()
}
