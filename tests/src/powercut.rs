//! The power is cut at every change of the disk, for journal and store alike.
//!
//! The store does its own file I/O, so no file system of ours can be put under it. Instead, a process runs the real
//! engine on a real disk while `powercut/record.c`, preloaded into it, writes down every change and every sync. From
//! that, the disk is put together again as a power cut may have left it at any of these points: with what was synced,
//! and of the rest whatever a disk may keep (`disk`). Then the real engine starts on it, and what it holds is compared
//! with an offline recount of what is in the journal, and with what it had promised before the cut. From some of these
//! images a second process is recorded, so that the power goes while it recovers, too.

mod check;
mod disk;
mod record;
mod stream;
mod subject;
mod trace;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub use check::serve;
pub use disk::Model;
pub use record::live;

use check::{Checker, Outcome};
use disk::{Base, Disk};
use record::{Life, NOTES, Recorder};
use statscache_server::bench::Random;
use stream::Stream;
use trace::{Trace, What};

/// Of so many images, one is gone on with under the recorder.
const AGAIN_EVERY: u64 = 8;
/// Cuts of the run that goes on.
const CUTS_AGAIN: u64 = 3;
/// Failures that are told; all are counted.
const TOLD: usize = 10;

/// Where to cut.
#[derive(Clone, Copy, Debug)]
pub enum Cuts {
    /// Behind every event.
    All,
    /// Behind so many events, chosen at random.
    Some(u64),
    /// Behind this one, again.
    At(u64),
}

/// What is asked for.
pub struct Options<'o> {
    /// The `measure` binary: it is recorder's child and checker as well.
    pub program: &'o Path,
    /// Decides about messages and about what is left by each cut.
    pub seed: u64,
    /// Where to cut.
    pub cuts: Cuts,
    /// What the file system keeps of entries.
    pub model: Model,
    /// Commits of each process that is recorded; there are three, of which the second ends as if killed.
    pub commits: u64,
    /// `fdatasync` of files with this in their path never happens: so that something is found.
    pub drop_fdatasync: Option<&'o str>,
    /// A trace of an earlier run, with the same seed and directory, instead of a new one.
    pub trace: Option<&'o Path>,
    /// A directory for the trace and for images that failed.
    pub keep: Option<&'o Path>,
    /// Ends after so many failures.
    pub failures_max: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Events of the trace: changes, and beginnings and ends of syncs.
    pub events: usize,
    /// Writes among them, of the journal and of the store.
    pub writes: (usize, usize),
    /// Syncs that ended.
    pub syncs: usize,
    /// Threads that they came from.
    pub threads: usize,
    /// Images that were checked.
    pub cuts: u64,
    /// Images of a cut while starting on an image.
    pub cuts_again: u64,
    /// Images where something was not durable.
    pub dirty: u64,
    /// Images where the store was behind the journal, so that something had to be caught up.
    pub behind: u64,
    /// Failures.
    pub differences: u64,
    /// The first of them.
    pub told: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (journal, store) = self.writes;
        writeln!(
            f,
            "recorded: {} events of {} threads; {journal} writes of the journal, {store} of the store, {} syncs",
            self.events, self.threads, self.syncs
        )?;
        writeln!(
            f,
            "{} cuts and {} while recovering; {} images were not all durable, in {} the store was behind the journal",
            self.cuts, self.cuts_again, self.dirty, self.behind
        )?;
        self.told.iter().try_for_each(|text| writeln!(f, "  {text}"))?;
        write!(f, "{} differences", self.differences)
    }
}

/// Records, cuts, and checks.
pub fn run(options: &Options<'_>) -> anyhow::Result<Report> {
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path().canonicalize()?;
    let library = record::library(&scratch)?;
    let recorder = Recorder { program: options.program, library: &library, drop: options.drop_fdatasync };
    let stream = Stream { seed: options.seed };
    let top = scratch.join("recorded");
    fs::create_dir(&top)?;
    let file = match options.trace {
        Some(trace) => trace.to_owned(),
        None => {
            let file = scratch.join("trace");
            // One closes everything, one ends as if killed, one recovers from that and is killed, too.
            for is_clean in [true, false, false] {
                recorder.record(&top, &file, stream, Life { commits: options.commits, is_clean })?;
            }
            if let Some(kept) = options.keep {
                fs::create_dir_all(kept)?;
                fs::copy(&file, kept.join("trace")).with_context(|| kept.display().to_string())?;
            }
            file
        }
    };
    let trace = Trace::read(&file)?;
    let top = match trace.events.first().map(|event| &event.what) {
        // An earlier run was somewhere else.
        Some(What::CreateFile { path, .. }) => path.strip_suffix(&format!("/{NOTES}")).context("no notes")?.to_owned(),
        _ => anyhow::bail!("the trace does not begin with the notes"),
    };
    let mut report = Report::default();
    report.describe(&trace);
    let checker = Checker::new(options.program, stream);
    let mut harness = Harness { options, recorder, checker, stream, scratch: &scratch, report };
    harness.cut_all(&trace, &top)?;
    Ok(harness.report)
}

