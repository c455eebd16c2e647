//! From the query string of a metric's URL to a [`Query`]. Every parameter is checked; one that
//! nobody reads is an error, because a filter with a typing error would answer for everything.

use statscache_core::{
    limits::QUERY_PATTERNS_MAX,
    query::{Fill, Filter, Order, OrderBy, Path, Query},
};
use statscache_plugin_sdk::{MetricDescriptor, Resolution, Timestamp};

use super::{problem::Problem, time};

const WHERE: &str = "where.";

/// Reads the parameters of a question to this metric.
pub(super) fn read(
    parameters: &[(String, String)],
    metric: &MetricDescriptor,
    rows_max: usize,
    now: Timestamp,
) -> Result<Query, Problem> {
    let bucketed = metric.kind.is_bucketed();
    let order = Order { by: OrderBy::Time, descending: !bucketed };
    let mut query = Query { order, limit: Query::default().limit.min(rows_max), ..Query::default() };
    let mut seen: Vec<&str> = Vec::new();
    let mut patterns = 0;
    let mut rollup = Rollup::default();
    for (name, value) in parameters {
        if !name.starts_with(WHERE) && name != "by" && seen.contains(&name.as_str()) {
            return Err(Problem::parameter(name, Some(value), "one value; it is given twice"));
        }
        seen.push(name);
        let bad = |allowed: &str| Problem::parameter(name, Some(value), allowed);
        match name.as_str() {
            "start" => query.start = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?),
            "end" => query.end = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?),
            "step" if bucketed => {
                query.step = Some(value.parse::<Resolution>().map_err(|error| bad(&error.to_string()))?);
            }
            "fill" if bucketed => {
                query.fill = match value.as_str() {
                    "none" => Fill::None,
                    "null" => Fill::Null,
                    "zero" => Fill::Zero,
                    _ => {
                        return Err(bad(
                            "none: no row; null: a row with 0 where it is known that nothing was, else null; zero: 0",
                        ));
                    }
                };
            }
            "rollup" if !bucketed && value == "sum" => rollup.is_wanted = true,
            "rollup" if !bucketed => return Err(bad("sum")),
            "depth" if !bucketed => {
                rollup.depth = Some(value.parse().map_err(|_| bad("how many parts of the path are kept: 0, 1, 2, …"))?);
            }
            "path" if !bucketed => {
                rollup.path = Some(dimension(value, metric).ok_or_else(|| bad(&dimensions(metric)))?);
            }
            "by" => {
                let labels = read_by(value, metric).ok_or_else(|| bad(&dimensions(metric)))?;
                let kept = query.by.get_or_insert_default();
                for label in labels {
                    if !kept.contains(&label) {
                        kept.push(label);
                    }
                }
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=rows_max).contains(limit));
                query.limit = limit.ok_or_else(|| bad(&format!("a whole number from 1 to {rows_max}")))?;
            }
            "order" => query.order = read_order(value, metric, query.order).ok_or_else(|| bad(&orders(metric)))?,
            _ => match name.strip_prefix(WHERE).and_then(|label| dimension(label, metric)) {
                Some(_) if patterns == QUERY_PATTERNS_MAX => {
                    return Err(bad(&format!("at most {QUERY_PATTERNS_MAX} filters; `*` in one stands for any text")));
                }
                Some(dimension) => {
                    patterns += 1;
                    add_filter(&mut query.filters, dimension, value);
                }
                None => return Err(Problem::parameter(name, None, known(metric))),
            },
        }
    }
    rollup.finish(metric, seen.contains(&"order"), &mut query)?;
    Ok(query)
}

/// Latest values added up along a path.
#[derive(Default)]
struct Rollup {
    is_wanted: bool,
    depth: Option<usize>,
    path: Option<usize>,
}

impl Rollup {
    fn finish(self, metric: &MetricDescriptor, is_ordered: bool, query: &mut Query) -> Result<(), Problem> {
        if !self.is_wanted {
            let depth = self.depth.map(|depth| ("depth", depth.to_string()));
            let path = self.path.map(|dimension| ("path", metric.dimensions[dimension].clone()));
            return match depth.or(path) {
                Some((name, value)) => Err(Problem::parameter(name, Some(&value), "only together with rollup=sum")),
                None => Ok(()),
            };
        }
        let kept = query.by.as_ref().and_then(|by| by.first().copied());
        let dimension = match self.path.or(kept) {
            Some(dimension) => dimension,
            None if metric.dimensions.is_empty() => {
                return Err(Problem::parameter("rollup", None, "nothing: this metric has no labels"));
            }
            None => 0,
        };
        let by = query.by.get_or_insert_default();
        if !by.contains(&dimension) {
            by.insert(0, dimension);
        }
        query.rollup = Some(Path { dimension, depth: self.depth.unwrap_or(1) });
        if !is_ordered {
            query.order = Order { by: OrderBy::Value, descending: true };
        }
        Ok(())
    }
}

/// Filters of one label are alternatives; those of different labels must all hold.
fn add_filter(filters: &mut Vec<Filter>, dimension: usize, pattern: &str) {
    let pattern = pattern.to_owned();
    match filters.iter_mut().find(|filter| filter.dimension == dimension) {
        Some(filter) => filter.patterns.push(pattern),
        None => filters.push(Filter { dimension, patterns: vec![pattern] }),
    }
}

fn read_by(value: &str, metric: &MetricDescriptor) -> Option<Vec<usize>> {
    value.split(',').filter(|label| !label.is_empty()).map(|label| dimension(label.trim(), metric)).collect()
}

fn read_order(value: &str, metric: &MetricDescriptor, default: Order) -> Option<Order> {
    let (descending, name) = match value.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, value),
    };
    let by = match name {
        "asc" | "desc" if !descending => return Some(Order { descending: name == "desc", ..default }),
        "time" => OrderBy::Time,
        "value" => OrderBy::Value,
        label => OrderBy::Label(dimension(label, metric)?),
    };
    Some(Order { by, descending })
}

fn dimension(label: &str, metric: &MetricDescriptor) -> Option<usize> {
    metric.dimensions.iter().position(|dimension| dimension == label)
}

fn dimensions(metric: &MetricDescriptor) -> String {
    match metric.dimensions.is_empty() {
        true => "nothing: this metric has no labels".to_owned(),
        false => {
            format!("labels of this metric, separated by commas, or empty for none: {}", metric.dimensions.join(", "))
        }
    }
}

fn orders(metric: &MetricDescriptor) -> String {
    let names: Vec<&str> = ["time", "value"].into_iter().chain(metric.dimensions.iter().map(String::as_str)).collect();
    format!("{}, with - in front for descending; asc, desc", names.join(", "))
}

fn known(metric: &MetricDescriptor) -> String {
    let mut names = vec!["start".to_owned(), "end".to_owned()];
    if metric.kind.is_bucketed() {
        names.extend(["step", "fill"].map(str::to_owned));
    } else {
        names.extend(["rollup", "depth", "path"].map(str::to_owned));
    }
    names.extend(["by", "limit", "order"].map(str::to_owned));
    names.extend(metric.dimensions.iter().map(|label| format!("{WHERE}{label}")));
    names.join(", ")
}
