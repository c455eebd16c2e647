//! Cells waiting for their chunk, and the chunk.

use std::ops::Range;

use super::{
    DENSE, PAGE_NUMBERS_MAX, SPARSE,
    column::{self, Written},
};
use crate::{
    bytes::{Corrupt, Input, put_u64},
    kind::Rule,
    limits::{COLUMN_CHUNK_NUMBERS_MAX, COLUMN_PAGE_NUMBERS, COLUMN_PAGE_REST_BYTES, PARTITION_BUCKETS},
    segment::Cell,
    series::SeriesId,
};

/// Dense from one cell in so many places on. Down to one in three both pack alike, within three
/// percent; here a number for each place is read about as fast as a gap and a number for each cell.
const DENSE_PLACES_PER_CELL: usize = 2;

/// Cells as columns, whole series one after the other.
#[derive(Debug)]
pub struct Batch {
    series: Vec<Series>,
    places: Vec<u16>,
    numbers: Vec<Vec<i64>>,
    rest: Vec<u8>,
    row: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    id: SeriesId,
    cells: usize,
    rest: usize,
}

impl Batch {
    /// An empty one with that many number columns.
    pub fn new(numbers: usize) -> Self {
        assert!(numbers <= usize::from(u8::MAX), "{numbers} number columns");
        Self {
            series: Vec::new(),
            places: Vec::new(),
            numbers: vec![Vec::new(); numbers],
            rest: Vec::new(),
            row: vec![0; numbers],
        }
    }

    /// Adds a cell; the caller keeps the order. A neutral one is left out.
    pub fn push<R: Rule>(&mut self, rule: R, cell: &Cell<R::State>) {
        assert!(i64::from(cell.place) < PARTITION_BUCKETS, "place {} beyond a partition", cell.place);
        let rest_before = self.rest.len();
        rule.split(&cell.state, &mut self.row, &mut self.rest);
        if R::ZERO_IS_NONE && self.row[0] == 0 {
            self.rest.truncate(rest_before);
            return;
        }
        if self.last() != Some(cell.series) {
            debug_assert!(self.last() < Some(cell.series), "series in ascending order");
            self.series.push(Series { id: cell.series, cells: 0, rest: 0 });
        }
        if let Some(series) = self.series.last_mut() {
            let is_first = series.cells == 0;
            debug_assert!(is_first || self.places.last() < Some(&(cell.place as u16)), "cells in ascending order");
            series.cells += 1;
            series.rest += self.rest.len() - rest_before;
        }
        self.places.push(cell.place as u16);
        for (column, &number) in self.numbers.iter_mut().zip(&self.row) {
            column.push(number);
        }
    }

    /// The series of the last cell.
    pub fn last(&self) -> Option<SeriesId> {
        self.series.last().map(|series| series.id)
    }

    /// How many cells.
    pub fn cells(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the states that are not numbers.
    pub fn rest_len(&self) -> usize {
        self.rest.len()
    }

    /// Forgets all cells, keeps the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.places.clear();
        self.numbers.iter_mut().for_each(Vec::clear);
        self.rest.clear();
    }

    /// All of it.
    pub fn as_part(&self) -> Part<'_> {
        Part {
            series: &self.series,
            places: &self.places,
            numbers: self.numbers.iter().map(Vec::as_slice).collect(),
            rest: &self.rest,
        }
    }
}

/// Some consecutive series of a batch, at least one: what becomes a chunk.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    series: &'a [Series],
    places: &'a [u16],
    numbers: Vec<&'a [i64]>,
    rest: &'a [u8],
}

impl<'a> Part<'a> {
    /// Lowest and highest series.
    pub fn range(&self) -> (SeriesId, SeriesId) {
        (self.series[0].id, self.series[self.series.len() - 1].id)
    }

    /// How many cells.
    pub fn cells(&self) -> usize {
        self.places.len()
    }

    /// Two halves, as series go; `None` of a single one.
    pub fn halves(&self) -> Option<[Self; 2]> {
        if self.series.len() < 2 {
            return None;
        }
        let (series, after) = self.series.split_at(self.series.len() / 2);
        let cells = series.iter().map(|series| series.cells).sum();
        let rest = series.iter().map(|series| series.rest).sum();
        let (places, places_after) = self.places.split_at(cells);
        let (rest, rest_after) = self.rest.split_at(rest);
        let (numbers, numbers_after) = self.numbers.iter().map(|column| column.split_at(cells)).unzip();
        let second = Self { series: after, places: places_after, numbers: numbers_after, rest: rest_after };
        Some([Self { series, places, numbers, rest }, second])
    }

    /// The cells again.
    pub fn to_cells<R: Rule>(&self, rule: R) -> Result<Vec<Cell<R::State>>, Corrupt> {
        let (mut rest, mut row) = (Input(self.rest), vec![0; self.numbers.len()]);
        let ids = self.series.iter().flat_map(|series| std::iter::repeat_n(series.id, series.cells));
        let cell = |(at, (series, &place)): (usize, (SeriesId, &u16))| {
            row.iter_mut().zip(&self.numbers).for_each(|(number, column)| *number = column[at]);
            Ok(Cell { series, place: u32::from(place), state: rule.join(&row, &mut rest)? })
        };
        ids.zip(self.places).enumerate().map(cell).collect()
    }

