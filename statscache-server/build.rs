//! Tells the crate where cargo puts the shared libraries of the shipped plugins, so that the
//! binary can carry them.
//!
//! The plugins are dependencies with `crate-type = ["cdylib", "rlib"]`: cargo builds both before
//! it builds a binary that depends on them, and puts the libraries into `deps`. `cargo check`
//! builds neither; an empty file stands in for each then, and the daemon passes over empty ones.

use std::{env, fs::OpenOptions, path::PathBuf};

const PLUGINS: [&str; 8] = ["contributions", "membership", "pagure", "releng", "storage", "uptime", "usage", "volume"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // target/<profile>/build/<package>-<hash>/out
    let deps = out.ancestors().nth(3).expect("OUT_DIR is below the profile's directory").join("deps");
    let (prefix, suffix) = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => ("", ".dll"),
        Ok("macos") => ("lib", ".dylib"),
        _ => ("lib", ".so"),
    };
    for plugin in PLUGINS {
        let library = deps.join(format!("{prefix}statscache_plugin_{plugin}{suffix}"));
        // Only where there is none: the linker may be writing it just now. Failing is fine, too:
        // the compiler then says which file it misses.
        let _ = OpenOptions::new().write(true).create_new(true).open(&library);
        println!("cargo::rustc-env=STATSCACHE_BUNDLED_{}={}", plugin.to_uppercase(), library.display());
    }
}
