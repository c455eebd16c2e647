//! A folder for what a measurement writes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};

/// How the name of each begins.
const PREFIX: &str = "statscache-bench-";

/// Removed with all that is in it when it is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new one in this folder, or in the system's for temporary files.
    pub fn new(within: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = std::env::temp_dir();
        let path = within.unwrap_or(&temporary).join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the folder {}; see --dir", path.display()))?;
        Ok(Self { path })
    }

    /// One that another process has made, to be removed from here as well: that process may be killed.
    pub(super) fn adopt(path: &Path) -> anyhow::Result<Self> {
        let is_one = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        ensure!(is_one, "{} is no folder of a measurement", path.display());
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_of_a_measurement_is_removed() {
        let room = tempfile::tempdir().expect("a folder");
        assert!(Scratch::adopt(room.path()).is_err());
        assert!(room.path().exists(), "somebody's data");

        let made = Scratch::new(Some(room.path())).expect("made");
        let adopted = Scratch::adopt(made.path()).expect("it is one");
        fs::write(adopted.fresh("data"), "x").expect("written");
        drop(adopted);
        assert!(!made.path().exists());
        drop(made);
        assert!(room.path().exists());
    }
}
