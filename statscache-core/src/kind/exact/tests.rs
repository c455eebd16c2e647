use super::*;
use proptest::prelude::*;

/// A sum as one counter a bit, from 2^-2148 on: slow, and nothing in it can be wrong the way
/// limbs can.
fn reference(numbers: &[f64], squares: &[f64]) -> Vec<u8> {
    let mut bits = vec![0_i64; 4400];
    for &x in numbers {
        let (negative, mantissa, exponent) = split(x);
        for bit in (0..64).filter(|bit| mantissa >> bit & 1 == 1) {
            bits[(exponent + 2148) as usize + bit] += if negative { -1 } else { 1 };
        }
    }
    for &x in squares {
        let (_, mantissa, exponent) = split(x);
        let square = u128::from(mantissa).pow(2);
        for bit in (0..128).filter(|bit| square >> bit & 1 == 1) {
            bits[(2 * exponent + 2148) as usize + bit] += 1;
        }
    }
    let negative = bits.iter().rposition(|&bit| bit != 0).is_some() && carried(&mut bits.clone()) < 0;
    if negative {
        bits.iter_mut().for_each(|bit| *bit = -*bit);
    }
    assert_eq!(carried(&mut bits), 0);
    let (Some(low), Some(high)) = (bits.iter().position(|&bit| bit == 1), bits.iter().rposition(|&bit| bit == 1))
    else {
        return vec![0];
    };
    let mut out = Vec::new();
    put_exponent(&mut out, low as i32 - 2148);
    bits[low] = i64::from(negative);
    let len = if high == low { 1 } else { high - low + 1 };
    for group in bits[low..low + len].chunks(7) {
        out.push(group.iter().rev().fold(0, |byte, &bit| byte << 1 | bit as u8) | 0x80);
    }
    *out.last_mut().unwrap() &= 0x7f;
    out
}

fn carried(bits: &mut [i64]) -> i64 {
    let mut carry = 0;
    for bit in bits {
        let sum = *bit + carry;
        (*bit, carry) = (sum & 1, sum >> 1);
    }
    carry
}

fn bytes(sum: &Exact) -> Vec<u8> {
    let mut out = Vec::new();
    sum.encode(&mut out);
    out
}

fn sum_of(numbers: &[f64], squares: &[f64]) -> Exact {
    let mut sum = Exact::default();
    numbers.iter().for_each(|&x| sum.add(x));
    squares.iter().for_each(|&x| sum.add_square(x));
    sum
}

/// Any finite double, and those that meet each other more often.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
        (-1000..1000_i32).prop_map(f64::from),
        (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
        (0..4_u64).prop_map(f64::from_bits),
        (0..4_u64).prop_map(|below| -f64::from_bits(f64::MAX.to_bits() - below)),
        (0..4_u64).prop_map(|below| f64::from_bits(f64::MAX.to_bits() - below)),
        (-1074..1024_i32).prop_map(|exponent| 2_f64.powi(exponent)),
    ]
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(number(), 0..20)
}

#[track_caller]
fn check(numbers: &[f64], nearest: f64) {
    let sum = sum_of(numbers, &[]);
    assert_eq!(bytes(&sum), reference(numbers, &[]), "{numbers:?}");
    assert_eq!(sum.to_f64(), nearest, "{numbers:?}");
}

/// Not farther than any other double, and even where two are as near.
fn is_nearest(sum: &Exact, x: f64) -> bool {
    let side = |neighbour: f64| {
        let mut twice = sum.times(2);
        twice.add(-x);
        twice.add(-neighbour);
        twice.odd()
    };
    let (up, down) = (side(x.next_up()), side(x.next_down()));
    let even = x.to_bits() & 1 == 0;
    (up.negative || up.limbs().is_empty() && even) && (!down.negative && (!down.limbs().is_empty() || even))
}

