//! The configuration: as written, then checked as a whole. Every problem is said at once.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use hyper::{Uri, header::HeaderValue};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::schedule::Timing;

mod span;
#[cfg(test)]
mod tests;

use span::Span;

/// Longest address of a site: as a label it would be cut by the daemon at 1,024 bytes.
const URL_BYTES_MAX: usize = 1000;
/// Shortest and longest interval.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// What a pattern may take in memory while it is compiled, and while it is used.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Problems that are said; beyond it only how many more there are.
const PROBLEMS_MAX: usize = 20;

/// A configuration that works.
#[derive(Debug)]
pub(crate) struct Config {
    /// Addresses to bind.
    pub(crate) bind: Vec<String>,
    /// Addresses to connect to.
    pub(crate) connect: Vec<String>,
    /// Topic of what is published.
    pub(crate) topic: String,
    /// Checks at a time.
    pub(crate) concurrency: usize,
    /// What all checks share.
    pub(crate) exchange: Exchange,
    /// What is looked at.
    pub(crate) sites: Sites,
}

/// How a site is asked, whichever it is.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Of a body no more is read than this.
    pub(crate) body_bytes: usize,
    /// Redirects that are followed.
    pub(crate) redirects: u32,
    /// Who asks.
    pub(crate) user_agent: HeaderValue,
}

/// The sites, and the rules that many of them share: a site takes 24 bytes and its address.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    sites: Vec<Site>,
    rules: Vec<Arc<Rule>>,
}

#[derive(Debug)]
struct Site {
    url: Box<str>,
    rule: u32,
}

/// How sites are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    /// Length of an interval, seconds; a check in each.
    pub(crate) interval_secs: u32,
    /// For the whole of a check.
    pub(crate) timeout: Duration,
    /// What must be in the body. Kept as text: compiled for each check, because a compiled one takes up to megabytes.
    pub(crate) pattern: Option<Box<str>>,
    /// Statuses that are expected; without any, whoever counts the message decides.
    pub(crate) statuses: Box<[u16]>,
}

impl Sites {
    pub(crate) fn len(&self) -> usize {
        self.sites.len()
    }

    pub(crate) fn url(&self, site: u32) -> &str {
        &self.sites[site as usize].url
    }

    pub(crate) fn rule(&self, site: u32) -> &Arc<Rule> {
        &self.rules[self.sites[site as usize].rule as usize]
    }

    pub(crate) fn timing(&self, site: u32) -> Timing {
        Timing::new(self.url(site), self.rule(site).interval_secs)
    }

    /// Of all sites, in order of their numbers.
    pub(crate) fn timings(&self) -> impl Iterator<Item = Timing> + '_ {
        (0..self.len() as u32).map(|site| self.timing(site))
    }

    /// Checks a second, on average.
    pub(crate) fn rate(&self) -> f64 {
        (0..self.len() as u32).map(|site| 1.0 / f64::from(self.rule(site).interval_secs)).sum()
    }

    pub(crate) fn need_tls(&self) -> bool {
        self.sites.iter().any(|site| site.url.starts_with("https:"))
    }
}

/// A pattern as it is used.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build()
}

/// What is wrong with an address of a site; it is the site's name as well, so it stands as it is.
fn check_url(url: &str) -> Result<(), String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("is longer than {URL_BYTES_MAX} bytes"));
    }
    if !url.is_ascii() {
        return Err("has letters outside of ASCII: write the host as xn--… and the path with %".to_owned());
    }
    if url.contains('#') {
        return Err("has a part behind #, which no server ever sees: leave it out".to_owned());
    }
    let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://".to_owned());
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a name or a password in it, which would be published: leave them out".to_owned())
        }
        Some(authority) if !authority.host().is_empty() => Ok(()),
        _ => Err("has no host".to_owned()),
    }
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    bind: Vec<String>,
    connect: Vec<String>,
    topic: String,
    concurrency: usize,
    body_bytes: usize,
    redirects: u32,
    user_agent: String,
    interval: Span,
    timeout: Span,
    sites_file: Option<PathBuf>,
    site: Vec<RawSite>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    url: String,
    interval: Option<Span>,
    timeout: Option<Span>,
    r#match: Option<String>,
    #[serde(default)]
    status: Vec<u16>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            bind: Vec::new(),
            connect: Vec::new(),
            topic: "org.example.prod.uptime.check".to_owned(),
            concurrency: 100,
            body_bytes: 256 << 10,
            redirects: 5,
            user_agent: concat!("statscache-scraper/", env!("CARGO_PKG_VERSION")).to_owned(),
            interval: Span(Duration::from_secs(60)),
            timeout: Span(Duration::from_secs(10)),
            sites_file: None,
            site: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file, and the file of sites that it names.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let raw: RawConfig = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let list = match &raw.sites_file {
            Some(file) => {
                let file = path.parent().unwrap_or(Path::new(".")).join(file);
                std::fs::read_to_string(&file).with_context(|| format!("cannot read sites_file {}", file.display()))?
            }
            None => String::new(),
        };
        raw.check(&list).with_context(|| path.display().to_string())
    }

    /// The same from texts, for tests.
    #[cfg(test)]
    fn parse(text: &str, list: &str) -> anyhow::Result<Self> {
        toml::from_str::<RawConfig>(text)?.check(list)
    }
}

