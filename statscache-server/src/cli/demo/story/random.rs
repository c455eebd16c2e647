//! Numbers that look random and follow from a name and a number.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A sequence of such numbers (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    /// The same name and number give the same sequence, everywhere and for ever.
    pub(super) fn of(name: &str, number: i64) -> Self {
        Self(xxh3_64_with_seed(name.as_bytes(), number as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number from 0 to 1, never 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in so many of all cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// One of them, the first ones far more often.
    pub(super) fn favour<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let share = self.share();
        &all[(share * share * all.len() as f64) as usize]
    }

    /// Hexadecimal digits.
    pub(super) fn digits(&mut self, count: usize) -> String {
        let mut digits = String::with_capacity(count + 16);
        while digits.len() < count {
            digits.push_str(&format!("{:016x}", self.next()));
        }
        digits.truncate(count);
        digits
    }

    /// A `msg_id` as fedmsg makes it: the year, then a UUID of version 4.
    pub(super) fn id(&mut self, time: i64) -> String {
        let (a, b) = (self.next(), self.next());
        let year = 1970 + time / 31_556_952;
        let (first, second, third) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
        format!("{year}-{first:08x}-{second:04x}-4{third:03x}-{:04x}-{:012x}", 0x8000 | b >> 50, b & 0xffff_ffff_ffff)
    }
}
