//! `power-cut`: no power cut loses what was promised, or counts anything twice ([`crate::powercut`]). By itself it
//! cuts a few hundred times;
//! `measure power-cut [--cuts N|all] [--seed S] [--commits N] [--model harsh] [--without PART] [--keep DIR]` asks for more, and
//! `measure power-cut --trace FILE --seed S --cut K` for the same image again.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::Figure;
use crate::powercut::{self, Cuts, Model, Options};

/// Commits of each recorded process.
const COMMITS: u64 = 45;
const COMMITS_QUICK: u64 = 15;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (cuts, commits) = if quick { (100, COMMITS_QUICK) } else { (600, COMMITS) };
    run_with(&["--cuts", &cuts.to_string(), "--commits", &commits.to_string()])
}

pub(super) fn run_with(options: &[&str]) -> anyhow::Result<Vec<Figure>> {
    let program = std::env::current_exe()?;
    let (mut seed, mut cuts, mut commits) = (1, Cuts::Some(600), COMMITS);
    let mut model = Model::Journaling;
    let (mut without, mut trace, mut keep) = (None, None, None);
    for pair in options.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        let number = || value.parse::<u64>().with_context(|| format!("{name} {value}"));
        match *name {
            "--seed" => seed = number()?,
            "--cuts" if *value == "all" => cuts = Cuts::All,
            "--cuts" => cuts = Cuts::Some(number()?),
            "--cut" => cuts = Cuts::At(number()?),
            "--model" if *value == "harsh" => model = Model::Harsh,
            "--commits" => commits = number()?,
            "--without" => without = Some(*value),
            "--trace" => trace = Some(PathBuf::from(value)),
            "--keep" => keep = Some(PathBuf::from(value)),
            _ => bail!("there is no option {name}"),
        }
    }
    println!("seed {seed}, three processes of {commits} commits each, {cuts:?}, {model:?}");
    let report = powercut::run(&Options {
        program: &program,
        seed,
        cuts,
        model,
        commits,
        drop_fdatasync: without,
        trace: trace.as_deref(),
        keep: keep.as_deref(),
        failures_max: usize::MAX,
    })?;
    println!("{report}");
    Ok(vec![Figure { what: "differences", value: report.differences as f64, unit: "", bar: 0.0 }])
}