    /// A chunk of columns, in the layout that suits.
    pub fn encode(&self, zero_is_none: bool) -> Vec<u8> {
        let (lowest, span) = self.places_range();
        let places = self.series.len() * span;
        let is_dense =
            zero_is_none && places <= COLUMN_CHUNK_NUMBERS_MAX && places <= self.places.len() * DENSE_PLACES_PER_CELL;
        self.encode_as(is_dense.then_some((lowest, span)))
    }

    /// A chunk of columns: dense over those places, or sparse.
    pub fn encode_as(&self, dense: Option<(usize, usize)>) -> Vec<u8> {
        let pages = self.pages(dense.map(|(_, span)| span));
        let series_of: Vec<usize> = pages.iter().map(|page| page.series.len()).collect();
        let columns = self.columns(&pages, &series_of, dense);

        let mut bytes = vec![if dense.is_some() { DENSE } else { SPARSE }, self.numbers.len() as u8];
        let (first, last) = self.range();
        for n in [u64::from(first), u64::from(last - first), self.places.len() as u64] {
            put_u64(&mut bytes, n);
        }
        if let Some((lowest, span)) = dense {
            put_u64(&mut bytes, lowest as u64);
            put_u64(&mut bytes, span as u64);
        }
        let mut body = Vec::new();
        let mut lengths = Vec::with_capacity(pages.len());
        for (index, page) in pages.iter().enumerate() {
            let start = body.len();
            columns.iter().for_each(|column| body.extend_from_slice(column.page(index)));
            body.extend_from_slice(&self.rest[page.rest.clone()]);
            lengths.push((body.len() - start) as i64);
        }
        put_u64(&mut bytes, pages.len() as u64);
        let series_of: Vec<i64> = series_of.iter().map(|&n| n as i64).collect();
        for directory in [series_of, lengths] {
            let column = column::write_packed(&directory, &[pages.len()]);
            bytes.extend_from_slice(&column.meta);
            bytes.extend_from_slice(column.page(0));
        }
        columns.iter().for_each(|column| bytes.extend_from_slice(&column.meta));
        bytes.append(&mut body);
        bytes
    }

    /// Lowest place and how many there are up to the highest.
    pub fn places_range(&self) -> (usize, usize) {
        let lowest = self.places.iter().copied().min().unwrap_or(0);
        let highest = self.places.iter().copied().max().unwrap_or(0);
        (usize::from(lowest), usize::from(highest - lowest) + 1)
    }

    fn columns(&self, pages: &[Page], series_of: &[usize], dense: Option<(usize, usize)>) -> Vec<Written> {
        let cells_of: Vec<usize> = pages.iter().map(|page| page.cells).collect();
        let rests: Vec<i64> = self.series.iter().map(|series| series.rest as i64).collect();
        let mut columns = vec![column::write(&self.id_gaps(), series_of), column::write(&rests, series_of)];
        let mut numbers = self.numbers.as_slice();
        if let Some((lowest, span)) = dense {
            let places_of: Vec<usize> = series_of.iter().map(|n| n * span).collect();
            columns.push(column::write(&self.matrix(lowest, span), &places_of));
            numbers = &numbers[1..];
        } else {
            let counts: Vec<i64> = self.series.iter().map(|series| series.cells as i64 - 1).collect();
            columns.push(column::write(&counts, series_of));
            columns.push(column::write(&self.place_gaps(), &cells_of));
        }
        columns.extend(numbers.iter().map(|column| column::write(column, &cells_of)));
        columns
    }

    /// Cuts the series into pages.
    fn pages(&self, span: Option<usize>) -> Vec<Page> {
        let mut pages = Vec::new();
        let mut page = Page::default();
        for (index, series) in self.series.iter().enumerate() {
            page.series.end = index + 1;
            page.cells += series.cells;
            page.rest.end += series.rest;
            let numbers = span.map_or(page.cells, |span| page.series.len() * span);
            debug_assert!(numbers <= PAGE_NUMBERS_MAX);
            let is_last = index + 1 == self.series.len();
            if is_last || numbers >= COLUMN_PAGE_NUMBERS || page.rest.len() >= COLUMN_PAGE_REST_BYTES {
                let next = Page { series: index + 1..index + 1, cells: 0, rest: page.rest.end..page.rest.end };
                pages.push(std::mem::replace(&mut page, next));
            }
        }
        pages
    }

    fn id_gaps(&self) -> Vec<i64> {
        let mut next = i64::from(self.series[0].id);
        let gap = |series: &Series| {
            let gap = i64::from(series.id) - next;
            next += gap + 1;
            gap
        };
        self.series.iter().map(gap).collect()
    }

    fn place_gaps(&self) -> Vec<i64> {
        let mut gaps = Vec::with_capacity(self.places.len());
        let mut places = self.places;
        for series in self.series {
            let (own, after) = places.split_at(series.cells);
            places = after;
            let mut next = 0;
            for &place in own {
                gaps.push(i64::from(place) - next);
                next = i64::from(place) + 1;
            }
        }
        gaps
    }

    /// The first number of every series at every place, 0 for no cell.
    fn matrix(&self, lowest: usize, span: usize) -> Vec<i64> {
        let mut matrix = vec![0; self.series.len() * span];
        let mut cells = self.places.iter().zip(self.numbers[0]);
        for (series, row) in self.series.iter().zip(matrix.chunks_exact_mut(span)) {
            for (&place, &number) in cells.by_ref().take(series.cells) {
                row[usize::from(place) - lowest] = number;
            }
        }
        matrix
    }
}

/// What one page holds.
#[derive(Debug, Default)]
struct Page {
    series: Range<usize>,
    cells: usize,
    rest: Range<usize>,
}
