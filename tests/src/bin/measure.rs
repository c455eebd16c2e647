//! `measure NAME [--quick]`: sets a case up, prints what it measured, and last a line
//! `NAME: WHAT FIGURE, bar BAR` for each figure. Ends with 1 when short of a bar. `measure list` names the cases.

use std::process::ExitCode;

use statscache_tests::measure::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let bundled = statscache_server::bundled_plugins!();
    let args: Vec<_> = std::env::args_os().collect();
    // Cases start this same program for their processes: as the daemon, and as what it is measured
    // with.
    if args.get(1).is_some_and(|arg| arg == "statscache") {
        return statscache_server::cli::main_with(args.into_iter().skip(1), bundled);
    }
    let args: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    statscache_tests::measure::main(&args, bundled)
}
