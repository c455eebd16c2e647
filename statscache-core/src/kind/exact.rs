//! The exact sum of doubles: what order the numbers come in changes not even the last bit.
//!
//! State: one whole number times a power of two, as in Kulisch's long accumulator and Neal,
//! "Fast exact summation using small and large superaccumulators" (2015), but only as long as the
//! numbers met so far make it: 192 bits in place, which take integers and decimals of ordinary
//! size and their squares, and limbs on the heap (70 at most) beyond. Merge: addition of whole
//! numbers, hence commutative and associative; no rounding, and no overflow before 2^64 numbers.
//! Bytes: 0 for zero; else the exponent of the lowest set bit (zigzag, plus one) and the odd
//! mantissa in LEB128 of any length, whose lowest bit holds the sign instead. JSON: the nearest
//! double. Error: none before [`Exact::to_f64`], which rounds once, to nearest even.

mod limbs;

use std::iter::repeat_n;

use crate::bytes::{Corrupt, Input, put_u64};
use limbs::{Odd, bit_len, bits_at, multiplied, negate, sum_few, sum_many, trimmed};

/// Lowest bit there can be: the square of the smallest double.
const EXPONENT_MIN: i32 = -2 * 1074;
/// Above the highest bit there can be: 2^64 squares of the largest double.
const EXPONENT_END: i32 = 2 * 1024 + 64;
/// LEB128 bytes of a mantissa that spans all of it.
const GROUPS_MAX: usize = ((EXPONENT_END - EXPONENT_MIN) as usize).div_ceil(7);

/// An exact sum of doubles and squares of doubles. Neutral by default: zero.
#[derive(Clone, Debug)]
pub struct Exact(Repr);

/// Limbs are in two's complement, lowest first, times 2^exponent. Many representations of one
/// number are allowed, so that no addition has to normalise; [`Odd`] is the one that shows.
#[derive(Clone, Debug)]
enum Repr {
    Few {
        limbs: [u64; 3],
        exponent: i16,
    },
    /// The exponent is a multiple of 64, and the highest limb nothing but sign.
    Many {
        limbs: Vec<u64>,
        exponent: i16,
    },
}

// There may be two of these in each of a million cells.
const _: () = assert!(size_of::<Exact>() == 32);

impl Default for Exact {
    fn default() -> Self {
        Self(Repr::Few { limbs: [0; 3], exponent: 0 })
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.odd(), other.odd());
        (a.negative, a.exponent, a.limbs()) == (b.negative, b.exponent, b.limbs())
    }
}

impl Exact {
    /// Adds a finite number.
    #[inline]
    pub fn add(&mut self, x: f64) {
        let (negative, mantissa, exponent) = split(x);
        self.add_few(negative, [mantissa, 0, 0], exponent);
    }

    /// Adds the square of a finite number, all 106 bits of it.
    #[inline]
    pub fn add_square(&mut self, x: f64) {
        let (_, mantissa, exponent) = split(x);
        let square = u128::from(mantissa) * u128::from(mantissa);
        self.add_few(false, [square as u64, (square >> 64) as u64, 0], 2 * exponent);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        let odd = other.odd();
        self.add_limbs(odd.negative, odd.limbs(), odd.exponent);
    }

    /// The nearest double, of two the even one. Sums beyond the largest double are told as the
    /// largest double, since JSON has no infinity.
    pub fn to_f64(&self) -> f64 {
        self.odd().round()
    }

    /// Memory besides its own size.
    pub fn heap(&self) -> usize {
        match &self.0 {
            Repr::Few { .. } => 0,
            Repr::Many { limbs, .. } => limbs.capacity() * size_of::<u64>(),
        }
    }

    /// Mantissa and exponent, where the odd mantissa fits: sums of integers and single doubles do,
    /// of decimals only the sums of few. Zero is (0, 0).
    pub fn parts(&self) -> Option<(i64, i32)> {
        let odd = self.odd();
        match *odd.limbs() {
            [] => Some((0, 0)),
            [limb] => {
                let mantissa = i64::try_from(limb).ok()?;
                Some((if odd.negative { -mantissa } else { mantissa }, odd.exponent))
            }
            _ => None,
        }
    }

    /// The inverse of [`Exact::parts`]. Takes nothing that `parts` would not have said.
    pub fn from_parts(mantissa: i64, exponent: i32) -> Result<Self, Corrupt> {
        let mut sum = Self::default();
        if mantissa == 0 && exponent == 0 {
            return Ok(sum);
        }
        let bits = 64 - mantissa.unsigned_abs().leading_zeros() as i32;
        // First the exponent alone, which may be any number.
        if !(EXPONENT_MIN..EXPONENT_END).contains(&exponent) || exponent + bits > EXPONENT_END {
            return Err(Corrupt("a sum is out of range"));
        }
        if mantissa & 1 == 0 {
            return Err(Corrupt("a sum is not in its shortest form"));
        }
        sum.add_few(mantissa < 0, [mantissa.unsigned_abs(), 0, 0], exponent);
        Ok(sum)
    }

