//! A disk under a trace: what is durable, what is not yet, and what a power cut may leave of it.
//!
//! Content is durable after a sync of the file that began after it was written, an entry (created, renamed, removed)
//! after one of its directory. Of the rest a disk keeps what it likes, in units of [`SECTOR`] bytes: any sector may be
//! as durable or as after any later write, files may be longer than what was written to them, with zeros. What becomes
//! of entries depends on the [`Model`].

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, ensure};

use super::trace::{Event, Trace, What};
use statscache_server::bench::Random;

/// What is written whole or not at all.
const SECTOR: usize = 512;

/// What a file system does beyond what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// As ext4 and XFS do: entries are in a journal. They are kept in order, an fsync of any file (not an fdatasync)
    /// makes all earlier ones durable, and what was written after one and not synced is not kept without it.
    Journaling,
    /// What POSIX allows: any of the entries that were not synced, in any order, beside any content.
    Harsh,
}

/// Number of a file, whatever its name.
type FileId = usize;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq)]
enum Node {
    Dir,
    File(FileId),
}

/// A change of entries, as it was meant: the file is the one that had the name then.
#[derive(Clone)]
enum Change {
    Put(String, Node),
    Move(String, String, Node),
    Remove(String),
}

/// A change of content.
enum Edit {
    Write(usize, Range<usize>),
    Resize(usize),
}

/// Content of a file, and what was done to it since, with the number of the event.
#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(usize, Edit)>,
}

/// What a sync covers.
enum Target {
    File(FileId),
    Dir(String),
}

/// The disk after some events of a trace.
pub(super) struct Disk<'t> {
    trace: &'t Trace,
    /// The directory that was recorded.
    top: String,
    at: usize,
    files: Vec<File>,
    by_inode: HashMap<u64, FileId>,
    /// As the process sees it.
    entries: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<(usize, Change)>,
    syncs: HashMap<u64, (usize, Target, bool)>,
    model: Model,
    /// What the process has promised: lines that it wrote to this file are no part of the disk.
    notes: Notes,
}

/// Lines of a file that is for us.
struct Notes {
    path: String,
    inode: Option<u64>,
    last: Option<String>,
}

impl<'t> Disk<'t> {
    /// The disk before the first event: everything that is in `base`, durably. `top` is where it was when the trace
    /// was made, `notes` the name of the file with notes.
    pub(super) fn new(trace: &'t Trace, base: &Base, top: &str, notes: &str, model: Model) -> Self {
        let mut files = Vec::new();
        let mut by_inode = HashMap::new();
        let mut entries = BTreeMap::from([(top.to_owned(), Node::Dir)]);
        for (path, content) in &base.0 {
            let node = match content {
                None => Node::Dir,
                Some((inode, bytes)) => {
                    by_inode.insert(*inode, files.len());
                    files.push(File { durable: bytes.clone(), pending: Vec::new() });
                    Node::File(files.len() - 1)
                }
            };
            entries.insert(format!("{top}/{path}"), node);
        }
        let notes = Notes { path: format!("{top}/{notes}"), inode: None, last: None };
        let durable = entries.clone();
        let (pending, syncs) = (Vec::new(), HashMap::new());
        Self { trace, top: top.to_owned(), at: 0, files, by_inode, entries, durable, pending, syncs, model, notes }
    }

    /// Goes on until so many events have happened.
    pub(super) fn advance(&mut self, events: usize) -> anyhow::Result<()> {
        let trace = self.trace;
        while self.at < events {
            let event = &trace.events[self.at];
            self.apply(event).with_context(|| format!("event {}", self.at))?;
            self.at += 1;
        }
        Ok(())
    }

    /// The last note before the cut.
    pub(super) fn note(&self) -> Option<&str> {
        self.notes.last.as_deref()
    }

