//! One column: numbers of one meaning, cut into pages that share what is known of all of them.
//!
//! | field | bytes |
//! |---|---|
//! | coding: 0 one number for all, 1-64 bits of each, 65-68 pco over 8, 16, 32, 64 bits | 1 |
//! | smallest number, zigzag LEB128 | 1-10 |
//! | greatest common divisor of the differences to it, LEB128; the pages hold their quotients | 1-9 |
//! | pco: its header (format version, two bytes, 4.1 today) and chunk metadata | 0 or many |
//!
//! A page is then nothing, packed bits, or a page of pco. None of them says how many numbers it
//! holds: the reader knows, and that bounds what it allocates. The divisor is for what is measured
//! coarser than it is written: seconds in microseconds, whole numbers in the bits of a float.

use pco::{
    ChunkConfig, DeltaSpec, ModeSpec, PagingSpec,
    data_types::Number,
    wrapped::{ChunkDecompressor, FileCompressor, FileDecompressor},
};

use super::bits;
use crate::bytes::{Corrupt, Input, put_i64, put_u64};

const CONSTANT: u8 = 0;
const PCO_8: u8 = 65;
const PCO_16: u8 = 66;
const PCO_32: u8 = 67;
const PCO_64: u8 = 68;

/// Below it the metadata of pco outweighs what it saves.
const PCO_NUMBERS_MIN: usize = 32;

/// Tables of a quarter of the default's size: of a series that is read alone they are most of the
/// cost, and counts of any distribution tried are less than a percent larger.
const PCO_LEVEL: usize = 6;

/// A column as bytes: what is known of all pages, and the pages.
#[derive(Debug, Default)]
pub struct Written {
    /// For the head of the chunk.
    pub meta: Vec<u8>,
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Written {
    /// Bytes of one page.
    pub fn page(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.data[start..self.ends[index]]
    }

    fn len(&self) -> usize {
        self.meta.len() + self.data.len()
    }
}

/// Writes a column whose pages hold that many numbers each, none of them 0, in the smallest coding.
pub fn write(numbers: &[i64], pages: &[usize]) -> Written {
    let packed = Packing::of(numbers);
    if packed.width == 0 || numbers.len() < PCO_NUMBERS_MIN {
        return packed.write(numbers, pages);
    }
    let quotients = packed.quotients(numbers);
    let pco = match packed.width {
        1..=8 => packed.write_pco(PCO_8, &quotients.map(|n| n as u8).collect::<Vec<_>>(), pages),
        9..=16 => packed.write_pco(PCO_16, &quotients.map(|n| n as u16).collect::<Vec<_>>(), pages),
        17..=32 => packed.write_pco(PCO_32, &quotients.map(|n| n as u32).collect::<Vec<_>>(), pages),
        _ => packed.write_pco(PCO_64, &quotients.collect::<Vec<_>>(), pages),
    };
    match pco {
        Some(pco) if pco.len() < packed.len(pages) => pco,
        _ => packed.write(numbers, pages),
    }
}

/// As [`write`], without pco: for columns so short that building its tables is not worth it.
pub fn write_packed(numbers: &[i64], pages: &[usize]) -> Written {
    Packing::of(numbers).write(numbers, pages)
}

/// What of the numbers is written: how many times the divisor they are above the base.
struct Packing {
    base: i64,
    divisor: u64,
    width: u32,
}

impl Packing {
    fn of(numbers: &[i64]) -> Self {
        let base = numbers.iter().copied().min().unwrap_or(0);
        let span = numbers.iter().copied().max().unwrap_or(0).wrapping_sub(base) as u64;
        let mut divisor = span;
        for n in numbers {
            if divisor <= 1 {
                break;
            }
            divisor = common_divisor(divisor, n.wrapping_sub(base) as u64);
        }
        let divisor = divisor.max(1);
        Self { base, divisor, width: 64 - (span / divisor).leading_zeros() }
    }