proptest! {
    #[test]
    fn exact_to_the_last_bit(numbers in numbers(), squares in numbers()) {
        let sum = sum_of(&numbers, &squares);
        prop_assert_eq!(bytes(&sum), reference(&numbers, &squares));
    }

    #[test]
    fn any_order_and_grouping(
        (numbers, shuffled) in numbers().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
        cut: prop::sample::Index,
    ) {
        let whole = sum_of(&numbers, &numbers);
        let (left, right) = shuffled.split_at(cut.index(shuffled.len() + 1));
        let mut merged = sum_of(left, right);
        merged.merge(&sum_of(right, left));
        prop_assert_eq!(bytes(&merged), bytes(&whole));
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn rounds_to_nearest_even(numbers in numbers()) {
        let sum = sum_of(&numbers, &[]);
        let nearest = sum.to_f64();
        prop_assert!(nearest.abs() == f64::MAX || is_nearest(&sum, nearest), "{nearest} of {numbers:?}");
    }

    #[test]
    fn whole_numbers_and_ties(numbers: Vec<i64>, n in 1..100_u64) {
        let sum: i128 = numbers.iter().map(|&x| i128::from(x as f64 as i64) / 2 * 2).sum();
        let mut exact = Exact::default();
        for &x in &numbers {
            exact.merge(&Exact::from((x as f64 as i64 / 2) as f64).times(2));
        }
        prop_assert_eq!(exact.to_f64(), sum as f64);
        prop_assert_eq!(exact.times(n).to_f64(), (sum * i128::from(n)) as f64);
        prop_assert_eq!(exact.times(n).divided(n), sum as f64);
    }

    #[test]
    fn parts_come_back(numbers in numbers(), mantissa: i64, exponent in -3000..3000_i32) {
        let sum = sum_of(&numbers, &[]);
        if let Some((mantissa, exponent)) = sum.parts() {
            prop_assert_eq!(Exact::from_parts(mantissa, exponent), Ok(sum));
        }
        if let Ok(sum) = Exact::from_parts(mantissa, exponent) {
            prop_assert_eq!(sum.parts(), Some((mantissa, exponent)));
            prop_assert_eq!(Exact::decode(&mut Input(&bytes(&sum))), Ok(sum));
        }
    }

    #[test]
    fn bytes_come_back(numbers in numbers(), squares in numbers()) {
        let sum = sum_of(&numbers, &squares);
        let encoded = bytes(&sum);
        let mut input = Input(&encoded);
        prop_assert_eq!(Exact::decode(&mut input), Ok(sum));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn doubles_come_back(x in number()) {
        let mut out = Vec::new();
        put_f64(&mut out, x);
        prop_assert_eq!(&out, &bytes(&Exact::from(x)));
        prop_assert_eq!(take_f64(&mut Input(&out)), Ok(x));
    }

    #[test]
    fn other_bytes_are_refused(
        mut encoded: Vec<u8>,
        exponent in -2200..2200_i32,
        filler in proptest::option::of((0x80..=0xff_u8, 0..700_usize)),
    ) {
        if let Some((byte, len)) = filler {
            let rest = std::mem::take(&mut encoded);
            put_exponent(&mut encoded, exponent);
            encoded.extend(repeat_n(byte, len));
            encoded.extend(rest);
        }
        let mut input = Input(&encoded);
        if let Ok(sum) = Exact::decode(&mut input) {
            prop_assert_eq!(bytes(&sum), &encoded[..encoded.len() - input.0.len()]);
        }
        let mut input = Input(&encoded);
        if let Ok(x) = take_f64(&mut input) {
            let mut again = Vec::new();
            put_f64(&mut again, x);
            prop_assert_eq!(again, &encoded[..encoded.len() - input.0.len()]);
        }
    }
}

#[test]
fn known_sums() {
    check(&[], 0.0);
    check(&[-0.0, 0.0], 0.0);
    check(&[1e308, 1.0, -1e308], 1.0);
    check(&[0.1, 0.2, -0.3], 2_f64.powi(-54) * 0.5);
    check(&[f64::MAX, f64::MAX], f64::MAX);
    check(&[-f64::MAX, -f64::MAX, -1.0], -f64::MAX);
    check(&[f64::MAX, f64::MAX, -f64::MAX], f64::MAX);
    check(&[f64::from_bits(1), f64::MIN_POSITIVE, -f64::MIN_POSITIVE], f64::from_bits(1));
    // Half a unit above the largest double would be infinity; it is told as the largest.
    check(&[f64::MAX, 2_f64.powi(970)], f64::MAX);
    // A tie goes to the even neighbour, whatever is below it decides otherwise.
    check(&[2_f64.powi(53), 1.0], 2_f64.powi(53));
    check(&[2_f64.powi(53), 1.0, f64::from_bits(1)], 2_f64.powi(53) + 2.0);
}

#[test]
fn the_ends_of_the_range() {
    for x in [f64::MAX, f64::from_bits(1)] {
        // 2^64 - 1 of the largest squares: what the range was made for.
        let sum = sum_of(&[], &[x]).times(u64::MAX);
        assert_eq!(Exact::decode(&mut Input(&bytes(&sum))), Ok(sum));
    }
    let beyond = sum_of(&[], &[f64::MAX]).times(u64::MAX).times(2);
    assert_eq!(Exact::decode(&mut Input(&bytes(&beyond))), Err(Corrupt("a sum is out of range")));
}

#[test]
fn ordinary_sums_stay_in_place_and_short() {
    for (x, len) in [(0.0, 1), (1.0, 2), (12345.0, 3), (0.1, 9), (-2.5e6, 4)] {
        assert_eq!(bytes(&Exact::from(x)).len(), len, "{x}");
    }
    let mut sum = Exact::default();
    for n in 0..100_000 {
        sum.add_square(f64::from(n) / 1000.0);
        sum.add(-f64::from(n));
    }
    // A zero has no exponent that could matter, and a first number brings its own.
    sum.add(0.0);
    sum.merge(&Exact::default());
    assert!(matches!(sum.0, Repr::Few { .. }), "{sum:?}");
    assert!(matches!(Exact::from(1e-300).0, Repr::Few { .. }));
}

#[test]
fn limbs_that_fill_up() {
    for sign in [1.0, -1.0] {
        // 191 bits in place, then one more.
        let mut numbers = vec![sign; 9];
        numbers[0] *= 2_f64.powi(-188);
        check(&numbers, sign * 8.0);
        // Each addition reaches 52 bits into the limb above, which 4096 of them fill.
        let large = sign * (2_f64.powi(53) - 1.0) * 2_f64.powi(63 + 64 * 5);
        let mut numbers = vec![large; 5000];
        numbers[0] = 1e-300;
        let sum = sum_of(&numbers, &[]);
        assert_eq!(bytes(&sum), reference(&numbers, &[]));
    }
}

#[test]
fn one_sum_has_one_encoding() {
    let longer = [1, 0x80, 0];
    assert_eq!(Exact::decode(&mut Input(&longer)), Err(Corrupt("a sum is longer than it need be")));
    assert_eq!(Exact::decode(&mut Input(&longer[..2])), Err(Corrupt("a sum does not end")));
    let endless = [&[1][..], &[0xff; 10_000]].concat();
    assert_eq!(Exact::decode(&mut Input(&endless)), Err(Corrupt("a sum does not end")));
}
