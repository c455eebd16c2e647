//! Rows as the original had them: flat, each with the end of its bucket as its `timestamp`.

use serde::{Serialize, Serializer, ser::SerializeMap, ser::SerializeSeq};
use serde_json::{Value, value::RawValue};
use statscache_core::{
    bucket,
    query::{self, Answer, Order, OrderBy, Query, QueryError, Row, RowValue},
    segment::ReadError,
    view::View,
};
use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{
    answer::csv_field,
    idents::{self, Found},
    page::Page,
};
use crate::http::{AppState, metric, problem::Problem};

/// A page of rows.
pub(super) struct Table {
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
pub(super) fn read(state: &AppState, ident: &str, page: &Page) -> Result<Table, Problem> {
    let mut gone = None;
    for _ in 0..metric::VIEWS_MAX {
        let view = state.view.load_full();
        let found = idents::find(&view, ident).ok_or_else(|| just_gone(ident))?;
        match table(&view, &found, page) {
            Ok(table) => return Ok(table),
            Err(QueryError::Stale(key)) => gone = Some(key),
            Err(QueryError::Unreadable(ReadError::Damaged(key, ..))) => {
                gone = Some(key);
                break;
            }
            Err(error) => return Err(metric::problem(error)),
        }
    }
    gone.into_iter().for_each(|key| state.health.doubt(key));
    Err(Problem::unavailable("part of the state does not read; it is looked at now, ask again in a second".to_owned()))
}

fn just_gone(ident: &str) -> Problem {
    Problem::unavailable(format!("what `{ident}` stands for was just replaced; ask again"))
}

fn table(view: &View, found: &Found<'_>, page: &Page) -> Result<Table, QueryError> {
    let descriptor = &found.metric.descriptor;
    let empty = Table {
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
    let Some(query) = question(page, (start.max(first.flatten()), end), found.step) else { return Ok(empty) };
    if first == Some(None) {
        return Ok(empty);
    }
    let coverage = found.instance.reading.seen_by(&view.coverage);
    let (now, horizon) = (view.as_of, view.horizon.min(view.as_of));
    let from = query::From { chunks: &*view.chunks, coverage: &coverage, now, horizon };
    let (answer, is_narrowed) = match narrowed(query, |query| query::run(found.metric, query, from)) {
        // All of it is older than what is kept in such steps.
        Err(QueryError::NotKept { .. }) => return Ok(empty),
        answered => answered?,
    };
    Ok(Table { rows: answer.rows, total: answer.total, is_narrowed, ..empty })
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
fn question(page: &Page, (start, end): (Option<Timestamp>, Timestamp), step: Option<Resolution>) -> Option<Query> {
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

impl Table {
    /// A line for each row below one with the names of the columns: `timestamp`, then the others in order.
    pub(super) fn to_csv(&self) -> String {
        let mut columns: Vec<(&str, Option<usize>)> =
            self.labels.iter().enumerate().map(|(at, name)| (name.as_str(), Some(at))).collect();
        columns.push((&self.value, None));
        columns.sort_unstable();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let mut text = format!("timestamp,{}", names.join(","));
        for row in &self.rows {
            text.push_str(&format!("\n{:.1}", label(row.time, self.step)));
            for (_, place) in &columns {
                text.push(',');
                text.push_str(&place.map_or_else(|| self.csv_value(&row.value), |at| csv_field(&row.labels[at])));
            }
        }
        text
    }

    /// Numbers as they are, texts without their quotes, anything else as its JSON; nothing is `None`, as it was.
    fn csv_value(&self, value: &RowValue) -> String {
        match value {
            RowValue::Number(number) => number.to_string(),
            RowValue::Latest { json, .. } if self.is_json_text => csv_field(json),
            RowValue::Latest { json, .. } => match serde_json::from_str(json) {
                Ok(Value::String(text)) => csv_field(&text),
                Ok(Value::Null) => "None".to_owned(),
                Ok(Value::Number(number)) => number.to_string(),
                _ => csv_field(json),
            },
            _ => "None".to_owned(),
        }
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for row in &self.rows {
            rows.serialize_element(&Flat(self, row))?;
        }
        rows.end()
    }
}

/// A row as a flat object.
struct Flat<'t>(&'t Table, &'t Row);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(table, row) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &label(row.time, table.step))?;
        for (name, label) in table.labels.iter().zip(row.labels.iter()) {
            map.serialize_entry(name, label)?;
        }
        match &row.value {
            RowValue::Number(number) => map.serialize_entry(&table.value, number)?,
            RowValue::Latest { json, .. } if table.is_json_text => map.serialize_entry(&table.value, &**json)?,
            RowValue::Latest { json, .. } => {
                // What is stored was checked to be JSON when it came in.
                let json: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                map.serialize_entry(&table.value, json)?;
            }
            _ => map.serialize_entry(&table.value, &())?,
        }
        map.end()
    }
}
