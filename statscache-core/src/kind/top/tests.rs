use std::collections::{BTreeMap, BTreeSet};

use super::*;
use proptest::{collection::vec, prelude::*, sample::Index};

/// Small, so that few updates cross the transition.
const SMALL: Shape = Shape { capacity: 6, width: 16 };

type Update = (String, u64, u64);

fn of(shape: Shape, updates: &[Update]) -> TopState {
    let mut state = TopState::default();
    updates.iter().for_each(|(key, weight, event)| state.add_shaped(shape, key, *weight, *event));
    state
}

fn bytes<R: Rule<State = TopState>>(rule: R, state: &TopState) -> Vec<u8> {
    let mut out = Vec::new();
    rule.encode(state, &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<TopState, Corrupt> {
    SMALL.decode(&mut Input(bytes))
}

/// Up to 12 keys of different weights; events and whole updates come again.
fn updates(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Update>> {
    let weight = prop_oneof![4 => 0..4_u64, 2 => 0..1000_u64, 1 => any::<u64>()];
    vec((0..12_u32, weight, 0..8_u64).prop_map(|(key, weight, event)| (format!("key{key}"), weight, event)), len)
}

proptest! {
    #[test]
    fn laws(a in updates(0..20), b in updates(0..20), c in updates(0..20)) {
        crate::kind::assert_laws(SMALL, &of(SMALL, &a), &of(SMALL, &b), &of(SMALL, &c));
    }

    #[test]
    fn any_order_and_grouping_gives_the_same_bytes(
        (updates, shuffled) in updates(0..60).prop_flat_map(|updates| (Just(updates.clone()), Just(updates).prop_shuffle())),
        parts in 1..8_usize,
        order in vec(any::<Index>(), 8),
    ) {
        let expected = of(SMALL, &updates);
        let len = shuffled.len().div_ceil(parts).max(1);
        let mut states: Vec<_> = shuffled.chunks(len).map(|part| of(SMALL, part)).collect();
        for index in order {
            if states.len() > 1 {
                let from = states.swap_remove(index.index(states.len()));
                let into = index.index(states.len());
                SMALL.merge(&mut states[into], from);
            }
        }
        let mut whole = TopState::default();
        states.into_iter().for_each(|state| SMALL.merge(&mut whole, state));
        prop_assert_eq!(bytes(SMALL, &whole), bytes(SMALL, &expected));
        prop_assert_eq!(whole, expected);
    }

    /// Against the plain sums: all exact, or else never too small, and the total always.
    #[test]
    fn counts_are_exact_or_never_too_small(updates in updates(0..60)) {
        let mut truth = BTreeMap::<&str, u64>::new();
        // The total must stay far from 2^64, where sums wrap.
        let updates: Vec<Update> = updates.iter().map(|(key, weight, event)| (key.clone(), weight >> 8, *event)).collect();
        for (key, weight, _) in updates.iter().filter(|update| update.1 > 0) {
            *truth.entry(key).or_default() += weight;
        }
        let state = of(SMALL, &updates);
        prop_assert_eq!(state.total(), truth.values().sum::<u64>());
        prop_assert_eq!(state.is_exact(), truth.len() <= SMALL.capacity);
        let all = TopRule { k: 20 };
        prop_assert_eq!(state.top(all).len(), truth.len().min(SMALL.capacity));
        for TopEntry { key, count, error } in state.top(all) {
            prop_assert!(error <= count && count >= truth[&*key], "{key}: {count} for {}", truth[&*key]);
            prop_assert!(!state.is_exact() || (error == 0 && count == truth[&*key]));
        }
    }

    #[test]
    fn what_is_read_is_what_would_be_written(updates in updates(0..40), at: Index, byte: u8, cut: Option<Index>) {
        let mut damaged = bytes(SMALL, &of(SMALL, &updates));
        let at = at.index(damaged.len());
        damaged[at] = byte;
        damaged.truncate(cut.map_or(damaged.len(), |cut| cut.index(damaged.len())));
        let mut input = Input(&damaged);
        if let Ok(state) = SMALL.decode(&mut input) {
            prop_assert_eq!(bytes(SMALL, &state), &damaged[..damaged.len() - input.0.len()]);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = TopRule { k: u32::MAX }.decode(&mut Input(&bytes));
    }
}

#[test]
fn the_last_key_that_is_exact_and_the_first_that_is_not() {
    let rule = TopRule { k: 1 };
    let mut state = TopState::default();
    (0..512).for_each(|n| state.add(rule, &n.to_string(), 1, n));
    (0..100).for_each(|n| state.add(rule, "7", 2, 1000 + n));
    assert!(state.is_exact());
    assert_eq!(state.top(rule), [TopEntry { key: "7".into(), count: 201, error: 0 }]);
    state.add(rule, "one more", 1, 2000);
    assert!(!state.is_exact());
    assert_eq!(state.total(), 713);
    let top = state.top(rule);
    assert_eq!((&*top[0].key, top[0].count >= 201), ("7", true));
}

#[test]
fn equal_counts_are_told_by_key() {
    let rule = TopRule { k: 2 };
    let mut state = TopState::default();
    ["c", "a", "b"].into_iter().for_each(|key| state.add(rule, key, 5, 0));
    state.add(rule, "nothing", 0, 0);
    let entry = |key: &str| TopEntry { key: key.into(), count: 5, error: 0 };
    assert_eq!(state.top(rule), [entry("a"), entry("b")]);
    assert_eq!((state.total(), TopState::default().top(rule)), (15, vec![]));
}

#[test]
fn the_format_does_not_change_unnoticed() {
    assert_eq!(bytes(SMALL, &TopState::default()), [0]);
    let updates: Vec<Update> = (0..40).map(|n| (format!("k{}", n % 9), n, n)).collect();
    let exact = of(SMALL, &updates[..2]);
    assert_eq!(bytes(SMALL, &exact), GOLDEN);
    let bytes = bytes(SMALL, &of(SMALL, &updates));
    assert_eq!((bytes.len(), xxhash_rust::xxh3::xxh3_64(&bytes)), GOLDEN_SKETCH);
}

#[test]
fn what_is_not_canonical_is_refused() {
    let key = |key: &str, seed: u32| [&[key.len() as u8][..], key.as_bytes(), &seed.to_be_bytes()].concat();
    let entries = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|text| [&key(text, 1)[..], &[9]].concat()).collect();
        [&[keys.len() as u8][..], &keys.concat()].concat()
    };
    let mut keys = vec!["a", "b", "c", "d", "e", "f"];
    keys.sort_by_key(|key| sample::hash(key));
    assert!(decode(&entries(&keys)).is_ok());
    let sample: Vec<u8> = [7].into_iter().chain(keys.iter().flat_map(|text| key(text, 1))).collect();
    let sketch = |counters: &[u8]| [&sample[..], counters].concat();
    assert!(decode(&sketch(&[1; 64])).is_ok());
    let mut uneven = [1; 64];
    uneven[63] = 2;
    let reversed: Vec<&str> = keys.iter().rev().copied().collect();
    for (bytes, why) in [
        (vec![0x80, 0], "a number is padded"),
        (vec![8], "too many keys"),
        (vec![1, 0xff, 0xff, 0xff, 0x7f], "bytes end early"),
        (vec![1, 0x81, 0, b'a', 0, 0, 0, 1, 9], "a number is padded"),
        (vec![1, 1, b'a', 0, 0, 0, 1, 0x89, 0], "a number is padded"),
        (vec![1, 1, 0xff, 0, 0, 0, 1, 9], "a key is not UTF-8"),
        (vec![1, 1, b'a', 0x7f, 0x80, 0, 0, 9], "a seed is not a number"),
        (entries(&reversed), "keys do not ascend"),
        (entries(&[keys[0], keys[0]]), "keys do not ascend"),
        (sketch(&[1; 63]), "counters end early"),
        (sketch(&[&[0x80, 0][..], &[1; 63]].concat()), "a number is padded"),
        (sketch(&uneven), "rows of counters differ"),
    ] {
        assert_eq!(decode(&bytes), Err(Corrupt(why)), "{bytes:?}");
    }
    let huge = TopRule { k: 1000 }.decode(&mut Input(&[0x81, 0x20]));
    assert_eq!(huge, Err(Corrupt("a number ends early")));
}

/// Equal seeds are rare, so they are made: then the order of keys decides, by either way in.
#[test]
fn equal_seeds_leave_no_trace_of_the_order() {
    let keys: Vec<String> = (0..12).map(|n| format!("key{n}")).collect();
    let entry = |key: &String| Entry { hash: sample::hash(key), key: key.as_str().into(), seed: 1, weight: 1 };
    let state = |keys: &[String]| {
        let mut entries: Vec<_> = keys.iter().map(entry).collect();
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        TopState(Form::Sketch(Box::new(Sketch::new(SMALL, entries))))
    };
    let expected = state(&keys);
    for turn in 0..12 {
        let mut keys = keys.clone();
        keys.rotate_left(turn);
        let mut added = state(&keys[..7]);
        let Form::Sketch(sketch) = &mut added.0 else { panic!("seven keys are too many") };
        keys[7..].iter().for_each(|key| sketch.add(sample::hash(key), key, 1, 1));
        assert_eq!(added, expected, "turn {turn}");

        let (mut merged, other) = (state(&keys[..7]), state(&keys[5..]));
        SMALL.merge(&mut merged, other);
        assert_eq!(merged.total(), 14);
        let keys_of = |state: &TopState| state.top(TopRule { k: 20 }).into_iter().map(|entry| entry.key).collect();
        let (merged, expected): (BTreeSet<_>, BTreeSet<_>) = (keys_of(&merged), keys_of(&expected));
        assert_eq!(merged, expected, "turn {turn}");
    }
}

/// Updates of weight 1, the key of each drawn by Zipf's law; the event is its number.
fn zipf(updates: u64, keys: usize, exponent: f64) -> Vec<Update> {
    let mut sums: Vec<f64> = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).collect();
    (1..keys).for_each(|at| sums[at] += sums[at - 1]);
    (0..updates)
        .map(|event| {
            let uniform = xxhash_rust::xxh3::xxh3_64(&event.to_be_bytes()) as f64 / 2_f64.powi(64);
            let rank = sums.partition_point(|&sum| sum < uniform * sums[keys - 1]);
            (format!("org.example.package-{rank}"), 1, event)
        })
        .collect()
}

#[test]
fn the_top_of_a_long_tail_is_found_whatever_the_grouping() {
    let rule = TopRule { k: 10 };
    let updates = zipf(200_000, 50_000, 1.1);
    let state = of(rule.shape(), &updates);
    let mut parts: Vec<_> = updates.chunks(9_000).map(|part| of(rule.shape(), part)).collect();
    let forward = parts.iter().cloned().reduce(|mut whole, part| {
        rule.merge(&mut whole, part);
        whole
    });
    while parts.len() > 1 {
        let part = parts.swap_remove(parts.len() / 3);
        let into = parts.len() / 2;
        rule.merge(&mut parts[into], part);
    }
    let expected = bytes(rule, &state);
    assert_eq!(bytes(rule, &forward.unwrap()), expected);
    assert_eq!(bytes(rule, &parts[0]), expected);

    let mut truth = BTreeMap::<&str, u64>::new();
    updates.iter().for_each(|(key, weight, _)| *truth.entry(key).or_default() += weight);
    let mut greatest: Vec<_> = truth.iter().map(|(&key, &weight)| (Reverse(weight), key)).collect();
    greatest.sort();
    let top = state.top(rule);
    let found: Vec<&str> = top.iter().map(|entry| &*entry.key).collect();
    greatest[..10].iter().for_each(|(weight, key)| assert!(found.contains(key), "{key} ({weight:?}) in {top:?}"));
    for TopEntry { key, count, error } in &top {
        assert!((count - error..=*count).contains(&truth[&**key]), "{key}: {count} - {error}, {}", truth[&**key]);
    }
    assert_eq!(state.total(), 200_000);
    // The bound from the counters as they are is the better one: e / w of the total would be 531.
    assert!(top[0].error < 200, "{top:?}");
}

/// Of all keys of the sample, not of the greatest only; also when all keys weigh the same.
#[test]
fn errors_are_as_rare_as_stated() {
    let rule = TopRule { k: 16 };
    for exponent in [0.0, 1.1] {
        let updates = zipf(30_000, 20_000, exponent);
        let mut truth = BTreeMap::<&str, u64>::new();
        updates.iter().for_each(|(key, weight, _)| *truth.entry(key).or_default() += weight);
        let all = of(rule.shape(), &updates).top(TopRule { k: 4096 });
        assert_eq!(all.len(), 512);
        let wrong = all.iter().filter(|entry| entry.count - entry.error > truth[&*entry.key]).count();
        assert!(wrong <= 4, "exponent {exponent}: {wrong} of 512");
    }
}

/// With k = 10, a key with 1 % of the weight among equal others is the hardest case that is promised.
#[test]
fn a_key_with_a_share_is_in_the_sample() {
    let rule = TopRule { k: 10 };
    let missed = (0..20)
        .filter(|trial: &u64| {
            let mut state = TopState::default();
            for n in 0..5_000 {
                let event = trial << 32 | n;
                if n % 100 == 0 {
                    state.add(rule, "heavy", 1, event);
                }
                state.add(rule, &event.to_string(), 1, event);
            }
            state.top(rule)[0].key != "heavy"
        })
        .count();
    assert!(missed <= 1, "missed {missed} of 20 times");
}

#[test]
fn a_cell_with_few_keys_is_small() {
    assert_eq!((size_of::<TopState>(), size_of::<Entry<u64>>(), size_of::<Entry<()>>()), (24, 40, 32));
    let state = of(SMALL, &[("a".into(), 1, 1), ("b".into(), 1, 2), ("a".into(), 1, 3)]);
    let Form::Exact(entries) = &state.0 else { panic!("two keys are exact") };
    assert_eq!((entries.capacity(), bytes(SMALL, &state).len()), (2, 15));
}

const GOLDEN: [u8; 9] = [1, 2, 107, 49, 62, 33, 103, 90, 1];
const GOLDEN_SKETCH: (usize, u64) = (114, 12_853_319_435_906_378_647);