impl Report {
    fn describe(&mut self, trace: &Trace) {
        self.events = trace.events.len();
        self.threads = trace.events.iter().map(|event| event.thread).collect::<BTreeSet<_>>().len();
        let mut inodes = std::collections::HashMap::new();
        for event in &trace.events {
            match &event.what {
                What::CreateFile { path, inode } => {
                    inodes.insert(*inode, path.contains("/journal/"));
                }
                What::Write { inode, .. } => match inodes.get(inode) {
                    Some(true) => self.writes.0 += 1,
                    _ => self.writes.1 += 1,
                },
                What::SyncEnds { .. } => self.syncs += 1,
                _ => {}
            }
        }
    }
}

/// A run.
struct Harness<'h> {
    options: &'h Options<'h>,
    recorder: Recorder<'h>,
    checker: Checker<'h>,
    stream: Stream,
    scratch: &'h Path,
    report: Report,
}

impl Harness<'_> {
    fn cut_all(&mut self, trace: &Trace, top: &str) -> anyhow::Result<()> {
        let events = trace.events.len() as u64;
        let mut random = Random::for_number(self.options.seed, u64::MAX);
        let mut cuts: Vec<u64> = match self.options.cuts {
            Cuts::All => (0..=events).collect(),
            Cuts::Some(count) => (0..count).map(|_| random.below(events + 1)).collect(),
            Cuts::At(cut) => vec![cut],
        };
        cuts.sort_unstable();
        let mut disk = Disk::new(trace, &Base::default(), top, NOTES, self.options.model);
        for (number, cut) in (0..).zip(cuts) {
            disk.advance(cut as usize)?;
            let promised = promised(&disk)?.unwrap_or(1);
            let again = number % AGAIN_EVERY == AGAIN_EVERY - 1 || matches!(self.options.cuts, Cuts::At(_));
            self.report.cuts += 1;
            self.check((&disk, cut), promised, &format!("cut {cut}"))?;
            if again && self.options.drop_fdatasync.is_none() {
                self.cut_again(&disk, cut, promised)?;
            }
            if self.report.differences as usize >= self.options.failures_max {
                break;
            }
        }
        Ok(())
    }

    /// Lives on from an image, and cuts that as well.
    fn cut_again(&mut self, first: &Disk<'_>, cut: u64, promised_before: u64) -> anyhow::Result<()> {
        let dir = self.empty("again")?;
        first.cut(&mut Random::for_number(self.options.seed, cut), &dir)?;
        let base = Base::read(&dir)?;
        let file = self.scratch.join("trace-again");
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let life = Life { commits: 2, is_clean: false };
        if let Err(error) = self.recorder.record(&dir, &file, self.stream, life) {
            // The same image fails without the recorder, too; that says why.
            self.fail(format!("cut {cut}: going on from it: {error:#}"));
            return Ok(());
        }
        let trace = Trace::read(&file)?;
        let top = dir.to_str().context("a path in UTF-8")?;
        let mut random = Random::for_number(!self.options.seed, cut);
        let mut cuts: Vec<u64> = (0..CUTS_AGAIN).map(|_| random.below(trace.events.len() as u64 + 1)).collect();
        cuts.sort_unstable();
        let mut disk = Disk::new(&trace, &base, top, NOTES, self.options.model);
        for again in cuts {
            disk.advance(again as usize)?;
            let promised = promised(&disk)?.unwrap_or(promised_before);
            self.report.cuts_again += 1;
            self.check((&disk, again), promised, &format!("cut {cut}, again at {again} of {}", trace.events.len()))?;
        }
        Ok(())
    }

    fn check(&mut self, (disk, cut): (&Disk<'_>, u64), promised: u64, context: &str) -> anyhow::Result<()> {
        self.report.dirty += u64::from(disk.is_dirty());
        let image = self.empty("image")?;
        disk.cut(&mut Random::for_number(self.options.seed, cut), &image)?;
        match self.checker.check(&image, promised)? {
            Outcome::Fine { journal, store } => self.report.behind += u64::from(store < journal),
            Outcome::Failed(text) => {
                self.fail(format!("{context}: {text}"));
                if let Some(kept) = self.options.keep {
                    let kept = kept.join(context.replace([' ', ','], "-"));
                    fs::create_dir_all(&kept)?;
                    disk.cut(&mut Random::for_number(self.options.seed, cut), &kept)?;
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, text: String) {
        self.report.differences += 1;
        if self.report.told.len() < TOLD {
            self.report.told.push(format!("seed {}, {text}", self.options.seed));
        }
    }

    fn empty(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.scratch.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        Ok(dir)
    }
}

/// Everything before it was promised to be durable, if anything was.
fn promised(disk: &Disk<'_>) -> anyhow::Result<Option<u64>> {
    disk.note().map(|text| text.parse().with_context(|| format!("a note: {text:?}"))).transpose()
}
