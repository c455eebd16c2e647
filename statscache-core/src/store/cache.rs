//! Chunks that are not in memory, and a bounded number of bytes of those that were read last.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use super::Store;
use crate::{
    limits::CHUNK_BYTES,
    segment::{ChunkSource, ReadError, SegmentKey},
};

/// Reads chunks through a cache. Chunks never change, so nothing in it is ever out of date.
pub struct Chunks {
    store: Arc<Store>,
    cache: Cache<(SegmentKey, u32), Arc<[u8]>, Bytes>,
}

/// What a chunk takes: its bytes, and about what it costs to keep it.
#[derive(Clone)]
struct Bytes;

impl Weighter<(SegmentKey, u32), Arc<[u8]>> for Bytes {
    fn weight(&self, _: &(SegmentKey, u32), chunk: &Arc<[u8]>) -> u64 {
        chunk.len() as u64 + 128
    }
}

impl Chunks {
    /// Keeps about so many bytes.
    pub fn new(store: Arc<Store>, bytes_max: u64) -> Self {
        // The estimate sizes the table, not the bound.
        let items = (bytes_max / CHUNK_BYTES as u64).clamp(16, 1 << 20) as usize;
        Self { store, cache: Cache::with_weighter(items, bytes_max, Bytes) }
    }

    /// Bytes in it.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The most that it keeps.
    pub fn bytes_max(&self) -> u64 {
        self.cache.capacity()
    }

    /// Chunks found in it, and chunks read from the store, since the start.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.cache.hits(), self.cache.misses())
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl ChunkSource for Chunks {
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
        // Of several that ask for the same chunk at once, one reads it.
        self.cache.get_or_insert_with(&(key, number), || self.store.chunk(key, number))
    }
}
