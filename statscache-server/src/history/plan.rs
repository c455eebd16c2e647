//! What to ask a history service for, and for whom. Pure: the present is an argument.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use statscache_core::coverage::{Coverage, Seen};
use statscache_plugin_sdk::Timestamp;

/// Namespaces of all instances, those to come as well.
pub const EVERYONE: RangeInclusive<u32> = 0..=u32::MAX;

/// A span of time that is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its first instant.
    pub start: Timestamp,
    /// The instant after its last.
    pub end: Timestamp,
    /// Numbers of the namespaces that fold what it brings: [`EVERYONE`], or one or more that all run.
    pub audience: RangeInclusive<u32>,
}

/// The span that can be asked for at all: not what is older than `reach`, nor what is younger than `settle`. `None` if
/// that leaves nothing.
pub fn window(now: Timestamp, reach: Duration, settle: Duration) -> Option<(Timestamp, Timestamp)> {
    let before = |span: Duration| now.plus_micros(-i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    let (start, end) = (before(reach), before(settle));
    (start < end).then_some((start, end))
}

/// The jobs that fill what running instances lack of `[start, end)`, in ascending order of time. Each instance is given
/// with the number of its namespace, none twice, and with what it has seen; what it has seen in part only, it lacks.
///
/// Every instant that an instance lacks is in exactly one job whose audience it belongs to, and no instant that it has:
/// what all lack is asked for once, for everyone; what only some lack, once for each of them.
pub fn plan(seen: &[(u32, Coverage)], (start, end): (Timestamp, Timestamp)) -> Vec<Job> {
    let mut borders: Vec<(Timestamp, usize, bool)> = Vec::new();
    for (position, (_, coverage)) in seen.iter().enumerate() {
        for (hole_start, hole_end) in holes(coverage, start, end) {
            borders.extend([(hole_start, position, true), (hole_end, position, false)]);
        }
    }
    borders.sort_unstable();
    let mut lacking = vec![false; seen.len()];
    let mut count = 0;
    let mut open: Vec<Option<Timestamp>> = vec![None; seen.len()];
    let mut open_everyone = None;
    let mut jobs = Vec::new();
    let mut next = borders.iter().peekable();
    while let Some(&(at, position, lacks)) = next.next() {
        lacking[position] = lacks;
        count = if lacks { count + 1 } else { count - 1 };
        // All that happens at one instant happens at once.
        if next.peek().is_some_and(|following| following.0 == at) {
            continue;
        }
        let is_common = count == seen.len();
        turn(&mut open_everyone, is_common, at, EVERYONE, &mut jobs);
        for (position, (namespace, _)) in seen.iter().enumerate() {
            let is_alone = lacking[position] && !is_common;
            turn(&mut open[position], is_alone, at, *namespace..=*namespace, &mut jobs);
        }
    }
    jobs.sort_by_key(|job| (job.start, job.end, *job.audience.start()));
    jobs
}

/// The same, but nothing before `reach` is for everyone: of what the journal holds no more nobody can tell whether those
/// that do not run at present (quarantined, replaced, disabled) have it, and they would count it again when they do.
/// `running` are the numbers of those that run; neighbours are asked for together.
pub fn to_those_who_run(jobs: Vec<Job>, running: impl Iterator<Item = u32>, reach: Timestamp) -> Vec<Job> {
    let running: BTreeSet<u32> = running.collect();
    let mut neighbours: Vec<RangeInclusive<u32>> = Vec::new();
    for number in running {
        match neighbours.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => *last = *last.start()..=number,
            _ => neighbours.push(number..=number),
        }
    }
    let mut split = Vec::with_capacity(jobs.len());
    for job in jobs {
        if job.audience != EVERYONE || job.start >= reach {
            split.push(job);
            continue;
        }
        let end = job.end.min(reach);
        split.extend(neighbours.iter().map(|audience| Job { start: job.start, end, audience: audience.clone() }));
        if end < job.end {
            split.push(Job { start: end, ..job });
        }
    }
    split
}

/// Begins or ends a job at an instant.
fn turn(
    open: &mut Option<Timestamp>,
    is_wanted: bool,
    at: Timestamp,
    audience: RangeInclusive<u32>,
    jobs: &mut Vec<Job>,
) {
    match (*open, is_wanted) {
        (None, true) => *open = Some(at),
        (Some(start), false) => {
            jobs.push(Job { start, end: at, audience });
            *open = None;
        }
        _ => {}
    }
}

