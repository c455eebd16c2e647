//! From the query string of a metric's URL to a [`Query`]. Every parameter is checked; one that
//! nobody reads is an error, because a filter with a typing error would answer for everything.

use statscache_core::{
    limits::{QUERY_PATTERNS_MAX, QUERY_ROWS_MAX},
    query::{Fill, Filter, Order, OrderBy, Path, Query, Rollup},
};
use statscache_plugin_sdk::{Kind, MetricDescriptor, Timestamp};

use super::{
    format::Format,
    problem::Problem,
    time::{self, TimeForm},
};

pub(super) const WHERE: &str = "where.";
/// In an order, before the name of a member of values that are objects.
const MEMBER: &str = "value.";

/// How an answer is told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) time: TimeForm,
    pub(super) coverage: Shown,
    /// Where it is open, the client's `Accept` decides.
    pub(super) format: Option<Format>,
    /// Whether both ends of the range stay where they are.
    pub(super) is_fixed: bool,
}

/// What is told of the coverage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shown {
    /// In each row, and runs of alike steps.
    #[default]
    All,
    /// The runs.
    Runs,
    /// Nothing.
    None,
}

/// The choices of `coverage`.
pub(super) const SHOWN: [(&str, Shown); 3] = [("all", Shown::All), ("runs", Shown::Runs), ("none", Shown::None)];

/// The `step` that is the whole range.
pub(super) const WHOLE: &str = "all";

/// The most buckets that `max_points` can ask for.
pub(super) const POINTS_MAX: u32 = 100_000;

/// Reads the parameters of a question to this metric.
pub(super) fn read(
    parameters: &[(String, String)],
    metric: &MetricDescriptor,
    rows_max: usize,
    now: Timestamp,
) -> Result<(Query, Look), Problem> {
    let bucketed = metric.kind.is_bucketed();
    let order = Order { by: OrderBy::Time, descending: !bucketed };
    let mut query = Query { order, limit: Query::default().limit.min(rows_max), ..Query::default() };
    let mut look = Look::default();
    let mut moves = false;
    let mut seen: Vec<&str> = Vec::new();
    let mut patterns = 0;
    let mut along = Along::default();
    for (name, value) in parameters {
        if !name.starts_with(WHERE) && name != "by" && seen.contains(&name.as_str()) {
            return Err(Problem::parameter(name, Some(value), "one value; it is given twice"));
        }
        seen.push(name);
        let bad = |allowed: &str| Problem::parameter(name, Some(value), allowed);
        match name.as_str() {
            "start" => {
                query.start = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?);
                moves |= value.starts_with("now");
            }
            "end" => {
                query.end = Some(time::parse(value, now).ok_or_else(|| bad(time::ALLOWED))?);
                moves |= value.starts_with("now");
            }
            "step" if bucketed && value == WHOLE => query.is_whole = true,
            "step" if bucketed => {
                query.step = Some(time::parse_span(value).ok_or_else(|| bad(&format!("{}, {WHOLE}", time::SPANS)))?);
            }
            "max_points" if bucketed => {
                let points = value.parse().ok().filter(|points| (1..=POINTS_MAX).contains(points));
                query.max_points = Some(points.ok_or_else(|| bad(&format!("a whole number from 1 to {POINTS_MAX}")))?);
            }
            "coverage" if bucketed => look.coverage = choice(value, &SHOWN).map_err(|allowed| bad(&allowed))?,
            "time" => look.time = choice(value, &TimeForm::ALL).map_err(|allowed| bad(&allowed))?,
            "format" => look.format = Some(choice(value, &Format::ALL).map_err(|allowed| bad(&allowed))?),
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
            "rollup" if rollup_of(metric.kind).is_some() => match rollup_of(metric.kind) {
                Some("sum") if value == "sum" => along.is_wanted = true,
                Some("product") if value == "product" => query.rollup = Some(Rollup::Product),
                allowed => return Err(bad(allowed.unwrap_or_default())),
            },
            "depth" if !bucketed => {
                along.depth = Some(value.parse().map_err(|_| bad("how many parts of the path are kept: 0, 1, 2, …"))?);
            }
            "path" if !bucketed => {
                along.path = Some(dimension(value, metric).ok_or_else(|| bad(&dimensions(metric)))?);
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
            "offset" => {
                let offset = value.parse().ok().filter(|offset| *offset <= QUERY_ROWS_MAX);
                query.offset = offset.ok_or_else(|| bad(&format!("a whole number from 0 to {QUERY_ROWS_MAX}")))?;
            }
            "order" => {
                (query.order, query.member) =
                    read_order(value, metric, query.order).ok_or_else(|| bad(&orders(metric)))?;
            }
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
    along.finish(metric, seen.contains(&"order"), &mut query)?;
    look.is_fixed = query.end.is_some() && !moves;
    if let (OrderBy::Label(dimension), Some(by)) = (query.order.by, &query.by)
        && !by.contains(&dimension)
    {
        return Err(Problem::parameter("order", Some(&metric.dimensions[dimension]), "a label that `by` keeps"));
    }
    if query.rollup == Some(Rollup::Product) && query.fill != Fill::None {
        return Err(Problem::parameter(
            "fill",
            Some(if query.fill == Fill::Null { "null" } else { "zero" }),
            "none, together with rollup=product: without parts there is no product",
        ));
    }
    if let (true, Some(points)) = (query.step.is_some() || query.is_whole, query.max_points) {
        return Err(Problem::parameter(
            "max_points",
            Some(&points.to_string()),
            "only without `step`, which it chooses",
        ));
    }
    Ok((query, look))
}

/// The thing with that name, or the names that there are.
fn choice<T: Copy>(value: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == value).map(|(_, thing)| *thing);
    found.ok_or_else(|| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
}

/// Latest values added up along a path.
#[derive(Default)]
struct Along {
    is_wanted: bool,
    depth: Option<usize>,
    path: Option<usize>,
}

impl Along {
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
        query.rollup = Some(Rollup::Sum(Path { dimension, depth: self.depth.unwrap_or(1) }));
        if !is_ordered {
            query.order = Order { by: OrderBy::Value, descending: true };
        }
        Ok(())
    }
}

/// How values of such a metric can be rolled up.
pub(super) fn rollup_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Latest { .. } => Some("sum"),
        Kind::Stat => Some("product"),
        Kind::Count | Kind::Distinct | Kind::Dist | Kind::Top { .. } => None,
    }
}

