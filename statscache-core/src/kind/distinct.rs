//! `distinct`: how many different members there are. Exact up to 256 of them, then an estimate.
//!
//! State: the set of the members' 64-bit hashes while there are at most 256; beyond it 4096
//! HyperLogLog registers, each the greatest rank (leading zeros and one) seen among the hashes
//! that begin with its number. The hash is XXH3-64 with seed 0 and is part of the format. Either
//! form is a function of the set of hashes alone, and so is the choice between them.
//! Merge: union of sets, maximum of registers. Laws: commutative, associative, idempotent.
//! Bytes: the number of hashes, then the hashes, ascending, big-endian; for registers, 257 in place
//! of the number, then the smallest register, a nibble for each register with what it has beyond
//! that (even registers in the high half), and for each nibble of 15 one byte with the rest.
//! 1 + 8n bytes, later about 2 KiB. JSON: `{"estimate":12,"error":0}`.
//!
//! Error: none while exact, but for members whose hashes are equal (256 members: 2 in 10^15 cells).
//! Then a relative standard error of 1.04 / sqrt(4096) = 1.63 % (Flajolet et al. 2007, "HyperLogLog"),
//! without bias from the first member on by the improved raw estimator of Ertl 2017, "New
//! cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284, section 2.
//! Who may choose members freely can choose them to be counted wrongly: the hash has no secret.
//!
//! Why not a crate: the bytes of `hyperloglogplus` and `cardinality-estimator` show the order in
//! which members and merges came while these are few, those of `datasketches` always (its
//! estimate from history is among them).

use xxhash_rust::xxh3::xxh3_64;

use super::{Rule, shortest_u64};
use crate::bytes::{Corrupt, Input, put_u64};

/// Hashes of a state that is exact: 2 KiB, as many bytes as registers take.
const EXACT_MAX: usize = 256;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Greatest rank: all other bits of the hash are zero.
const RANK_MAX: u8 = (64 - INDEX_BITS + 1) as u8;
/// A nibble that says that more follows.
const NIBBLE_FULL: u8 = 15;

/// The rule of `distinct`.
#[derive(Clone, Copy, Debug)]
pub struct DistinctRule;

/// A set of members, as far as their number is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctState(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Ascending, at most [`EXACT_MAX`].
    Exact(Vec<u64>),
    Registers(Box<Registers>),
}

type Registers = [u8; REGISTERS];

impl Default for DistinctState {
    fn default() -> Self {
        Self(Form::Exact(Vec::new()))
    }
}

impl DistinctState {
    /// Adds a member. A second time changes nothing.
    pub fn insert(&mut self, member: &str) {
        self.insert_hash(xxh3_64(member.as_bytes()));
    }

    /// Adds the member with this hash, XXH3-64 with seed 0.
    pub fn insert_hash(&mut self, hash: u64) {
        match &mut self.0 {
            Form::Registers(registers) => raise(registers, hash),
            Form::Exact(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else { return };
                if hashes.len() == hashes.capacity() {
                    // Most cells have few members: growth by half wastes less than doubling.
                    hashes.reserve_exact((hashes.len() / 2).max(1));
                }
                hashes.insert(at, hash);
                self.settle();
            }
        }
    }

    /// How many different members: exact up to 256, never less than 257 beyond.
    pub fn estimate(&self) -> u64 {
        match &self.0 {
            Form::Exact(hashes) => hashes.len() as u64,
            // The state has registers because there were more: no estimate knows better.
            Form::Registers(registers) => (estimate(registers).round() as u64).max(EXACT_MAX as u64 + 1),
        }
    }

    /// Relative standard error of the estimate; 0 while exact.
    pub fn error(&self) -> f64 {
        match &self.0 {
            Form::Exact(_) => 0.0,
            Form::Registers(_) => 1.04 / (REGISTERS as f64).sqrt(),
        }
    }

    /// Goes over to registers when there are too many hashes.
    fn settle(&mut self) {
        if let Form::Exact(hashes) = &self.0
            && hashes.len() > EXACT_MAX
        {
            let mut registers = Box::new([0; REGISTERS]);
            hashes.iter().for_each(|&hash| raise(&mut registers, hash));
            self.0 = Form::Registers(registers);
        }
    }
}

fn raise(registers: &mut Registers, hash: u64) {
    let index = (hash >> (64 - INDEX_BITS)) as usize;
    // The bit below the rank's ends the zeros, so that no rank is greater than RANK_MAX.
    let rest = hash << INDEX_BITS | 1 << (INDEX_BITS - 1);
    registers[index] = registers[index].max(rest.leading_zeros() as u8 + 1);
}

/// Ertl's improved raw estimator, algorithm 6. Multiplication, division and square root alone:
/// IEEE 754 defines each to the last bit, so every machine answers the same.
fn estimate(registers: &Registers) -> f64 {
    let mut counts = [0_u32; RANK_MAX as usize + 1];
    registers.iter().for_each(|&rank| counts[usize::from(rank)] += 1);
    let m = REGISTERS as f64;
    let share = |rank: usize| f64::from(counts[rank]) / m;
    let mut sum = tau(1.0 - share(RANK_MAX.into()));
    for rank in (1..usize::from(RANK_MAX)).rev() {
        sum = 0.5 * (sum + share(rank));
    }
    m / (2.0 * std::f64::consts::LN_2 * (sum + sigma(share(0))))
}

