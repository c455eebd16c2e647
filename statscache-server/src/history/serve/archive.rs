//! Where messages are kept: lines of a file, or a journal. Looked at again and again, since both may grow.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use statscache_core::journal::{Journal, JournalError, JournalHandle};

use super::index::{Added, Index};
use crate::history::text::{HeadReader, readable};

/// Longest line. What a journal takes is not longer.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Read of a journal at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The same, for single messages.
const CHUNK_BYTES_FEW: usize = 64 << 10;

/// Why messages cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it is no message.
    #[error("{}:{line}: {why}; each line is one message, a JSON object with a `topic`", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Messages at places.
pub(super) trait Bodies: Send + Sync {
    /// The messages at these places with these lengths, in the same order; `None` for one that is gone.
    fn bodies(&self, places: &[(u64, u32)]) -> Result<Vec<Option<String>>, ArchiveError>;
}

/// A place where messages are kept.
pub(super) enum Archive {
    Lines(Lines),
    Journal(JournalPlace),
}

impl Archive {
    /// Puts what is new into the index, and takes out what is gone.
    pub(super) fn look(&mut self, index: &mut Index) -> Result<(), ArchiveError> {
        match self {
            Self::Lines(lines) => lines.look(index),
            Self::Journal(journal) => journal.look(index),
        }
    }

    /// To read messages with, while others look.
    pub(super) fn bodies(&self) -> Arc<dyn Bodies> {
        match self {
            Self::Lines(lines) => Arc::new(LineBodies { path: lines.path.clone(), file: lines.file.clone() }),
            Self::Journal(journal) => Arc::new(journal.handle.clone()),
        }
    }
}

/// A file with a message a line.
pub(super) struct Lines {
    path: PathBuf,
    file: Arc<File>,
    /// Read up to there.
    offset: u64,
    /// Lines before that.
    line: u64,
    /// Time of the last message: that of one which has none.
    time: i64,
    is_new: bool,
    heads: HeadReader,
}

struct LineBodies {
    path: PathBuf,
    file: Arc<File>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::File { path: path.to_owned(), source };
        let file = Arc::new(File::open(path).map_err(failed)?);
        let (path, heads) = (path.to_owned(), HeadReader::new());
        Ok(Self { path, file, offset: 0, line: 0, time: 0, is_new: true, heads })
    }

    fn look(&mut self, index: &mut Index) -> Result<(), ArchiveError> {
        let path = self.path.clone();
        self.follow(index).map_err(|source| ArchiveError::File { path, source })?;
        let read = self.read(index);
        index.settle();
        read
    }

    /// Begins anew when the file is another, or shorter than before.
    fn follow(&mut self, index: &mut Index) -> io::Result<()> {
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let now = fs::metadata(&self.path)?;
        if identity(&now) != identity(&self.file.metadata()?) || now.len() < self.offset {
            self.file = Arc::new(File::open(&self.path)?);
            (self.offset, self.line, self.time) = (0, 0, 0);
            index.clear();
        }
        Ok(())
    }

    fn read(&mut self, index: &mut Index) -> Result<(), ArchiveError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::File { path, source }
        };
        let mut reader = BufReader::with_capacity(CHUNK_BYTES, &*self.file);
        reader.seek(SeekFrom::Start(self.offset)).map_err(failed(&self.path))?;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut line = io::Read::take(&mut reader, LINE_BYTES_MAX);
            line.read_until(b'\n', &mut bytes).map_err(failed(&self.path))?;
            let is_whole = bytes.last() == Some(&b'\n');
            let problem = match (is_whole, bytes.len()) {
                (false, 0) => break,
                (false, len) if len as u64 == LINE_BYTES_MAX => Some("the line is longer than 64 MiB"),
                _ => add(&bytes, self.offset, &mut self.time, &self.heads, index).err(),
            };
            match problem {
                // Somebody is writing it.
                Some(_) if !is_whole && (bytes.len() as u64) < LINE_BYTES_MAX => break,
                Some(why) if self.is_new => {
                    return Err(ArchiveError::Line { path: self.path.clone(), line: self.line + 1, why });
                }
                Some(why) => {
                    tracing::warn!("{}:{}: {why}; the line is left out", self.path.display(), self.line + 1);
                }
                None => {}
            }
            self.offset += bytes.len() as u64;
            self.line += 1;
        }
        self.is_new = false;
        Ok(())
    }
}

