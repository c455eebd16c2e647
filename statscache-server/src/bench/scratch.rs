//! A folder for what a measurement writes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

/// Removed with all that is in it when it is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new one in this folder, or in the system's for temporary files.
    pub fn new(within: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = std::env::temp_dir();
        let path = within.unwrap_or(&temporary).join(format!("statscache-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the folder {}; see --dir", path.display()))?;
        Ok(Self { path })
    }

    /// A name in it where nothing is yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that was just killed may still be in the middle of making a file.
        for _ in 0..40 {
            if fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(25));
        }
        eprintln!("statscache: {} could not be removed", self.path.display());
    }
}