/// What the empty registers stand for; `share` is theirs.
fn sigma(share: f64) -> f64 {
    if share == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut factor, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let next = sum + power * factor;
        factor += factor;
        if next == sum {
            return sum;
        }
        sum = next;
    }
}

/// What the full registers stand for; `share` is that of all the others.
fn tau(share: f64) -> f64 {
    if share == 0.0 || share == 1.0 {
        return 0.0;
    }
    let (mut root, mut factor, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        factor *= 0.5;
        let next = sum - (1.0 - root) * (1.0 - root) * factor;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

impl Rule for DistinctRule {
    type State = DistinctState;

    fn heap(self, state: &DistinctState) -> usize {
        match &state.0 {
            Form::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Form::Registers(_) => size_of::<Registers>(),
        }
    }

    fn merge(self, into: &mut DistinctState, mut from: DistinctState) {
        if matches!((&into.0, &from.0), (Form::Exact(_), Form::Registers(_))) {
            std::mem::swap(into, &mut from);
        }
        match (&mut into.0, from.0) {
            (Form::Exact(hashes), Form::Exact(more)) => {
                hashes.reserve_exact(more.len());
                hashes.extend(more);
                // Two ascending runs: a stable sort finds and merges them.
                hashes.sort();
                hashes.dedup();
                into.settle();
            }
            (Form::Registers(registers), Form::Exact(more)) => more.iter().for_each(|&hash| raise(registers, hash)),
            (Form::Registers(registers), Form::Registers(more)) => {
                registers.iter_mut().zip(more.iter()).for_each(|(rank, &other)| *rank = (*rank).max(other));
            }
            (Form::Exact(_), Form::Registers(_)) => unreachable!("swapped above"),
        }
    }

    fn encode(self, state: &DistinctState, out: &mut Vec<u8>) {
        match &state.0 {
            Form::Exact(hashes) => {
                put_u64(out, hashes.len() as u64);
                out.extend(hashes.iter().flat_map(|hash| hash.to_be_bytes()));
            }
            Form::Registers(registers) => {
                put_u64(out, EXACT_MAX as u64 + 1);
                encode_registers(registers, out);
            }
        }
    }

    fn decode(self, input: &mut Input<'_>) -> Result<DistinctState, Corrupt> {
        let len = shortest_u64(input)?;
        if len > EXACT_MAX as u64 + 1 {
            return Err(Corrupt("too many hashes"));
        }
        if len as usize > EXACT_MAX {
            return Ok(DistinctState(Form::Registers(decode_registers(input)?)));
        }
        let (hashes, _) = input.take(8 * len as usize)?.as_chunks();
        let hashes: Vec<u64> = hashes.iter().map(|&bytes| u64::from_be_bytes(bytes)).collect();
        if !hashes.is_sorted_by(|a, b| a < b) {
            return Err(Corrupt("hashes do not ascend"));
        }
        Ok(DistinctState(Form::Exact(hashes)))
    }
}

fn encode_registers(registers: &Registers, out: &mut Vec<u8>) {
    let base = registers.iter().copied().min().unwrap_or(0);
    out.push(base);
    let nibble = |rank: u8| (rank - base).min(NIBBLE_FULL);
    let (pairs, _) = registers.as_chunks();
    out.extend(pairs.iter().map(|&[even, odd]| nibble(even) << 4 | nibble(odd)));
    out.extend(registers.iter().filter(|&&rank| nibble(rank) == NIBBLE_FULL).map(|rank| rank - base - NIBBLE_FULL));
}

fn decode_registers(input: &mut Input<'_>) -> Result<Box<Registers>, Corrupt> {
    let base = input.take(1)?[0];
    let nibbles = input.take(REGISTERS / 2)?;
    let mut registers = Box::new([0; REGISTERS]);
    let (mut smallest, mut greatest) = (u8::MAX, 0);
    for (index, register) in registers.iter_mut().enumerate() {
        let byte = nibbles[index / 2];
        let nibble = if index % 2 == 0 { byte >> 4 } else { byte & 15 };
        let more = if nibble == NIBBLE_FULL { input.take(1)?[0] } else { 0 };
        *register = base.saturating_add(nibble).saturating_add(more);
        (smallest, greatest) = (smallest.min(*register), greatest.max(*register));
    }
    match (smallest, greatest) {
        (_, 0) => Err(Corrupt("registers without a member")),
        (_, greatest) if greatest > RANK_MAX => Err(Corrupt("a register is too large")),
        (smallest, _) if smallest != base => Err(Corrupt("not the smallest register")),
        _ => Ok(registers),
    }
}

#[cfg(test)]
mod tests;
