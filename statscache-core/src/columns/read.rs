//! Reading of column chunks. Trusts no number in them: what is allocated and visited is bounded by
//! the limits of a page and the length of the bytes.

use super::{DENSE, PAGE_NUMBERS_MAX, SPARSE, column::Column};
use crate::{
    bytes::{Corrupt, Input},
    kind::Rule,
    limits::{COLUMN_CHUNK_NUMBERS_MAX, COLUMN_PAGE_NUMBERS, COLUMN_PAGE_REST_BYTES, PARTITION_BUCKETS},
    segment::{Cell, Selection},
    series::SeriesId,
};

const PLACES: usize = PARTITION_BUCKETS as usize;

/// Visits the cells of the wanted series in one chunk, in order. Pages without a wanted series are
/// skipped; of those, only the numbers of the series are read.
pub fn for_each<R: Rule>(
    bytes: &[u8],
    rule: R,
    wanted: &impl Selection,
    visit: &mut impl FnMut(Cell<R::State>),
) -> Result<(), Corrupt> {
    let mut input = Input(bytes);
    match input.take(1)?[0] {
        SPARSE => Chunk::open(input, rule.numbers(), false)?.for_each(rule, wanted, visit),
        DENSE if R::ZERO_IS_NONE => Chunk::open(input, rule.numbers(), true)?.for_each(rule, wanted, visit),
        _ => Err(Corrupt("a chunk of an unknown layout")),
    }
}

struct Chunk<'a> {
    /// One more than the series before.
    next: u64,
    dense: Option<Dense>,
    series_of: Vec<i64>,
    lengths: Vec<i64>,
    ids: Column,
    rests: Column,
    cells: Option<(Column, Column)>,
    numbers: Vec<Column>,
    pages: Input<'a>,
}

#[derive(Clone, Copy)]
struct Dense {
    lowest: usize,
    span: usize,
}

impl<'a> Chunk<'a> {
    fn open(mut input: Input<'a>, numbers: usize, is_dense: bool) -> Result<Self, Corrupt> {
        if usize::from(input.take(1)?[0]) != numbers {
            return Err(Corrupt("a chunk of another kind"));
        }
        let (first, span, _cells) = (input.u32()?, input.u32()?, input.u32()?);
        first.checked_add(span).ok_or(Corrupt("a series is too large"))?;
        let dense = if is_dense { Some(Dense::open(&mut input)?) } else { None };
        let pages = input.u64()?;
        // All but the last are full of something.
        let pages_max = COLUMN_CHUNK_NUMBERS_MAX / COLUMN_PAGE_NUMBERS + input.0.len() / COLUMN_PAGE_REST_BYTES + 1;
        let pages = usize::try_from(pages).ok().filter(|&n| n <= pages_max).ok_or(Corrupt("too many pages"))?;
        let [mut series_of, mut lengths] = [Vec::new(), Vec::new()];
        for directory in [&mut series_of, &mut lengths] {
            Column::open(&mut input)?.read(&mut input, pages, directory)?;
        }
        let ids = Column::open(&mut input)?;
        let rests = Column::open(&mut input)?;
        let cells = if is_dense { None } else { Some((Column::open(&mut input)?, Column::open(&mut input)?)) };
        let numbers = (0..numbers).map(|_| Column::open(&mut input)).collect::<Result<_, _>>()?;
        Ok(Self { next: u64::from(first), dense, series_of, lengths, ids, rests, cells, numbers, pages: input })
    }

    fn for_each<R: Rule>(
        mut self,
        rule: R,
        wanted: &impl Selection,
        visit: &mut impl FnMut(Cell<R::State>),
    ) -> Result<(), Corrupt> {
        let mut page = Page { numbers: vec![Vec::new(); self.numbers.len()], ..Page::default() };
        for index in 0..self.lengths.len() {
            let length = usize::try_from(self.lengths[index]).map_err(|_| Corrupt("a length is too large"))?;
            let mut input = Input(self.pages.take(length)?);
            let series = bounded(self.series_of[index])?;
            self.read_ids(&mut input, series, &mut page.ids)?;
            if page.ids.iter().any(|&id| wanted.has(id as SeriesId)) {
                self.read_page(input, &mut page)?.for_each(rule, wanted, visit)?;
            }
        }
        if !self.pages.is_empty() {
            return Err(Corrupt("bytes after the last page"));
        }
        Ok(())
    }

    fn read_ids(&mut self, input: &mut Input<'_>, series: usize, ids: &mut Vec<i64>) -> Result<(), Corrupt> {
        self.ids.read(input, series, ids)?;
        for id in ids {
            let found = u64::try_from(*id).ok().and_then(|gap| self.next.checked_add(gap));
            let found = found.filter(|&id| id <= u64::from(SeriesId::MAX)).ok_or(Corrupt("a series is too large"))?;
            self.next = found + 1;
            *id = found as i64;
        }
        Ok(())
    }

