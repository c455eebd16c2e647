//! The cases, and what they share.

mod call;
mod ingest;
mod memory;
mod process;
mod stream;

use std::process::ExitCode;

use statscache_server::host::BundledPlugin;

/// One case.
struct Case {
    name: &'static str,
    about: &'static str,
    run: fn(quick: bool) -> anyhow::Result<Figure>,
}

/// What a case found.
struct Figure {
    value: f64,
    unit: &'static str,
    /// It must not be more.
    bar: f64,
}

const CASES: [Case; 3] = [
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
];

/// Runs what the arguments ask for.
pub fn main(args: &[String], bundled: &[BundledPlugin]) -> ExitCode {
    let quick = args.iter().any(|arg| arg == "--quick");
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--quick").collect();
    let result = match words[..] {
        ["list"] => {
            CASES.iter().for_each(|case| println!("{:<14} {}", case.name, case.about));
            return ExitCode::SUCCESS;
        }
        ["publisher", messages] => stream::publish(messages),
        ["receiver", endpoint, messages] => ingest::receive(endpoint, messages, bundled),
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
        Ok(figure) => {
            let Figure { value, unit, bar } = figure;
            println!("{}: {value:.2}{unit}, bar {bar}{unit}", case.name);
            if value <= bar { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
