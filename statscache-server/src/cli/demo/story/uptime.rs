//! Web sites and how they fare: most are well, one is flaky, and each has an incident now and then.

use serde_json::{Value, json};

use super::{DAY, Event, HOUR, Random, rhythm};

/// Sites that a purchase needs, all of them.
pub(in crate::cli::demo) const SHOP: [&str; 3] =
    ["https://shop.example.org/", "https://pay.example.org/", "https://stock.example.org/"];

/// All sites, and how long they usually take, in seconds.
const SITES: [(&str, f64); 8] = [
    (SHOP[0], 0.18),
    (SHOP[1], 0.35),
    (SHOP[2], 0.09),
    ("https://www.example.org/", 0.06),
    ("https://wiki.example.org/", 0.22),
    ("https://forge.example.org/", 0.41),
    ("https://mirror.example.org/", 0.12),
    (FLAKY, 0.7),
];

/// Down for ten minutes of every half hour, so that an incident is never long in coming.
const FLAKY: &str = "https://beta.example.org/";

/// How often there is an incident, and how long it lasts at most.
const INCIDENT_EVERY: i64 = 16 * DAY;
const INCIDENT_HOURS_MAX: u64 = 7;

/// A check of each site, once in an hour.
pub(super) fn checks(random: &mut Random, start: i64) -> Vec<Event> {
    let check = |(number, site): (usize, &(&str, f64))| {
        let minute = (number as i64 * 7 + random.below(50) as i64) % 60;
        visit(random, site, start + 60 * minute)
    };
    SITES.iter().enumerate().map(check).collect()
}

/// A check of one of the sites.
pub(super) fn check(random: &mut Random, time: i64) -> Event {
    let site = random.pick(&SITES);
    visit(random, site, time)
}

fn visit(random: &mut Random, (url, usual): &(&str, f64), time: i64) -> Event {
    // Busy hours make it slower; a few answers take far longer than others.
    let seconds = usual * (0.7 + 0.6 * random.share() + 0.5 * rhythm(time)) / (1.0 - 0.97 * random.share().powi(8));
    let seconds = (seconds * 1e4).round() / 1e4;
    let mut msg = json!({"url": url, "http_status": 200, "network_status": "ok", "match": true, "tstamp": time,
                         "response_seconds": seconds});
    if let Some(trouble) = trouble(url, time) {
        spoil(&mut msg, trouble);
    }
    Event::new(time, "org.example.prod.uptime.check", msg)
}

/// What is wrong with a site at that time.
#[derive(Clone, Copy)]
enum Trouble {
    Timeout,
    Refused,
    Unavailable,
    WrongPage,
}

fn trouble(url: &str, time: i64) -> Option<Trouble> {
    let slot = time.div_euclid(INCIDENT_EVERY);
    let mut random = Random::of(url, slot);
    let start = slot * INCIDENT_EVERY + random.below(INCIDENT_EVERY as u64) as i64;
    let end = start + (1 + random.below(INCIDENT_HOURS_MAX)) as i64 * HOUR;
    let kinds = [Trouble::Timeout, Trouble::Refused, Trouble::Unavailable, Trouble::WrongPage];
    let kind = *random.pick(&kinds);
    let is_flaky = url == FLAKY && (time / 600) % 3 == 0;
    ((start..end).contains(&time) || is_flaky).then_some(kind)
}

fn spoil(msg: &mut Value, trouble: Trouble) {
    match trouble {
        Trouble::Timeout | Trouble::Refused => {
            msg["http_status"] = Value::Null;
            msg["match"] = Value::Null;
            msg["response_seconds"] = Value::Null;
            msg["network_status"] = if matches!(trouble, Trouble::Timeout) { "timeout" } else { "refused" }.into();
        }
        Trouble::Unavailable => {
            msg["http_status"] = 503.into();
            msg["match"] = false.into();
        }
        Trouble::WrongPage => msg["match"] = false.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_checks_are_good_and_some_are_not() {
        let mut random = Random::of("test", 0);
        let all: Vec<Event> = (0..90 * 24).flat_map(|hour| checks(&mut random, hour * HOUR)).collect();
        let good = |event: &&Event| event.msg["http_status"] == 200 && event.msg["match"] == true;
        let of = |url: &'static str| all.iter().filter(move |event| event.msg["url"] == url);
        assert_eq!(of(SHOP[0]).count(), 90 * 24);
        let share = |url| of(url).filter(good).count() as f64 / (90.0 * 24.0);
        assert!((0.95..1.0).contains(&share(SHOP[0])), "{}", share(SHOP[0]));
        assert!((0.5..0.8).contains(&share(FLAKY)), "{}", share(FLAKY));
    }
}