/// The spans within `[start, end)` that were not seen as a whole, in order; they do not touch.
pub fn holes(seen: &Coverage, start: Timestamp, end: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut holes = Vec::new();
    let mut at = start;
    let clamped = seen.clamp(start, end);
    for (from, until, _) in clamped.intervals().filter(|(_, _, level)| *level == Seen::Whole) {
        if at < from {
            holes.push((at, from));
        }
        at = until;
    }
    if at < end {
        holes.push((at, end));
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn coverage(spans: &[(i64, i64, Seen)]) -> Coverage {
        let mut coverage = Coverage::new();
        for (start, len, seen) in spans {
            coverage.add(time(*start), time(start + len), *seen);
        }
        coverage
    }

    fn job(start: i64, end: i64, audience: RangeInclusive<u32>) -> Job {
        Job { start: time(start), end: time(end), audience }
    }

    #[test]
    fn what_all_lack_is_asked_for_once_and_the_rest_for_each() {
        use Seen::{Part, Whole};
        let seen = [
            (3, coverage(&[(10, 10, Whole), (30, 10, Whole)])),
            (5, coverage(&[(10, 30, Whole)])),
            (9, coverage(&[(10, 5, Whole), (15, 5, Part), (20, 20, Whole)])),
        ];
        assert_eq!(
            plan(&seen, (time(0), time(50))),
            [job(0, 10, EVERYONE), job(15, 20, 9..=9), job(20, 30, 3..=3), job(40, 50, EVERYONE)]
        );
        assert_eq!(plan(&seen, (time(12), time(14))), []);
        assert_eq!(plan(&[], (time(0), time(50))), []);
        assert_eq!(plan(&[(7, Coverage::new())], (time(0), time(50))), [job(0, 50, EVERYONE)]);
        assert_eq!(plan(&[(7, Coverage::new())], (time(5), time(5))), []);
    }

    #[test]
    fn what_the_journal_holds_no_more_is_for_those_that_run() {
        let jobs = vec![job(0, 10, EVERYONE), job(5, 7, 4..=4), job(20, 40, EVERYONE), job(40, 50, EVERYONE)];
        let split = |reach| to_those_who_run(jobs.clone(), [4, 7, 5, 9].into_iter(), time(reach));
        assert_eq!(split(0), jobs);
        let apart = |start, end| [4..=5, 7..=7, 9..=9].map(|audience| job(start, end, audience));
        let expect = [&apart(0, 10)[..], &jobs[1..2], &apart(20, 30), &[job(30, 40, EVERYONE)], &jobs[3..]].concat();
        assert_eq!(split(30), expect);
    }

    #[test]
    fn the_window_ends_before_the_present() {
        let (now, secs) = (Timestamp::from_secs(1000), Duration::from_secs);
        assert_eq!(window(now, secs(900), secs(30)), Some((Timestamp::from_secs(100), Timestamp::from_secs(970))));
        assert_eq!(window(now, secs(30), secs(30)), None);
        assert_eq!(window(now, secs(3), secs(30)), None);
    }

    fn any_seen() -> impl Strategy<Value = Vec<(u32, Coverage)>> {
        let level = prop_oneof![Just(Seen::Part), Just(Seen::Whole)];
        let spans = prop::collection::vec((-5_i64..45, 1_i64..15, level), 0..6);
        prop::collection::vec(spans, 0..5).prop_map(|all| {
            let numbers = 2_u32..;
            numbers.step_by(3).zip(all).map(|(number, spans)| (number, coverage(&spans))).collect()
        })
    }

    proptest! {
        #[test]
        fn each_hole_is_in_one_job_of_its_instance_and_nothing_else_is(seen in any_seen(), end in 0_i64..50) {
            let jobs = plan(&seen, (time(0), time(end)));
            prop_assert!(jobs.iter().all(|job| job.start < job.end));
            prop_assert!(jobs.is_sorted_by_key(|job| job.start));
            for (namespace, coverage) in &seen {
                for at in -10_i64..60 {
                    let instant = coverage.clamp(time(at), time(at + 1));
                    let has = instant.intervals().any(|(_, _, level)| level == Seen::Whole);
                    let lacks = (0..end).contains(&at) && !has;
                    let within = |job: &&Job| job.start <= time(at) && time(at) < job.end;
                    let asked = jobs.iter().filter(within).filter(|job| job.audience.contains(namespace)).count();
                    prop_assert_eq!(asked, usize::from(lacks), "{} of {}: {:?}", at, namespace, jobs);
                }
            }
            // For everyone only where it is for all.
            for job in jobs.iter().filter(|job| job.audience == EVERYONE) {
                for (_, coverage) in &seen {
                    prop_assert_eq!(holes(coverage, job.start, job.end), [(job.start, job.end)]);
                }
            }
        }
    }
}
