//! What makes two messages the same, and for how long that is remembered.

use std::borrow::Cow;

use statscache_plugin_sdk::TopicPattern;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

pub mod content;
pub mod known;
mod table;
pub mod window;

/// What tells messages apart that no id does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// JSON pointers whose values identify a message that has no `msg_id`; none: topic and body do.
    pub pointers: Vec<String>,
    /// Topics on which they do so whether it has a `msg_id` or not, as where several publishers see the same
    /// and each gives it an id of its own.
    pub topics: Vec<TopicPattern>,
}

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

/// 32 bits (XXH3) over a body, byte for byte: whether it is spelled as another.
pub fn fingerprint(body: &[u8]) -> u32 {
    xxh3_64(body) as u32
}

/// The border between parts counts; the seed keeps the kinds apart.
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
}
