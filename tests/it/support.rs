//! A daemon and a publisher to test with, and waiting for events: with a deadline, and with everything that is
//! known printed when it passes.

mod browser;
mod daemon;
mod history;
mod message;
mod plugins;
mod publisher;
mod replier;
mod schema;

use std::{
    io::Write,
    process::{Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

pub use browser::{Browser, ENTER, SPACE, TAB};
pub use daemon::{Answer, DaemonSetup, TestDaemon, fetch, send};
pub use history::HistoryProcess;
pub use message::{Message, now_secs, rfc3339, topic_counts};
pub use plugins::{SHIPPED, compile, raw_abi, raw_abi_version, test_library};
pub use publisher::{PublishProcess, TestPublisher};
pub use replier::{Reply, TestReplier};
pub use schema::validate;

/// For anything that should happen at once; long, because the machine may be busy.
pub const SOON: Duration = Duration::from_secs(30);

/// How often something is looked at that cannot be waited for.
pub const LOOK: Duration = Duration::from_millis(5);

/// The daemon's own binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_statscache-under-test");

/// Looks until there is something to see; `None` when the deadline passes.
pub fn look<T>(deadline: Duration, mut see: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(seen) = see() {
            return Some(seen);
        }
        if started.elapsed() > deadline {
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "kill -s {name} {pid}: {status:?}");
}

/// What a finished command did.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It failed, with all of these words on standard error and nothing of a panic.
    pub fn fails_with(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Runs the binary to its end, which must come soon.
pub fn run(args: &[&str]) -> Finished {
    run_in(std::path::Path::new("."), args)
}

/// As [`run`], for what takes its time.
pub fn run_slowly(args: &[&str]) -> Finished {
    run_program_in(BINARY, std::path::Path::new("."), args, 6 * SOON)
}

/// As [`run`], another program.
pub fn run_program(program: &str, args: &[&str]) -> Finished {
    run_program_in(program, std::path::Path::new("."), args, SOON)
}

/// As [`run`], in a folder.
pub fn run_in(dir: &std::path::Path, args: &[&str]) -> Finished {
    run_program_in(BINARY, dir, args, SOON)
}

fn run_program_in(program: &str, dir: &std::path::Path, args: &[&str], within: Duration) -> Finished {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let stdout = thread::spawn(move || std::io::read_to_string(stdout));
    let stderr = thread::spawn(move || std::io::read_to_string(stderr));
    let status = look(within, || child.try_wait().expect("it is ours"));
    if status.is_none() {
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
    let text = |reader: thread::JoinHandle<std::io::Result<String>>| {
        reader.join().expect("no panic while reading").expect("UTF-8")
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("{args:?} does not end\n{stdout}\n{stderr}"));
    Finished::new(&Output { status, stdout: stdout.into(), stderr: stderr.into() })
}

/// Shown whether the test passes or not.
pub fn note(text: &str) {
    // Not println: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
