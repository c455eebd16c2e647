//! Bit packing: numbers of one width one after the other, the lowest bit first (little-endian).

use crate::bytes::{Corrupt, Input};

/// Bytes that `n` numbers of this width take.
pub fn len(n: usize, width: u32) -> usize {
    (n * width as usize).div_ceil(8)
}

/// Appends numbers, each less than 2^width; 1 to 64 bits.
pub fn put(out: &mut Vec<u8>, width: u32, numbers: impl Iterator<Item = u64>) {
    let (mut pending, mut held) = (0_u128, 0_u32);
    for n in numbers {
        pending |= u128::from(n) << held;
        held += width;
        while held >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(pending as u8);
    }
}

/// Reads `n` numbers that [`put`] wrote.
pub fn read(input: &mut Input<'_>, width: u32, n: usize, mut each: impl FnMut(u64)) -> Result<(), Corrupt> {
    let bytes = input.take(len(n, width))?;
    let mask = u64::MAX >> (64 - width);
    for i in 0..n {
        let bit = i * width as usize;
        let word = (load(bytes, bit / 8) >> (bit % 8)) as u64;
        each(word & mask);
    }
    Ok(())
}

/// Sixteen bytes from there on, zeros beyond the end: 64 bits at any offset within a byte.
#[inline]
fn load(bytes: &[u8], at: usize) -> u128 {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        return u128::from_le_bytes(*word);
    }
    let mut word = [0; 16];
    let rest = &bytes[at..];
    word[..rest.len()].copy_from_slice(rest);
    u128::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(width in 1..=64_u32, numbers: Vec<u64>) {
            let numbers: Vec<u64> = numbers.iter().map(|n| n >> (64 - width)).collect();
            let mut out = Vec::new();
            put(&mut out, width, numbers.iter().copied());
            prop_assert_eq!(out.len(), len(numbers.len(), width));
            let (mut input, mut back) = (Input(&out), Vec::new());
            read(&mut input, width, numbers.len(), |n| back.push(n)).expect("sound");
            prop_assert_eq!(back, numbers);
            prop_assert!(input.is_empty());
        }
    }
}
