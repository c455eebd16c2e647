//! What a dashboard asks while messages come in.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::Client;

/// One question after the other, at this distance.
const EVERY: Duration = Duration::from_millis(10);

/// What is read of `/plugins`.
#[derive(Deserialize)]
struct Plugins {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    id: String,
    counters: Option<Counters>,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Counters {
    processed: u64,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    kind: String,
    labels: Vec<String>,
}

/// An instance that was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its id.
    pub id: String,
    /// Messages that it was handed.
    pub messages: u64,
}

/// The instances that run, and what they were handed.
pub(super) async fn measured(client: &mut Client) -> anyhow::Result<Vec<Measured>> {
    let Plugins { plugins } = serde_json::from_slice(&client.get("/plugins").await?)?;
    let running = plugins.into_iter().filter_map(|plugin| Some((plugin.id, plugin.counters?.processed)));
    Ok(running.map(|(id, messages)| Measured { id, messages }).collect())
}

/// `/plugins`; of each instance the first metric; and of its first count with a label the ten largest.
pub(super) async fn find(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let Plugins { plugins } = serde_json::from_slice(&client.get("/plugins").await?)?;
    let mut targets = vec!["/plugins".to_owned()];
    for Plugin { id, metrics, .. } in &plugins {
        let is_labelled = |metric: &&Metric| metric.kind == "count" && !metric.labels.is_empty();
        targets.extend(metrics.first().map(|metric| format!("/plugins/{id}/{}?limit=100", metric.name)));
        targets.extend(metrics.iter().find(is_labelled).map(|metric| {
            let (name, label) = (&metric.name, &metric.labels[0]);
            format!("/plugins/{id}/{name}?by={label}&max_points=1&order=-value&limit=10")
        }));
    }
    Ok(targets)
}

/// Asks them in turns until then; how long each answer took, in milliseconds, in order of size. A question that had to
/// wait for the answer before it has that in its time.
pub(super) async fn ask(address: SocketAddr, targets: Vec<String>, end: Instant) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(address).await?;
    let (mut due, mut millis) = (Instant::now(), Vec::new());
    for target in targets.iter().cycle() {
        let is_late = due < Instant::now();
        tokio::time::sleep_until(due.into()).await;
        let asked = if is_late { due } else { Instant::now() };
        if asked >= end {
            break;
        }
        client.get(target).await?;
        millis.push(asked.elapsed().as_secs_f64() * 1e3);
        due += EVERY;
    }
    millis.sort_by(f64::total_cmp);
    Ok(millis)
}
