//! The daemon as a whole: what starts in which order, and stops in which.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use statscache_core::{
    engine::{Committer, Engine},
    journal::{Journal, JournalConfig},
    limits::Limits,
    store::{Contents, SledBackend, Store},
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    bus::{self, CoverageWatch, NowFn, Rejects, Source, SourceStats, WhenFull},
    clock::Clock,
    config::{BusClient, BusWhenFull, Config},
    disk::Disk,
    health::Health,
    host::{self, BundledPlugin, Hosted, InstanceCard},
    http,
    ingest::{Ingest, Shared},
    telemetry::Telemetry,
};

/// How long stopping may take before it is given up.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// How long clients may take to get their last answers.
const HTTP_DEADLINE: Duration = Duration::from_secs(2);

/// How long nothing may be published before `/readyz` says that something stands still; five commit
/// intervals if that is longer.
const STANDSTILL: Duration = Duration::from_secs(10);

/// A daemon that is ready to run: everything that can fail at start has not.
pub struct App {
    listener: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    commit_interval: Duration,
    engine: Engine,
    committer: Committer,
    sources: Vec<Box<dyn Source>>,
    sender: bus::BatchSender,
    receiver: bus::BatchReceiver,
    watch: CoverageWatch,
    state: http::AppState,
    shared: Shared,
}

