//! Chunks as rows: one series after the other, each with its cells. Numbers are LEB128
//! ([`crate::bytes`]).
//!
//! | field | bytes |
//! |---|---|
//! | [`LAYOUT`] | 1 |
//! | number of series | 1-5 |
//! | per series: number minus that of the one before | 1-5 |
//! | … number of cells | 1-2 |
//! | … length of the cells that follow, so that a reader of other series skips them | 1-5 |
//! | … per cell: place in the partition minus the one before | 1-2 |
//! | … state, as [`Rule::encode`] writes it | 1- |

use std::borrow::Borrow;

use super::{Cell, PackedChunk, Selection};
use crate::{
    bytes::{Corrupt, Input, put_bytes, put_u64},
    kind::Rule,
    limits::CHUNK_BYTES,
    series::SeriesId,
};

/// First byte of a chunk in this layout.
pub const LAYOUT: u8 = 0;

/// Packs cells in ascending order, each (series, place) once. Cells that say nothing are left out.
pub fn pack<R: Rule>(rule: R, cells: impl IntoIterator<Item: Borrow<Cell<R::State>>>) -> Vec<PackedChunk> {
    let mut packer = Packer { rule, chunks: Vec::new(), open: Open::default() };
    for cell in cells {
        let cell = cell.borrow();
        if !rule.is_neutral(&cell.state) {
            packer.push(cell);
        }
    }
    packer.chunks.extend(packer.open.close());
    packer.chunks
}

/// Visits the cells of the wanted series, in order. Other series are skipped unread. The bytes are
/// those after [`LAYOUT`].
pub(super) fn for_each<R: Rule>(
    bytes: &[u8],
    rule: R,
    wanted: &impl Selection,
    visit: &mut impl FnMut(Cell<R::State>),
) -> Result<(), Corrupt> {
    let mut frames = Frames::new(bytes)?;
    while let Some(frame) = frames.next()? {
        if wanted.has(frame.series) {
            frame.for_each(rule, visit)?;
        }
    }
    Ok(())
}

/// The part of a chunk that belongs to one series.
struct Frame<'a> {
    series: SeriesId,
    cell_count: u32,
    cells: &'a [u8],
}

impl Frame<'_> {
    fn for_each<R: Rule>(&self, rule: R, visit: &mut impl FnMut(Cell<R::State>)) -> Result<(), Corrupt> {
        let mut input = Input(self.cells);
        let mut place = 0_u32;
        for _ in 0..self.cell_count {
            place = place.checked_add(input.u32()?).ok_or(Corrupt("a place is too large"))?;
            visit(Cell { series: self.series, place, state: rule.decode(&mut input)? });
        }
        Ok(())
    }
}

struct Frames<'a> {
    input: Input<'a>,
    left: u32,
    series: SeriesId,
    is_first: bool,
}

impl<'a> Frames<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut input = Input(bytes);
        let left = input.u32()?;
        Ok(Self { input, left, series: 0, is_first: true })
    }

    fn next(&mut self) -> Result<Option<Frame<'a>>, Corrupt> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let delta = self.input.u32()?;
        if delta == 0 && !self.is_first {
            return Err(Corrupt("series out of order"));
        }
        self.is_first = false;
        self.series = self.series.checked_add(delta).ok_or(Corrupt("a series is too large"))?;
        let cell_count = self.input.u32()?;
        Ok(Some(Frame { series: self.series, cell_count, cells: self.input.bytes()? }))
    }
}

/// A chunk being written.
#[derive(Default)]
struct Open {
    frames: Vec<u8>,
    frame_count: u64,
    first: SeriesId,
    last: SeriesId,
    cells: Vec<u8>,
    /// Of the present series, and of the chunk.
    cell_count: u32,
    total: u32,
    series: Option<SeriesId>,
    place: u32,
}

impl Open {
    fn close_series(&mut self) {
        let Some(series) = self.series.take() else { return };
        let before = if self.frame_count == 0 { 0 } else { self.last };
        if self.frame_count == 0 {
            self.first = series;
        }
        put_u64(&mut self.frames, u64::from(series - before));
        put_u64(&mut self.frames, u64::from(self.cell_count));
        put_bytes(&mut self.frames, &self.cells);
        self.frame_count += 1;
        self.total += self.cell_count;
        self.last = series;
        self.cells.clear();
        self.cell_count = 0;
        self.place = 0;
    }

    fn close(&mut self) -> Option<PackedChunk> {
        self.close_series();
        if self.frame_count == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.frames.len() + 6);
        bytes.push(LAYOUT);
        put_u64(&mut bytes, self.frame_count);
        bytes.append(&mut self.frames);
        self.frame_count = 0;
        Some(PackedChunk { first: self.first, last: self.last, cells: std::mem::take(&mut self.total), bytes })
    }
}

struct Packer<R> {
    rule: R,
    chunks: Vec<PackedChunk>,
    open: Open,
}

impl<R: Rule> Packer<R> {
    fn push(&mut self, cell: &Cell<R::State>) {
        if self.open.series != Some(cell.series) {
            self.open.close_series();
            if self.open.frames.len() >= CHUNK_BYTES {
                self.chunks.extend(self.open.close());
            }
            self.open.series = Some(cell.series);
        }
        debug_assert!(self.open.cell_count == 0 || cell.place > self.open.place, "cells in ascending order");
        put_u64(&mut self.open.cells, u64::from(cell.place - self.open.place));
        self.rule.encode(&cell.state, &mut self.open.cells);
        self.open.place = cell.place;
        self.open.cell_count += 1;
    }
}
