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
        Encoding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        Encoding::Gzip => {
            let mut packer = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::default());
            packer.write_all(bytes)?;
            packer.finish()
        }
    }
}
