//! Room on the disk. Nothing is written when there is little left: sled does not survive a full disk
//! (after one failed write it repeats the error for ever, and hangs when it is closed), and it
//! writes on its own after a commit. So both writers stop while there is still room for that.

use std::path::{Path, PathBuf};

/// What the journal leaves: room for a commit and for what sled writes behind it.
pub const JOURNAL_LEAVES: u64 = 32 << 20;
/// What a commit leaves, besides four times its own size: sled's segments are rewritten as they fill.
pub const COMMIT_LEAVES: u64 = 16 << 20;

/// The file system that the data is on.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
}

/// There is too little room.
#[derive(Debug, thiserror::Error)]
#[error("No space left: {} MiB free at {}, {} MiB are needed; make room", free >> 20, .dir.display(), needed.div_ceil(1 << 20))]
pub struct NoRoom {
    dir: PathBuf,
    free: u64,
    needed: u64,
}

impl Disk {
    /// The one that this directory is on.
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Bytes that may still be written, if the file system says.
    pub fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether there is that much room. A file system that does not say has it.
    pub fn has(&self, needed: u64) -> Result<(), NoRoom> {
        let Some(free) = self.free() else { return Ok(()) };
        if free >= needed { Ok(()) } else { Err(NoRoom { dir: self.dir.clone(), free, needed }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_all_the_room_in_the_world() {
        let disk = Disk::of(&std::env::temp_dir());
        assert!(disk.has(0).is_ok());
        let error = disk.has(u64::MAX).expect_err("too much").to_string();
        assert!(error.starts_with("No space left: ") && error.contains("MiB"), "{error}");
    }
}
