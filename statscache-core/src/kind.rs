//! Kinds of metrics: what the state of a cell is, how two states merge, and their bytes.
//!
//! Every rule is a commutative monoid: merging in any order and any grouping gives the same
//! bytes. That is why workers, replays and late messages need no further care.

mod count;
mod dist;
mod distinct;
mod exact;
mod latest;
mod stat;
mod top;

use std::fmt::Debug;

pub use count::CountRule;
pub use dist::{DistRule, DistState};
pub use distinct::{DistinctRule, DistinctState};
pub use exact::Exact;
pub use latest::{LatestRule, LatestState, LatestValue};
pub use stat::{StatRule, StatState};
pub use top::{TopEntry, TopRule, TopState};

use statscache_plugin_sdk::Timestamp;

use crate::bytes::{Corrupt, Input};

/// How states of one kind behave.
pub trait Rule: Copy + Debug {
    /// What one cell holds: a (series, bucket) pair, or a series where the kind has no buckets.
    type State: Clone + Debug + Default + PartialEq;

    /// Whether the state is that of a cell that is not there: merging it changes nothing.
    fn is_neutral(self, state: &Self::State) -> bool {
        *state == Self::State::default()
    }

    /// Merges the second state into the first. Associative and commutative, bytes compared.
    fn merge(self, into: &mut Self::State, from: Self::State);

    /// Takes out what time has made meaningless; called now and then.
    fn collect(self, _state: &mut Self::State, _now: Timestamp) {}

    /// Memory that the state takes besides its own size, about.
    fn heap(self, _state: &Self::State) -> usize {
        0
    }

    /// Appends the state. One state has one encoding, and it says itself where it ends.
    fn encode(self, state: &Self::State, out: &mut Vec<u8>);

    /// Reads what [`Rule::encode`] wrote.
    fn decode(self, input: &mut Input<'_>) -> Result<Self::State, Corrupt>;

    /// Whether a state whose first number is 0 is the neutral one, which says no more than no cell
    /// at all: [`crate::columns`] then drops it, and may write a 0 where a cell is missing.
    const ZERO_IS_NONE: bool = false;

    /// How many numbers [`Rule::split`] gives, the same for every state of this rule; at most 255.
    fn numbers(self) -> usize {
        0
    }

    /// The state as numbers, which compress well in columns, and a rest of bytes, which does not.
    /// The rest says itself where it ends. A kind without numbers is all rest.
    #[inline]
    fn split(self, state: &Self::State, numbers: &mut [i64], rest: &mut Vec<u8>) {
        debug_assert!(numbers.is_empty());
        self.encode(state, rest);
    }

    /// The state from what [`Rule::split`] gave.
    #[inline]
    fn join(self, numbers: &[i64], rest: &mut Input<'_>) -> Result<Self::State, Corrupt> {
        debug_assert!(numbers.is_empty());
        self.decode(rest)
    }
}

/// Reads an unsigned number and refuses it padded: a state that has one encoding only must not be
/// read from a longer one.
fn shortest_u64(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    let before = input.0;
    let n = input.u64()?;
    match before[..before.len() - input.0.len()] {
        [_, .., 0] => Err(Corrupt("a number is padded")),
        _ => Ok(n),
    }
}

/// Evaluates `$body` with `$rule` bound to the rule of a [`statscache_plugin_sdk::Kind`], whichever it is.
macro_rules! with_rule {
    ($kind:expr, $rule:ident => $body:expr) => {
        match $kind {
            statscache_plugin_sdk::Kind::Count => {
                let $rule = $crate::kind::CountRule;
                $body
            }
            statscache_plugin_sdk::Kind::Latest { n, ttl } => {
                let $rule = $crate::kind::LatestRule { n, ttl };
                $body
            }
            statscache_plugin_sdk::Kind::Stat => {
                let $rule = $crate::kind::StatRule;
                $body
            }
            statscache_plugin_sdk::Kind::Distinct => {
                let $rule = $crate::kind::DistinctRule;
                $body
            }
            statscache_plugin_sdk::Kind::Dist => {
                let $rule = $crate::kind::DistRule;
                $body
            }
            statscache_plugin_sdk::Kind::Top { k } => {
                let $rule = $crate::kind::TopRule { k };
                $body
            }
        }
    };
}
pub(crate) use with_rule;

/// Laws that hold for every kind; each kind calls this from its tests.
#[cfg(test)]
pub(crate) fn assert_laws<R: Rule>(rule: R, a: &R::State, b: &R::State, c: &R::State) {
    let merged = |x: &R::State, y: &R::State| {
        let mut x = x.clone();
        rule.merge(&mut x, y.clone());
        x
    };
    let bytes = |state: &R::State| {
        let mut out = Vec::new();
        rule.encode(state, &mut out);
        out
    };
    assert_eq!(bytes(&merged(a, b)), bytes(&merged(b, a)), "commutative");
    assert_eq!(bytes(&merged(&merged(a, b), c)), bytes(&merged(a, &merged(b, c))), "associative");
    let encoded = bytes(a);
    let mut input = Input(&encoded);
    assert_eq!(rule.decode(&mut input).as_ref(), Ok(a), "codec round trip");
    assert!(input.is_empty(), "the encoding says where it ends");
    let (mut numbers, mut rest) = (vec![0; rule.numbers()], Vec::new());
    rule.split(a, &mut numbers, &mut rest);
    let mut input = Input(&rest);
    assert_eq!(rule.join(&numbers, &mut input).as_ref(), Ok(a), "numbers and rest round trip");
    assert!(input.is_empty(), "the rest says where it ends");
    if R::ZERO_IS_NONE {
        let is_neutral = |of: &R::State| bytes(&merged(of, b)) == bytes(b);
        assert!(numbers[0] != 0 || is_neutral(a), "a state with a first number of 0 is neutral");
    }
}
