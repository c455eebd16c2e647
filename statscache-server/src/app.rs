//! The daemon as a whole: what starts in which order, and stops in which.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use statscache_core::{
    engine::{Committer, Engine},
    journal::{Journal, JournalConfig},
    limits::Limits,
    store::{Contents, NamespaceRecord, NamespaceState, SledBackend, Store},
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    bus::{self, CoverageWatch, Endpoint, NowFn, Rejects, ReplayPositions, Source, SourceStats, WhenFull},
    clock::Clock,
    config::{BusClient, BusWhenFull, Config, ConfigError},
    disk::Disk,
    health::{self, Health},
    history::{
        asked::Asked,
        backfill::{self, Backfill},
        serve::HistoryService,
    },
    host::{BundledPlugin, Cards, Host},
    http,
    ingest::{self, Command, Ingest, PresentView, Shared},
    reload::Reloader,
    service::{self, Reporter},
    telemetry::Telemetry,
};

/// How long stopping may take before it is given up.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// How long clients may take to get their last answers.
const HTTP_DEADLINE: Duration = Duration::from_secs(2);

/// A daemon that is ready to run: everything that can fail at start has not.
pub struct App {
    listener: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    commit_interval: Duration,
    engine: Engine,
    committer: Committer,
    sources: Vec<Box<dyn Source>>,
    bus: SourceStats,
    positions: Arc<ReplayPositions>,
    sender: bus::BatchSender,
    receiver: bus::BatchReceiver,
    watch: CoverageWatch,
    orders: std::sync::mpsc::Receiver<Command>,
    is_held: bool,
    backfill: (Arc<Backfill>, backfill::Parts),
    reloader: Arc<Reloader>,
    state: http::AppState,
    shared: Shared,
}

impl App {
    /// What its routes share.
    #[cfg(test)]
    pub(crate) fn http_state(&self) -> http::AppState {
        self.state.clone()
    }

    /// Opens everything: first what can be refused at once (the port), then the data, then plugins,
    /// then the bus. Nothing is received before [`App::run`].
    pub async fn build(config: &Config, bundled: &[BundledPlugin], clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        Self::build_on(listen(config.http.listen).await?, config, bundled, clock)
    }

    /// The same, to serve on a socket that is there already.
    pub fn build_on(
        listener: TcpListener,
        config: &Config,
        bundled: &[BundledPlugin],
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let journal = open_journal(config)?;
        let store = open_store(&config.data.dir.join("store"))?;
        let token = config.admin.token_file.as_deref().map(read_token).transpose()?;
        let mut host = Host::new(bundled);
        tell_damage(&store.1);
        let hosted = host.instances(config, &serving(&store.1), &damaged(config, &store.1));
        hosted.tell();
        let limits = limits(config);
        let journal_handle = journal.handle();
        let (engine, committer) =
            Engine::start(journal, store, hosted.specs, &config.bus.naming, limits.clone(), clock.now())
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
        let positions = Arc::new(ReplayPositions::open(
            &config.data.dir.join("replay.json"),
            clock.now().micros(),
            config.bus.dedupe_window,
        ));
        let sources = sources(config, &clock, &rejects, &positions);
        let endpoints = sources.iter().map(|source| source.status()).collect();
        let shared = Shared {
            view: Arc::new(PresentView::new(committer.view())),
            health: Arc::new(Health::default()),
            telemetry: Arc::new(Telemetry::default()),
            rejects: rejects.clone(),
            clock,
            disk: Disk::of(&config.data.dir),
            fills_history: config.history.url.is_some(),
        };
        let bus = SourceStats { endpoints, queue: sender.stats(), rejects };
        let watch = CoverageWatch::new(bus.clone(), shared.clock.now());
        let (commands, orders) = ingest::commands(&receiver);
        let cards = Cards::new(hosted.cards, limits.series_per_metric, config.plugins.hold);
        let cards = Arc::new(ArcSwap::from_pointee(cards));
        let reloader = Arc::new(Reloader::new(config, host, commands.clone(), cards.clone(), shared.clone()));
        let backfill = Arc::new(Backfill::new(config.history.clone(), Asked::open(config.data.dir.join("asked.json"))));
        let service = || Arc::new(HistoryService::of_journal(journal_handle.clone(), shared.clock.clone()));
        let history = (backfill.clone(), config.history.serve.then(service));
        let parts = backfill::Parts {
            view: shared.view.clone(),
            commands: commands.clone(),
            journal: journal_handle,
            clock: shared.clock.clone(),
            disk: shared.disk.clone(),
        };
        let admin = http::Admin { token, commands, reloader: reloader.clone() };
        let settings = http::Settings {
            rows_max: config.limits.query_rows_max,
            answers_bytes_max: config.limits.answers_bytes_max,
            commit_interval: config.data.commit_interval,
        };
        let state = http::AppState::new(&shared, bus.clone(), cards, admin, history, &settings);
        Ok(Self {
            listener,
            address,
            connections_max: config.limits.connections_max,
            commit_interval: config.data.commit_interval,
            engine,
            committer,
            sources,
            bus,
            positions,
            sender,
            receiver,
            watch,
            orders,
            is_held: config.plugins.hold,
            backfill: (backfill, parts),
            reloader,
            state,
            shared,
        })
    }

    /// Where a reload gets the configuration from; without it, it is the one that the daemon started with.
    pub fn reload_from(self, source: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        self.reloader.set_source(Box::new(source));
        self
    }

