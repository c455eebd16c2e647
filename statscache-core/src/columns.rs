//! Column chunks: the cells of a closed partition, many series side by side, packed to last.
//!
//! Cells in ascending order go in, chunks come out; a chunk is one value in the store, holds whole
//! series, and needs nothing else to be read. Inside it series are cut into pages of about
//! [`COLUMN_PAGE_NUMBERS`] numbers, so that one series costs one page; what pages have in common,
//! their codings and tables, is written once. Pure: no store, no clock. Neutral cells of a kind
//! that says so ([`Rule::ZERO_IS_NONE`]: a count of 0) are the same as no cell and do not come back.
//!
//! Layout of a chunk (numbers are LEB128, see [`crate::bytes`]; packed bits are little-endian):
//!
//! | field | bytes |
//! |---|---|
//! | layout: 0 rows, 1 sparse, 2 dense; anything else is of a later version | 1 |
//! | rows: a chunk as [`crate::segment::rows`] lays it out, and nothing more | - |
//! | number of number columns, [`Rule::numbers`] | 1 |
//! | first series | 1-5 |
//! | last series, minus the first | 1-5 |
//! | number of cells | 1-4 |
//! | dense: lowest place of all, number of places up to the highest | 2-4 |
//! | number of pages | 1-2 |
//! | column of one page: number of series in each page | 3- |
//! | column of one page: bytes of each page | 3- |
//! | what is known of every column below, in their order | 3- each |
//! | per page: its page of every column, then the rests of its states one after the other | - |
//!
//! Columns, see `column.rs` for the codings:
//!
//! | column | one number for each | number |
//! |---|---|---|
//! | series | series | number minus that of the one before, minus 1; the first is 0 |
//! | rests | series | bytes of the rests of its states |
//! | cells, sparse only | series | number of cells, minus 1 |
//! | places, sparse only | cell | place minus the one before, minus 1; the first as if after -1 |
//! | first number | sparse: cell; dense: series and place | first number; dense: 0 for no cell |
//! | other numbers | cell | as [`Rule::split`] gives them |
//!
//! Dense needs [`Rule::ZERO_IS_NONE`] and is taken where enough places have a cell. Rows are taken
//! where they are smaller, which is where there are a few cells only.

mod bits;
mod column;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::for_each;

use crate::{
    kind::Rule,
    limits::{COLUMN_CHUNK_BYTES, COLUMN_CHUNK_NUMBERS_MAX, COLUMN_PAGE_NUMBERS, PARTITION_BUCKETS},
    segment::{Cell, PackedChunk, rows},
};
use write::{Batch, Part};

const SPARSE: u8 = 1;
const DENSE: u8 = 2;

/// Most numbers of a column in one page: a page is closed by the series that fills it.
const PAGE_NUMBERS_MAX: usize = COLUMN_PAGE_NUMBERS + PARTITION_BUCKETS as usize;
/// Cells of the first attempt at a chunk, before it is known how well they pack.
const CELLS_FIRST: usize = 1 << 14;
/// Larger chunks are not tried as rows: what columns write once is little of them.
const ROWS_BYTES_MAX: usize = 1024;

/// Packs cells in ascending order of (series, place), each pair once, into chunks of about
/// [`COLUMN_CHUNK_BYTES`]. Holds the cells of one chunk at a time. The same cells give the same bytes.
pub fn pack<R: Rule>(rule: R, cells: impl Iterator<Item = Cell<R::State>>, emit: impl FnMut(PackedChunk)) {
    let mut packer = Packer { rule, batch: Batch::new(rule.numbers()), quota: CELLS_FIRST, emit };
    for cell in cells {
        if packer.batch.last() != Some(cell.series) && packer.is_full() {
            packer.close(false);
        }
        packer.batch.push(rule, &cell);
    }
    packer.close(true);
}

struct Packer<R, E> {
    rule: R,
    batch: Batch,
    /// Cells that are thought to make a chunk, learnt from the one before.
    quota: usize,
    emit: E,
}

impl<R: Rule, E: FnMut(PackedChunk)> Packer<R, E> {
    fn is_full(&self) -> bool {
        self.batch.cells() >= self.quota || self.batch.rest_len() >= COLUMN_CHUNK_BYTES
    }

    /// Emits what is held, or learns that more of it makes a better chunk.
    fn close(&mut self, is_end: bool) {
        let part = self.batch.as_part();
        let cells = part.cells();
        if cells == 0 {
            return;
        }
        let bytes = part.encode(R::ZERO_IS_NONE);
        let cells_max = COLUMN_CHUNK_NUMBERS_MAX / self.rule.numbers().max(1);
        // A few cells tell more of the tables than of the cells, so the quota grows in steps.
        self.quota = (cells * COLUMN_CHUNK_BYTES / bytes.len()).clamp(1, cells * 8).min(cells_max);
        if !is_end && bytes.len() < COLUMN_CHUNK_BYTES * 2 / 3 && self.quota > cells {
            return;
        }
        emit_within(self.rule, &part, bytes, &mut self.emit);
        self.batch.clear();
    }
}

/// Emits one chunk, or several if these cells packed much worse than those before.
fn emit_within<R: Rule>(rule: R, part: &Part<'_>, bytes: Vec<u8>, emit: &mut impl FnMut(PackedChunk)) {
    if bytes.len() > COLUMN_CHUNK_BYTES * 4 / 3
        && let Some(halves) = part.halves()
    {
        for half in &halves {
            emit_within(rule, half, half.encode(R::ZERO_IS_NONE), emit);
        }
        return;
    }
    let (first, last) = part.range();
    emit(PackedChunk { first, last, cells: part.cells() as u32, bytes: smaller(rule, part, bytes) });
}

/// The columns, or rows if they are smaller.
fn smaller<R: Rule>(rule: R, part: &Part<'_>, columns: Vec<u8>) -> Vec<u8> {
    if columns.len() > ROWS_BYTES_MAX {
        return columns;
    }
    // A rule that cannot join what it split is a bug that its own tests find; its bytes are kept.
    let Ok(cells) = part.to_cells(rule) else { return columns };
    match <[PackedChunk; 1]>::try_from(rows::pack(rule, cells)) {
        Ok([rows]) if rows.bytes.len() < columns.len() => rows.bytes,
        _ => columns,
    }
}
