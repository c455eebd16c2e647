//! `ingest`: the daemon against the least that anything on this bus must do, with the same reader.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use statscache_plugin_sdk::host::FieldSet;
use statscache_server::{
    bus::{Endpoint, EndpointMode, Recv, Rejects, Source, WhenFull, ZmtpConfig, ZmtpSource, queue},
    config::Config,
    host::{BundledPlugin, Host},
};

use super::{Figure, median, process, process::Daemon, process::Role, stream};

const BAR: f64 = 2.0;

/// What is loaded; of all plugins tells `all-plugins`.
const PLUGINS: [&str; 2] = ["volume", "releng"];

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (messages, rounds) = if quick { (300_000, 3) } else { (1_000_000, 7) };
    println!(
        "{rounds} rounds of {messages} messages of {} bytes on 30 topics, volume and releng loaded, journal and sled on",
        stream::mean_bytes()?
    );
    let (mut floor, mut full, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let receiver = receiver_micros(messages)?;
        let daemon = daemon_micros(messages)?;
        println!("round {round}: receive + extract + drop {receiver:.2} us, daemon {daemon:.2} us of CPU a message");
        floor.push(receiver);
        full.push(daemon);
        ratios.push(daemon / receiver);
    }
    println!("median: receive + extract + drop {:.2} us, daemon {:.2} us", median(&mut floor), median(&mut full));
    Ok(vec![Figure { what: "daemon / receiver", value: median(&mut ratios), unit: "x", bar: BAR }])
}

fn receiver_micros(messages: u64) -> anyhow::Result<f64> {
    let mut publisher = Role::start(&["publisher", &messages.to_string()])?;
    let endpoint = format!("tcp://127.0.0.1:{}", publisher.line()?);
    let mut receiver = Role::start(&["receiver", &endpoint, &messages.to_string()])?;
    let secs: f64 = receiver.line()?.parse().context("the receiver's CPU seconds")?;
    Ok(secs * 1e6 / messages as f64)
}

fn daemon_micros(messages: u64) -> anyhow::Result<f64> {
    let mut publisher = Role::start(&["publisher", &messages.to_string()])?;
    let endpoint = format!("tcp://127.0.0.1:{}", publisher.line()?);
    let instances = PLUGINS.map(|plugin| format!("\n[[instance]]\nplugin = \"{plugin}\"\n")).concat();
    let daemon = Daemon::start_in(tempfile::tempdir()?, &endpoint, &instances)?;
    daemon.wait_processed(messages)?;
    Ok(daemon.role.cpu_secs()? * 1e6 / messages as f64)
}

/// The role of the receiver: reads the bus as the daemon does, finds the fields that these plugins
/// and the daemon read, and forgets them. Prints the CPU seconds it took, start included.
pub(super) fn receive(endpoint: &str, messages: &str, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let messages: u64 = messages.parse().context("number of messages")?;
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data.dir = dir.path().to_owned();
    let mut fields = FieldSet::default();
    for pointer in ["/msg_id", "/timestamp"] {
        fields.insert(pointer);
    }
    let specs = Host::new(bundled).instances(&config, &[], &Default::default()).specs;
    for spec in specs.iter().filter(|spec| PLUGINS.contains(&&*spec.id)) {
        for pointer in &spec.declaration.fields {
            fields.insert(pointer);
        }
    }
    let (sender, mut receiver) = queue(config.bus.queue_bytes_max, WhenFull::Wait);
    let endpoint = Endpoint::parse(endpoint, EndpointMode::Connect)?;
    let source = Box::new(ZmtpSource::new(ZmtpConfig::new(endpoint, Arc::new(|| 0)), Arc::new(Rejects::new())));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    runtime.spawn(source.run(sender, stopping));
    let mut seen = 0;
    while seen < messages {
        match receiver.recv_timeout(Duration::from_secs(30)) {
            Recv::Batch(batch) => {
                let mut slots = vec![None; fields.len()];
                for (_, body) in batch.iter() {
                    fields.extract(std::str::from_utf8(body)?, &mut slots)?;
                }
                seen += batch.len() as u64;
                receiver.recycle(batch);
            }
            Recv::Timeout | Recv::Closed => anyhow::bail!("only {seen} of {messages} messages came"),
        }
    }
    println!("{}", process::cpu_secs(std::process::id())?);
    Ok(())
}
