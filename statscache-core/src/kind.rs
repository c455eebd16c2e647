//! Kinds of metrics: what the state of a cell is, how two states merge, and their bytes.
//!
//! Every rule is a commutative monoid: merging in any order and any grouping gives the same
//! bytes. That is why workers, replays and late messages need no further care.

mod count;
mod latest;

use std::fmt::Debug;

pub use count::CountRule;
pub use latest::{LatestRule, LatestState, LatestValue};

use crate::bytes::{Corrupt, Input};

/// How states of one kind behave.
pub trait Rule: Copy + Debug {
    /// What one cell holds: a (series, bucket) pair, or a series where the kind has no buckets.
    type State: Clone + Debug + Default + PartialEq;

    /// Merges the second state into the first. Associative and commutative, bytes compared.
    fn merge(self, into: &mut Self::State, from: Self::State);

    /// Appends the state. One state has one encoding, and it says itself where it ends.
    fn encode(self, state: &Self::State, out: &mut Vec<u8>);

    /// Reads what [`Rule::encode`] wrote.
    fn decode(self, input: &mut Input<'_>) -> Result<Self::State, Corrupt>;
}

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
}