    /// The rest of a page whose series are read.
    fn read_page<'p>(&mut self, mut input: Input<'p>, page: &'p mut Page) -> Result<PageCells<'p>, Corrupt> {
        let series = page.ids.len();
        self.rests.read(&mut input, series, &mut page.rests)?;
        let mut others = 0;
        if let Some((counts, places)) = &mut self.cells {
            counts.read(&mut input, series, &mut page.counts)?;
            let cells = count_cells(&mut page.counts)?;
            places.read(&mut input, cells, &mut page.places)?;
            add_gaps(&page.counts, &mut page.places)?;
        } else if let (Some(dense), Some(first)) = (self.dense, self.numbers.first_mut()) {
            first.read(&mut input, bounded((series * dense.span) as i64)?, &mut page.matrix)?;
            dense.collect(page);
            others = 1;
        }
        let cells = page.places.len();
        for (column, numbers) in self.numbers.iter_mut().zip(&mut page.numbers).skip(others) {
            column.read(&mut input, cells, numbers)?;
        }
        Ok(PageCells { page, rest: input })
    }
}

impl Dense {
    fn open(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let (lowest, span) = (input.u32()? as usize, input.u32()? as usize);
        if span == 0 || span > PLACES || lowest > PLACES - span {
            return Err(Corrupt("places beyond a partition"));
        }
        Ok(Self { lowest, span })
    }

    /// Cells of the matrix: where it is not 0.
    fn collect(self, page: &mut Page) {
        let first = &mut page.numbers[0];
        first.resize(page.matrix.len(), 0);
        page.places.resize(page.matrix.len(), 0);
        page.counts.clear();
        let mut at = 0;
        for row in page.matrix.chunks_exact(self.span) {
            let before = at;
            for (place, &number) in (self.lowest as i64..).zip(row) {
                // Written always, kept if it is a cell: no branch to be guessed wrong.
                page.places[at] = place;
                first[at] = number;
                at += usize::from(number != 0);
            }
            page.counts.push((at - before) as i64);
        }
        first.truncate(at);
        page.places.truncate(at);
    }
}

/// Numbers of one page, kept for their memory.
#[derive(Default)]
struct Page {
    ids: Vec<i64>,
    rests: Vec<i64>,
    counts: Vec<i64>,
    places: Vec<i64>,
    matrix: Vec<i64>,
    numbers: Vec<Vec<i64>>,
}

struct PageCells<'a> {
    page: &'a Page,
    rest: Input<'a>,
}

impl PageCells<'_> {
    fn for_each<R: Rule>(
        mut self,
        rule: R,
        wanted: &impl Selection,
        visit: &mut impl FnMut(Cell<R::State>),
    ) -> Result<(), Corrupt> {
        let page = self.page;
        let mut row = vec![0; page.numbers.len()];
        let mut at = 0;
        for ((&id, &cells), &rest) in page.ids.iter().zip(&page.counts).zip(&page.rests) {
            let (series, end) = (id as SeriesId, at + cells as usize);
            let rest = usize::try_from(rest).map_err(|_| Corrupt("a length is too large"))?;
            let mut rest = Input(self.rest.take(rest)?);
            if wanted.has(series) {
                for at in at..end {
                    row.iter_mut().zip(&page.numbers).for_each(|(number, column)| *number = column[at]);
                    visit(Cell { series, place: page.places[at] as u32, state: rule.join(&row, &mut rest)? });
                }
                if !rest.is_empty() {
                    return Err(Corrupt("bytes after the states of a series"));
                }
            }
            at = end;
        }
        Ok(())
    }
}

/// A number of numbers in a page: at least one, and no more than a page takes.
fn bounded(n: i64) -> Result<usize, Corrupt> {
    usize::try_from(n).ok().filter(|n| (1..=PAGE_NUMBERS_MAX).contains(n)).ok_or(Corrupt("a page is too large"))
}

/// Makes counts of what is written of them; their sum.
fn count_cells(counts: &mut [i64]) -> Result<usize, Corrupt> {
    let mut sum = 0;
    for count in counts {
        if !(0..PARTITION_BUCKETS).contains(count) {
            return Err(Corrupt("more cells than places"));
        }
        *count += 1;
        sum += *count;
    }
    bounded(sum)
}

/// Makes places of the gaps between them.
fn add_gaps(counts: &[i64], places: &mut [i64]) -> Result<(), Corrupt> {
    let mut places = places.iter_mut();
    for &count in counts {
        let mut next = 0;
        for place in places.by_ref().take(count as usize) {
            if !(0..PARTITION_BUCKETS - next).contains(place) {
                return Err(Corrupt("places beyond a partition"));
            }
            *place += next;
            next = *place + 1;
        }
    }
    Ok(())
}
