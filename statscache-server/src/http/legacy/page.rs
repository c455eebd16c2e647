//! The parameters of rows: which of them, in which order, and which page.
//!
//! Parameters that nobody knows are passed over, of one that is given twice the first counts, and an
//! empty value is none: old clients add what they like, such as `_=` against caches.

use statscache_plugin_sdk::Timestamp;

use crate::http::problem::Problem;

/// Rows of a page at most, and if nobody says how many.
const ROWS_MAX: usize = 100;

/// Which rows are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Labels not before that.
    pub(super) start: Option<Timestamp>,
    /// Labels not after that; the present if open.
    pub(super) stop: Option<Timestamp>,
    /// Oldest first.
    pub(super) ascending: bool,
    /// Rows on all pages together.
    limit: Option<usize>,
    /// Its number, from 1.
    number: usize,
    /// Rows of each page.
    rows: usize,
}

/// Where a page is among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) page: usize,
    pub(super) pages: usize,
}

/// The value of a parameter, unless it is empty.
pub(super) fn value<'p>(parameters: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let found = parameters.iter().find(|(its, _)| its == name);
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

impl Page {
    pub(super) fn read(parameters: &[(String, String)]) -> Result<Self, Problem> {
        let number = |name: &str, least: usize| {
            let Some(text) = value(parameters, name) else { return Ok(None) };
            let number = text.trim().parse().ok().filter(|number| *number >= least);
            let allowed = || Problem::parameter(name, Some(text), format!("a whole number, {least} or more"));
            number.map(Some).ok_or_else(allowed)
        };
        let time = |name: &str| value(parameters, name).map(|text| parse_time(name, text)).transpose();
        Ok(Self {
            start: time("start")?,
            stop: time("stop")?,
            ascending: value(parameters, "order") == Some("asc"),
            limit: number("limit", 0)?,
            number: number("page", 1)?.unwrap_or(1),
            rows: number("rows_per_page", 1)?.unwrap_or(ROWS_MAX).min(ROWS_MAX),
        })
    }

    /// Rows before it.
    pub(super) fn offset(&self) -> usize {
        (self.number - 1).saturating_mul(self.rows)
    }

    /// Rows in it at most.
    pub(super) fn len_max(&self) -> usize {
        self.limit.map_or(self.rows, |limit| limit.saturating_sub(self.offset()).min(self.rows))
    }

    /// Its place, when so many rows were found. A page right behind the last row is empty, one further
    /// behind is a problem.
    pub(super) fn check(&self, found: usize) -> Result<Number, Problem> {
        let rows = self.limit.map_or(found, |limit| limit.min(found));
        let pages = rows.div_ceil(self.rows);
        if self.offset() > rows {
            let allowed = format!("1 to {}: there are {rows} rows, {} on a page", pages.max(1), self.rows);
            return Err(Problem::parameter("page", Some(&self.number.to_string()), allowed));
        }
        Ok(Number { page: self.number, pages })
    }
}

fn parse_time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let secs = text.trim().parse().ok().filter(|secs: &f64| secs.is_finite());
    let allowed = || Problem::parameter(name, Some(text), "seconds since 1970, such as 1504650060 or 1504650060.5");
    // Casts stop at the ends of the range.
    secs.map(|secs| Timestamp::from_micros((secs * 1e6).round() as i64)).ok_or_else(allowed)
}
