//! Whole numbers of any length times a power of two: limbs of 64 bits, lowest first. Only what
//! an exact sum needs.

use std::iter::repeat_n;

/// Sign, odd magnitude without zero limbs above, exponent; zero is positive, has no limbs and 0.
pub(super) struct Odd {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    few: [u64; 3],
    /// Used instead when not empty.
    many: Vec<u64>,
    len: usize,
}

impl Odd {
    pub(super) fn new(negative: bool, few: [u64; 3], many: Vec<u64>, exponent: i32) -> Self {
        let mut odd = Self { negative, exponent, few, many, len: 0 };
        let limbs = if odd.many.is_empty() { &mut odd.few[..] } else { &mut odd.many[..] };
        let Some(zeros) = limbs.iter().position(|&limb| limb != 0) else {
            (odd.negative, odd.exponent) = (false, 0);
            return odd;
        };
        let zeros = zeros * 64 + limbs[zeros].trailing_zeros() as usize;
        if zeros > 0 {
            for index in 0..limbs.len() {
                limbs[index] = bits_at(limbs, zeros + index * 64);
            }
        }
        odd.len = trimmed(limbs).len();
        odd.exponent += zeros as i32;
        odd
    }

    pub(super) fn limbs(&self) -> &[u64] {
        if self.many.is_empty() { &self.few[..self.len] } else { &self.many[..self.len] }
    }

    pub(super) fn round(&self) -> f64 {
        let limbs = self.limbs();
        let Some(&lowest) = limbs.first() else { return 0.0 };
        let end = self.exponent + bit_len(limbs) as i32;
        let magnitude = if end > 1024 {
            f64::MAX
        } else {
            let unit = (end - 53).max(-1074);
            let dropped = unit - self.exponent;
            let mut kept = if dropped <= 0 { lowest << -dropped } else { bits_at(limbs, dropped as usize) };
            // The lowest bit is set: it is a tie exactly where only one bit is dropped.
            if dropped > 0 && bits_at(limbs, dropped as usize - 1) & 1 == 1 && (dropped > 1 || kept & 1 == 1) {
                kept += 1;
            }
            // The hidden bit, or a carry out of the mantissa, adds one to the exponent as it should.
            f64::from_bits((((unit + 1074) as u64) << 52) + kept).min(f64::MAX)
        };
        if self.negative { -magnitude } else { magnitude }
    }
}

/// The sum in place and its exponent; nothing where it would not fit.
#[inline]
pub(super) fn sum_few(
    own: [u64; 3],
    at: i32,
    negative: bool,
    term: [u64; 3],
    exponent: i32,
) -> Option<([u64; 3], i32)> {
    let at = if own == [0; 3] { exponent } else { at };
    let low = at.min(exponent);
    let (own_low, own_high) = shifted(own, at - low)?;
    let (term_low, term_high) = shifted(term, exponent - low)?;
    let (low_sum, high_sum, overflow) = if negative {
        let (sum, borrow) = own_low.overflowing_sub(term_low);
        let (high, a) = own_high.overflowing_sub(term_high);
        let (high, b) = high.overflowing_sub(i64::from(borrow));
        (sum, high, a ^ b)
    } else {
        let (sum, carry) = own_low.overflowing_add(term_low);
        let (high, a) = own_high.overflowing_add(term_high);
        let (high, b) = high.overflowing_add(i64::from(carry));
        (sum, high, a ^ b)
    };
    (!overflow).then_some(([low_sum as u64, (low_sum >> 64) as u64, high_sum as u64], low))
}

/// 192 bits in two's complement times 2^by; nothing where the sign would be lost.
#[inline]
fn shifted(limbs: [u64; 3], by: i32) -> Option<(u128, i64)> {
    let (low, high) = (u128::from(limbs[0]) | u128::from(limbs[1]) << 64, limbs[2] as i64);
    if by == 0 {
        return Some((low, high));
    }
    let sign = (high >> 63) as u64;
    let spare = match (limbs[2] ^ sign).leading_zeros() {
        64 => 64 + (low ^ (i128::from(sign as i64) as u128)).leading_zeros(),
        zeros => zeros,
    };
    match by as u32 {
        by if by >= spare => None,
        by if by < 64 => Some((low << by, high << by | (low >> (128 - by)) as i64)),
        by if by < 128 => Some((low << by, (low >> (128 - by)) as i64)),
        by => Some((0, (low << (by - 128)) as i64)),
    }
}

pub(super) fn sum_many(limbs: &mut Vec<u64>, own: &mut i16, negative: bool, term: &[u64], exponent: i32) {
    let low = exponent.div_euclid(64) * 64;
    if low < i32::from(*own) {
        limbs.splice(0..0, repeat_n(0, (i32::from(*own) - low) as usize / 64));
        *own = low as i16;
    }
    let at = (low - i32::from(*own)) as usize / 64;
    let sign = limbs.last().copied().unwrap_or(0);
    // One for the bits that the shift moves up, one for the sign.
    limbs.resize(limbs.len().max(at + term.len() + 2), sign);
    let bit = exponent - low;
    let (mut carry, mut below) = (false, 0);
    for (index, limb) in limbs[at..].iter_mut().enumerate() {
        let word = term.get(index).copied().unwrap_or(0);
        let (shifted, above) = (word << bit | below, (u128::from(word) << bit >> 64) as u64);
        let (a, b);
        (*limb, a) = if negative { limb.overflowing_sub(shifted) } else { limb.overflowing_add(shifted) };
        (*limb, b) = if negative { limb.overflowing_sub(carry.into()) } else { limb.overflowing_add(carry.into()) };
        (carry, below) = (a | b, above);
        if !carry && index > term.len() {
            break;
        }
    }
    if let Some(&top) = limbs.last()
        && top != 0
        && top != u64::MAX
    {
        limbs.push(((top as i64) >> 63) as u64);
    }
}

pub(super) fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).overflowing_add(carry.into());
    }
}

pub(super) fn multiplied(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut product = vec![0; a.len() + b.len()];
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, &y) in b.iter().enumerate() {
            let part = u128::from(x) * u128::from(y) + u128::from(product[i + j]) + carry;
            product[i + j] = part as u64;
            carry = part >> 64;
        }
        product[i + b.len()] = carry as u64;
    }
    product.truncate(trimmed(&product).len());
    product
}

pub(super) fn trimmed(limbs: &[u64]) -> &[u64] {
    &limbs[..limbs.iter().rposition(|&limb| limb != 0).map_or(0, |top| top + 1)]
}

pub(super) fn bit_len(limbs: &[u64]) -> usize {
    let limbs = trimmed(limbs);
    limbs.last().map_or(0, |top| limbs.len() * 64 - top.leading_zeros() as usize)
}

/// 64 bits from a place on, zeros beyond the end.
pub(super) fn bits_at(limbs: &[u64], at: usize) -> u64 {
    let limb = |index| limbs.get(index).copied().unwrap_or(0);
    let (low, high) = (limb(at / 64), limb(at / 64 + 1));
    ((u128::from(high) << 64 | u128::from(low)) >> (at % 64)) as u64
}
