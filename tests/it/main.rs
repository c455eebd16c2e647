//! End to end: real sockets, real shared libraries, real processes. Each line below says what its module holds true.

/// Alerts on the daemon's own figures, and what Grafana is provisioned with.
mod alerts;
mod answers;
mod backfill;
mod backup;
mod bridge;
mod cli;
mod coverage;
mod discovery;
mod disk;
mod families;
mod history;
mod host;
mod http;
mod interop;
mod kill;
mod kinds;
mod lag;
mod legacy;
mod limits;
mod meta;
mod openapi;
mod order;
mod page;
mod pipeline;
mod power;
mod prometheus;
mod proxy;
mod redundancy;
mod replay;
mod service;
mod storage;
mod store;
mod stream;
mod support;
mod tidy;
mod upgrade;
mod uptime;
/// Answers as dashboards get them: forms, freshness, caching, many at once.
/// What was missed is fetched, counts once, and is said to be missing until it is there.
/// The bridge: files and webhooks become messages, once each, with nobody listening at first.
/// Back up and restore: the commands of the operator's guide.
/// The command line: every subcommand, what it prints, and how it refuses.
/// How much of the bus was seen: complete, partial, missing, and what stands for empty buckets.
/// Discovery: what `/plugins` leads to answers, and the values of labels come page by page.
/// A full disk: the daemon says so, serves on, and resumes by itself with nothing lost.
/// The plugins of Fedora's bus: a forge, the calendar of a person, the event log of release engineering.
/// What was missed: the service that gives it, its client, and what an operator types for both.
/// The plugin host: libraries and plugins that do everything wrong, beside ones that do not notice.
/// HTTP: problems, headers, schemas, figures, many readers at once.
/// Both bus clients against publishers of the `zeromq` crate, of libzmq, and hostile peers.
/// `kill -9` at random instants, many times: the numbers equal a recount of the journal.
/// Every kind of metric: its values, order, sums along a path, removal, and the same after a crash.
/// A slow instance lags, shows it, and holds up nobody.
/// The API of the original statscache: its recorded answers, its clients' calls, and every intended difference.
/// Limits: what is beyond them is counted and said, and the rest goes on.
/// Users and packages of messages: what explains them, and that the daemon counts the same.
/// `/openapi.json`: a valid document, and what it says holds when schemathesis tries it.
/// Any order, duplication, split and replay of a corpus gives the same state, for every shipped plugin.
/// The page at `/`, in a real browser: what it shows, how it is used, and who can.
/// From a publisher to JSON: what is counted, where, and how it is asked for.
/// A power cut at any change of the disk: journal and store hold what was promised.
/// The Prometheus API and its dashboards: the numbers of `/plugins`, in PromQL.
/// Behind nginx with the configuration that is shipped: TLS, caching, streams, a path of its own, what stays inside.
/// Relays, repetitions and publishers listed twice: each message counts once.
/// Numbered messages that did not come are asked for; what cannot be had is said.
/// What a service manager sees: ready, alive, reloading, stopping; its socket; and the units that are shipped.
/// Sizes of projects, added up where they are now: renamed, transferred, destroyed, in any order and after a crash.
/// The store of a daemon that is down: sums, checks, moving it elsewhere; and one of an earlier format.
/// Server-sent events: the present answer at once, the next when it says something else, and an end in order.
/// What tests are written with: daemons, publishers, messages, and waiting with a deadline.
/// The tree itself: rules that can be checked are checked here.
/// Reloads: other plugins, configurations and versions while the daemon runs, and nothing lost or half shown.
/// Sites are watched by two scrapers: every way to fail is told, incidents begin and end, each check counts once.
