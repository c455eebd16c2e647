//! The shipped plugins, inside the binary: so `cargo install` and a lone executable have them.
//! The operating system loads shared libraries from files only, so they are unpacked first.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

/// A shipped plugin.
#[derive(Clone, Copy, Debug)]
pub struct BundledPlugin {
    /// Its name.
    pub name: &'static str,
    /// Its shared library; empty where the binary was only checked, not built.
    pub library: &'static [u8],
}

/// The shipped plugins, for the `main` of a binary whose build script is this crate's and which
/// depends on the plugins.
#[macro_export]
macro_rules! bundled_plugins {
    () => {
        &[
            $crate::host::BundledPlugin {
                name: "contributions",
                library: include_bytes!(env!("STATSCACHE_BUNDLED_CONTRIBUTIONS")),
            },
            $crate::host::BundledPlugin {
                name: "membership",
                library: include_bytes!(env!("STATSCACHE_BUNDLED_MEMBERSHIP")),
            },
            $crate::host::BundledPlugin { name: "pagure", library: include_bytes!(env!("STATSCACHE_BUNDLED_PAGURE")) },
            $crate::host::BundledPlugin { name: "releng", library: include_bytes!(env!("STATSCACHE_BUNDLED_RELENG")) },
            $crate::host::BundledPlugin {
                name: "storage",
                library: include_bytes!(env!("STATSCACHE_BUNDLED_STORAGE")),
            },
            $crate::host::BundledPlugin { name: "uptime", library: include_bytes!(env!("STATSCACHE_BUNDLED_UPTIME")) },
            $crate::host::BundledPlugin { name: "usage", library: include_bytes!(env!("STATSCACHE_BUNDLED_USAGE")) },
            $crate::host::BundledPlugin { name: "volume", library: include_bytes!(env!("STATSCACHE_BUNDLED_VOLUME")) },
        ]
    };
}

/// Writes the libraries into the folder, each under a name that says what is in it, and gives
/// their paths. What other versions left there is removed.
pub(super) fn unpack(bundled: &[BundledPlugin], dir: &Path) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let failed = |error: io::Error| format!("the bundled plugins cannot be unpacked to {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(failed)?;
    let mut unpacked = Vec::new();
    for plugin in bundled.iter().filter(|plugin| !plugin.library.is_empty()) {
        let hash = xxh3_64(plugin.library);
        let path = dir.join(format!("{}-{hash:016x}{}", plugin.name, std::env::consts::DLL_SUFFIX));
        if fs::read(&path).ok().as_deref() != Some(plugin.library) {
            write_whole(&path, plugin.library).map_err(failed)?;
        }
        unpacked.push((plugin.name, path));
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !unpacked.iter().any(|(_, used)| *used == path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(unpacked)
}

/// All or nothing: a crash never leaves half a library under the name.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
