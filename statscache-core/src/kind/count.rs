//! `count`: a whole number that only addition changes. Exact.
//!
//! State: i64. Merge: addition modulo 2^64, the only rule that stays associative at the ends of
//! the range; one addition is bounded by [`crate::limits::COUNT_ADD_MAX`], so that a cell wraps
//! only after thousands of the largest. Bytes: one zigzag LEB128 number. JSON: `12`.

use super::Rule;
use crate::bytes::{Corrupt, Input, put_i64};

/// The rule of `count`.
#[derive(Clone, Copy, Debug)]
pub struct CountRule;

impl Rule for CountRule {
    type State = i64;

    #[inline]
    fn merge(self, into: &mut i64, from: i64) {
        *into = into.wrapping_add(from);
    }

    #[inline]
    fn encode(self, state: &i64, out: &mut Vec<u8>) {
        put_i64(out, *state);
    }

    #[inline]
    fn decode(self, input: &mut Input<'_>) -> Result<i64, Corrupt> {
        input.i64()
    }

    const ZERO_IS_NONE: bool = true;

    fn numbers(self) -> usize {
        1
    }

    #[inline]
    fn split(self, state: &i64, numbers: &mut [i64], _: &mut Vec<u8>) {
        numbers[0] = *state;
    }

    #[inline]
    fn join(self, numbers: &[i64], _: &mut Input<'_>) -> Result<i64, Corrupt> {
        Ok(numbers[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn laws(a: i64, b: i64, c: i64) {
            crate::kind::assert_laws(CountRule, &a, &b, &c);
        }
    }
}
