//! What can go wrong with a journal, in the operator's words.

use std::io;
use std::path::{Path, PathBuf};

use super::dir::Dir;

/// Why a journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process is the journal's writer.
    #[error(
        "journal {}: another process has it open; stop that one, or give this one a directory of its own",
        .dir.display()
    )]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// A segment was written by a later version of this program.
    #[error(
        "journal segment {}: written in format {found}, this build reads up to {supported}; \
         run the newer build, or move the segment out of the directory",
        .path.display()
    )]
    FormatTooNew {
        /// The segment.
        path: PathBuf,
        /// The version in its header.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// A sync failed. The kernel may have dropped what it could not write, and a second sync would
    /// not say so: only reading the files again tells what is there.
    #[error(
        "journal {}: an earlier sync failed, so what was written before it may be lost; \
         check the disk, then reopen the journal (restart)",
        .dir.display()
    )]
    Poisoned {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("journal: cannot {action} {}{}", .path.display(), hint(.source))]
    Io {
        /// What was tried: `write to`, `sync`, …
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
}

impl JournalError {
    /// Whether room on the disk is all that is missing: worth trying again later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    pub(super) fn entry(dir: &dyn Dir, name: &str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        Self::at(dir.path().join(name), action)
    }

    pub(super) fn at(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source }
    }
}

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn hint(err: &io::Error) -> &'static str {
    match err.kind() {
        _ if is_full(err) => "; free some space, or lower the journal's retention",
        io::ErrorKind::PermissionDenied => "; the daemon's user must own the journal's directory",
        _ => "",
    }
}
