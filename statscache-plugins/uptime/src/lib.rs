//! Whether web sites are up, how fast they answer, and since when they are down.
//!
//! One message is one look at one site: what the network said, what HTTP said, and whether the page had the words
//! that it should have. The verdict and everything that is counted follow from that message alone.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{
    Count, Declare, Dist, Field, InternedLabel, Label, Latest, Message, Metric, Plugin, PluginError, Stat, Timestamp,
    Updates, export_plugins,
};

mod check;
mod status;
#[cfg(test)]
mod tests;

use check::{Check, event_time};
use status::Statuses;

export_plugins!(Uptime);

/// How long buckets are kept: a site is looked at every minute or so, so that narrower buckets would hold one look each.
const TIERS: &str = "1m for 7d, 1h for 400d, 1d forever";

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics of the messages that say how a site was found.
    pub topics: Vec<String>,
    /// HTTP statuses of a site that is up: single ones such as `401`, or classes such as `2xx`.
    pub good_statuses: Vec<String>,
    /// Sites of which all must be up for a service to work, by a name for the service. A site is written as in the
    /// messages, to the letter, and may be in several chains.
    pub chains: BTreeMap<String, Vec<String>>,
    /// How many of the newest failures of each site are kept, 1 to 1000.
    pub failures: u32,
    /// Where in the envelope things are.
    pub pointers: Pointers,
}

/// Where in the envelope things are, as JSON pointers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pointers {
    /// Address of the site; the label `site`.
    pub url: String,
    /// Number of the HTTP status; `null` or nothing where there was no answer.
    pub http_status: String,
    /// `ok`, `true` or 0, or a word for what was wrong; left out, an HTTP status stands for `ok`.
    pub network_status: String,
    /// `false` where the page was not as expected.
    pub r#match: String,
    /// When it was looked at, in seconds since 1970 or as RFC 3339.
    pub tstamp: String,
    /// How long it took.
    pub response_seconds: String,
    /// Whether the HTTP status was the expected one, from a publisher that knows; `good_statuses` decide without it.
    pub status_ok: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: vec!["*.*.*.uptime.#".to_owned()],
            good_statuses: vec!["2xx".to_owned(), "3xx".to_owned()],
            chains: BTreeMap::new(),
            failures: 20,
            pointers: Pointers::default(),
        }
    }
}

impl Default for Pointers {
    fn default() -> Self {
        let msg = |name: &str| format!("/msg/{name}");
        Self {
            url: msg("url"),
            http_status: msg("http_status"),
            network_status: msg("network_status"),
            r#match: msg("match"),
            tstamp: msg("tstamp"),
            response_seconds: msg("response_seconds"),
            status_ok: msg("status_ok"),
        }
    }
}

/// The plugin `uptime`.
pub struct Uptime {
    fields: Fields,
    metrics: Metrics,
    good: Statuses,
    /// Chains of each site that is in any.
    chains: BTreeMap<String, Vec<InternedLabel>>,
}

/// What is read of a message.
struct Fields {
    url: Field,
    http_status: Field,
    network_status: Field,
    r#match: Field,
    tstamp: Field,
    response_seconds: Field,
    status_ok: Field,
}

impl Fields {
    fn declare(pointers: &Pointers, declare: &mut Declare) -> Self {
        Self {
            url: declare.field(&pointers.url),
            http_status: declare.field(&pointers.http_status),
            network_status: declare.field(&pointers.network_status),
            r#match: declare.field(&pointers.r#match),
            tstamp: declare.field(&pointers.tstamp),
            response_seconds: declare.field(&pointers.response_seconds),
            status_ok: declare.field(&pointers.status_ok),
        }
    }
}

/// What is counted and kept.
struct Metrics {
    state: Latest,
    last_good: Latest,
    down: Latest,
    failures: Latest,
    up: Stat,
    response_seconds: Dist,
    checks: Count,
    chains: Stat,
}