impl RawConfig {
    fn check(self, list: &str) -> anyhow::Result<Config> {
        let mut builder = Builder::default();
        self.check_options(&mut builder.problems);
        for site in &self.site {
            builder.site(&site.url, self.rule_of(site), &format!("site {}", site.url));
        }
        let rule = self.rule(self.interval, self.timeout, None, &[]);
        for (number, line) in list.lines().enumerate() {
            let url = line.trim();
            if !url.is_empty() && !url.starts_with('#') {
                builder.site(url, rule.clone(), &format!("sites_file, line {}: {url}", number + 1));
            }
        }
        let sites = builder.finish()?;
        let user_agent = HeaderValue::from_str(&self.user_agent).context("user_agent cannot be sent")?;
        let exchange = Exchange { body_bytes: self.body_bytes, redirects: self.redirects, user_agent };
        let Self { bind, connect, topic, concurrency, .. } = self;
        Ok(Config { bind, connect, topic, concurrency, exchange, sites })
    }

    fn check_options(&self, problems: &mut Vec<String>) {
        let is_tcp = |address: &&String| {
            let rest = address.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':'));
            !rest.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        for address in self.bind.iter().chain(&self.connect).filter(is_tcp) {
            problems.push(format!("`{address}` is no address: write tcp://HOST:PORT, to bind also tcp://0.0.0.0:PORT"));
        }
        if self.topic.is_empty() || self.topic.split('.').any(str::is_empty) {
            problems.push(format!("topic: `{}` is no topic: write words with dots between", self.topic));
        }
        if !(1..=10_000).contains(&self.concurrency) {
            problems.push(format!("concurrency: {} is not in 1 to 10000", self.concurrency));
        }
        if self.body_bytes > 64 << 20 {
            problems
                .push(format!("body_bytes: {} is more than 64 MiB, and each check may take as much", self.body_bytes));
        }
        if self.redirects > 20 {
            problems.push(format!("redirects: {} is more than 20", self.redirects));
        }
    }

    fn rule_of(&self, site: &RawSite) -> Result<Rule, String> {
        let (interval, timeout) = (site.interval.unwrap_or(self.interval), site.timeout.unwrap_or(self.timeout));
        self.rule(interval, timeout, site.r#match.as_deref(), &site.status)
    }

    fn rule(&self, interval: Span, timeout: Span, pattern: Option<&str>, statuses: &[u16]) -> Result<Rule, String> {
        let (Span(interval), Span(timeout)) = (interval, timeout);
        if !INTERVAL.contains(&interval) || interval.subsec_nanos() > 0 {
            return Err(format!("interval {interval:?} is not a number of whole seconds up to a day"));
        }
        if timeout.is_zero() || timeout > interval {
            return Err(format!(
                "timeout {timeout:?} is 0 or longer than the interval {interval:?}: checks would overlap"
            ));
        }
        if let Some(status) = statuses.iter().find(|status| !(100..1000).contains(*status)) {
            return Err(format!("status {status} is no HTTP status"));
        }
        let interval_secs = u32::try_from(interval.as_secs()).map_err(|error| error.to_string())?;
        Ok(Rule { interval_secs, timeout, pattern: pattern.map(Box::from), statuses: statuses.into() })
    }
}

/// Puts sites together; what it needs for that and no longer goes with it.
#[derive(Default)]
struct Builder {
    sites: Sites,
    known: HashMap<Rule, u32>,
    seen: HashSet<Box<str>>,
    problems: Vec<String>,
}

impl Builder {
    fn site(&mut self, url: &str, rule: Result<Rule, String>, place: &str) {
        let rule = check_url(url).and(rule).and_then(|rule| self.rule(rule));
        match rule {
            Ok(rule) if self.seen.insert(url.into()) => self.sites.sites.push(Site { url: url.into(), rule }),
            Ok(_) => self.problems.push(format!("{place}: it is in the list already")),
            Err(problem) => self.problems.push(format!("{place}: {problem}")),
        }
    }

    fn rule(&mut self, rule: Rule) -> Result<u32, String> {
        if let Some(known) = self.known.get(&rule) {
            return Ok(*known);
        }
        if let Some(pattern) = &rule.pattern {
            compile(pattern).map_err(|error| format!("match: {error}"))?;
        }
        let number = self.sites.rules.len() as u32;
        self.sites.rules.push(Arc::new(rule.clone()));
        self.known.insert(rule, number);
        Ok(number)
    }

    fn finish(mut self) -> anyhow::Result<Sites> {
        if self.problems.is_empty() && self.sites.sites.is_empty() {
            self.problems
                .push("no sites: add a [[site]] with its url, or a sites_file with an address on each line".into());
        }
        let more = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            self.problems.push(format!("and {more} more"));
        }
        if !self.problems.is_empty() {
            bail!("\n  {}", self.problems.join("\n  "));
        }
        self.sites.sites.shrink_to_fit();
        Ok(self.sites)
    }
}