    /// Appends the sum. Equal sums have equal bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let odd = self.odd();
        let limbs = odd.limbs();
        let Some(&lowest) = limbs.first() else { return put_u64(out, 0) };
        put_exponent(out, odd.exponent);
        let lowest = lowest & !1 | u64::from(odd.negative);
        if limbs.len() == 1 {
            return put_u64(out, lowest);
        }
        let groups = bit_len(limbs).div_ceil(7);
        for group in 0..groups {
            let bits = if group == 0 { lowest } else { bits_at(limbs, 7 * group) };
            let more = if group + 1 < groups { 0x80 } else { 0 };
            out.push(bits as u8 & 0x7f | more);
        }
    }

    /// Reads what [`Exact::encode`] wrote.
    pub fn decode(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let mut sum = Self::default();
        let Some(exponent) = take_exponent(input)? else { return Ok(sum) };
        let ends = input.0.iter().take(GROUPS_MAX).position(|&byte| byte < 0x80);
        let groups = input.take(ends.ok_or(Corrupt("a sum does not end"))? + 1)?;
        if groups.len() > 1 && groups.last() == Some(&0) {
            return Err(Corrupt("a sum is longer than it need be"));
        }
        let (mut few, mut many) = ([0; 3], Vec::new());
        let limbs = if groups.len() * 7 <= 192 {
            &mut few[..]
        } else {
            many.resize((groups.len() * 7).div_ceil(64), 0);
            &mut many[..]
        };
        for (index, byte) in groups.iter().enumerate() {
            let (limb, bit) = (index * 7 / 64, index * 7 % 64);
            let group = u64::from(byte & 0x7f);
            limbs[limb] |= group << bit;
            if bit > 57 && group >> (64 - bit) != 0 {
                limbs[limb + 1] |= group >> (64 - bit);
            }
        }
        let negative = limbs[0] & 1 == 1;
        limbs[0] |= 1;
        if exponent + bit_len(limbs) as i32 > EXPONENT_END {
            return Err(Corrupt("a sum is out of range"));
        }
        sum.add_limbs(negative, trimmed(limbs), exponent);
        Ok(sum)
    }

    /// The sum times a whole number.
    pub(super) fn times(&self, n: u64) -> Self {
        let odd = self.odd();
        let mut product = Self::default();
        product.add_limbs(odd.negative, &multiplied(odd.limbs(), &[n]), odd.exponent);
        product
    }

    /// Takes the square of another sum away.
    pub(super) fn subtract_square(&mut self, other: &Self) {
        let odd = other.odd();
        self.add_limbs(true, &multiplied(odd.limbs(), odd.limbs()), 2 * odd.exponent);
    }

    /// The double nearest to the sum divided by `n`, which is not 0.
    pub(super) fn divided(&self, n: u64) -> f64 {
        let odd = self.odd();
        // 128 bits more leave at least 64 in the quotient; one below them says whether anything is left.
        let mut quotient: Vec<u64> = repeat_n(0, 3).chain(odd.limbs().iter().copied()).collect();
        let mut rest = 0_u128;
        for limb in quotient[1..].iter_mut().rev() {
            let part = rest << 64 | u128::from(*limb);
            *limb = (part / u128::from(n)) as u64;
            rest = part % u128::from(n);
        }
        quotient[0] = u64::from(rest != 0);
        let exponent = odd.exponent - 3 * 64;
        Odd::new(odd.negative, [0; 3], quotient, exponent).round()
    }

    /// The square root divided by `n`, to three units in the last place; 0 for a negative sum.
    pub(super) fn root_divided(&self, n: u64) -> f64 {
        let mut odd = self.odd();
        if odd.negative || odd.limbs().is_empty() {
            return 0.0;
        }
        // Scaled to about one before the root, since the sum may be far out of the range of doubles.
        let half = (odd.exponent + bit_len(odd.limbs()) as i32) / 2;
        odd.exponent -= 2 * half;
        let (_, mantissa, exponent) = split(odd.round().sqrt() / n as f64);
        Odd::new(false, [mantissa, 0, 0], Vec::new(), exponent + half).round()
    }

    /// Adds a number below 2^191; the common path, which neither allocates nor loops.
    #[inline]
    fn add_few(&mut self, negative: bool, term: [u64; 3], exponent: i32) {
        // The exponent of a zero means nothing and must not widen the state.
        if term == [0; 3] {
            return;
        }
        if let Repr::Few { limbs, exponent: own } = &mut self.0
            && let Some(sum) = sum_few(*limbs, i32::from(*own), negative, term, exponent)
        {
            (*limbs, *own) = (sum.0, sum.1 as i16);
            return;
        }
        self.add_many(negative, trimmed(&term), exponent);
    }

    fn add_limbs(&mut self, negative: bool, term: &[u64], exponent: i32) {
        // The short way takes its term as a signed number, so the highest bit must be free.
        if bit_len(term) < 192 {
            let mut few = [0; 3];
            few[..term.len()].copy_from_slice(term);
            self.add_few(negative, few, exponent);
        } else {
            self.add_many(negative, term, exponent);
        }
    }

    #[cold]
    fn add_many(&mut self, negative: bool, term: &[u64], exponent: i32) {
        if let Repr::Few { .. } = self.0 {
            let odd = self.odd();
            let (mut limbs, mut own) = (vec![0], odd.exponent.div_euclid(64) as i16 * 64);
            sum_many(&mut limbs, &mut own, odd.negative, odd.limbs(), odd.exponent);
            self.0 = Repr::Many { limbs, exponent: own };
        }
        if let Repr::Many { limbs, exponent: own } = &mut self.0 {
            sum_many(limbs, own, negative, term, exponent);
        }
    }

    /// The sum in its one canonical form.
    fn odd(&self) -> Odd {
        match &self.0 {
            Repr::Few { limbs, exponent } => {
                let (mut limbs, negative) = (*limbs, limbs[2] >> 63 == 1);
                if negative {
                    negate(&mut limbs);
                }
                Odd::new(negative, limbs, Vec::new(), i32::from(*exponent))
            }
            Repr::Many { limbs, exponent } => {
                let (mut limbs, negative) = (limbs.clone(), limbs.last() == Some(&u64::MAX));
                if negative {
                    negate(&mut limbs);
                }
                Odd::new(negative, [0; 3], limbs, i32::from(*exponent))
            }
        }
    }
}

