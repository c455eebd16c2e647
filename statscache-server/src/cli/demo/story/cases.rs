//! Uses of links, and reports about members of clubs.

use serde_json::json;

use super::{
    Event, Random,
    cast::{CITIES, CLUBS, LINKS, PEOPLE, person},
    times,
};

/// Uses of an hour.
pub(super) fn uses(random: &mut Random, start: i64) -> Vec<Event> {
    times(random, start, 9.0).into_iter().map(|time| usage(random, time)).collect()
}

/// Somebody opens a link. Everyone has other favourites; what is archived is opened less and less.
pub(super) fn usage(random: &mut Random, time: i64) -> Event {
    let user = person(random, time);
    let number = PEOPLE.iter().position(|name| *name == user).unwrap_or_default();
    let own = LINKS.iter().cycle().skip(number * 7 % LINKS.len());
    let (link, title) = if random.chance(0.4) {
        own.take(3).nth(random.below(3) as usize).unwrap_or(&LINKS[0])
    } else {
        random.favour(&LINKS)
    };
    let url = format!("https://intranet.example.org{link}");
    Event::new(time, "org.example.prod.usage.click", json!({"link": link, "user": user, "title": title, "url": url}))
}

/// Reports of an hour.
pub(super) fn reports(random: &mut Random, start: i64) -> Vec<Event> {
    times(random, start, 3.0).into_iter().map(|time| report(random, time)).collect()
}

/// A member of a club is seen.
pub(super) fn report(random: &mut Random, time: i64) -> Event {
    let (club, size) = random.pick(&CLUBS);
    let member = random.below(*size);
    // Whoever is in several clubs is the same person in each, and at home in one city.
    let city = CITIES[Random::of("home", member as i64).below(CITIES.len() as u64) as usize];
    let msg = json!({"group": club, "user": format!("member-{member:04}"), "city": city});
    Event::new(time, "org.example.prod.membership.report", msg)
}
