//! `statscache check-config`: everything that is wrong with a file, at once.

use std::path::PathBuf;

use crate::config::Config;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.file)?;
    let name = args.file.display().to_string();
    config.require_bus(&name)?;
    let instances = match config.instances.len() {
        0 => "every plugin found, with its defaults".to_owned(),
        n => format!("{n} configured"),
    };
    println!("{name} is fine");
    println!(
        "  endpoints  {}",
        config.bus.endpoints.iter().chain(&config.bus.bind).map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    println!("  http       {}", config.http.listen);
    println!("  data       {}", config.data.dir.display());
    println!("  instances  {instances}");
    Ok(())
}
