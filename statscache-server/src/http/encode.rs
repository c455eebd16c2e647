//! Packing of answers.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

use super::negotiate::Encoding;

/// What is smaller fits one packet anyway.
pub(super) const WORTH_BYTES: usize = 1000;

/// zstd's own default, which is quicker than gzip's and smaller.
const ZSTD_LEVEL: i32 = 3;

/// The bytes, packed.
pub(super) fn pack(bytes: &[u8], encoding: Encoding) -> io::Result<Vec<u8>> {
    match encoding {
        Encoding::Identity => Ok(bytes.to_vec()),
        // It makes room for what cannot be packed at all and leaves it: far more than what is kept counts as.
        Encoding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).map(shrunk),
        Encoding::Gzip => {
            let mut packer = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::default());
            packer.write_all(bytes)?;
            packer.finish().map(shrunk)
        }
    }
}

/// Without room for more.
fn shrunk(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.shrink_to_fit();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_takes_no_more_memory_than_it_has_bytes() {
        let text = "the same again ".repeat(100_000);
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let packed = pack(text.as_bytes(), encoding).expect("packed");
            assert!(packed.capacity() < 2 * packed.len(), "{encoding:?}: {} for {}", packed.capacity(), packed.len());
        }
    }
}
