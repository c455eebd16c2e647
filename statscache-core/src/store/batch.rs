//! What is to be written, as rows.

use super::{Cursor, NamespaceId, NamespaceRecord, backend::Row, keys, values};
use crate::{
    coverage::{Coverage, Reading},
    segment::{ChunkMeta, Form, PackedChunk, Segment, SegmentKey},
    series::{SeriesChunk, SeriesId},
};

/// Chunks that no index leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Whose they were.
    pub key: SegmentKey,
    /// How many there may be.
    pub chunks: u32,
}

/// Rows that are written together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) rows: Vec<Row>,
}

impl Batch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes_len(&self) -> usize {
        self.rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Appends all rows of another.
    pub fn append(&mut self, other: &mut Self) {
        self.rows.append(&mut other.rows);
    }

    /// A namespace.
    pub fn put_namespace(&mut self, ns: NamespaceId, record: &NamespaceRecord) {
        self.put(keys::namespace(ns), values::namespace(record));
    }

    /// An instance's cursor.
    pub fn put_cursor(&mut self, ns: NamespaceId, cursor: &Cursor) {
        self.put(keys::cursor(ns), values::cursor(cursor));
    }

    /// New label sets.
    pub fn put_series(&mut self, ns: NamespaceId, metric: u16, chunk: &SeriesChunk) {
        self.put(keys::series(ns, metric, chunk.first), chunk.bytes.to_vec());
    }

    /// What an instance has read.
    pub fn put_reading(&mut self, ns: NamespaceId, reading: &Reading) {
        self.put(keys::reading(ns), values::reading(reading));
    }

    /// When the bus was seen.
    pub fn put_coverage(&mut self, coverage: &Coverage) {
        self.put(keys::COVERAGE.to_vec(), values::coverage(coverage));
    }

    /// A new segment, if it has cells. Rows of one chunk go into the index row and stay in memory:
    /// they are soon merged with others.
    pub fn put_segment(&mut self, key: SegmentKey, mut chunks: Vec<PackedChunk>) -> Option<Segment> {
        if key.form == Form::Rows && chunks.len() == 1 {
            let segment = Segment::resident(key, chunks.remove(0));
            self.put(keys::index(key), values::index(&segment));
            return Some(segment);
        }
        let directory: Vec<ChunkMeta> = chunks.iter().map(PackedChunk::meta).collect();
        for (number, chunk) in chunks.into_iter().enumerate() {
            self.put_chunk(key, number as u32, chunk);
        }
        (!directory.is_empty()).then(|| self.put_index(key, directory))
    }

    /// A chunk of a segment whose index follows.
    pub fn put_chunk(&mut self, key: SegmentKey, number: u32, chunk: PackedChunk) {
        self.put(keys::chunk(key, number), chunk.bytes);
    }

    /// The index of a segment whose chunks are written.
    pub fn put_index(&mut self, key: SegmentKey, directory: Vec<ChunkMeta>) -> Segment {
        let segment = Segment::stored(key, directory);
        self.put(keys::index(key), values::index(&segment));
        segment
    }

    /// Says that chunks of this segment belong to nobody: from now on, or until its index is written.
    pub fn put_garbage(&mut self, garbage: Garbage) {
        self.put(keys::garbage(garbage.key), values::garbage(garbage.chunks));
    }

    /// Says that all chunks of this segment are removed, or belong to it.
    pub fn remove_garbage(&mut self, key: SegmentKey) {
        self.rows.push((keys::garbage(key), None));
    }

    /// Removes a segment; its chunks, if they have rows of their own, are garbage then.
    pub fn remove_segment(&mut self, segment: &Segment) -> Option<Garbage> {
        let key = segment.key();
        self.rows.push((keys::index(key), None));
        if segment.resident_bytes().is_some() {
            return None;
        }
        let garbage = Garbage { key, chunks: segment.chunks().len() as u32 };
        self.put_garbage(garbage);
        Some(garbage)
    }

    /// Takes a segment with damaged chunks out of what counts. Its chunks, and its index in another row
    /// with the reason, stay until the namespace is removed.
    pub fn set_aside_segment(&mut self, segment: &Segment, why: &str) {
        let key = segment.key();
        self.rows.push((keys::index(key), None));
        self.put(keys::set_aside(key), values::set_aside(segment, why));
    }

    /// Removes some chunks, by their numbers.
    pub fn remove_chunks(&mut self, key: SegmentKey, numbers: std::ops::Range<u32>) {
        self.rows.extend(numbers.map(|number| (keys::chunk(key, number), None)));
    }

    /// Removes label sets that are part of another row now.
    pub fn remove_series(&mut self, ns: NamespaceId, metric: u16, first: SeriesId) {
        self.rows.push((keys::series(ns, metric, first), None));
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.push((key, Some(values::seal(value))));
    }
}
