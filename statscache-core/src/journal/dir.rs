//! The seam below the journal: the few file operations that it needs, and the real file system.
//!
//! [`FsDir`] is what runs; [`SimulatedDir`](super::SimulatedDir) forgets what was not synced and
//! fails on demand. Nothing above this module names `std::fs`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Held while a process is the writer; dropping it lets the next one in.
pub type DirLock = Box<dyn fmt::Debug + Send + Sync>;

/// One flat directory of files.
///
/// What is written survives the end of the process at once, and a power cut only after
/// [`File::sync_data`]; an entry (created, renamed, removed) only after [`Dir::sync`].
pub trait Dir: fmt::Debug + Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// Takes the writer's lock; `None` when somebody else has it.
    fn lock(&self) -> io::Result<Option<DirLock>>;
    /// The names of all entries, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// An existing file, to be read and, if `writable`, written.
    fn open(&self, name: &str, writable: bool) -> io::Result<Arc<dyn File>>;
    /// Renames an entry.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes an entry; handles to it stay usable.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the entries durable.
    fn sync(&self) -> io::Result<()>;
}

/// One open file. Positions are explicit, so that one handle serves the writer and all readers.
pub trait File: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reads at most `buf.len()` bytes; fewer is not the end, zero is.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`. After a failure, any part of them may be in the file.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// Fills `buf` as far as the file goes and says how far that was.
pub(super) fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(filled)
}

const LOCK_NAME: &str = "journal.lock";

/// A directory of the real file system.
#[derive(Debug)]
pub struct FsDir {
    path: PathBuf,
}

impl FsDir {
    /// The directory at `path`, created when there is none.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            // Otherwise a power cut could take the directory and leave nothing that was synced in it.
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path })
    }

    /// The directory at `path`, which must exist.
    pub fn existing(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::read_dir(&path)?;
        Ok(Self { path })
    }
}

impl Dir for FsDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> io::Result<Option<DirLock>> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.path.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(err)) => Err(err),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(FsFile(options.open(self.path.join(name))?)))
    }

    fn open(&self, name: &str, writable: bool) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(writable);
        Ok(Arc::new(FsFile(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct FsFile(fs::File);

impl File for FsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
