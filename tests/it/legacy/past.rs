//! A daemon that lives in the past: in this process, with a clock that stands until it is set.

use std::{net::SocketAddr, sync::Arc};

use hyper::Method;
use serde_json::Value;
use statscache_plugin_sdk::Timestamp;
use statscache_server::{app::App, clock::ManualClock, config::Config};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::support::{Answer, SOON, fetch, look};

/// Such a daemon.
pub struct Past {
    clock: ManualClock,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<anyhow::Result<()>>>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Past {
    /// Listens to this publisher, at this time.
    pub fn start(endpoint: &str, now: Timestamp) -> Self {
        let dir = tempfile::Builder::new().prefix("statscache-it-").tempdir().expect("a temporary folder");
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[bus]\nendpoints = [{endpoint:?}]\n[data]\ndir = {:?}\n\
             commit_interval = \"100ms\"\n",
            dir.path().join("data")
        );
        let config = Config::parse(&config, "the test's").expect("a configuration");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let clock = ManualClock::new(now);
        let bundled = statscache_server::bundled_plugins!();
        let app = runtime.block_on(App::build(&config, bundled, Arc::new(clock.clone())));
        let app = app.unwrap_or_else(|error| panic!("{error:#}"));
        let address = app.address();
        let (stop, stopping) = oneshot::channel::<()>();
        let ended = runtime.spawn(app.run(async {
            let _ = stopping.await;
        }));
        Self { clock, address, stop: Some(stop), ended: Some(ended), runtime, _dir: dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set_time(&self, now: Timestamp) {
        self.clock.set(now);
    }

    pub fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        fetch(self.address, method, path, headers).unwrap_or_else(|error| panic!("{path}: {error:#}"))
    }

    pub fn json(&self, path: &str) -> Value {
        self.ask(Method::GET, path, &[]).json()
    }

    /// Waits until so many messages are in, each counted once.
    pub fn wait_processed(&self, messages: usize) {
        let is_in = |plugin: &Value| {
            plugin["id"] != "volume" || plugin["counters"]["processed"].as_u64() == Some(messages as u64)
        };
        let seen = look(SOON, || {
            let list = self.json("/plugins");
            let plugins = list["plugins"].as_array().cloned().unwrap_or_default();
            plugins.iter().all(|plugin| plugin["lag"]["messages"] == 0 && is_in(plugin)).then_some(())
        });
        assert!(seen.is_some(), "not all {messages} messages are in: {:#}", self.json("/plugins"));
    }

    pub fn stop(mut self) {
        drop(self.stop.take());
        let ended = self.ended.take().expect("only this takes it");
        self.runtime.block_on(ended).expect("no panic").expect("it stops well");
    }
}
