//! Looks at web sites and publishes on a ZeroMQ bus what it found.

use std::process::ExitCode;

fn main() -> ExitCode {
    statscache_scraper::main()
}
