//! Runs the subject in processes of its own while `record.c` writes down what they do to the disk.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::{stream::Stream, subject::Subject};
use statscache_server::bench::Random;

/// File below the recorded directory that takes a line for each promise; it is no part of the disk.
pub(super) const NOTES: &str = "promised";
/// Messages of a commit, at most.
const MESSAGES_MAX: u64 = 24;

/// Compiles the recorder.
pub(super) fn library(dir: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (dir.join("record.c"), dir.join("record.so"));
    fs::write(&source, include_str!("../../powercut/record.c"))?;
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .output()
        .context("cc: it is the linker that Rust itself needs")?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(library)
}

/// How one process goes.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) commits: u64,
    /// Closes everything in the end; otherwise it just ends, as if killed.
    pub(super) is_clean: bool,
}

/// Where the recorder is, what it is for, and where it writes.
pub(super) struct Recorder<'r> {
    /// A program with [`live`] behind the argument `power-cut-child`.
    pub(super) program: &'r Path,
    pub(super) library: &'r Path,
    /// `fdatasync` of files with this in their path is not recorded.
    pub(super) drop: Option<&'r str>,
}

impl Recorder<'_> {
    /// Lives one life in a directory, and appends what it does to the trace.
    pub(super) fn record(&self, dir: &Path, trace: &Path, stream: Stream, life: Life) -> anyhow::Result<()> {
        let mut command = Command::new(self.program);
        command.arg("power-cut-child").arg(dir);
        command.args([stream.seed.to_string(), life.commits.to_string(), life.is_clean.to_string()]);
        command.env("LD_PRELOAD", self.library).env("POWERCUT_DIR", dir).env("POWERCUT_TRACE", trace);
        if let Some(drop) = self.drop {
            command.env("POWERCUT_DROP_FDATASYNC", drop);
        }
        let output = command.stdin(Stdio::null()).output().context("the child does not start")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the child failed, {}: {said}", output.status);
        Ok(())
    }
}

/// The child: goes on in a directory where the last one has stopped.
pub fn live(dir: &str, seed: &str, commits: &str, is_clean: &str) -> anyhow::Result<()> {
    let (dir, stream) = (Path::new(dir), Stream { seed: seed.parse()? });
    let mut notes = OpenOptions::new().create(true).append(true).open(dir.join(NOTES))?;
    let (mut subject, found) = Subject::open(dir, stream)?;
    let mut next = found.journal.1;
    subject.catch_up(next)?;
    for _ in 0..commits.parse::<u64>()? {
        let mut random = Random::for_number(seed.parse()?, !next);
        // What was there before is there again, and counts once.
        let again = next.saturating_sub(random.below(5)).max(1);
        let after = next + 1 + random.below(MESSAGES_MAX);
        let new = subject.feed(again..after)?;
        ensure!(new == after - next, "{new} of {again}..{after} were new, the journal was at {next}");
        next = after;
        // In one write: a note is whole.
        subject.commit(next, || Ok(notes.write_all(format!("{next}\n").as_bytes())?))?;
    }
    if !is_clean.parse::<bool>()? {
        std::mem::forget(subject);
    }
    Ok(())
}
