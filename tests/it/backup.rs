//! Back up and restore, with the very commands of docs/operations.md: only paths are replaced, and `systemctl` is this
//! test.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{BINARY, DaemonSetup, Message, TestDaemon, TestPublisher, now_secs};

const DOCUMENT: &str = include_str!("../../docs/operations.md");

/// `systemctl` says what it wants on standard output, and waits until that is done. Everything is this user's.
const SHIMS: &str = "set -eu
systemctl() { [ \"$2\" = statscache ]; echo \"systemctl $1\"; read -r _; }
runuser() { [ \"$1 $2 $3\" = '-u statscache --' ]; shift 3; \"$@\"; }
";

/// The commands of the section, in their order.
fn commands() -> [&'static str; 4] {
    let section = DOCUMENT.split("\n## ").find(|it| it.starts_with("Back up and restore\n")).expect("the section");
    let blocks: Vec<&str> =
        section.split("```sh\n").skip(1).map(|block| block.split("```").next().expect("an end")).collect();
    blocks.try_into().expect("backup, restore, export, import")
}

/// A machine on which a daemon is installed.
struct Machine {
    dir: TempDir,
    daemon: Option<TestDaemon>,
    setup: Option<DaemonSetup>,
    publisher: TestPublisher,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("statscache-it-machine-").tempdir().expect("a folder");
        fs::create_dir(dir.path().join("bin")).expect("ours");
        symlink(BINARY, dir.path().join("bin/statscache")).expect("ours");
        let publisher = TestPublisher::start();
        let setup = DaemonSetup::new().data(&dir.path().join("lib/statscache")).endpoint(&publisher.address);
        let daemon = Some(setup.start());
        Self { dir, daemon, setup: None, publisher }
    }

    fn daemon(&self) -> &TestDaemon {
        self.daemon.as_ref().expect("it runs")
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("lib/statscache")
    }

    /// Publishes so many, and waits until they are counted.
    fn publish(&mut self, count: u64) {
        let Self { publisher, daemon, .. } = self;
        let daemon = daemon.as_ref().expect("it runs");
        let sequence = daemon.journal_next() - 1;
        publisher.reaches(daemon);
        for _ in 0..count {
            publisher.send(&Message::new("org.example.prod.wiki.edit").at(now_secs() - 60));
        }
        daemon.wait_sequence(sequence + count);
    }

    /// What the daemon has counted.
    fn counted(&self) -> i64 {
        let rows = self.daemon().rows("/plugins/volume/messages?start=2000-01-01T00:00:00Z&step=1d");
        rows.iter().filter_map(|row| row["value"].as_i64()).sum()
    }

    /// Runs commands of the document on this machine.
    fn run(&mut self, script: &str) {
        let (library, configuration) = (self.data(), self.dir.path().join("statscache.toml"));
        let library = library.parent().expect("a folder");
        let script = script.replace("/var/lib", &library.display().to_string());
        let script = script.replace("/etc/statscache/statscache.toml", &configuration.display().to_string());
        assert!(!script.contains("/var/") && !script.contains("/etc/"), "{script}");
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("bash")
            .args(["-o", "pipefail", "-c", &format!("{SHIMS}{script}")])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash is there");
        let mut done = shell.stdin.take().expect("piped");
        for wanted in BufReader::new(shell.stdout.take().expect("piped")).lines() {
            let wanted = wanted.expect("text");
            let Some(order) = wanted.strip_prefix("systemctl ") else { continue };
            match order {
                "stop" => self.setup = Some(self.daemon.take().expect("it runs").terminate()),
                "start" => self.daemon = Some(self.setup.take().expect("it is down").start()),
                other => panic!("systemctl {other}"),
            }
            if let Some(setup) = &self.setup {
                fs::copy(setup.write(), &configuration).expect("ours");
            }
            writeln!(done).expect("it waits");
        }
        assert!(shell.wait().expect("ours").success(), "{script}");
    }
}

#[test]
fn what_was_backed_up_comes_back() {
    let mut machine = Machine::new();
    let [backup, restore, ..] = commands();
    machine.publish(7);
    machine.run(backup);
    machine.publish(5);
    assert_eq!(machine.counted(), 12);
    machine.run(restore);
    assert_eq!(machine.counted(), 7, "what was counted when it was backed up");
    // And it goes on from there.
    machine.publish(2);
    assert_eq!(machine.counted(), 9);
}

#[test]
fn exported_numbers_come_back_without_the_messages() {
    let mut machine = Machine::new();
    let [.., export, import] = commands();
    machine.publish(7);
    machine.run(export);
    machine.publish(5);
    machine.run(import);
    // The journal stayed: what came after the export is counted from it.
    machine.daemon().wait_until("it has read on", |_| machine.counted() == 12);
}

#[test]
fn the_journal_can_be_copied_while_it_grows() {
    let mut machine = Machine::new();
    machine.publish(300);
    let copy = machine.dir.path().join("copy");
    fs::create_dir(&copy).expect("ours");
    for _ in 0..300 {
        machine.publisher.send(&Message::new("org.example.prod.wiki.edit").at(now_secs() - 60));
    }
    let copied = Command::new("cp").arg("-a").arg(machine.data().join("journal")).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let from_copy = restored(&copy);
    assert!((300..=600).contains(&from_copy), "{from_copy}");
}

/// What a daemon counts that finds this folder.
fn restored(data: &Path) -> i64 {
    let daemon = DaemonSetup::new().data(data).start();
    let next = daemon.journal_next();
    daemon.wait_sequence(next - 1);
    let rows = daemon.rows("/plugins/volume/messages?start=2000-01-01T00:00:00Z&step=1d");
    let counted = rows.iter().filter_map(|row: &Value| row["value"].as_i64()).sum();
    assert_eq!(counted, next as i64 - 1, "all that the copy holds");
    daemon.terminate();
    counted
}
