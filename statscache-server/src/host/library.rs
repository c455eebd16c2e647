//! Opens a library and checks it before it is trusted. The second of three files of the project
//! with unsafe code.

#![allow(unsafe_code)]

use std::{
    mem,
    path::{Path, PathBuf},
    slice, str,
};

use libloading::Library;
use statscache_plugin_sdk::{
    Manifest,
    abi::{ABI_VERSION, ABI1_LIBRARY_SIZE, ABI1_PLUGIN_SIZE, AbiBytes, AbiLibrary, AbiPlugin, MAGIC, SYMBOL},
};

use super::{call, elf};

/// Plugins that one library may have.
const PLUGINS_MAX: usize = 1000;

/// Why a library, or one plugin of it, is not used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The operating system does not load it.
    #[error("{} is not a shared library that can be loaded here", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system's loader said.
        source: libloading::Error,
    },
    /// Opening it would end the daemon, or wait for ever.
    #[error("{} is not a shared library that can be loaded here: {what}", .path.display())]
    Fault {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a library, but not of plugins.
    #[error("{} is not a statscache plugin: it exports no {}; build it with `export_plugins!` as a cdylib", .path.display(), symbol_name())]
    NoSymbol {
        /// Which.
        path: PathBuf,
    },
    /// What it exports is something else.
    #[error("{} is not a statscache plugin: {} does not begin as it should", .path.display(), symbol_name())]
    Magic {
        /// Which.
        path: PathBuf,
    },
    /// It speaks another version of the boundary.
    #[error("{}: built for ABI {found}, this daemon speaks {ABI_VERSION}; rebuild it with statscache-plugin-sdk {}", .path.display(), env!("CARGO_PKG_VERSION"))]
    Abi {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Its tables contradict the boundary's rules.
    #[error("{}: damaged plugin table: {what}; rebuild it", .path.display())]
    Table {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A plugin of it does not say what it is.
    #[error("{}: plugin `{plugin}` does not say what it is", .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Which plugin.
        plugin: String,
        /// Why not.
        source: call::CallError,
    },
}

fn symbol_name() -> &'static str {
    str::from_utf8(SYMBOL).unwrap_or_default().trim_end_matches('\0')
}

/// A plugin, ready to make instances.
#[derive(Debug)]
pub struct LoadedPlugin {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Version of its numbers.
    pub state_version: u32,
    /// What is true of it whatever the configuration.
    pub manifest: Manifest,
    /// Where it is from, for people.
    pub origin: String,
    /// Hash of its library's bytes: what differs here is other code.
    pub code: u64,
    pub(super) table: &'static AbiPlugin,
}

/// Opens a library where it is: nobody may write to the file as long as the process lives.
pub fn open_library(path: &Path, origin: &str) -> Result<Vec<Result<LoadedPlugin, LibraryError>>, LibraryError> {
    look(path)?;
    open(path, path, (origin, 0))
}

/// Opens a library and gives its plugins, those that can be used and those that cannot. The system's loader
/// gets `copy`, a file that nobody writes to while it is in use; errors name `path`.
pub(super) fn open(
    path: &Path,
    copy: &Path,
    (origin, code): (&str, u64),
) -> Result<Vec<Result<LoadedPlugin, LibraryError>>, LibraryError> {
    // SAFETY: loading runs the library's initialisers, which we can only trust: a plugin is code
    // that the operator chose to run in this process.
    let library = unsafe { Library::new(copy) };
    let library = library.map_err(|source| LibraryError::Open { path: path.to_owned(), source })?;
    // Never unloaded: threads and destructors of the library may outlive every use of ours.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: only the address is taken, which is valid for ever; nothing is read through it yet.
    let symbol = unsafe { library.get::<*const AbiLibrary>(SYMBOL).ok().and_then(|symbol| symbol.try_as_raw_ptr()) };
    let exported = symbol.ok_or_else(|| LibraryError::NoSymbol { path: path.to_owned() })?;
    let tables = check(exported.cast::<AbiLibrary>(), path)?;
    Ok(tables.iter().map(|table| load(*table, path, (origin, code))).collect())
}

/// What keeps a file from being opened: opening it would end the daemon, or wait for ever.
pub(super) fn look(path: &Path) -> Result<(), LibraryError> {
    match elf::fault(path) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(LibraryError::Fault { path: path.to_owned(), what }),
        Err(source) => Err(LibraryError::Read { path: path.to_owned(), source }),
    }
}

