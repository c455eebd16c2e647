//! Rows as the original had them: flat, each with the end of its bucket as its `timestamp`.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};
use statscache_core::{
    bucket,
    limits::QUERY_CELLS_MAX,
    query::{Answer, Order, OrderBy, Query, QueryError, Row, RowValue},
    view::View,
};
use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{
    idents::{self, Found},
    page::Page,
};
use crate::http::{
    AppState,
    format::Table as Line,
    problem::Problem,
    question::{self, on_view},
};

/// Column of the time, in every row.
const TIME: &str = "timestamp";

/// A page of rows.
pub(super) struct Rows {
    /// Columns of the labels.
    labels: Vec<String>,
    /// Column of the value.
    value: String,
    is_json_text: bool,
    step: Option<Resolution>,
    rows: Vec<Row>,
    /// Rows that there are on all pages.
    pub(super) total: usize,
    /// Whether older rows were left out, because all were too many for one question.
    pub(super) is_narrowed: bool,
}

/// Reads them from the present view, or from a newer one if that is out of date.
pub(super) fn read(state: &AppState, ident: &str, page: &Page) -> Result<Rows, Problem> {
    on_view(state, |view| {
        let found = idents::find(view, ident).ok_or_else(|| just_gone(ident))?;
        Ok(rows(view, &found, page)?)
    })
}

fn just_gone(ident: &str) -> Problem {
    Problem::unavailable(format!("what `{ident}` stands for was just replaced; ask again"))
}

fn rows(view: &View, found: &Found<'_>, page: &Page) -> Result<Rows, QueryError> {
    let descriptor = &found.metric.descriptor;
    let empty = Rows {
        labels: descriptor.dimensions.iter().map(|label| found.legacy.label_column(label).to_owned()).collect(),
        value: found.legacy.column.clone(),
        is_json_text: found.legacy.is_json_text,
        step: found.step,
        rows: Vec::new(),
        total: 0,
        is_narrowed: false,
    };
    let (start, end) = range(page.start, page.stop.unwrap_or(view.as_of), found.step);
    let first = found.step.map(|step| oldest(found, step));
    let Some(query) = query_of(page, (start.max(first.flatten()), end), found.step) else { return Ok(empty) };
    if first == Some(None) {
        return Ok(empty);
    }
    let ask = |query: &Query| question::ask(view, (found.instance, found.metric), query, QUERY_CELLS_MAX);
    let (answer, is_narrowed) = match narrowed(query, ask) {
        // All of it is older than what is kept in such steps.
        Err(QueryError::NotKept { .. }) => return Ok(empty),
        answered => answered?,
    };
    Ok(Rows { rows: answer.rows, total: answer.total, is_narrowed, ..empty })
}

/// From where to where the question goes for labels from `start` to `stop`, both included: a label is the end of
/// its bucket, which is not in it. Of buckets, from the start of the first to the end of the last.
pub(super) fn range(
    start: Option<Timestamp>,
    stop: Timestamp,
    step: Option<Resolution>,
) -> (Option<Timestamp>, Timestamp) {
    match step {
        Some(step) => (start.map(|start| start.plus_micros(-1).floor(step)), stop.floor(step)),
        None => (start, stop.plus_micros(1)),
    }
}

/// The label of a row: a bucket's end, a latest value's time. Parts of a second are cut off.
pub(super) fn label(time: Timestamp, step: Option<Resolution>) -> f64 {
    let end = time.plus_micros(step.map_or(0, Resolution::micros));
    end.micros().div_euclid(1_000_000) as f64
}

/// Nothing of a metric is older than that; `None` if there is nothing.
fn oldest(found: &Found<'_>, step: Resolution) -> Option<Timestamp> {
    let (number, tier) = bucket::tier_for_step(&found.metric.descriptor.tiers, step)?;
    let (partition, _) = found.metric.tiers.get(number)?.partitions.first_key_value()?;
    Some(bucket::start_of(*partition, 0, tier.resolution))
}

/// `None` if nothing can be in the range.
fn query_of(page: &Page, (start, end): (Option<Timestamp>, Timestamp), step: Option<Resolution>) -> Option<Query> {
    let order = Order { by: OrderBy::Time, descending: !page.ascending };
    let (offset, limit) = (page.offset(), page.len_max());
    let is_empty = start.is_some_and(|start| start >= end);
    (!is_empty).then(|| Query { start, end: Some(end), step, order, offset, limit, ..Query::default() })
}

/// The answer, and whether its range had to be made shorter, again and again by half, to its newest part.
pub(super) fn narrowed(
    mut query: Query,
    run: impl Fn(&Query) -> Result<Answer, QueryError>,
) -> Result<(Answer, bool), QueryError> {
    let mut is_narrowed = false;
    loop {
        match run(&query) {
            Err(error @ (QueryError::TooExpensive { .. } | QueryError::TooManyRows)) => {
                query.start = Some(later(&query).ok_or(error)?);
                is_narrowed = true;
            }
            answered => return answered.map(|answer| (answer, is_narrowed)),
        }
    }
}

/// The middle of the range; `None` if that is one step already, or without a step.
fn later(query: &Query) -> Option<Timestamp> {
    let (start, end, step) = (query.start?, query.end?, query.step?);
    let half = end.micros().saturating_sub(start.micros()) / 2;
    (half >= step.micros()).then(|| start.plus_micros(half))
}

impl Rows {
    /// A line for each row below one with the names of the columns: `timestamp`, then the others in order.
    pub(super) fn to_csv(&self) -> serde_json::Result<String> {
        let mut columns: Vec<(&str, Option<usize>)> =
            self.labels.iter().enumerate().map(|(at, name)| (name.as_str(), Some(at))).collect();
        columns.push((&self.value, None));
        columns.sort_unstable();
        let mut text = Line::default();
        text.text(TIME);
        columns.iter().for_each(|(name, _)| text.text(name));
        let mut text = text.into_text();
        for row in &self.rows {
            text.push('\n');
            text.push_str(&self.csv_line(row, &columns)?);
        }
        Ok(text)
    }

    fn csv_line(&self, row: &Row, columns: &[(&str, Option<usize>)]) -> serde_json::Result<String> {
        let mut line = Line::default();
        line.cell(Some(&to_raw_value(&label(row.time, self.step))?));
        for (_, place) in columns {
            match (place, &row.value) {
                (Some(at), _) => line.text(&row.labels[*at]),
                (None, RowValue::Number(number)) => line.cell(Some(&to_raw_value(number)?)),
                (None, RowValue::Latest { json, .. }) if self.is_json_text => line.text(json),
                (None, RowValue::Latest { json, .. }) if json != "null" => line.cell(Some(serde_json::from_str(json)?)),
                // As Python says it.
                _ => line.text("None"),
            }
        }
        Ok(line.into_text())
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Flat(self, row)))
    }
}

/// A row as a flat object.
struct Flat<'r>(&'r Rows, &'r Row);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, row) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(TIME, &label(row.time, rows.step))?;
        for (name, label) in rows.labels.iter().zip(row.labels.iter()) {
            map.serialize_entry(name, label)?;
        }
        match &row.value {
            RowValue::Number(number) => map.serialize_entry(&rows.value, number)?,
            RowValue::Latest { json, .. } if rows.is_json_text => map.serialize_entry(&rows.value, &**json)?,
            RowValue::Latest { json, .. } => {
                // What is stored was checked to be JSON when it came in.
                let json: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                map.serialize_entry(&rows.value, json)?;
            }
            _ => map.serialize_entry(&rows.value, &())?,
        }
        map.end()
    }
}
