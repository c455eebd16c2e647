//! What a message says, however it is spelled: topic, and `msg` as a JSON value. Relays and history
//! services write the rest of a message anew, and `msg` in another order of keys, with other blanks
//! and escapes.

use super::{Identity, of_parts};

mod canonical;
#[cfg(test)]
mod tests;

use canonical::canonical;

/// Whether two messages, each a topic and a body, say the same: equal topics, and values of `msg` that
/// are equal as JSON. Numbers are compared by value (`1` is `1.0`), integers beyond 64 bits and numbers
/// beyond `f64` by their text; `NaN` and `Infinity` are `null`; of two equal keys the last counts.
///
/// Bodies without `msg` are compared as a whole. One that is no JSON, or nested deeper than 128, is the
/// same as one with the same bytes only.
pub fn same_content(a: (&str, &str), b: (&str, &str)) -> bool {
    a.0 == b.0 && (a.1 == b.1 || canonical(a.1) == canonical(b.1))
}

/// Identity of a message whose id belongs to another message: of its id and of what it says. Equal for
/// messages with this id exactly if [`same_content`] says so.
pub fn of_content(id: &str, topic: &str, body: &str) -> Identity {
    of_parts([id.as_bytes(), topic.as_bytes(), &canonical(body)], 4)
}