    /// Whether anything is not durable.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || self.files.iter().any(|file| !file.pending.is_empty())
    }

    fn apply(&mut self, Event { what, .. }: &Event) -> anyhow::Result<()> {
        match what {
            What::CreateFile { path, inode } if *path == self.notes.path => self.notes.inode = Some(*inode),
            What::CreateFile { path, inode } => {
                self.files.push(File::default());
                self.by_inode.insert(*inode, self.files.len() - 1);
                self.change(Change::Put(path.clone(), Node::File(self.files.len() - 1)));
            }
            What::CreateDir { path } => self.change(Change::Put(path.clone(), Node::Dir)),
            What::Rename { from, to } => {
                ensure!(dir_of(from) == dir_of(to), "renames go within a directory");
                let node = *self.entries.get(from).context("nothing to rename")?;
                self.change(Change::Move(from.clone(), to.clone(), node));
            }
            What::Remove { path } => {
                ensure!(self.entries.contains_key(path), "nothing to remove");
                self.change(Change::Remove(path.clone()));
            }
            What::Write { inode, data, .. } if self.notes.inode == Some(*inode) => {
                let text = std::str::from_utf8(&self.trace.bytes[data.clone()])?;
                self.notes.last = Some(text.trim_end().to_owned());
            }
            What::Write { inode, offset, data } => self.edit(*inode, Edit::Write(*offset, data.clone()))?,
            What::Resize { inode, len } => self.edit(*inode, Edit::Resize(*len))?,
            What::SyncBegins { path, inode, number, is_full } => {
                let target = match self.entries.get(path) {
                    Some(Node::Dir) => Target::Dir(path.clone()),
                    _ => Target::File(*self.by_inode.get(inode).context("a file that was never created")?),
                };
                self.syncs.insert(*number, (self.at, target, *is_full));
            }
            What::SyncEnds { number } => {
                let (begun, target, is_full) = self.syncs.remove(number).context("a sync that never began")?;
                self.synced(begun, &target);
                if is_full && self.model == Model::Journaling {
                    self.entries_synced(begun, None);
                }
            }
            What::WrittenBack => {}
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.entries);
        self.pending.push((self.at, change));
    }

    fn edit(&mut self, inode: u64, edit: Edit) -> anyhow::Result<()> {
        let file = *self.by_inode.get(&inode).context("a file that was never created")?;
        self.files[file].pending.push((self.at, edit));
        Ok(())
    }

    /// What was done before event `begun` is durable.
    fn synced(&mut self, begun: usize, target: &Target) {
        match target {
            Target::File(file) => {
                let file = &mut self.files[*file];
                let count = file.pending.partition_point(|(at, _)| *at < begun);
                for (_, edit) in file.pending.drain(..count) {
                    edit.apply(&self.trace.bytes, &mut file.durable, &mut |_| true);
                }
            }
            Target::Dir(dir) => self.entries_synced(begun, Some(dir)),
        }
    }

    /// What was changed before event `begun` is durable: in one directory, or in all.
    fn entries_synced(&mut self, begun: usize, dir: Option<&str>) {
        let durable = &mut self.durable;
        self.pending.retain(|(at, change)| {
            let is_synced = *at < begun && dir.is_none_or(|dir| change.dir() == dir);
            if is_synced {
                change.apply(durable);
            }
            !is_synced
        });
    }

    /// Writes what a power cut now leaves into an empty directory.
    pub(super) fn cut(&self, random: &mut Random, dir: &Path) -> anyhow::Result<()> {
        let fate = Fate::draw(random);
        // In order, cut and fate are the same for all files.
        let end = self.last_kept(random);
        let (entries, limit) = self.kept_entries(random, &fate, end);
        for (path, node) in &entries {
            let Some(name) = path.strip_prefix(&self.top).and_then(|rest| rest.strip_prefix('/')) else { continue };
            // With a directory all below it is gone.
            if !dir.join(dir_of(name)).is_dir() {
                continue;
            }
            let path = dir.join(name);
            match node {
                Node::Dir => fs::create_dir(&path),
                Node::File(file) => fs::write(&path, self.content(*file, random, &fate, (end, limit))),
            }
            .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// An event from among those that are not durable.
    fn last_kept(&self, random: &mut Random) -> usize {
        let edits = self.files.iter().flat_map(|file| file.pending.iter().map(|(at, _)| *at));
        let mut pending: Vec<usize> = edits.chain(self.pending.iter().map(|(at, _)| *at)).collect();
        pending.sort_unstable();
        match pending.len() {
            0 => 0,
            len => pending[random.below(len as u64) as usize],
        }
    }

    /// The entries that are kept, and the event before which content may be kept.
    fn kept_entries(&self, random: &mut Random, fate: &Fate, end: usize) -> (BTreeMap<String, Node>, usize) {
        let mut entries = self.durable.clone();
        let prefix = random.below(self.pending.len() as u64 + 1) as usize;
        let mut limit = usize::MAX;
        for (number, (at, change)) in self.pending.iter().enumerate() {
            let is_kept = match fate {
                Fate::Nothing => false,
                Fate::Everything => true,
                Fate::InOrder => *at <= end,
                Fate::Edits | Fate::Sectors(_) if self.model == Model::Journaling => number < prefix,
                Fate::Edits | Fate::Sectors(_) => random.below(2) == 0,
            };
            if is_kept {
                change.apply(&mut entries);
            } else if self.model == Model::Journaling {
                limit = limit.min(*at);
            }
        }
        (entries, limit)
    }

    fn content(&self, file: FileId, random: &mut Random, fate: &Fate, (end, limit): (usize, usize)) -> Vec<u8> {
        let File { durable, pending } = &self.files[file];
        let (mut content, mut longest) = (durable.clone(), durable.len());
        for (at, edit) in pending.iter().filter(|(at, _)| *at < limit) {
            longest = longest.max(edit.end());
            let mut tear = |_: usize| random.below(2) == 0;
            let bytes = &self.trace.bytes;
            match fate {
                Fate::Nothing => {}
                Fate::Everything => edit.apply(bytes, &mut content, &mut |_| true),
                Fate::InOrder if *at < end => edit.apply(bytes, &mut content, &mut |_| true),
                Fate::InOrder if *at == end => edit.apply(bytes, &mut content, &mut tear),
                Fate::InOrder => {}
                Fate::Edits => match random.below(5) {
                    0 | 1 => edit.apply(bytes, &mut content, &mut |_| true),
                    2 => {
                        let until = random.below(edit.end().div_ceil(SECTOR) as u64 + 1) as usize;
                        edit.apply(bytes, &mut content, &mut |sector| sector < until);
                    }
                    _ => {}
                },
                Fate::Sectors(percent) => {
                    edit.apply(bytes, &mut content, &mut |_| random.below(100) < *percent);
                }
            }
        }
        let may_grow = matches!(fate, Fate::Edits | Fate::Sectors(_));
        if may_grow && longest > content.len() && random.below(3) == 0 {
            content.resize(longest, 0);
        }
        content
    }
}

/// What becomes of what is not durable.
enum Fate {
    Nothing,
    Everything,
    /// All up to some event, which is torn, and nothing after it.
    InOrder,
    /// Each write by itself: there, missing, or only its beginning.
    Edits,
    /// Each sector of each write by itself: so many percent of them.
    Sectors(u64),
}

impl Fate {
    fn draw(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::InOrder,
            4..=6 => Self::Edits,
            _ => Self::Sectors([5, 50, 95][random.below(3) as usize]),
        }
    }
}