/// Adds a line, or says what is wrong with it. An empty one is nothing.
fn add(bytes: &[u8], offset: u64, time: &mut i64, heads: &HeadReader, index: &mut Index) -> Result<(), &'static str> {
    let line = str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let text = line.trim();
    if text.is_empty() {
        return Ok(());
    }
    let place = offset + (line.len() - line.trim_start().len()) as u64;
    let readable = readable(text);
    let head = heads.read(&readable).ok_or("it is no JSON object with a text as `topic`")?;
    *time = head.time.map_or(*time, |time| time.micros());
    let (topic, msg_id) = (&*head.topic, head.msg_id.as_deref());
    index.add(&Added { time: *time, place, len: text.len() as u32, topic, msg_id, key: head.key });
    Ok(())
}

impl Bodies for LineBodies {
    fn bodies(&self, places: &[(u64, u32)]) -> Result<Vec<Option<String>>, ArchiveError> {
        let read = |(offset, len): &(u64, u32)| {
            let mut bytes = vec![0; *len as usize];
            match self.file.read_exact_at(&mut bytes, *offset) {
                Ok(()) => Ok(String::from_utf8(bytes).ok()),
                // It was made shorter.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                Err(source) => Err(ArchiveError::File { path: self.path.clone(), source }),
            }
        };
        places.iter().map(read).collect()
    }
}

/// A journal: that of this process, or one in a directory, which another process may be writing.
pub(super) struct JournalPlace {
    handle: JournalHandle,
    /// Of a journal that is not ours: where it is, and what its files looked like.
    dir: Option<(PathBuf, Vec<(PathBuf, u64)>)>,
    /// The next sequence to read.
    next: u64,
    /// The first sequence that was there.
    first: u64,
    heads: HeadReader,
}

impl JournalPlace {
    pub(super) fn live(handle: JournalHandle) -> Self {
        Self { handle, dir: None, next: 1, first: 1, heads: HeadReader::new() }
    }

    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let files = files(path)?;
        let (handle, _) = Journal::open_read_only(path)?;
        Ok(Self { dir: Some((path.to_owned(), files)), ..Self::live(handle) })
    }

    fn look(&mut self, index: &mut Index) -> Result<(), ArchiveError> {
        if let Some((path, known)) = &mut self.dir {
            let now = files(path)?;
            if now != *known {
                self.handle = Journal::open_read_only(path)?.0;
                *known = now;
            }
        }
        let first = self.handle.stats().first;
        if first > self.first {
            index.forget_before(first);
            self.first = first;
        }
        let read = self.read(index);
        index.settle();
        read
    }

    fn read(&mut self, index: &mut Index) -> Result<(), ArchiveError> {
        let mut reader = self.handle.reader(self.next);
        loop {
            let chunk = reader.next_chunk(CHUNK_BYTES)?;
            for (sequence, record) in chunk.iter().filter(|(_, record)| !record.is_mark) {
                let (Ok(topic), Ok(body)) = (str::from_utf8(record.topic), str::from_utf8(record.body)) else {
                    continue;
                };
                let readable = readable(body);
                // What has no topic inside, or another, cannot be told in an answer: whoever reads it would take it for
                // another message.
                let Some(head) = self.heads.read(&readable).filter(|head| head.topic == topic) else { continue };
                let (len, msg_id) = (body.len() as u32, head.msg_id.as_deref());
                index.add(&Added { time: record.time, place: sequence, len, topic, msg_id, key: head.key });
            }
            self.next = chunk.next_sequence();
            if chunk.is_empty() {
                return Ok(());
            }
            reader.recycle(chunk);
        }
    }
}

impl Bodies for JournalHandle {
    fn bodies(&self, places: &[(u64, u32)]) -> Result<Vec<Option<String>>, ArchiveError> {
        let mut wanted: Vec<(u64, usize)> = places.iter().enumerate().map(|(at, place)| (place.0, at)).collect();
        wanted.sort_unstable();
        let mut found = vec![None; places.len()];
        let mut reader = self.reader(1);
        let mut wanted = wanted.into_iter().peekable();
        while let Some((sequence, _)) = wanted.peek() {
            if reader.next_sequence() != *sequence {
                reader.seek(*sequence);
            }
            let chunk = reader.next_chunk(CHUNK_BYTES_FEW)?;
            for (sequence, record) in &chunk {
                while let Some((_, at)) = wanted.next_if(|wanted| wanted.0 <= sequence) {
                    if places[at].0 == sequence {
                        found[at] = str::from_utf8(record.body).ok().map(str::to_owned);
                    }
                }
            }
            if chunk.is_empty() {
                break;
            }
            reader.recycle(chunk);
        }
        Ok(found)
    }
}

/// Names and lengths of the files in a directory.
fn files(path: &Path) -> Result<Vec<(PathBuf, u64)>, ArchiveError> {
    let list = || -> io::Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) => files.push((entry.path(), metadata.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort();
        Ok(files)
    };
    list().map_err(|source| ArchiveError::File { path: path.to_owned(), source })
}