    fn quotients(&self, numbers: &[i64]) -> impl Iterator<Item = u64> {
        let (base, divisor) = (self.base, self.divisor);
        numbers.iter().map(move |n| {
            let offset = n.wrapping_sub(base) as u64;
            if divisor == 1 { offset } else { offset / divisor }
        })
    }

    fn meta(&self, coding: u8) -> Vec<u8> {
        let mut meta = vec![coding];
        put_i64(&mut meta, self.base);
        put_u64(&mut meta, self.divisor);
        meta
    }

    fn len(&self, pages: &[usize]) -> usize {
        self.meta(0).len() + pages.iter().map(|&n| bits::len(n, self.width)).sum::<usize>()
    }

    fn write(&self, numbers: &[i64], pages: &[usize]) -> Written {
        let mut out = Written { meta: self.meta(self.width as u8), ..Written::default() };
        let mut rest = numbers;
        for &n in pages {
            let (page, after) = rest.split_at(n);
            rest = after;
            if self.width > 0 {
                bits::put(&mut out.data, self.width, self.quotients(page));
            }
            out.ends.push(out.data.len());
        }
        out
    }

    /// `None` if pco refuses; it has no reason to, and bits hold anything.
    fn write_pco<T: Number>(&self, coding: u8, quotients: &[T], pages: &[usize]) -> Option<Written> {
        // No search for modes and deltas: cells of one series are not an arithmetic sequence, and a
        // reader that knows of neither has less to fear from damaged bytes.
        let config = ChunkConfig::default()
            .with_compression_level(PCO_LEVEL)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::NoOp)
            .with_paging_spec(PagingSpec::Exact(pages.to_vec()))
            .with_enable_8_bit(true);
        let file = FileCompressor::default();
        let mut chunk = file.chunk_compressor(quotients, &config).ok()?;
        let mut out = Written { meta: self.meta(coding), ..Written::default() };
        file.write_header(&mut out.meta).ok()?;
        chunk.write_meta(&mut out.meta).ok()?;
        for page in 0..pages.len() {
            chunk.write_page(page, &mut out.data).ok()?;
            out.ends.push(out.data.len());
        }
        Some(out)
    }
}

/// Greatest number that divides both; of 0 and a number, the number.
fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Reads the pages of one column, in any order.
#[derive(Debug)]
pub struct Column {
    base: i64,
    divisor: i64,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    Constant,
    Bits(u32),
    Pco8(Pages<u8>),
    Pco16(Pages<u16>),
    Pco32(Pages<u32>),
    Pco64(Pages<u64>),
}

impl Column {
    /// Reads what is known of all pages.
    pub fn open(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let coding = input.take(1)?[0];
        let base = input.i64()?;
        let divisor = input.u64()? as i64;
        let coding = match coding {
            CONSTANT => Coding::Constant,
            1..=64 => Coding::Bits(u32::from(coding)),
            PCO_8 => Coding::Pco8(Pages::open(input)?),
            PCO_16 => Coding::Pco16(Pages::open(input)?),
            PCO_32 => Coding::Pco32(Pages::open(input)?),
            PCO_64 => Coding::Pco64(Pages::open(input)?),
            _ => return Err(Corrupt("a column of an unknown coding")),
        };
        Ok(Self { base, divisor, coding })
    }

