//! `latest(n)`: the `n` newest values of a label set. Exact.
//!
//! State: up to `n` values, newest first, each (time, message id, JSON text), and the time of the
//! newest removal. Of two values at one time the greater id is newer, then the greater text: a total
//! order, so that every reader agrees. A **removal** takes away what has its time or an earlier one,
//! whichever of them comes in first; it stays as a tombstone, so that what comes late is removed as
//! well, and is collected after [`TOMBSTONE_KEEP`]. With a time to live, values older than that are
//! not answered, and are collected.
//! Merge: the newer removal; union, sort, cut; idempotent as well. What a removal or the cut takes
//! is the older part of the values, so it does not matter which of them comes first.
//! Bytes: number of values, times two, plus 1 if there was a removal; its time (zigzag); for each
//! value the time (zigzag), id and text with their lengths. JSON: the values, with time and id.

use statscache_plugin_sdk::{Resolution, Timestamp};

use super::Rule;
use crate::bytes::{Corrupt, Input, put_bytes, put_i64, put_u64};

/// How long a removal is remembered, microseconds: 30 days, much longer than a journal lasts by
/// default. A value that is older than the removal and comes even later is there again.
pub const TOMBSTONE_KEEP: i64 = 30 * 86_400_000_000;

/// The rule of `latest(n)`.
#[derive(Clone, Copy, Debug)]
pub struct LatestRule {
    /// How many values are kept.
    pub n: u32,
    /// How long a value is answered after its time.
    pub ttl: Option<Resolution>,
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

/// What is known of one label set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatestState {
    /// Time of the newest removal.
    pub removed: Option<Timestamp>,
    /// Values after that, newest first, without equal ones.
    pub values: Vec<LatestValue>,
}

impl LatestRule {
    /// Adds a value if it is among the newest. Looks before it copies, and what falls out gives its
    /// memory: most messages are newer than the last.
    pub fn set(self, state: &mut LatestState, time: Timestamp, id: &str, json: &str) {
        if state.removed.is_some_and(|removed| time <= removed) {
            return;
        }
        let values = &mut state.values;
        let is_newer = |value: &LatestValue| (value.time, &*value.id, &*value.json) > (time, id, json);
        let place = values.partition_point(is_newer);
        let is_known =
            values.get(place).is_some_and(|value| value.time == time && value.id == id && value.json == json);
        if place >= self.n as usize || is_known {
            return;
        }
        let fallen_out = if values.len() >= self.n as usize { values.pop() } else { None };
        let mut value = fallen_out.unwrap_or_else(|| LatestValue { time, id: String::new(), json: String::new() });
        value.time = time;
        id.clone_into(&mut value.id);
        json.clone_into(&mut value.json);
        values.insert(place, value);
    }

    /// Removes what there is at that time.
    pub fn remove(self, state: &mut LatestState, time: Timestamp) {
        state.removed = state.removed.max(Some(time));
        state.values.retain(|value| Some(value.time) > state.removed);
    }

    /// The time of the newest removal, and how many values follow.
    pub fn decode_head(input: &mut Input<'_>) -> Result<(Option<Timestamp>, u64), Corrupt> {
        let head = input.u64()?;
        let removed = if head % 2 == 1 { Some(Timestamp::from_micros(input.i64()?)) } else { None };
        Ok((removed, head / 2))
    }

    /// Time, id and JSON of one value.
    pub fn decode_value<'a>(input: &mut Input<'a>) -> Result<(Timestamp, &'a str, &'a str), Corrupt> {
        Ok((Timestamp::from_micros(input.i64()?), input.text()?, input.text()?))
    }

    /// Whether a value is too old to be answered.
    pub fn is_expired(self, time: Timestamp, now: Timestamp) -> bool {
        self.ttl.is_some_and(|ttl| time.plus_micros(ttl.micros()) <= now)
    }
}

impl Rule for LatestRule {
    type State = LatestState;

    fn merge(self, into: &mut LatestState, from: LatestState) {
        into.removed = into.removed.max(from.removed);
        into.values.extend(from.values);
        into.values.retain(|value| Some(value.time) > into.removed);
        into.values.sort_unstable_by(|a, b| b.cmp(a));
        into.values.dedup();
        into.values.truncate(self.n as usize);
    }

    fn collect(self, state: &mut LatestState, now: Timestamp) {
        state.removed = state.removed.filter(|removed| removed.plus_micros(TOMBSTONE_KEEP) > now);
        state.values.retain(|value| !self.is_expired(value.time, now));
    }

