//! Numbers that look random and are the same for the same seed (SplitMix64).

/// A generator; its number is the seed.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// At least 0 and less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of them; there must be one.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Less than `n`, small ones more often, as names of people and packages come on a bus: the first of a
    /// thousand about a hundred times as often as the last.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let part = self.unit();
        ((n as f64 * part * part * part) as u64).min(n - 1)
    }

    /// A generator of its own for each number.
    pub fn for_number(seed: u64, number: u64) -> Self {
        Self(Self(seed ^ number.wrapping_mul(0xd605_bbb5_8c8a_bd0d)).next())
    }
}
