//! Rows of a backend, for whoever only looks: errors in them are named by their keys.

use std::sync::Arc;

use super::{FORMAT_VERSION, StoreError, backend::Backend, keys, values};
use crate::{
    bytes::Corrupt,
    segment::{ChunkSource, ReadError, SegmentKey},
};

/// Takes a row; says whether it wants more.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Corrupt> + 'v;

pub(super) fn chunk_of(backend: &dyn Backend, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
    let value = backend.get(&keys::chunk(key, number));
    let value = value.map_err(|source| StoreError::Backend { action: "read", source })?;
    let value = value.ok_or(ReadError::Gone(key, number))?;
    let bytes = values::open(&value).map_err(|corrupt| ReadError::Damaged(key, number, corrupt))?;
    Ok(bytes.into())
}

/// Chunks straight from the rows, for whoever reads each of them once.
pub(super) struct Uncached<'b>(pub(super) &'b dyn Backend);

impl ChunkSource for Uncached<'_> {
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
        chunk_of(self.0, key, number)
    }
}

/// Version of a store that is only looked at, if this version of the program reads it.
pub(super) fn format_of(backend: &dyn Backend) -> Result<u32, StoreError> {
    let mut found = None;
    scan(backend, keys::FORMAT, &mut |_, value| {
        found = Some(values::format(values::open(value)?)?);
        Ok(true)
    })?;
    match found {
        Some(found) if found > FORMAT_VERSION => Err(StoreError::FormatTooNew { found }),
        Some(found) if found < FORMAT_VERSION => Err(StoreError::FormatTooOld { found }),
        // One that was never written to is empty.
        _ => Ok(FORMAT_VERSION),
    }
}

pub(super) fn scan(backend: &dyn Backend, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
    let mut damaged = None;
    let mut visit = |key: &[u8], value: &[u8]| match visit(key, value) {
        Ok(go_on) => go_on,
        Err(source) => {
            damaged = Some(StoreError::Damaged { key: keys::describe(key), source });
            false
        }
    };
    let scanned = backend.scan(prefix, &mut visit);
    scanned.map_err(|source| StoreError::Backend { action: "read", source })?;
    damaged.map_or(Ok(()), Err)
}
