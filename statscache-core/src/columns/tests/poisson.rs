//! How close to the entropy of their numbers counts are packed: the ideal of any code that knows
//! nothing but how often each number occurs.

use super::*;

/// Distribution function of a Poisson distribution, up to where nothing is left of it.
struct Poisson {
    below: Vec<f64>,
}

impl Poisson {
    fn new(mean: f64) -> Self {
        let (mut log, mut sum, mut below) = (-mean, 0.0, Vec::new());
        while sum < 1.0 - 1e-12 && below.len() < 100_000 {
            sum += log.exp();
            below.push(sum);
            log += (mean / below.len() as f64).ln();
        }
        Self { below }
    }

    /// The number that a uniform one stands for.
    fn at(&self, uniform: f64) -> i64 {
        self.below.partition_point(|&p| p < uniform) as i64
    }

    fn entropy_bytes(&self) -> f64 {
        let probabilities = std::iter::once(self.below[0]).chain(self.below.windows(2).map(|pair| pair[1] - pair[0]));
        probabilities.filter(|&p| p > 0.0).map(|p| -p * p.log2()).sum::<f64>() / 8.0
    }
}

/// Numbers that look random, the same ones each time (splitmix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) as f64 / u64::MAX as f64
    }
}

fn counts(mean: f64, series: u32, places: u32, seed: u64) -> Vec<Cell<i64>> {
    let (poisson, mut random) = (Poisson::new(mean), Random(seed));
    (0..series)
        .flat_map(|series| (0..places).map(move |place| (series, place)))
        .map(|(series, place)| Cell { series, place, state: poisson.at(random.uniform()) })
        .filter(|cell| cell.state != 0)
        .collect()
}

#[test]
fn counts_pack_close_to_their_entropy() {
    for mean in [0.05, 0.5, 5.0, 50.0, 500.0] {
        let bytes: usize = (0..2).map(|seed| bytes_len(&packed(CountRule, counts(mean, 200, 512, seed)))).sum();
        let per_bucket = bytes as f64 / f64::from(2 * 200 * 512);
        let ratio = per_bucket / Poisson::new(mean).entropy_bytes();
        assert!(
            (0.9..=1.15).contains(&ratio),
            "mean {mean}: {per_bucket:.4} bytes a bucket, {ratio:.3} of the entropy"
        );
    }
}