impl From<f64> for Exact {
    fn from(x: f64) -> Self {
        let mut sum = Self::default();
        sum.add(x);
        sum
    }
}

/// Sign, odd mantissa and exponent of a finite number; zero has mantissa 0.
#[inline]
fn split(x: f64) -> (bool, u64, i32) {
    debug_assert!(x.is_finite(), "{x} cannot be summed");
    let bits = x.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let zeros = mantissa.trailing_zeros() & 63;
    (x.is_sign_negative(), mantissa >> zeros, exponent + zeros as i32)
}

fn put_exponent(out: &mut Vec<u8>, exponent: i32) {
    put_u64(out, u64::from(((exponent << 1) ^ (exponent >> 31)) as u32) + 1);
}

/// The exponent in front of a mantissa, nothing for zero.
fn take_exponent(input: &mut Input<'_>) -> Result<Option<i32>, Corrupt> {
    let Some(coded) = take_shortest(input)?.checked_sub(1) else { return Ok(None) };
    let coded = u32::try_from(coded).map_err(|_| Corrupt("a sum is out of range"))?;
    let exponent = (coded >> 1) as i32 ^ -((coded & 1) as i32);
    // Before anything is added to it.
    if !(EXPONENT_MIN..EXPONENT_END).contains(&exponent) {
        return Err(Corrupt("a sum is out of range"));
    }
    Ok(Some(exponent))
}

/// Reads an unsigned number that is written as short as can be: one number, one encoding.
pub(super) fn take_shortest(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    let before = input.0;
    let n = input.u64()?;
    let used = before.len() - input.0.len();
    if used > 1 && before[used - 1] == 0 {
        return Err(Corrupt("a number is longer than it need be"));
    }
    Ok(n)
}

/// Appends a finite double as a sum of one number: `12345.0` takes 3 bytes, `0.1` takes 9.
pub(super) fn put_f64(out: &mut Vec<u8>, x: f64) {
    let (negative, mantissa, exponent) = split(x);
    if mantissa == 0 {
        return put_u64(out, 0);
    }
    put_exponent(out, exponent);
    put_u64(out, mantissa & !1 | u64::from(negative));
}

/// Reads what [`put_f64`] wrote.
pub(super) fn take_f64(input: &mut Input<'_>) -> Result<f64, Corrupt> {
    let Some(exponent) = take_exponent(input)? else { return Ok(0.0) };
    let coded = take_shortest(input)?;
    let (negative, mantissa) = (coded & 1 == 1, coded | 1);
    let bits = 64 - mantissa.leading_zeros() as i32;
    if bits > 53 || exponent < -1074 || exponent + bits > 1024 {
        return Err(Corrupt("a number is not a double"));
    }
    Ok(Odd::new(negative, [mantissa, 0, 0], Vec::new(), exponent).round())
}

#[cfg(test)]
mod tests;
