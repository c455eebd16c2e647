use super::*;
use proptest::{collection::vec, prelude::*, sample::Index};

fn of(hashes: &[u64]) -> DistinctState {
    let mut state = DistinctState::default();
    hashes.iter().for_each(|&hash| state.insert_hash(hash));
    state
}

fn bytes(state: &DistinctState) -> Vec<u8> {
    let mut out = Vec::new();
    DistinctRule.encode(state, &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<DistinctState, Corrupt> {
    DistinctRule.decode(&mut Input(bytes))
}

/// Hash of the numbered member of a population; each population has its own.
fn hash(population: u64, member: u64) -> u64 {
    xxh3_64(&[population.to_be_bytes(), member.to_be_bytes()].concat())
}

/// Hashes on both sides of the transition, some of them with long runs of zeros, some twice.
fn hashes() -> impl Strategy<Value = Vec<u64>> {
    let hash = prop_oneof![8 => any::<u64>(), 1 => 0..50_u64, 1 => any::<u64>().prop_map(|n| n >> 40 | n << 52)];
    prop_oneof![vec(hash.clone(), 0..20), vec(hash, 200..300)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn laws(a in hashes(), b in hashes(), c in hashes()) {
        let (a, b, c) = (of(&a), of(&b), of(&c));
        crate::kind::assert_laws(DistinctRule, &a, &b, &c);
        let mut twice = a.clone();
        DistinctRule.merge(&mut twice, a.clone());
        prop_assert_eq!(bytes(&twice), bytes(&a), "idempotent");
    }

    /// Cuts, order of merges, and members that come again leave no trace.
    #[test]
    fn any_order_and_grouping_gives_the_same_bytes(
        hashes in vec(any::<u64>(), 240..280).prop_shuffle(),
        again in vec(any::<Index>(), 0..50),
        parts in 1..6_usize,
        order in vec(any::<Index>(), 5),
    ) {
        let expected = bytes(&of(&hashes));
        let mut shuffled = hashes.clone();
        shuffled.reverse();
        shuffled.extend(again.iter().map(|index| hashes[index.index(hashes.len())]));
        let mut states: Vec<_> = shuffled.chunks(shuffled.len().div_ceil(parts)).map(of).collect();
        for index in order {
            if states.len() > 1 {
                let from = states.swap_remove(index.index(states.len()));
                let into = index.index(states.len());
                DistinctRule.merge(&mut states[into], from);
            }
        }
        let mut whole = DistinctState::default();
        states.into_iter().for_each(|state| DistinctRule.merge(&mut whole, state));
        prop_assert_eq!(bytes(&whole), expected);
    }

    #[test]
    fn what_is_read_is_what_would_be_written(hashes in hashes(), at: Index, byte: u8, cut: Option<Index>) {
        let mut damaged = bytes(&of(&hashes));
        let at = at.index(damaged.len());
        damaged[at] = byte;
        damaged.truncate(cut.map_or(damaged.len(), |cut| cut.index(damaged.len())));
        let mut input = Input(&damaged);
        if let Ok(state) = DistinctRule.decode(&mut input) {
            prop_assert_eq!(bytes(&state), &damaged[..damaged.len() - input.0.len()]);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _ = decode(&bytes);
    }
}

#[test]
fn the_256th_member_is_exact_and_the_257th_is_not() {
    let hashes: Vec<u64> = (0..257).map(|member| hash(0, member)).collect();
    let exact = of(&hashes[..256]);
    assert_eq!((exact.estimate(), exact.error()), (256, 0.0));
    let more = of(&hashes);
    assert_eq!(more.error(), 0.01625);
    assert!((257..280).contains(&more.estimate()), "{}", more.estimate());
}

#[test]
fn the_format_does_not_change_unnoticed() {
    let mut state = DistinctState::default();
    assert_eq!(bytes(&state), [0]);
    ["ada", "bob", "ada"].into_iter().for_each(|member| state.insert(member));
    assert_eq!(bytes(&state), GOLDEN);
    (0..1000).for_each(|n| state.insert(&n.to_string()));
    assert_eq!((bytes(&state).len(), xxh3_64(&bytes(&state)), state.estimate()), GOLDEN_REGISTERS);
}

#[test]
fn what_is_not_canonical_is_refused() {
    let registers = |set: &[(usize, u8)]| {
        let mut registers = Box::new([0; REGISTERS]);
        set.iter().for_each(|&(index, rank)| registers[index] = rank);
        bytes(&DistinctState(Form::Registers(registers)))
    };
    let based = |base: u8, nibbles: u8| [&[0x81, 2, base][..], &[nibbles; REGISTERS / 2]].concat();
    assert!(decode(&registers(&[(0, RANK_MAX), (7, 15), (8, 16)])).is_ok());
    assert!(decode(&based(RANK_MAX, 0)).is_ok());
    for (bytes, why) in [
        (vec![0x80, 0], "a number is padded"),
        (vec![0x82, 2], "too many hashes"),
        (vec![1, 0, 0, 0], "bytes end early"),
        ([[2].as_slice(), &[0; 16]].concat(), "hashes do not ascend"),
        (registers(&[]), "registers without a member"),
        (registers(&[(0, RANK_MAX + 1)]), "a register is too large"),
        (registers(&[(0, 255)]), "a register is too large"),
        (based(RANK_MAX, 1), "a register is too large"),
        (based(255, 0x11), "a register is too large"),
        (based(1, 0x11), "not the smallest register"),
        (based(1, 0xff), "bytes end early"),
    ] {
        assert_eq!(decode(&bytes), Err(Corrupt(why)));
    }
}

/// Four standard errors, at each of 40 points: a right estimator fails once in 400 changes of the
/// hash, a wrong one at once.
#[test]
fn estimates_are_within_the_stated_error() {
    for population in 0..5 {
        let mut state = DistinctState::default();
        let mut members = 0;
        for until in [100, 256, 400, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000] {
            (members..until).for_each(|member| state.insert_hash(hash(population, member)));
            members = until;
            let off = state.estimate() as f64 / until as f64 - 1.0;
            assert!(off.abs() <= 4.0 * state.error(), "{population}, {until} members: {off:+.4}");
        }
    }
}

/// The million of the largest cells, and by text.
#[test]
fn a_million_members_by_text() {
    let mut state = DistinctState::default();
    (0..1_000_000).for_each(|n| state.insert(&n.to_string()));
    let off = state.estimate() as f64 / 1e6 - 1.0;
    assert!(off.abs() <= 4.0 * state.error(), "{off:+.4}");
}

/// The mean over many populations shows a bias that single estimates hide, also where
/// HyperLogLog's own estimator has its worst (2.5 members a register).
#[test]
fn estimates_have_no_bias_and_the_stated_spread() {
    const POPULATIONS: u64 = 100;
    for members in [300, 2_000, 10_000, 20_000] {
        let offs: Vec<f64> = (0..POPULATIONS)
            .map(|population| {
                let state = of(&(0..members).map(|member| hash(1000 + population, member)).collect::<Vec<_>>());
                state.estimate() as f64 / members as f64 - 1.0
            })
            .collect();
        let mean = offs.iter().sum::<f64>() / POPULATIONS as f64;
        let spread = (offs.iter().map(|off| off * off).sum::<f64>() / POPULATIONS as f64).sqrt();
        assert!(mean.abs() <= 4.0 * 0.01625 / (POPULATIONS as f64).sqrt(), "{members} members: bias {mean:+.4}");
        assert!(spread <= 0.01625 * 1.3, "{members} members: spread {spread:.4}");
    }
}

/// No member at all, every register full: the ends of the formula.
#[test]
fn the_estimator_holds_at_its_ends() {
    assert_eq!(estimate(&[0; REGISTERS]), 0.0);
    assert_eq!(DistinctState(Form::Registers(Box::new([RANK_MAX; REGISTERS]))).estimate(), u64::MAX);
    assert!(estimate(&[RANK_MAX - 1; REGISTERS]).is_finite());
}

/// No set is large enough to fill registers, so real ones are lifted: each step doubles the number.
#[test]
fn full_registers_are_accounted_for() {
    let Form::Registers(mut registers) = of(&(0..100_000).map(|member| hash(7, member)).collect::<Vec<_>>()).0 else {
        panic!("so many are not exact")
    };
    registers.iter_mut().for_each(|rank| *rank = (*rank + 48).min(RANK_MAX));
    let full = registers.iter().filter(|&&rank| rank == RANK_MAX).count();
    assert!((3000..3400).contains(&full), "{full} registers");
    let off = estimate(&registers) / 2_f64.powi(48) / 1e5 - 1.0;
    // Full registers tell less: the spread is 2 % here.
    assert!(off.abs() < 4.0 * 0.02, "{off:+.4}");
}

/// All in one register, which by itself looks like hardly any.
#[test]
fn an_estimate_is_more_than_what_would_be_exact() {
    let state = of(&(0..257).map(|n| n << 8).collect::<Vec<_>>());
    assert_eq!((state.estimate(), state.error() > 0.0), (257, true));
}

#[test]
fn a_cell_with_few_members_is_small() {
    assert_eq!(size_of::<DistinctState>(), 24);
    assert_eq!(bytes(&of(&[1, 2])).len(), 17);
    let Form::Exact(hashes) = of(&[1, 2, 3]).0 else { panic!("three members are exact") };
    assert_eq!(hashes.capacity(), 3);
}

const GOLDEN: [u8; 17] = [2, 20, 3, 192, 196, 15, 73, 184, 229, 105, 29, 68, 99, 149, 44, 128, 47];
const GOLDEN_REGISTERS: (usize, u64, u64) = (2052, 12_844_695_424_170_747_791, 982);