impl Metrics {
    fn declare(failures: u32, declare: &mut Declare) -> Self {
        let of_site = |name, text: &str| Metric::new(name).by(["site"]).describe(text);
        let buckets = |name, text: &str| of_site(name, text).tiers(TIERS);
        Self {
            state: declare.latest(of_site("state", "How the site was found last.")),
            last_good: declare.latest(of_site("last_good", "How and when the site was found up last.")),
            down: declare
                .latest(of_site("down", "How the sites were found last that are not up; of the others nothing.")),
            failures: declare.newest(of_site("failures", "The newest failures of the site."), failures),
            up: declare.stat(buckets(
                "up",
                "1 for each check that found the site up, 0 for each other: the mean is the availability.",
            )),
            response_seconds: declare.dist(
                buckets("response_seconds", "How long the site took to answer, of checks that found it up.")
                    .unit("seconds"),
            ),
            checks: declare.count(Metric::new("checks").by(["site", "result"]).unit("checks").tiers(TIERS).describe(
                "Checks by what they found: `ok`, the network's trouble (`timeout`, `dns`, …), `http_503`, `match`.",
            )),
            chains: declare.stat(Metric::new("chains").by(["chain", "site"]).tiers(TIERS).describe(
                "As `up`, for the sites of each configured chain: the product of the means is the availability of \
                     what needs all of them.",
            )),
        }
    }
}

impl Plugin for Uptime {
    const ID: &'static str = "uptime";
    const SUMMARY: &'static str = "whether web sites are up, how fast they answer, and since when they are down";
    const DESCRIPTION: &'static str = "\
Counts what scrapers publish: one message for each look at a site, with `url`, `http_status`, `network_status`, `match`, \
`tstamp` and `response_seconds` in its `msg`.

A site is **up** if the network was well, the HTTP status is a good one (2xx and 3xx unless configured otherwise, or as \
the publisher says in `status_ok`), and `match` is not false. The **result** is `ok`, or the first of these that failed: \
the network's word (`timeout`, `dns`, `refused`, …), `http_503`, `match`.

Everything counts at `tstamp`. Several scrapers that look at the same site at the same `tstamp` count once if the \
daemon's `[bus] id_pointers` are `[\"/msg/url\", \"/msg/tstamp\"]`.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(config.topics.iter().map(String::as_str));
        let mut chains: BTreeMap<String, Vec<InternedLabel>> = BTreeMap::new();
        for (chain, sites) in &config.chains {
            if sites.is_empty() {
                let error = PluginError::new(format!("config.chains.{chain} names no site"));
                return Err(error.with_hint("list the sites that all must be up, or leave the chain out"));
            }
            let label = declare.label(chain);
            for site in sites {
                let of_site = chains.entry(site.clone()).or_default();
                // A site that is listed twice is one part of the chain.
                if of_site.last() != Some(&label) {
                    of_site.push(label);
                }
            }
        }
        Ok(Self {
            fields: Fields::declare(&config.pointers, declare),
            metrics: Metrics::declare(config.failures, declare),
            good: Statuses::parse(&config.good_statuses)?,
            chains,
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let url = message.get(self.fields.url).as_str();
        let Some(site) = url.as_deref().map(str::trim).filter(|site| !site.is_empty()) else { return Ok(()) };
        let Some(check) = Check::read(message, &self.fields, &self.good) else { return Ok(()) };
        let time = event_time(message.get(self.fields.tstamp)).unwrap_or_else(|| message.time());
        self.keep(site, &check, &mut updates.at(time))?;
        self.count(site, &check, &mut updates.at(time));
        Ok(())
    }
}

impl Uptime {
    /// What holds until the next check.
    fn keep(&self, site: &str, check: &Check<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let metrics = &self.metrics;
        updates.set(metrics.state, [site], check)?;
        if check.up {
            updates.remove(metrics.down, [site]);
            return updates.set(metrics.last_good, [site], check);
        }
        updates.set(metrics.down, [site], check)?;
        updates.set(metrics.failures, [site], check)
    }

    /// What is counted over time.
    fn count(&self, site: &str, check: &Check<'_>, updates: &mut Updates<'_>) {
        let up = f64::from(u8::from(check.up));
        updates.observe(self.metrics.up, [site], up);
        updates.add(self.metrics.checks, [site, &*check.reason], 1);
        for chain in self.chains.get(site).into_iter().flatten() {
            updates.observe(self.metrics.chains, [Label::interned(*chain), Label::text(site)], up);
        }
        if let Some(seconds) = check.response_seconds.filter(|_| check.up) {
            updates.observe(self.metrics.response_seconds, [site], seconds);
        }
    }
}
