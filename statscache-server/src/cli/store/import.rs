//! `statscache store import`: what `export` wrote becomes a store.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
};

use anyhow::Context;
use statscache_core::store::import;

use super::Place;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// File to read; else standard input
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (name, mut lines): (String, Box<dyn BufRead>) = match &args.file {
        Some(file) => {
            let name = file.display().to_string();
            let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
            (name, Box::new(BufReader::with_capacity(1 << 20, opened)))
        }
        None => ("standard input".to_owned(), Box::new(BufReader::new(io::stdin()))),
    };
    let path = args.place.data_dir()?.join("store");
    let backend = super::open(&path)?;
    let moved = import::import(Box::new(backend), &mut *lines)
        .with_context(|| format!("cannot import {name} into {}", path.display()))?;
    println!(
        "imported {} instances: {} label sets, {} cells, {} lines",
        moved.namespaces, moved.series, moved.cells, moved.lines
    );
    Ok(())
}
