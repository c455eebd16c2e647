//! The cases, and what they share.

mod call;
mod churn;
mod columns;
mod commit;
mod core;
mod counting;
mod ingest;
mod memory;
mod process;
mod query;
mod reopen;
mod series;
mod stream;

use std::process::ExitCode;

pub use counting::Counting;
use statscache_server::host::BundledPlugin;

/// One case.
struct Case {
    name: &'static str,
    about: &'static str,
    run: fn(quick: bool) -> anyhow::Result<Vec<Figure>>,
}

/// What a case found.
struct Figure {
    what: &'static str,
    value: f64,
    unit: &'static str,
    /// It must not be more.
    bar: f64,
}

const CASES: [Case; 9] = [
    Case {
        name: "ingest",
        about: "CPU per message of the daemon, divided by receive + field extraction + drop",
        run: ingest::run,
    },
    Case {
        name: "idle-memory",
        about: "memory of the daemon with the shipped plugins and no traffic",
        run: memory::idle,
    },
    Case {
        name: "plugin-call",
        about: "a call through the ABI, divided by one of the same code linked in",
        run: call::run,
    },
    Case {
        name: "bytes-per-bucket",
        about: "stored bytes of a year of hourly counts, divided by their entropy",
        run: columns::run,
    },
    Case { name: "series-memory", about: "memory of a million series beyond their labels", run: series::run },
    Case {
        name: "reopen",
        about: "CPU from start to the first answer on a large state, after kill -9",
        run: reopen::run,
    },
    Case { name: "commit", about: "how long a commit holds ingest, divided by the updates in it", run: commit::run },
    Case { name: "range-query", about: "CPU of answers, beside sums over plain vectors", run: query::run },
    Case { name: "churn", about: "disk and memory over weeks in which retention works", run: churn::run },
];

/// Runs what the arguments ask for.
pub fn main(args: &[String], bundled: &[BundledPlugin]) -> ExitCode {
    let quick = args.iter().any(|arg| arg == "--quick");
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--quick").collect();
    let result = match words[..] {
        ["list"] => {
            CASES.iter().for_each(|case| println!("{:<16} {}", case.name, case.about));
            return ExitCode::SUCCESS;
        }
        ["publisher", messages] => stream::publish(messages),
        ["receiver", endpoint, messages] => ingest::receive(endpoint, messages, bundled),
        ["series-holder", series] => series::hold(series),
        ["store-maker", dir, series, days] => reopen::make(dir, series, days),
        ["store-opener", dir] => reopen::open(dir),
        [name] => match CASES.iter().find(|case| case.name == name) {
            Some(case) => return report(case, quick),
            None => Err(anyhow::anyhow!("there is no case `{name}`; `measure list` names them")),
        },
        _ => Err(anyhow::anyhow!("usage: measure NAME [--quick], or measure list")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(case: &Case, quick: bool) -> ExitCode {
    match (case.run)(quick) {
        Ok(figures) => {
            for Figure { what, value, unit, bar } in &figures {
                println!("{}: {what} {value:.2}{unit}, bar {bar}{unit}", case.name);
            }
            let is_met = figures.iter().all(|figure| figure.value <= figure.bar);
            if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("measure {}: {error:#}", case.name);
            ExitCode::FAILURE
        }
    }
}

/// The one in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
