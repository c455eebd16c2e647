//! `plugin-call`: two fields read and two updates made, behind the ABI and linked in. Both say it
//! to the engine's own recorder.

use std::path::PathBuf;

use anyhow::Context;
use statscache_core::{
    engine::{Failure, Processor, Recorder},
    limits::Limits,
    series::SeriesTable,
};
use statscache_plugin_sdk::{Message, MetricDescriptor, Plugin, Timestamp, Updates, abi::FieldValue, host, host::Sink};
use statscache_server::host::open_library;
use statscache_test_plugin_bench::TwoFields;

use super::{Figure, median, process};

const BAR: f64 = 1.5;

/// The same plugin as a trait object of this program.
struct LinkedIn<P>(P);

impl<P: Plugin> Processor for LinkedIn<P> {
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        let mut updates = Updates::new(sink, message.time());
        self.0.process(message, &mut updates).map_err(|error| Failure(error.to_string()))
    }
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (calls, rounds) = if quick { (2_000_000, 9) } else { (10_000_000, 15) };
    let library = open_library(&cdylib()?, "bench")?;
    let plugin = library.into_iter().next().context("the library has a plugin")??;
    let (behind_abi, declaration) = plugin.create(&serde_json::json!({}))?;
    let mut behind_abi: Box<dyn Processor> = Box::new(behind_abi);
    let (linked_in, _) = host::create::<TwoFields>("{}").map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut linked_in: Box<dyn Processor> = Box::new(LinkedIn(linked_in));
    let (mut abi_nanos, mut linked_nanos, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let linked = nanos_per_call(&mut *linked_in, &declaration.metrics, calls)?;
        let abi = nanos_per_call(&mut *behind_abi, &declaration.metrics, calls)?;
        linked_nanos.push(linked);
        abi_nanos.push(abi);
        ratios.push(abi / linked);
    }
    println!(
        "{rounds} rounds of {calls} calls: linked in {:.1} ns, through the ABI {:.1} ns of CPU",
        median(&mut linked_nanos),
        median(&mut abi_nanos)
    );
    Ok(vec![Figure { what: "ABI / linked in", value: median(&mut ratios), unit: "x", bar: BAR }])
}

fn nanos_per_call(processor: &mut dyn Processor, metrics: &[MetricDescriptor], calls: u64) -> anyhow::Result<f64> {
    let limits = Limits::default();
    let metrics = metrics.iter().map(|metric| (metric.clone(), SeriesTable::new(1, limits.series_per_metric)));
    let mut recorder = Recorder::new(metrics, Vec::new(), &limits);
    let time = Timestamp::from_secs(1_700_000_000);
    let mut updates = 0;
    let users: Vec<String> = (0..100).map(|n| format!("\"user{n}\"")).collect();
    let before = process::thread_cpu_secs();
    for call in 0..calls {
        let user = &users[(call % 100) as usize];
        let slots = [FieldValue::new(user), FieldValue::new("\"statscache\"")];
        let message = Message::new("org.example.event", "id", time, "{}", &slots);
        processor.process(&message, &mut recorder)?;
        updates += recorder.finish(message.id(), time, time).map_err(anyhow::Error::msg)?.updates;
    }
    let nanos = (process::thread_cpu_secs() - before) * 1e9 / calls as f64;
    anyhow::ensure!(updates == 2 * calls, "every call makes two updates");
    Ok(nanos)
}

/// Cargo puts the library of a dependency beside those of the program.
fn cdylib() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().context("the program is in a folder")?;
    let name = format!("{}statscache_test_plugin_bench{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let places = [dir.join("deps").join(&name), dir.join(&name)];
    places.into_iter().find(|path| path.exists()).context("the library of the bench plugin was not built")
}
