//! What the steps say together.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{Ceiling, Measured, Rising, Step, pool::Pool};

/// A thread that works for more than this part of the time has no more to give.
const THREAD_FULL: f64 = 0.85;
/// The same, of all processors.
const PROCESSORS_FULL: f64 = 0.92;
/// A publisher that works for more than this part of the time is itself too slow.
const PUBLISHER_FULL: f64 = 0.85;

/// How hard a step was.
pub(super) struct Strain<'s> {
    pub(super) dropped: f64,
    pub(super) backlog_secs: f64,
    pub(super) backlog_secs_max: f64,
    pub(super) sent_part: f64,
    pub(super) sent_part_min: f64,
    pub(super) publisher_busy: f64,
    pub(super) is_drained: bool,
    pub(super) busy: f64,
    pub(super) threads: &'s [(String, f64)],
}

/// Why a step was too much.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// What was seen.
    pub symptom: String,
    /// What had no more to give.
    pub cause: String,
}

impl Strain<'_> {
    /// What shows that it was too much, and why; none if it was not.
    pub(super) fn limit(&self) -> Option<Limit> {
        let is_held_up = self.sent_part < self.sent_part_min;
        if is_held_up && self.publisher_busy > PUBLISHER_FULL && self.dropped == 0.0 {
            let cause = "the publisher of this measurement, not the daemon: it can do at least what is shown";
            return Some(Limit { symptom: "less was sent than asked".to_owned(), cause: cause.to_owned() });
        }
        let symptom = if self.dropped > 0.0 {
            format!("{} messages were lost", self.dropped)
        } else if is_held_up {
            "the daemon read more slowly than was sent".to_owned()
        } else if self.backlog_secs > self.backlog_secs_max {
            format!("at the end {:.1} s of messages waited", self.backlog_secs)
        } else if !self.is_drained {
            "not all messages came to be counted".to_owned()
        } else {
            return None;
        };
        Some(Limit { symptom, cause: self.cause() })
    }

    fn cause(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let full = self.threads.first().filter(|(_, part)| *part >= THREAD_FULL);
        let busy = self.busy * 100.0;
        match (full, self.busy >= PROCESSORS_FULL, self.threads.first()) {
            (Some((name, part)), _, _) => format!("{}, {:.0} % of one core", thread(name), part * 100.0),
            (None, true, Some((name, part))) => format!(
                "the machine: its {processors} processors were {busy:.0} % busy, publisher and questions included; of the \
                 daemon most was {}, {:.0} % of one core",
                thread(name),
                part * 100.0
            ),
            _ => format!("no processor ({busy:.0} % of them busy), so the disk or a wait"),
        }
    }
}

/// What a thread of the daemon does.
pub(super) fn thread(name: &str) -> String {
    match name.strip_prefix("fold ") {
        Some(instance) => format!("the instance {instance}"),
        None if name == "ingest" => "the one thread that parses and writes the journal".to_owned(),
        None if name == "commit" => "the one thread that commits".to_owned(),
        None if name.starts_with("tokio") => "receiving and HTTP".to_owned(),
        None => format!("the thread {name}"),
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was sent.
    pub messages: Messages,
    /// What had to keep up.
    pub instances: Vec<Measured>,
    /// Receiving alone.
    pub ceiling: Ceiling,
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What was sent.
#[derive(Debug, Serialize)]
pub struct Messages {
    /// The file; none for the invented bus.
    pub file: Option<String>,
    /// Different ones.
    pub different: usize,
    /// On the wire.
    pub mean_bytes: usize,
}

/// What it comes to.
#[derive(Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The highest rate with which the daemon kept up; none if it did not with any.
    pub keeps_up_per_second: Option<f64>,
    /// What was in the way; none if the time was over before anything was.
    pub limit: Option<Limit>,
    /// CPU of a message at that rate, in that of receiving alone.
    pub cpu_ratio: Option<f64>,
}

impl Report {
    pub(super) fn new(ceiling: Ceiling, rising: Rising, pool: &Pool, file: Option<&Path>) -> Self {
        let Rising { steps, instances } = rising;
        let best = steps.iter().filter(|step| step.limit.is_none());
        let best = best.max_by(|a, b| a.received_per_second.total_cmp(&b.received_per_second));
        let verdict = Verdict {
            keeps_up_per_second: best.map(|step| step.received_per_second),
            limit: steps.iter().find_map(|step| step.limit.clone()),
            cpu_ratio: best.map(|step| step.cpu_micros / ceiling.cpu_micros),
        };
        let file = file.map(|file| file.display().to_string());
        let messages = Messages { file, different: pool.count(), mean_bytes: pool.mean_bytes() };
        Self { messages, instances, ceiling, steps, verdict }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.keeps_up_per_second, &self.limit) {
            (Some(rate), Some(_)) => writeln!(f, "keeps up with {rate:.0} messages a second")?,
            (Some(rate), None) => {
                writeln!(f, "keeps up with at least {rate:.0} messages a second; more --seconds may find more")?;
            }
            (None, _) => writeln!(f, "keeps up with none of these rates")?,
        }
        if let Some(Limit { symptom, cause }) = &self.limit {
            writeln!(f, "limited by: {cause} ({symptom})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strain(threads: &[(String, f64)]) -> Strain<'_> {
        Strain {
            dropped: 0.0,
            backlog_secs: 0.1,
            backlog_secs_max: 0.3,
            sent_part: 1.0,
            sent_part_min: 0.95,
            publisher_busy: 0.4,
            is_drained: true,
            busy: 0.5,
            threads,
        }
    }

    fn says(limit: Option<Limit>, symptom: &str, cause: &str) {
        let limit = limit.expect("it was too much");
        assert!(limit.symptom.contains(symptom) && limit.cause.contains(cause), "{limit:?}");
    }

    #[test]
    fn what_is_too_much_and_why() {
        let fold = [("fold volume".to_owned(), 0.97), ("ingest".to_owned(), 0.5)];
        let idle = [("ingest".to_owned(), 0.4)];
        assert_eq!(strain(&fold).limit(), None, "a busy thread alone is no harm");
        says(Strain { dropped: 7.0, ..strain(&fold) }.limit(), "7 messages", "the instance volume, 97 %");
        says(Strain { backlog_secs: 0.4, ..strain(&idle) }.limit(), "0.4 s of messages", "the disk");
        says(Strain { backlog_secs: 0.4, busy: 0.99, ..strain(&idle) }.limit(), "waited", "processors were 99 % busy");
        says(Strain { sent_part: 0.5, publisher_busy: 0.9, ..strain(&idle) }.limit(), "less was sent", "the publisher");
        says(Strain { sent_part: 0.5, ..strain(&fold) }.limit(), "more slowly", "volume");
        says(Strain { is_drained: false, ..strain(&idle) }.limit(), "not all", "no processor");
    }
}
