//! Libraries to load: the test plugins that cargo built, and ones that a C compiler makes now.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Ids of the plugins inside the binary, in order: what runs where nothing is configured.
pub const SHIPPED: [&str; 8] =
    ["contributions", "membership", "pagure", "releng", "storage", "uptime", "usage", "volume"];

/// The shared library of a plugin that this package depends on, such as `statscache_test_plugin_hostile`.
pub fn test_library(name: &str) -> PathBuf {
    let exe = env::current_exe().expect("this test has a file");
    let path = exe.with_file_name(format!("{}{name}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
    assert!(path.exists(), "cargo builds {} with this package", path.display());
    path
}

/// Compiles a shared library from C.
pub fn compile(source: &str, flags: &[&str], library: &Path) {
    let file = library.with_extension("c");
    fs::write(&file, source).expect("the folder can be written");
    let output = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"])
        .args(flags)
        .arg("-o")
        .arg(library)
        .arg(&file)
        .output()
        .expect("cc runs: it is the linker that Rust itself needs");
    assert!(output.status.success(), "{}: {}", library.display(), String::from_utf8_lossy(&output.stderr));
    fs::remove_file(&file).expect("it was just written");
}

/// The plugin written in C, in one of its variants (empty: as it should be), under an id of its own.
pub fn raw_abi(id: &str, variant: &str, library: &Path) {
    raw_abi_version(id, 1, variant, library);
}

/// The same, with a state version of its own.
pub fn raw_abi_version(id: &str, state_version: u32, variant: &str, library: &Path) {
    const ID: &str = ".id = TEXT(\"raw-abi\")";
    const VERSION: &str = ".state_version = 1";
    let source = include_str!("../../plugins/raw-abi/raw.c");
    assert!(source.contains(ID) && source.contains(VERSION), "raw.c names its id differently now");
    let source = source.replace(ID, &format!(".id = TEXT(\"{id}\")"));
    let source = source.replace(VERSION, &format!(".state_version = {state_version}"));
    let flag = format!("-D{variant}");
    let flags: &[&str] = if variant.is_empty() { &[] } else { &[&flag] };
    compile(&source, flags, library);
}
