//! End to end: real sockets, real shared libraries, real processes. Each line below says what its module holds true.

/// Alerts on the daemon's own figures, and what Grafana is provisioned with.
mod alerts;
/// Answers as dashboards get them: forms, freshness, caching, many at once.
mod answers;
/// What was missed is fetched, counts once, and is said to be missing until it is there.
mod backfill;
/// Back up and restore: the commands of the operator's guide.
mod backup;
/// `statscache bench`: a verdict at the end, however it ends nothing is left, and what is the operator's is not touched.
mod bench;
/// The bridge: files and webhooks become messages, once each, with nobody listening at first.
mod bridge;
/// The command line: every subcommand, what it prints, and how it refuses.
mod cli;
/// How much of the bus was seen: complete, partial, missing, and what stands for empty buckets.
mod coverage;
/// The dashboards: their numbers are those of the JSON, and what is not known is said.
mod dashboards;
/// Discovery: what `/plugins` leads to answers, and the values of labels come page by page.
mod discovery;
/// A full disk: the daemon says so, serves on, and resumes by itself with nothing lost.
mod disk;
/// The plugins of Fedora's bus: a forge, the calendar of a person, the event log of release engineering.
mod families;
/// What was missed: the service that gives it, its client, and what an operator types for both.
mod history;
/// The plugin host: libraries and plugins that do everything wrong, beside ones that do not notice.
mod host;
/// HTTP: problems, headers, schemas, figures, many readers at once.
mod http;
/// Both bus clients against publishers of the `zeromq` crate, of libzmq, and hostile peers.
mod interop;
/// `kill -9` at random instants, many times: the numbers equal a recount of the journal.
mod kill;
/// Every kind of metric: its values, order, sums along a path, removal, and the same after a crash.
mod kinds;
/// A slow instance lags, shows it, and holds up nobody.
mod lag;
/// The API of the original statscache: its recorded answers, its clients' calls, and every intended difference.
mod legacy;
/// Limits: what is beyond them is counted and said, and the rest goes on.
mod limits;
/// Users and packages of messages: what explains them, and that the daemon counts the same.
mod meta;
/// `/openapi.json`: a valid document, and what it says holds when schemathesis tries it.
mod openapi;
/// Any order, duplication, split and replay of a corpus gives the same state, for every shipped plugin.
mod order;
/// The page at `/`, in a real browser: what it shows, how it is used, and who can.
mod page;
/// From a publisher to JSON: what is counted, where, and how it is asked for.
mod pipeline;
/// A power cut at any change of the disk: journal and store hold what was promised.
mod power;
/// The Prometheus API and its dashboards: the numbers of `/plugins`, in PromQL.
mod prometheus;
/// Behind nginx with the configuration that is shipped: TLS, caching, streams, a path of its own, what stays inside.
mod proxy;
/// Relays, repetitions and publishers listed twice: each message counts once.
mod redundancy;
/// Numbered messages that did not come are asked for; what cannot be had is said.
mod replay;
/// What a service manager sees: ready, alive, reloading, stopping; its socket; and the units that are shipped.
mod service;
/// Sizes of projects, added up where they are now: renamed, transferred, destroyed, in any order and after a crash.
mod storage;
/// The store of a daemon that is down: sums, checks, moving it elsewhere; and one of an earlier format.
mod store;
/// Server-sent events: the present answer at once, the next when it says something else, and an end in order.
mod stream;
/// What tests are written with: daemons, publishers, messages, and waiting with a deadline.
mod support;
/// The tree itself: rules that can be checked are checked here.
mod tidy;
/// Reloads: other plugins, configurations and versions while the daemon runs, and nothing lost or half shown.
mod upgrade;
/// Sites are watched by two scrapers: every way to fail is told, incidents begin and end, each check counts once.
mod uptime;