    /// Loads the plugins anew, on order.
    pub fn reloader(&self) -> Arc<Reloader> {
        self.reloader.clone()
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is fetched from a history service.
    pub(crate) fn backfill(&self) -> Arc<Backfill> {
        self.backfill.0.clone()
    }

    /// What is known of all instances.
    pub fn cards(&self) -> Arc<Cards> {
        self.state.cards()
    }

    /// Serves and listens until `shutdown` is done, then stops in order: the bus (nothing new), the
    /// engine (queue empty, last commit durable), HTTP (readers last).
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let reporter = Reporter {
            view: self.shared.view.clone(),
            health: self.shared.health.clone(),
            bus: self.bus,
            standstill: health::standstill_after(self.commit_interval),
        };
        let (ingest, mut ended) = Ingest::start(
            (self.engine, self.committer),
            self.is_held,
            (self.receiver, self.watch),
            self.orders,
            self.commit_interval,
            self.shared,
        )?;
        let (stop_bus, bus_stopping) = watch::channel(false);
        let mut sources = JoinSet::new();
        for source in self.sources {
            sources.spawn(source.run(self.sender.clone(), bus_stopping.clone()));
        }
        drop(self.sender);
        let (backfill, parts) = self.backfill;
        let backfilling = tokio::spawn(backfill.run(parts, bus_stopping.clone()));
        let keeping = tokio::spawn(self.positions.clone().keep());
        let (stop_http, http_stopping) = watch::channel(false);
        let mut server = tokio::spawn(http::serve(self.listener, self.state, self.connections_max, http_stopping));
        service::ready(&reporter.status());
        let reporting = tokio::spawn(reporter.run());

        let broken = tokio::select! {
            () = shutdown => false,
            _ = ended.recv() => true,
        };
        tracing::info!("stopping: bus, engine, HTTP");
        reporting.abort();
        service::stopping();
        let drained = async {
            stop_bus.send_replace(true);
            while sources.join_next().await.is_some() {}
            let _ = backfilling.await;
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
        keeping.abort();
        if !broken {
            self.positions.close();
        }
        // Everything is safe: a client in the middle of a request is no reason to stay for long.
        stop_http.send_replace(true);
        match tokio::time::timeout(HTTP_DEADLINE, &mut server).await {
            Ok(ended) => ended.context("HTTP failed")?,
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

/// What is served or about to be: the numbers that instances can go on with.
fn serving(contents: &Contents) -> Vec<NamespaceRecord> {
    let records = contents.namespaces.values().map(|namespace| &namespace.record);
    records.filter(|record| record.state == NamespaceState::Serving).cloned().collect()
}

/// Instances of which something is damaged, if there is somebody who has what was lost.
fn damaged(config: &Config, contents: &Contents) -> BTreeSet<String> {
    let aside: BTreeSet<u32> = contents.set_aside.iter().map(|(key, _)| key.ns).collect();
    let serving = contents.namespaces.iter().filter(|(_, it)| it.record.state == NamespaceState::Serving);
    let damaged = serving.filter(|(ns, _)| config.history.url.is_some() && aside.contains(ns));
    damaged.map(|(_, namespace)| namespace.record.instance.clone()).collect()
}

/// Names what does not read.
fn tell_damage(contents: &Contents) {
    for row in &contents.damaged {
        let (key, what) = (&row.key, &row.what);
        match &row.namespace {
            Some((ns, instance)) => tracing::error!(
                key,
                namespace = ns,
                instance = instance.as_deref().unwrap_or("unknown"),
                "damaged: {what}; all of this state is set aside, and the instance begins anew"
            ),
            None => tracing::error!(key, "damaged: {what}; it is left out"),
        }
    }
    for (key, why) in &contents.set_aside {
        tracing::warn!(?key, "set aside as damaged, its time is missing: {why}");
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let token =
        std::fs::read_to_string(path).with_context(|| format!("cannot read [admin] token_file {}", path.display()))?;
    let token = token.trim();
    anyhow::ensure!(!token.is_empty(), "[admin] token_file {} is empty; write a token into it", path.display());
    Ok(token.to_owned())
}

pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        series_per_metric: config.limits.series_per_metric_max.try_into().unwrap_or(u32::MAX),
        label_bytes: config.limits.label_bytes_max,
        value_bytes: config.limits.value_bytes_max,
        quarantine_after: config.plugins.quarantine_after,
        dedupe_ids: config.bus.dedupe_ids_max,
        dedupe_window: micros(config.bus.dedupe_window),
        event_ahead: micros(config.limits.event_ahead_max),
        memory_bytes: config.limits.memory_bytes_max,
        retired_grace: micros(config.plugins.grace),
        cache_bytes: config.limits.cache_bytes_max as u64,
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn sources(
    config: &Config,
    clock: &Arc<dyn Clock>,
    rejects: &Arc<Rejects>,
    positions: &ReplayPositions,
) -> Vec<Box<dyn Source>> {
    let bus = &config.bus;
    let clock = clock.clone();
    let now: NowFn = Arc::new(move || clock.now().micros());
    let endpoints = bus.endpoints.iter().chain(&bus.bind).cloned();
    let source = |endpoint: Endpoint| -> Box<dyn Source> {
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
    let prefixes: Vec<Vec<u8>> = bus.subscribe.iter().map(|prefix| prefix.clone().into_bytes()).collect();
    let replayed = |endpoint: Endpoint| -> Box<dyn Source> {
        let asked = bus.replay.iter().find(|(publisher, _)| *publisher == endpoint).map(|(_, asked)| asked.clone());
        let Some(asked) = asked else { return source(endpoint) };
        let mut replay = bus::ReplayConfig::new(asked, now.clone());
        replay.subscriptions = prefixes.clone();
        replay.limits.body_bytes_max = bus.message_bytes_max;
        Box::new(bus::ReplaySource::new(source(endpoint), replay, positions))
    };
    endpoints.map(replayed).collect()
}