/// Reads the export in the order in which it can be trusted: magic, version, size, tables.
fn check(exported: *const AbiLibrary, path: &Path) -> Result<&'static [*const AbiPlugin], LibraryError> {
    let path = || path.to_owned();
    // SAFETY: the library exports the symbol and is never unloaded; a data symbol has at least the
    // eight bytes of the magic in every format that loaders accept.
    let magic = unsafe { exported.cast::<[u8; 8]>().read_unaligned() };
    if magic != MAGIC {
        return Err(LibraryError::Magic { path: path() });
    }
    // SAFETY: what begins with the magic has version and size behind it, in every version.
    let (abi, size) =
        unsafe { ((&raw const (*exported).abi).read_unaligned(), (&raw const (*exported).size).read_unaligned()) };
    if abi != ABI_VERSION {
        return Err(LibraryError::Abi { path: path(), found: abi });
    }
    let table = |what| LibraryError::Table { path: path(), what };
    if (size as usize) < ABI1_LIBRARY_SIZE || !exported.is_aligned() {
        return Err(table("it is shorter than that of ABI 1"));
    }
    // SAFETY: version and size fit, so it begins with an `AbiLibrary`, which has no field beyond
    // version 1 and never gets one; it is read-only for ever.
    let library: &'static AbiLibrary = unsafe { &*exported };
    if library.plugins.is_null() || library.plugin_count == 0 || library.plugin_count > PLUGINS_MAX {
        return Err(table("it has no plugins, or more than 1000"));
    }
    // SAFETY: the boundary promises `plugin_count` pointers, read-only for ever.
    Ok(unsafe { slice::from_raw_parts(library.plugins, library.plugin_count) })
}

fn load(table: *const AbiPlugin, path: &Path, (origin, code): (&str, u64)) -> Result<LoadedPlugin, LibraryError> {
    let wrong = |what| LibraryError::Table { path: path.to_owned(), what };
    if table.is_null() || !table.is_aligned() {
        return Err(wrong("a plugin's table is missing"));
    }
    // SAFETY: the boundary promises a table that begins with its size.
    let size = unsafe { (&raw const (*table).size).read() };
    if (size as usize) < ABI1_PLUGIN_SIZE {
        return Err(wrong("a plugin's table is shorter than that of ABI 1"));
    }
    const WORDS: usize = ABI1_PLUGIN_SIZE / mem::size_of::<usize>();
    const FUNCTIONS: usize = mem::offset_of!(AbiPlugin, manifest) / mem::size_of::<usize>();
    // SAFETY: the table is at least that large and aligned; as plain words it holds nothing invalid.
    let words = unsafe { table.cast::<[usize; WORDS]>().read() };
    if words[FUNCTIONS..].contains(&0) {
        return Err(wrong("a function of a plugin is missing"));
    }
    // SAFETY: large enough for version 1, which is all that the type has; aligned, functions not
    // null; read-only for ever.
    let table: &'static AbiPlugin = unsafe { &*table };
    // SAFETY: the boundary promises texts that live as long as the library: for ever.
    let (id, version) = unsafe { (text(table.id), text(table.version)) };
    let id = id.filter(|id| is_id(id)).ok_or_else(|| wrong("a plugin's id is not 1 to 64 of a-z, 0-9 and -"))?;
    let version = version.ok_or_else(|| wrong("a plugin's version is not a text"))?;
    let manifest = call::manifest(table);
    let manifest =
        manifest.map_err(|source| LibraryError::Manifest { path: path.to_owned(), plugin: id.to_owned(), source })?;
    Ok(LoadedPlugin {
        id: id.to_owned(),
        version: version.to_owned(),
        state_version: table.state_version,
        manifest,
        origin: origin.to_owned(),
        code,
        table,
    })
}

fn is_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// # Safety
/// A pointer that is not null leads to `len` bytes that are never changed or freed.
unsafe fn text(bytes: AbiBytes) -> Option<&'static str> {
    if bytes.ptr.is_null() || bytes.len > 4096 {
        return None;
    }
    // SAFETY: the caller promises just this.
    str::from_utf8(unsafe { slice::from_raw_parts(bytes.ptr, bytes.len) }).ok()
}
