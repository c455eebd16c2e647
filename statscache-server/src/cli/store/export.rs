//! `statscache store export`: the state as lines of JSON.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::PathBuf,
};

use anyhow::Context;
use statscache_core::store::export;

use super::Place;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Write to this file, which must not exist; else to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (path, backend) = args.place.open()?;
    let failed = || format!("cannot export the store at {}", path.display());
    let moved = match &args.output {
        Some(output) => {
            let cannot = || format!("cannot write {}", output.display());
            let file = File::create_new(output).with_context(cannot)?;
            let mut out = BufWriter::new(&file);
            let moved = export::export(Box::new(backend), &mut out).with_context(failed)?;
            file.sync_all().with_context(cannot)?;
            moved
        }
        None => export::export(Box::new(backend), &mut BufWriter::new(io::stdout().lock())).with_context(failed)?,
    };
    eprintln!(
        "exported {} instances: {} label sets, {} cells, {} lines",
        moved.namespaces, moved.series, moved.cells, moved.lines
    );
    Ok(())
}