    fn heap(self, state: &LatestState) -> usize {
        let texts: usize = state.values.iter().map(|value| value.id.capacity() + value.json.capacity()).sum();
        state.values.capacity() * size_of::<LatestValue>() + texts
    }

    fn encode(self, state: &LatestState, out: &mut Vec<u8>) {
        put_u64(out, 2 * state.values.len() as u64 + u64::from(state.removed.is_some()));
        if let Some(removed) = state.removed {
            put_i64(out, removed.micros());
        }
        for value in &state.values {
            put_i64(out, value.time.micros());
            put_bytes(out, value.id.as_bytes());
            put_bytes(out, value.json.as_bytes());
        }
    }

    fn decode(self, input: &mut Input<'_>) -> Result<LatestState, Corrupt> {
        let (removed, len) = Self::decode_head(input)?;
        // No more than the bytes at hand can hold, whatever the number says.
        let mut values = Vec::with_capacity(len.min(input.0.len() as u64 / 3) as usize);
        for _ in 0..len {
            let (time, id, json) = Self::decode_value(input)?;
            values.push(LatestValue { time, id: id.into(), json: json.into() });
        }
        Ok(LatestState { removed, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One thing that is said about a label set.
    #[derive(Clone, Debug)]
    enum Said {
        Set(i64, String, String),
        Remove(i64),
    }

    fn any_said() -> impl Strategy<Value = Said> {
        prop_oneof![
            4 => (0..6_i64, "[ab]", "[12]").prop_map(|(time, id, json)| Said::Set(time, id, json)),
            1 => (0..6_i64).prop_map(Said::Remove),
        ]
    }

    fn state_of<'s>(rule: LatestRule, said: impl IntoIterator<Item = &'s Said>) -> LatestState {
        let mut state = LatestState::default();
        for said in said {
            match said {
                Said::Set(time, id, json) => rule.set(&mut state, Timestamp::from_micros(*time), id, json),
                Said::Remove(time) => rule.remove(&mut state, Timestamp::from_micros(*time)),
            }
        }
        state
    }

    fn rule(n: u32) -> LatestRule {
        LatestRule { n, ttl: None }
    }

    proptest! {
        #[test]
        fn laws(n in 1..4_u32, said in proptest::collection::vec(any_said(), 0..15), cuts in (0..15_usize, 0..15_usize)) {
            let rule = rule(n);
            let (x, y) = (cuts.0.min(cuts.1).min(said.len()), cuts.0.max(cuts.1).min(said.len()));
            let [a, b, c] = [&said[..x], &said[x..y], &said[y..]].map(|part| state_of(rule, part));
            crate::kind::assert_laws(rule, &a, &b, &c);
            let mut twice = a.clone();
            rule.merge(&mut twice, a.clone());
            prop_assert_eq!(&twice, &a, "idempotent");
            let mut all = a;
            rule.merge(&mut all, c);
            rule.merge(&mut all, b);
            prop_assert_eq!(&all, &state_of(rule, &said), "parts amount to the whole");
            prop_assert_eq!(&all, &state_of(rule, said.iter().rev()), "in any order");
        }
    }

    #[test]
    fn the_newest_wins_and_ties_go_to_the_greater_id() {
        let mut state = LatestState::default();
        for (time, id) in [(5, "a"), (5, "b"), (9, "0")] {
            rule(2).set(&mut state, Timestamp::from_micros(time), id, "1");
        }
        let ids: Vec<&str> = state.values.iter().map(|value| value.id.as_str()).collect();
        assert_eq!(ids, ["0", "b"]);
    }

    #[test]
    fn what_is_removed_comes_back_only_by_something_newer() {
        let said = [(5, "a"), (7, "b")].map(|(time, id)| Said::Set(time, id.into(), "1".into()));
        let late = state_of(rule(3), [&Said::Remove(5), &said[0], &said[1]]);
        assert_eq!((late.values.len(), late.values[0].id.as_str()), (1, "b"));
    }

    #[test]
    fn the_old_is_collected() {
        let rule = LatestRule { n: 3, ttl: Resolution::from_secs(10) };
        let at = |secs| Timestamp::from_secs(secs);
        let mut state = LatestState::default();
        rule.remove(&mut state, at(80));
        rule.set(&mut state, at(89), "a", "1");
        rule.set(&mut state, at(91), "b", "1");
        assert!(!rule.is_expired(at(91), at(100)) && rule.is_expired(at(90), at(100)));
        rule.collect(&mut state, at(100));
        assert_eq!((state.removed, state.values.len()), (Some(at(80)), 1));
        rule.collect(&mut state, at(80).plus_micros(TOMBSTONE_KEEP));
        assert!(rule.is_neutral(&state));
    }
}
