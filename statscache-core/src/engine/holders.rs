//! Who has a message from history that the bus has not brought yet.

use crate::{
    identity::{
        Identity,
        window::{Sight, Window},
    },
    journal::Audience,
    limits::Limits,
};

/// Namespaces that a message is for, in order.
pub(super) type Parts = Vec<Audience>;

/// What was fetched for some only, as long ago as the window reaches: should the bus bring it as well, it is for the
/// others.
pub(super) struct Holders {
    window: Window,
    /// All that something was fetched for.
    audiences: Vec<Audience>,
}

impl Holders {
    /// Of nothing.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { window: Window::new(limits), audiences: Vec::new() }
    }

    /// These have the message with this identity: as the record with this sequence.
    pub(super) fn insert(
        &mut self,
        identity: Identity,
        audience: Audience,
        (sequence, fingerprint): (u64, u32),
        now: i64,
    ) {
        if !self.audiences.contains(&audience) {
            self.audiences.push(audience);
        }
        self.window.insert(key(identity, audience), sequence, fingerprint, now);
    }

    /// Whether nobody has anything.
    pub(super) fn is_empty(&self) -> bool {
        self.audiences.is_empty()
    }

    /// Forgets what was not accepted after all.
    pub(super) fn remove(&mut self, identity: Identity, audience: Audience) {
        self.window.remove(key(identity, audience));
    }

    /// Those who may have a message with this identity, and what is known of it.
    pub(super) fn of(&self, identity: Identity, fingerprint: u32) -> Vec<(Audience, Sight)> {
        let look = |audience: &Audience| (*audience, self.window.look(key(identity, *audience), fingerprint));
        self.audiences.iter().map(look).filter(|(_, sight)| *sight != Sight::New).collect()
    }
}

/// Identities are hashes; the numbers of namespaces are spread over all of their bits.
fn key(identity: Identity, audience: Audience) -> Identity {
    let numbers = u128::from(audience.first) << 32 | u128::from(audience.last);
    identity ^ (numbers + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// All of `audience` but these.
pub(super) fn without(audience: Audience, holders: &[Audience]) -> Parts {
    let mut holders = holders.to_vec();
    holders.sort_unstable_by_key(|holder| holder.first);
    let (mut parts, mut next) = (Parts::new(), Some(audience.first));
    for holder in holders {
        let Some(first) = next else { break };
        if holder.first > first {
            parts.push(Audience { first, last: audience.last.min(holder.first - 1) });
        }
        next = holder.last.checked_add(1).map(|after| after.max(first));
    }
    parts.extend(next.filter(|first| *first <= audience.last).map(|first| Audience { first, last: audience.last }));
    parts.retain(|part| part.first <= part.last);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holders_are_those_that_something_was_fetched_for() {
        let two = |first, last| Audience { first, last };
        let mut holders = Holders::new(&Limits::default());
        assert_eq!(holders.of(7, 1), []);
        holders.insert(7, two(3, 3), (10, 1), 0);
        holders.insert(7, two(5, 6), (20, 2), 0);
        holders.insert(8, two(3, 3), (30, 1), 0);
        let (same, respelled) = (Sight::Same { sequence: 10 }, Sight::Respelled { sequence: 20 });
        assert_eq!(holders.of(7, 1), [(two(3, 3), same), (two(5, 6), respelled)]);
        holders.remove(7, two(3, 3));
        assert_eq!(holders.of(7, 1), [(two(5, 6), respelled)]);
        assert_eq!(holders.of(9, 1), []);
    }

    proptest! {
        #[test]
        fn the_rest_is_everybody_else(holders in prop::collection::vec((0_u32..20, 0_u32..20), 0..5), last in 0_u32..25) {
            let holders: Vec<_> = holders.into_iter().map(|(a, b)| Audience { first: a.min(b), last: a.max(b) }).collect();
            let all = Audience { first: 0, last };
            let parts = without(all, &holders);
            for number in 0..30 {
                let has = holders.iter().any(|holder| holder.has(number));
                let is_in = parts.iter().filter(|part| part.has(number)).count();
                prop_assert_eq!(is_in, usize::from(all.has(number) && !has), "{} of {:?}: {:?}", number, holders, parts);
            }
            let everyone = without(Audience::EVERYONE, &holders);
            prop_assert!(everyone.last().is_some_and(|part| part.last == u32::MAX));
        }
    }
}