impl App {
    /// Opens everything: first what can be refused at once (the port), then the data, then plugins,
    /// then the bus. Nothing is received before [`App::run`].
    pub async fn build(config: &Config, bundled: &[BundledPlugin], clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let listener = listen(config.http.listen).await?;
        let address = listener.local_addr()?;
        let journal = open_journal(config)?;
        let store = open_store(&config.data.dir.join("store"))?;
        let Hosted { specs, cards } = host::start(config, bundled);
        let limits = limits(config);
        let (engine, committer) =
            Engine::start(journal, store, specs, &config.bus.id_pointers, limits.clone(), clock.now())
                .context("cannot put journal and state together")?;

        if let Some(gap) = engine.ahead_of_journal() {
            tracing::warn!(
                first = gap.first,
                last = gap.last,
                "the state has seen messages that the journal does not hold; was it removed, or restored from a backup?"
            );
        }

        let rejects = Arc::new(Rejects::new());
        let when_full = match config.bus.when_full {
            BusWhenFull::Drop => WhenFull::Drop,
            BusWhenFull::Wait => WhenFull::Wait,
        };
        let (sender, receiver) = bus::queue(config.bus.queue_bytes_max, when_full);
        let sources = sources(config, &clock, &rejects);
        let endpoints = sources.iter().map(|source| source.status()).collect();
        let shared = Shared {
            view: Arc::new(ArcSwap::new(committer.view())),
            health: Arc::new(Health::default()),
            telemetry: Arc::new(Telemetry::default()),
            rejects: rejects.clone(),
            clock,
            disk: Disk::of(&config.data.dir),
        };
        let bus = SourceStats { endpoints, queue: sender.stats(), rejects };
        let view_age_max = STANDSTILL.max(5 * config.data.commit_interval);
        let watch = CoverageWatch::new(bus.clone(), shared.clock.now());
        let rows_and_series = (config.limits.query_rows_max, limits.series_per_metric);
        let state = http::AppState::new(&shared, bus, cards, rows_and_series, view_age_max);
        Ok(Self {
            listener,
            address,
            connections_max: config.limits.connections_max,
            commit_interval: config.data.commit_interval,
            engine,
            committer,
            sources,
            sender,
            receiver,
            watch,
            state,
            shared,
        })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of all instances.
    pub fn cards(&self) -> &[InstanceCard] {
        self.state.cards()
    }

    /// Serves and listens until `shutdown` is done, then stops in order: the bus (nothing new), the
    /// engine (queue empty, last commit durable), HTTP (readers last).
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (ingest, [mut feeder_ended, mut commits_ended]) =
            Ingest::start(self.engine, self.committer, (self.receiver, self.watch), self.commit_interval, self.shared)?;
        let (stop_bus, bus_stopping) = watch::channel(false);
        let mut sources = JoinSet::new();
        for source in self.sources {
            sources.spawn(source.run(self.sender.clone(), bus_stopping.clone()));
        }
        drop(self.sender);
        let (stop_http, http_stopping) = watch::channel(false);
        let mut server = tokio::spawn(http::serve(self.listener, self.state, self.connections_max, http_stopping));

        let broken = tokio::select! {
            () = shutdown => false,
            _ = &mut feeder_ended => true,
            _ = &mut commits_ended => true,
        };
        tracing::info!("stopping: bus, engine, HTTP");
        let drained = async {
            stop_bus.send_replace(true);
            while sources.join_next().await.is_some() {}
            // On a thread of its own: tokio's may all be busy with queries.
            let (joined, engine_stopped) = oneshot::channel();
            std::thread::spawn(move || {
                ingest.join();
                let _ = joined.send(());
            });
            engine_stopped.await.context("the engine did not stop")
        };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, drained).await.is_err() {
            anyhow::bail!(
                "not stopped after {} s; given up. Nothing accepted is lost: the next start goes on from the journal",
                SHUTDOWN_DEADLINE.as_secs()
            );
        }
        // Everything is safe: a client in the middle of a request is no reason to stay for long.
        stop_http.send_replace(true);
        match tokio::time::timeout(HTTP_DEADLINE, &mut server).await {
            Ok(ended) => ended.context("HTTP failed")??,
            Err(_) => server.abort(),
        }
        if broken {
            anyhow::bail!("a thread ended that must not, see the log; nothing accepted is lost: start again");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for HTTP; choose another with [http] listen"))
}

fn open_journal(config: &Config) -> anyhow::Result<Journal> {
    let settings = JournalConfig {
        segment_bytes: config.journal.segment_bytes,
        retain_bytes: config.journal.bytes_max,
        retain_micros: micros(config.journal.age_max),
    };
    let path = config.data.dir.join("journal");
    let (journal, recovery) = Journal::open_path(&path, settings)
        .with_context(|| format!("cannot use [data] dir {}", config.data.dir.display()))?;
    if recovery.is_clean() {
        tracing::info!(path = %path.display(), "{recovery}");
    } else {
        tracing::warn!(path = %path.display(), "{recovery}");
    }
    Ok(journal)
}

fn open_store(path: &Path) -> anyhow::Result<(Store, Contents)> {
    let failed = || format!("cannot open the store at {}", path.display());
    let backend = SledBackend::open(path).with_context(failed)?;
    Store::open(Box::new(backend)).with_context(failed)
}

fn limits(config: &Config) -> Limits {
    Limits {
        series_per_metric: config.limits.series_per_metric_max.try_into().unwrap_or(u32::MAX),
        label_bytes: config.limits.label_bytes_max,
        value_bytes: config.limits.value_bytes_max,
        quarantine_after: config.plugins.quarantine_after,
        dedupe_ids: config.bus.dedupe_ids_max,
        dedupe_window: micros(config.bus.dedupe_window),
        event_ahead: micros(config.limits.event_ahead_max),
        memory_bytes: config.limits.memory_bytes_max,
        cache_bytes: config.limits.cache_bytes_max as u64,
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn sources(config: &Config, clock: &Arc<dyn Clock>, rejects: &Arc<Rejects>) -> Vec<Box<dyn Source>> {
    let bus = &config.bus;
    let clock = clock.clone();
    let now: NowFn = Arc::new(move || clock.now().micros());
    let endpoints = bus.endpoints.iter().chain(&bus.bind).cloned();
    let source = |endpoint| -> Box<dyn Source> {
        match bus.client {
            BusClient::Zmtp => {
                let mut zmtp = bus::ZmtpConfig::new(endpoint, now.clone());
                zmtp.subscriptions = bus.subscribe.iter().map(|prefix| prefix.clone().into_bytes()).collect();
                zmtp.limits.body_bytes_max = bus.message_bytes_max;
                zmtp.ping_after = bus.heartbeat;
                zmtp.silent_after = bus.silence;
                Box::new(bus::ZmtpSource::new(zmtp, rejects.clone()))
            }
            BusClient::Zeromq => {
                let mut zeromq = bus::ZeromqConfig::new(endpoint, now.clone());
                zeromq.subscriptions = bus.subscribe.clone();
                zeromq.limits.body_bytes_max = bus.message_bytes_max;
                Box::new(bus::ZeromqSource::new(zeromq, rejects.clone()))
            }
        }
    };
    endpoints.map(source).collect()
}
