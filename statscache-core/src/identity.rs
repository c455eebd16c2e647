//! What makes two messages the same, and for how long that is remembered.

use std::borrow::Cow;

use hashbrown::HashSet;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::limits::Limits;

/// 128 bits (XXH3) over what makes a message itself. The chance that two of ten million different
/// messages share one is 10^-25.
pub type Identity = u128;

/// `msg_id` without the `YYYY-` that fedmsg publishers put in front and AMQP-born ones do not:
/// with and without, it is the same message.
pub fn normalize_msg_id(id: &str) -> &str {
    match id.split_at_checked(5) {
        Some((year, rest)) if year.ends_with('-') && year.bytes().take(4).all(|b| b.is_ascii_digit()) => rest,
        _ => id,
    }
}

/// Identity of a message with an id.
pub fn of_id(id: &str) -> Identity {
    xxh3_128_with_seed(id.as_bytes(), 1)
}

/// Identity by the values of fields, for buses whose messages have no id.
pub fn of_fields<'f>(fields: impl IntoIterator<Item = &'f str>) -> Identity {
    of_parts(fields.into_iter().map(str::as_bytes), 2)
}

/// Identity by everything there is.
pub fn of_bytes(topic: &[u8], body: &[u8]) -> Identity {
    of_parts([topic, body], 3)
}

/// The border between parts counts; the seed keeps the three kinds apart.
fn of_parts<'p>(parts: impl IntoIterator<Item = &'p [u8]>, seed: u64) -> Identity {
    let mut hasher = Xxh3::with_seed(seed);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

/// The id that plugins see where the message has none.
pub fn to_text(identity: Identity) -> Cow<'static, str> {
    Cow::Owned(format!("{identity:032x}"))
}

/// The identities of a span of time, in two generations: an identity is remembered for at least
/// the window and at most twice as long. When there are too many in the window, the older
/// generation goes early, and that is counted.
///
/// Memory: 17 to 34 bytes per identity.
pub struct DedupeWindow {
    window: i64,
    generation_len_max: usize,
    current: HashSet<Identity, PassThrough>,
    previous: HashSet<Identity, PassThrough>,
    current_since: i64,
    /// Identities forgotten before the window had passed.
    pub forgotten_early: u64,
}

impl DedupeWindow {
    /// An empty window.
    pub fn new(limits: &Limits) -> Self {
        Self {
            window: limits.dedupe_window,
            generation_len_max: (limits.dedupe_ids / 2).max(1),
            current: HashSet::default(),
            previous: HashSet::default(),
            current_since: i64::MIN,
            forgotten_early: 0,
        }
    }

    /// Remembers an identity; false if it was remembered already. `now` in microseconds.
    #[inline]
    pub fn insert(&mut self, identity: Identity, now: i64) -> bool {
        if self.current.len() >= self.generation_len_max || now.saturating_sub(self.current_since) > self.window {
            self.turn(now);
        }
        !self.previous.contains(&identity) && self.current.insert(identity)
    }

    /// Forgets an identity, for a message that was not accepted after all.
    pub fn remove(&mut self, identity: Identity) {
        if !self.current.remove(&identity) {
            self.previous.remove(&identity);
        }
    }

    /// Number of identities remembered.
    pub fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, now: i64) {
        if now.saturating_sub(self.current_since) <= self.window {
            self.forgotten_early += self.previous.len() as u64;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        self.current_since = now;
    }
}

/// Identities are hashes already.
#[derive(Clone, Copy, Default)]
struct PassThrough;

impl std::hash::BuildHasher for PassThrough {
    type Hasher = Taken;
    fn build_hasher(&self) -> Taken {
        Taken(0)
    }
}

struct Taken(u64);

impl std::hash::Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_is_no_part_of_an_id() {
        for (id, normal) in [
            ("2015-4b5aae66-b713-4c22-bb4a-1277d4402375", "4b5aae66-b713-4c22-bb4a-1277d4402375"),
            ("4b5aae66-b713-4c22-bb4a-1277d4402375", "4b5aae66-b713-4c22-bb4a-1277d4402375"),
            ("20155-x", "20155-x"),
            ("201-x", "201-x"),
            ("2015-", ""),
            ("", ""),
            ("é015-x", "é015-x"),
        ] {
            assert_eq!(normalize_msg_id(id), normal, "{id}");
        }
    }

    #[test]
    fn the_border_between_fields_counts() {
        assert_ne!(of_fields(["ab", "c"]), of_fields(["a", "bc"]));
        assert_ne!(of_id("a"), of_fields(["a"]));
    }

    #[test]
    fn an_identity_is_remembered_for_the_window() {
        let mut window = DedupeWindow::new(&Limits { dedupe_window: 100, ..Limits::default() });
        assert!(window.insert(1, 0));
        for now in [0, 50, 100] {
            assert!(!window.insert(1, now), "at {now}");
        }
        assert!(!window.insert(1, 101), "one generation later it is still known");
        assert!(window.insert(2, 202));
        assert!(window.insert(1, 303), "two generations later it is not");
    }

    #[test]
    fn too_many_push_the_older_half_out_and_are_counted() {
        let mut window = DedupeWindow::new(&Limits { dedupe_ids: 4, ..Limits::default() });
        for identity in 0..6 {
            assert!(window.insert(identity, 0));
        }
        assert_eq!((window.len(), window.forgotten_early), (4, 2));
        assert!(window.insert(0, 0) && !window.insert(5, 0));
        window.remove(5);
        assert!(window.insert(5, 0));
    }
}
