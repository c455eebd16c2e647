//! `statscache-bridge`: JSON files and webhooks become messages on a ZeroMQ bus.

fn main() -> std::process::ExitCode {
    statscache_bridge::main()
}
