//! Which site is looked at when. Pure: the time is an argument.
//!
//! A site is looked at once in each of its intervals. Intervals begin at multiples of their length since 1970, and that
//! beginning is what a check is published under, so that scrapers that know nothing of each other agree on it. When
//! within the interval, a hash of the address says: many sites are spread evenly, and the same site comes at the same
//! moment after every restart.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A check that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Number of the site.
    pub(crate) site: u32,
    /// Beginning of the interval, seconds since 1970.
    pub(crate) tstamp: i64,
}

/// What the schedule has to know of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Length of its intervals, microseconds.
    interval: i64,
    /// When within each, microseconds.
    offset: i64,
}

impl Timing {
    /// Of the site with this address.
    pub(crate) fn new(url: &str, interval_secs: u32) -> Self {
        let interval = i64::from(interval_secs.max(1)) * 1_000_000;
        Self { interval, offset: (hash(url) % interval as u64) as i64 }
    }

    /// The last moment up to `now` at which it was due.
    fn last(self, now: i64) -> i64 {
        (now - self.offset).div_euclid(self.interval) * self.interval + self.offset
    }
}

/// FNV-1a, mixed (SplitMix64's end) because its low bits alone are poor. The same everywhere and for ever, unlike the
/// standard library's.
fn hash(text: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut z = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All sites by when they are due next: 16 bytes each.
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<(i64, u32)>>,
    skipped: u64,
}

impl Schedule {
    /// Sites of these timings, by their numbers; nothing is due before `now`.
    pub(crate) fn new(timings: impl Iterator<Item = Timing>, now: i64) -> Self {
        let next = |(site, timing): (usize, Timing)| Reverse((timing.last(now - 1) + timing.interval, site as u32));
        Self { heap: timings.enumerate().map(next).collect(), skipped: 0 }
    }

    /// When the next check is due; `None` without sites.
    pub(crate) fn next(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes out what is due. A site that has waited for whole intervals is looked at once, for the newest.
    pub(crate) fn pop(&mut self, now: i64, timing: impl Fn(u32) -> Timing) -> Option<Due> {
        let mut head = self.heap.peek_mut()?;
        let Reverse((due, site)) = *head;
        if due > now {
            return None;
        }
        let timing = timing(site);
        let last = timing.last(now);
        self.skipped += ((last - due) / timing.interval) as u64;
        *head = Reverse((last + timing.interval, site));
        Some(Due { site, tstamp: (last - timing.offset) / 1_000_000 })
    }

    /// Whether the clock was set back: the next check is further away than its interval allows.
    pub(crate) fn is_ahead(&self, now: i64, timing: impl Fn(u32) -> Timing) -> bool {
        self.heap.peek().is_some_and(|Reverse((due, site))| due - now > timing(*site).interval)
    }

    /// Checks that were left out because they came too late to be made.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_700_000_000 * SECOND;

    fn timings(count: usize, interval: u32) -> Vec<Timing> {
        (0..count).map(|n| Timing::new(&format!("https://site{n}.example/"), interval)).collect()
    }

    /// All that is due up to `end`, with it, looked for every `step` microseconds.
    fn run(timings: &[Timing], end: i64, step: i64) -> (Vec<(i64, Due)>, Schedule) {
        let mut schedule = Schedule::new(timings.iter().copied(), START);
        let mut due = Vec::new();
        for now in (START..=end).step_by(step as usize) {
            while let Some(check) = schedule.pop(now, |site| timings[site as usize]) {
                due.push((now, check));
            }
        }
        (due, schedule)
    }

    #[test]
    fn each_site_comes_once_in_each_interval_and_on_the_grid() {
        let timings = timings(50, 7);
        let (due, schedule) = run(&timings, START + 70 * SECOND, SECOND / 4);
        assert_eq!((due.len(), schedule.skipped()), (500, 0));
        for (site, timing) in timings.iter().enumerate() {
            let of_site: Vec<_> = due.iter().filter(|(_, check)| check.site == site as u32).collect();
            assert!(of_site.windows(2).all(|pair| pair[1].1.tstamp - pair[0].1.tstamp == 7), "{of_site:?}");
            for (now, check) in of_site {
                assert_eq!(check.tstamp % 7, 0);
                let late = now - (check.tstamp * SECOND + timing.offset);
                assert!((0..SECOND / 4).contains(&late), "{late} after its moment");
            }
        }
    }

    #[test]
    fn many_sites_are_spread_evenly() {
        let (due, _) = run(&timings(6000, 60), START + 60 * SECOND, SECOND);
        let mut seconds = [0_u32; 60];
        due.iter().for_each(|(now, _)| seconds[((now - START - 1) / SECOND) as usize] += 1);
        assert!(seconds.iter().all(|count| (50..150).contains(count)), "100 a second or so: {seconds:?}");
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let timings = timings(3, 10);
        let mut schedule = Schedule::new(timings.iter().copied(), START);
        let timing = |site: u32| timings[site as usize];
        // A machine that slept for a hundred seconds and a bit.
        let now = START + 105 * SECOND;
        let mut sites: Vec<Due> = std::iter::from_fn(|| schedule.pop(now, timing)).collect();
        sites.sort_by_key(|due| due.site);
        assert_eq!(sites.iter().map(|due| due.site).collect::<Vec<_>>(), [0, 1, 2]);
        for due in sites {
            let moment = due.tstamp * SECOND + timing(due.site).offset;
            assert!((now - 10 * SECOND..=now).contains(&moment), "the newest: {due:?}");
        }
        // Of the moments of each since the start, all but the last.
        let moments = |timing: &Timing| (timing.last(now) - timing.last(START - 1)) / timing.interval;
        assert_eq!(schedule.skipped(), timings.iter().map(|timing| moments(timing) as u64 - 1).sum::<u64>());
        assert!(schedule.next() > Some(now), "and nothing more now");
    }

    #[test]
    fn a_clock_that_is_set_back_is_noticed() {
        let timings = timings(5, 60);
        let schedule = Schedule::new(timings.iter().copied(), START);
        let is_ahead = |now: i64| schedule.is_ahead(now, |site| timings[site as usize]);
        assert!(!is_ahead(START) && !is_ahead(START + 3600 * SECOND));
        assert!(is_ahead(START - 3600 * SECOND));
    }

    #[test]
    fn boundaries_are_exact() {
        let timing = Timing { interval: 10, offset: 3 };
        for (now, last) in [(2, -7), (3, 3), (12, 3), (13, 13), (-7, -7), (-8, -17)] {
            assert_eq!(timing.last(now), last, "at {now}");
        }
        // Due at this very moment: now, and not an interval later.
        let timings = [Timing::new("http://a.example/", 10)];
        let now = START + timings[0].offset;
        let mut schedule = Schedule::new(timings.iter().copied(), now);
        assert_eq!(schedule.pop(now - 1, |_| timings[0]), None);
        assert_eq!(schedule.pop(now, |_| timings[0]), Some(Due { site: 0, tstamp: START / SECOND }));
        assert_eq!(schedule.pop(now, |_| timings[0]), None);
    }
}
