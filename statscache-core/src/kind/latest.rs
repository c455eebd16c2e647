//! `latest(n)`: the `n` newest values of a label set. Exact.
//!
//! State: up to `n` values, newest first, each (time, message id, JSON text). Of two at one time
//! the greater id is newer, then the greater text: a total order, so that every reader agrees.
//! Merge: union, sort, cut; idempotent as well. Bytes: number of values, then for each the time
//! (zigzag), id and text with their lengths. JSON: the values, with time and id.

use statscache_plugin_sdk::Timestamp;

use super::Rule;
use crate::bytes::{Corrupt, Input, put_bytes, put_i64, put_u64};

/// The rule of `latest(n)`.
#[derive(Clone, Copy, Debug)]
pub struct LatestRule {
    /// How many values are kept.
    pub n: u32,
}

/// One value. The order of fields is the order of newness.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatestValue {
    /// Event time.
    pub time: Timestamp,
    /// Id of the message that said it.
    pub id: String,
    /// JSON text.
    pub json: String,
}

/// Values, newest first, without equal ones.
pub type LatestState = Vec<LatestValue>;

impl Rule for LatestRule {
    type State = LatestState;

    fn merge(self, into: &mut LatestState, from: LatestState) {
        into.extend(from);
        into.sort_unstable_by(|a, b| b.cmp(a));
        into.dedup();
        into.truncate(self.n as usize);
    }

    fn encode(self, state: &LatestState, out: &mut Vec<u8>) {
        put_u64(out, state.len() as u64);
        for value in state {
            put_i64(out, value.time.micros());
            put_bytes(out, value.id.as_bytes());
            put_bytes(out, value.json.as_bytes());
        }
    }

    fn decode(self, input: &mut Input<'_>) -> Result<LatestState, Corrupt> {
        let len = input.u64()?;
        // No more than the bytes at hand can hold, whatever the number says.
        let mut state = Vec::with_capacity(len.min(input.0.len() as u64 / 3) as usize);
        for _ in 0..len {
            state.push(LatestValue {
                time: Timestamp::from_micros(input.i64()?),
                id: input.text()?.into(),
                json: input.text()?.into(),
            });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(rule: LatestRule) -> impl Strategy<Value = LatestState> {
        let value = (0..4_i64, "[ab]", "[12]").prop_map(|(time, id, json)| LatestValue {
            time: Timestamp::from_micros(time),
            id,
            json,
        });
        proptest::collection::vec(value, 0..5).prop_map(move |values| {
            let mut state = Vec::new();
            rule.merge(&mut state, values);
            state
        })
    }

    proptest! {
        #[test]
        fn laws((rule, a, b, c) in (1..4_u32).prop_flat_map(|n| {
            let rule = LatestRule { n };
            (Just(rule), state(rule), state(rule), state(rule))
        })) {
            crate::kind::assert_laws(rule, &a, &b, &c);
            let mut twice = a.clone();
            rule.merge(&mut twice, a.clone());
            prop_assert_eq!(twice, a, "idempotent");
        }
    }

    #[test]
    fn the_newest_wins_and_ties_go_to_the_greater_id() {
        let value =
            |time, id: &str| LatestValue { time: Timestamp::from_micros(time), id: id.into(), json: "1".into() };
        let mut state = vec![value(5, "a")];
        LatestRule { n: 2 }.merge(&mut state, vec![value(5, "b"), value(9, "0")]);
        assert_eq!(state, [value(9, "0"), value(5, "b")]);
    }
}
