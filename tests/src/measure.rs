//! The cases, and what they share.

mod all_plugins;
mod call;
mod catch_up;
mod ceiling;
mod churn;
mod client;
mod cold_query;
mod columns;
mod commit;
mod core;
mod counting;
mod dedupe;
mod hot_query;
mod ingest;
mod journal_cost;
mod kill;
mod memory;
mod power_cut;
mod process;
mod push;
mod query;
mod query_under_load;
mod reopen;
mod restart;
mod series;
mod storage;
mod stream;
mod wrk;

use std::process::ExitCode;

pub use counting::Counting;
use statscache_server::host::BundledPlugin;

use crate::powercut;

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

const CASES: [Case; 21] = [
    Case {
        name: "ingest",
        about: "CPU per message of the daemon, divided by receive + field extraction + drop",
        run: ingest::run,
    },
    Case {
        name: "all-plugins",
        about: "the same with every shipped plugin and a mix like Fedora's; and the rate at which it falls behind",
        run: all_plugins::run,
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
    Case {
        name: "storage",
        about: "CPU of sums along namespaces over a million projects, some of which have moved",
        run: storage::run,
    },
    Case { name: "churn", about: "disk and memory over weeks in which retention works", run: churn::run },
    Case {
        name: "power-cut",
        about: "what power cuts lose of journal and store, at every change of the disk",
        run: power_cut::run,
    },
    Case {
        name: "kill",
        about: "what kill -9 under load loses or counts twice, against a recount of the journal",
        run: kill::run,
    },
    Case {
        name: "catch-up",
        about: "CPU per message of a new instance that reads the journal, divided by that of the bus",
        run: catch_up::run,
    },
    Case {
        name: "restart",
        about: "CPU and time from start to serving after kill -9 at full load, divided by those after a stop",
        run: restart::run,
    },
    Case {
        name: "journal-cost",
        about: "CPU per message with journal and dedupe, divided by the same without",
        run: journal_cost::run,
    },
    Case {
        name: "hot-query",
        about: "answers of a CPU second: nginx's rate with the same bytes in a file, divided by the daemon's",
        run: hot_query::run,
    },
    Case {
        name: "query-under-load",
        about: "p99 of answers while 20,000 messages a second come in, divided by that of a quiet bus",
        run: query_under_load::run,
    },
    Case {
        name: "cold-query",
        about: "CPU and time of answers over HTTP that nobody asked for before, from a year of hours",
        run: cold_query::run,
    },
    Case {
        name: "push",
        about: "memory of each of a thousand readers of server-sent events, and how long after a commit they know",
        run: push::run,
    },
    Case { name: "dedupe-memory", about: "memory of a million identities, and CPU of each", run: dedupe::run },
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
        ["year-publisher", hours] => cold_query::publish(hours),
        ["paced-publisher"] => stream::publish_paced(),
        ["bare-axum", head, body] => ceiling::serve_bare(head, body),
        ["folder", messages, rounds] => journal_cost::fold(messages, rounds, bundled),
        ["receiver", endpoint, messages] => ingest::receive(endpoint, messages, bundled),
        ["series-holder", series] => series::hold(series),
        ["store-maker", dir, series, days] => reopen::make(dir, series, days),
        ["store-opener", dir] => reopen::open(dir),
        ["power-cut-child", dir, seed, commits, is_clean] => powercut::live(dir, seed, commits, is_clean),
        ["power-cut-check", seed] => powercut::serve(seed),
        ["power-cut", ref options @ ..] if !options.is_empty() => {
            return report("power-cut", power_cut::run_with(options));
        }
        ["kill", "--rounds", rounds] => return report("kill", kill::run_rounds(rounds)),
        [name] => match CASES.iter().find(|case| case.name == name) {
            Some(case) => return report(case.name, (case.run)(quick)),
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

fn report(name: &str, result: anyhow::Result<Vec<Figure>>) -> ExitCode {
    match result {
        Ok(figures) => {
            for Figure { what, value, unit, bar } in &figures {
                println!("{name}: {what} {value:.2}{unit}, bar {bar}{unit}");
            }
            let is_met = figures.iter().all(|figure| figure.value <= figure.bar);
            if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("measure {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The one in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