    /// Replaces `out` by the `n` numbers of the page that begins here. The caller bounds `n`.
    pub fn read(&mut self, input: &mut Input<'_>, n: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
        let (base, divisor) = (self.base, self.divisor);
        let number = |quotient: u64| base.wrapping_add(divisor.wrapping_mul(quotient as i64));
        out.clear();
        match &mut self.coding {
            Coding::Constant => out.resize(n, base),
            Coding::Bits(width) => bits::read(input, *width, n, |quotient| out.push(number(quotient)))?,
            Coding::Pco8(pages) => out.extend(pages.read(input, n)?.iter().map(|&n| number(n.into()))),
            Coding::Pco16(pages) => out.extend(pages.read(input, n)?.iter().map(|&n| number(n.into()))),
            Coding::Pco32(pages) => out.extend(pages.read(input, n)?.iter().map(|&n| number(n.into()))),
            Coding::Pco64(pages) => out.extend(pages.read(input, n)?.iter().map(|&n| number(n))),
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Pages<T: Number> {
    chunk: ChunkDecompressor<T>,
    quotients: Vec<T>,
}

impl<T: Number> Pages<T> {
    fn open(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let (file, rest) = FileDecompressor::new(input.0).map_err(|_| Corrupt("no header of pco"))?;
        // The first byte names mode and delta. What we never write is never read: a dictionary
        // would be allocated as large as the bytes claim.
        if rest.first() != Some(&0) {
            return Err(Corrupt("pco with a mode or deltas"));
        }
        let (chunk, rest) = file.chunk_decompressor(rest).map_err(|_| Corrupt("metadata of pco"))?;
        input.0 = rest;
        Ok(Self { chunk, quotients: Vec::new() })
    }

    fn read(&mut self, input: &mut Input<'_>, n: usize) -> Result<&[T], Corrupt> {
        self.quotients.resize(n, T::default());
        let mut page = self.chunk.page_decompressor(input.0, n).map_err(|_| Corrupt("a page of pco"))?;
        let progress = page.read(&mut self.quotients).map_err(|_| Corrupt("numbers of pco"))?;
        if progress.n_processed != n {
            return Err(Corrupt("a page of pco ends early"));
        }
        input.0 = page.into_src();
        Ok(&self.quotients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let some = prop_oneof![
            any::<i64>().boxed(),
            (0..3_i64).boxed(),
            (-1000..1000_i64).boxed(),
            Just(i64::MAX).boxed(),
            (0..1_i64 << 40).boxed(),
            (-9..9_i64).prop_map(|n| n * 1_000_000 + 7).boxed(),
            (0..2_i64).prop_map(|n| if n == 0 { i64::MIN } else { i64::MAX }).boxed(),
        ];
        some.clone().prop_flat_map(move |n| {
            prop_oneof![proptest::collection::vec(some.clone(), 1..300), proptest::collection::vec(Just(n), 1..300)]
        })
    }

    fn head(written: &Written) -> Vec<u8> {
        [&written.meta[..], &written.data[..]].concat()
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in numbers(), cut in 0..300_usize) {
            let cut = cut % numbers.len();
            let pages: Vec<usize> = [cut, numbers.len() - cut].into_iter().filter(|&n| n > 0).collect();
            for written in [write(&numbers, &pages), write_packed(&numbers, &pages)] {
                let mut meta = Input(&written.meta);
                let mut column = Column::open(&mut meta).expect("sound");
                prop_assert!(meta.is_empty());
                let (mut back, mut page) = (Vec::new(), Vec::new());
                for (index, &n) in pages.iter().enumerate() {
                    let mut input = Input(written.page(index));
                    column.read(&mut input, n, &mut page).expect("sound");
                    prop_assert!(input.is_empty());
                    back.extend_from_slice(&page);
                }
                prop_assert_eq!(&back, &numbers);
            }
        }

        #[test]
        fn damaged_bytes_do_no_harm(numbers in numbers(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = head(&write(&numbers, &[numbers.len()]));
            *at.get_mut(&mut bytes) = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let mut input = Input(&bytes);
            if let Ok(mut column) = Column::open(&mut input) {
                let _ = column.read(&mut input, numbers.len(), &mut Vec::new());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(coding in 0..70_u8, tail: Vec<u8>, n in 0..4608_usize) {
            // With a header that pco takes, and with whatever comes.
            for head in [&[coding, 0, 1, 4, 1, 0][..], &[coding]] {
                let bytes = [head, &tail].concat();
                let mut input = Input(&bytes);
                if let Ok(mut column) = Column::open(&mut input) {
                    let _ = column.read(&mut input, n, &mut Vec::new());
                }
            }
        }
    }
}
