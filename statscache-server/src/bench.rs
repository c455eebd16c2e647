//! How many messages a daemon keeps up with, measured with all that it has to do: its own process, a publisher in
//! another, real sockets, a real folder. For `statscache bench` and the project's own benchmarks.
//!
//! The publisher sends at a rising rate until something is lost or the daemon falls behind. What the daemon takes of
//! CPU is compared with the least that anything on this bus must do: another process with the same reader receives,
//! finds the same fields and forgets them. Nothing of the operator's is touched: data are in a folder that is removed
//! at the end, ports are free ones. Reads `/proc`: Linux only.

mod child;
mod client;
mod figures;
mod mix;
mod part;
mod pool;
mod questions;
mod random;
mod scratch;
mod steps;
mod verdict;
mod wire;

use std::{ffi::OsString, path::PathBuf, time::Duration};

pub use child::Child;
pub use client::{Client, quantile};
pub use figures::{Metrics, Process, cpu_secs, resident_mib};
pub use part::{Part, run as run_part};
pub use questions::Measured;
pub use random::Random;
pub use scratch::Scratch;
pub use steps::{Ceiling, Rising, Round, Step, Under, ceiling, full_speed, rising};
pub use verdict::{Limit, Messages, Report, Verdict};
pub use wire::{frame, greet};

/// Receiving alone needs this part of the time, and no more than [`CEILING_MAX`] to be exact.
const CEILING_PART: f64 = 0.12;
const CEILING_MAX: Duration = Duration::from_secs(4);

/// What is measured, and with what.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This program, and what stands in front of its subcommands.
    pub program: (PathBuf, Vec<OsString>),
    /// The operator's configuration; else the defaults, with every shipped plugin.
    pub config: Option<PathBuf>,
    /// The operator's messages; else the invented bus.
    pub messages: Option<PathBuf>,
    /// Where the folder for the data is made; else the system's for temporary ones.
    pub dir: Option<PathBuf>,
    /// About how long all of it may take, but for the starts of its processes.
    pub time: Duration,
}

impl Setup {
    /// Measures all there is; `told` hears of each step when it is over. Cancelled, its processes end and its folder
    /// is removed.
    pub async fn run(&self, mut told: impl FnMut(&Step)) -> anyhow::Result<Report> {
        let (config, pool) = part::load(self.config.as_deref(), self.messages.as_deref())?;
        let scratch = Scratch::new(self.dir.as_deref())?;
        let (alone, time) = shares(self.time);
        let ceiling = ceiling(self, &scratch, alone).await?;
        let under = Under { ceiling, commit_interval: config.data.commit_interval, time };
        let rising = rising(self, &scratch, &under, &mut told).await?;
        Ok(Report::new(ceiling, rising, &pool, self.messages.as_deref()))
    }
}

/// What of the time is for receiving alone, and what for the steps.
fn shares(time: Duration) -> (Duration, Duration) {
    let alone = time.mul_f64(CEILING_PART).min(CEILING_MAX);
    (alone, time.saturating_sub(alone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_time_is_for_the_steps() {
        let secs = |secs| shares(Duration::from_secs(secs));
        assert_eq!(secs(600), (CEILING_MAX, Duration::from_secs(596)));
        assert_eq!(secs(10), (Duration::from_millis(1200), Duration::from_millis(8800)));
    }
}
