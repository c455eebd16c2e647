//! The `statscache` command.

fn main() -> std::process::ExitCode {
    statscache_server::cli::main(statscache_server::bundled_plugins!())
}
