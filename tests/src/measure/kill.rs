//! `kill`: the test of kill -9 (`tests/it/kill.rs`) for as many rounds as are asked for:
//! `measure kill --rounds 500`. cargo builds and runs it.

use std::process::Command;

use anyhow::Context;

use super::Figure;

const TEST: &str = "kill::nothing_is_lost_or_counted_twice";

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    run_rounds(if quick { "15" } else { "200" })
}

pub(super) fn run_rounds(rounds: &str) -> anyhow::Result<Vec<Figure>> {
    let count: u64 = rounds.parse().context("number of rounds")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "-p", "statscache-tests", "--test", "it"]);
    command.args((!cfg!(debug_assertions)).then_some("--release"));
    command.args(["--", "--exact", TEST, "--nocapture"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.env("STATSCACHE_KILL_ROUNDS", rounds).output().context("cargo does not run")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        println!("{said}");
    }
    for line in said.lines().filter(|line| line.starts_with("kill: ")) {
        println!("{line}");
    }
    let differences = match output.status.success() {
        true => 0,
        false => differences(&said).context("the test could not be run, or failed otherwise")?,
    };
    anyhow::ensure!(differences > 0 || said.contains("1 passed"), "the test was not run:\n{said}");
    println!("{count} rounds");
    Ok(vec![Figure { what: "differences", value: differences as f64, unit: "", bar: 0.0 }])
}

/// Cells that differ, as the test says.
fn differences(said: &str) -> Option<u64> {
    let (before, _) = said.split_once(" cells differ; ")?;
    before.rsplit(' ').next()?.parse().ok()
}
