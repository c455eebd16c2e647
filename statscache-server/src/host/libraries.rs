//! All libraries that were opened since the process started. A library is opened once for each content of its file:
//! from a copy that nobody writes to, because a file that is replaced while its code runs takes the process with it,
//! and because the system's loader gives the old code again for a file that it knows. Nothing is ever unloaded.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    bundled::write_whole,
    library::{self, LibraryError, LoadedPlugin},
};
use crate::health::describe;

/// A plugin of a library, or why it is not used.
pub(super) type Found = Result<Arc<LoadedPlugin>, String>;

/// Libraries by their files and what was in those.
#[derive(Default)]
pub(super) struct Libraries {
    opened: BTreeMap<(PathBuf, u64), Vec<Found>>,
    /// All plugins, the newest last.
    plugins: Vec<Arc<LoadedPlugin>>,
    /// What an earlier process left in the folder of copies is gone.
    is_clean: bool,
}

impl Libraries {
    /// The plugins of a library: those that were opened before, if the file is the same. `copies` is the folder for
    /// copies; none: nobody writes to this file.
    pub(super) fn open(&mut self, path: &Path, origin: &str, copies: Option<&Path>) -> Result<Vec<Found>, String> {
        library::look(path).map_err(|error| describe(&error))?;
        let read = |source| describe(&LibraryError::Read { path: path.to_owned(), source });
        let bytes = fs::read(path).map_err(read)?;
        let key = (path.to_owned(), xxh3_64(&bytes));
        if let Some(known) = self.opened.get(&key) {
            return Ok(known.clone());
        }
        let copy = match copies {
            Some(dir) => self
                .copy(&bytes, &key, dir)
                .map_err(|error| format!("{} cannot be copied to {}: {error}", path.display(), dir.display()))?,
            None => path.to_owned(),
        };
        let opened = library::look(&copy).and_then(|()| library::open(path, &copy, (origin, key.1)));
        let opened = opened.map_err(|error| describe(&error))?;
        let found: Vec<Found> =
            opened.into_iter().map(|plugin| plugin.map(Arc::new).map_err(|error| describe(&error))).collect();
        self.plugins.extend(found.iter().flatten().cloned());
        self.opened.insert(key, found.clone());
        Ok(found)
    }

    /// Those with this id and state version, the newest first.
    pub(super) fn plugins_of(&self, id: &str, state_version: u32) -> impl Iterator<Item = &Arc<LoadedPlugin>> {
        let fits = move |plugin: &&Arc<LoadedPlugin>| plugin.id == id && plugin.state_version == state_version;
        self.plugins.iter().rev().filter(fits)
    }

    /// How many were opened.
    pub(super) fn len(&self) -> usize {
        self.opened.len()
    }

    fn copy(&mut self, bytes: &[u8], (path, hash): &(PathBuf, u64), dir: &Path) -> io::Result<PathBuf> {
        if !self.is_clean && dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        self.is_clean = true;
        fs::create_dir_all(dir)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // Of two files with one name in different folders each has a copy of its own.
        let place = xxh3_64(path.as_os_str().as_encoded_bytes());
        let copy = dir.join(format!("{name}-{hash:016x}-{place:016x}{}", std::env::consts::DLL_SUFFIX));
        write_whole(&copy, bytes)?;
        Ok(copy)
    }
}
