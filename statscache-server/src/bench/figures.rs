//! What the kernel says of processes, and the daemon of itself.

use std::{collections::BTreeMap, fs};

use anyhow::Context;

/// Figures of `/metrics`, by name and labels.
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus' text.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        Self(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// The one with this name and no labels; 0 if there is none.
    pub fn one(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// All with this name.
    pub fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = f64> + 'm {
        let samples = self.0.iter().filter(move |(key, _)| key.split('{').next() == Some(name));
        samples.map(|(_, value)| *value)
    }

    /// Messages that wait: in the queue, and for the instance that is farthest behind.
    pub fn backlog(&self) -> f64 {
        let lag = self.all("statscache_plugin_lag_messages").fold(0.0, f64::max);
        self.one("statscache_queue_messages") + lag
    }

    /// Messages of which the daemon is done with the decision: counted, seen before, or lost.
    pub fn settled(&self) -> f64 {
        self.one("statscache_messages_accepted_total") + self.one("statscache_messages_duplicate_total") + self.lost()
    }

    /// Messages that came and are not in the journal.
    pub fn lost(&self) -> f64 {
        self.one("statscache_queue_dropped_total") + self.all("statscache_bus_rejected_total").sum::<f64>()
    }
}

/// A process at a moment.
pub struct Process {
    /// CPU seconds, user and system.
    pub cpu_secs: f64,
    /// Memory resident, MiB.
    pub resident_mib: f64,
    /// CPU seconds of its threads, those of one name together.
    pub threads: BTreeMap<String, f64>,
}

impl Process {
    /// Looks at it.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("cannot read /proc; this needs Linux")? {
            let task = task?.path();
            // It may have ended just now.
            let (Ok(name), Ok(times)) =
                (fs::read_to_string(task.join("comm")), fs::read_to_string(task.join("schedstat")))
            else {
                continue;
            };
            let nanos: f64 = times.split(' ').next().unwrap_or_default().parse().unwrap_or(0.0);
            *threads.entry(name.trim_end().to_owned()).or_default() += nanos / 1e9;
        }
        Ok(Self { cpu_secs: cpu_secs(pid)?, resident_mib: resident_mib(pid)?, threads })
    }

    /// How many seconds each of its threads has worked since then.
    pub fn threads_since(&self, before: &Self) -> Vec<(String, f64)> {
        let since = |(name, secs): (&String, &f64)| {
            let before = before.threads.get(name).copied().unwrap_or(0.0);
            (name.clone(), (secs - before).max(0.0))
        };
        let mut threads: Vec<(String, f64)> = self.threads.iter().map(since).collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        threads
    }
}

/// CPU seconds of a process with all threads that it had, in the kernel's ticks of 10 ms.
pub fn cpu_secs(pid: u32) -> anyhow::Result<f64> {
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 14 and 15; the second, a name in brackets, may hold blanks.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
    Ok(ticks / TICKS_PER_SEC)
}

/// Memory that a process has resident, MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Seconds that all processors together had nothing to do, since the machine started.
pub(super) fn idle_secs() -> f64 {
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    // `cpu user nice system idle iowait …`
    let idle: f64 = all.split_whitespace().skip(4).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    idle / TICKS_PER_SEC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_add_up() {
        let text = "# HELP a b\nstatscache_queue_messages 5\nstatscache_plugin_lag_messages{plugin=\"a\"} 2\n\
                    statscache_plugin_lag_messages{plugin=\"b c\"} 7\nstatscache_queue_dropped_total 3\n\
                    statscache_bus_rejected_total{endpoint=\"x\"} 1\nstatscache_messages_accepted_total 10\n\
                    statscache_messages_duplicate_total 4\n";
        let metrics = Metrics::parse(text);
        assert_eq!((metrics.backlog(), metrics.lost(), metrics.settled()), (12.0, 4.0, 18.0));
    }

    #[test]
    fn this_process_has_figures() {
        let before = Process::of(std::process::id()).expect("it runs");
        assert!(before.resident_mib > 1.0 && !before.threads.is_empty());
        let mut sum = 0_u64;
        let after = loop {
            sum = std::hint::black_box(sum + (0..100_000).sum::<u64>());
            let after = Process::of(std::process::id()).expect("it runs");
            if after.cpu_secs > before.cpu_secs {
                break after;
            }
        };
        let threads = after.threads_since(&before);
        assert!(threads[0].1 > 0.0, "{threads:?}");
    }
}