impl Change {
    fn apply(&self, entries: &mut BTreeMap<String, Node>) {
        match self {
            Self::Put(path, node) => {
                entries.insert(path.clone(), *node);
            }
            Self::Move(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
            Self::Remove(path) => {
                entries.remove(path);
            }
        }
    }

    /// The directory that it is in.
    fn dir(&self) -> &str {
        let (Self::Put(path, _) | Self::Move(path, ..) | Self::Remove(path)) = self;
        dir_of(path)
    }
}

impl Edit {
    /// Where it ends in the file.
    fn end(&self) -> usize {
        match self {
            Self::Write(offset, data) => offset + data.len(),
            Self::Resize(len) => *len,
        }
    }

    /// Does it to the sectors, by their numbers in the file, that are kept. A change of length is of one piece.
    fn apply(&self, bytes: &[u8], content: &mut Vec<u8>, is_kept: &mut dyn FnMut(usize) -> bool) {
        match self {
            Self::Resize(len) => {
                if is_kept(len / SECTOR) {
                    content.resize(*len, 0);
                }
            }
            Self::Write(offset, data) => {
                let mut at = *offset;
                while at < self.end() {
                    let end = ((at / SECTOR + 1) * SECTOR).min(self.end());
                    if is_kept(at / SECTOR) {
                        if content.len() < end {
                            content.resize(end, 0);
                        }
                        content[at..end].copy_from_slice(&bytes[data.start + at - offset..data.start + end - offset]);
                    }
                    at = end;
                }
            }
        }
    }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Inode and bytes of a file.
type Content = (u64, Vec<u8>);

/// Content of a directory: paths below it, `None` for directories.
#[derive(Default)]
pub(super) struct Base(BTreeMap<String, Option<Content>>);

impl Base {
    /// Reads a directory and what is below it.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut base = Self::default();
        base.add(dir, "")?;
        Ok(base)
    }

    fn add(&mut self, dir: &Path, prefix: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name that is not UTF-8")?;
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.add(&entry.path(), &format!("{path}/"))?;
                self.0.insert(path, None);
            } else {
                self.0.insert(path, Some((entry.metadata()?.ino(), fs::read(entry.path())?)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