/// Filters of one label are alternatives; those of different labels must all hold.
pub(super) fn add_filter(filters: &mut Vec<Filter>, dimension: usize, pattern: &str) {
    let pattern = pattern.to_owned();
    match filters.iter_mut().find(|filter| filter.dimension == dimension) {
        Some(filter) => filter.patterns.push(pattern),
        None => filters.push(Filter { dimension, patterns: vec![pattern] }),
    }
}

fn read_by(value: &str, metric: &MetricDescriptor) -> Option<Vec<usize>> {
    value.split(',').filter(|label| !label.is_empty()).map(|label| dimension(label.trim(), metric)).collect()
}

/// The order, and the member of values that it goes by.
fn read_order(value: &str, metric: &MetricDescriptor, default: Order) -> Option<(Order, Option<String>)> {
    let (descending, name) = match value.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, value),
    };
    let by = match name {
        "asc" | "desc" if !descending => return Some((Order { descending: name == "desc", ..default }, None)),
        "time" => OrderBy::Time,
        "value" => OrderBy::Value,
        name => match name.strip_prefix(MEMBER).filter(|member| !metric.kind.is_bucketed() && !member.is_empty()) {
            Some(member) => return Some((Order { by: OrderBy::Value, descending }, Some(member.to_owned()))),
            None => OrderBy::Label(dimension(name, metric)?),
        },
    };
    Some((Order { by, descending }, None))
}

/// Position of a label.
pub(super) fn dimension(label: &str, metric: &MetricDescriptor) -> Option<usize> {
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
    let member = (!metric.kind.is_bucketed()).then_some("value.MEMBER");
    let names = ["time", "value"].into_iter().chain(member);
    let names: Vec<&str> = names.chain(metric.dimensions.iter().map(String::as_str)).collect();
    format!("{}, with - in front for descending; asc, desc", names.join(", "))
}

/// Names of the parameters of questions to this metric.
pub(super) fn known(metric: &MetricDescriptor) -> String {
    let mut names = vec!["start".to_owned(), "end".to_owned()];
    if metric.kind.is_bucketed() {
        names.extend(["step", "fill", "max_points", "coverage"].map(str::to_owned));
    } else {
        names.extend(["rollup", "depth", "path"].map(str::to_owned));
    }
    if metric.kind == Kind::Stat {
        names.push("rollup".to_owned());
    }
    names.extend(["by", "limit", "offset", "order", "time", "format"].map(str::to_owned));
    names.extend(metric.dimensions.iter().map(|label| format!("{WHERE}{label}")));
    names.join(", ")
}
