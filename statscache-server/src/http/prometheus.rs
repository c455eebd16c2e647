//! Prometheus' HTTP API over the same metrics: what a stock Grafana data source and `promtool` ask for.
//!
//! Names are `{instance}_{metric}` with what is told of the bucket behind it (`families`), labels are the
//! dimensions. Nothing is scraped and nothing grows for ever: a sample at time `t` is **the newest whole bucket
//! that ends at or before `t`**, of the query's step where a tier can make up such buckets, else of the finest tier
//! that keeps the range; `__step__="1h"` in a selector names the width. `increase(x[d])` and `sum_over_time(x[d])`
//! add up the buckets of the `d` before `t`, which is exact, not extrapolated; `rate` is that by the second.
//! The running bucket is never in.
//!
//! Missing is not zero: a bucket of which the bus was not seen has no sample; one that was seen whole is 0 for label
//! sets that have something elsewhere in the range.
//!
//! One request is answered from one view, and `now` is when that was published. A query is parsed within bounds
//! (`guard`), each of its selectors becomes one question to the core for each metric (`fetch`), whatever the number
//! of steps, and the rest is arithmetic in memory (`eval`).

mod aggregate;
mod answer;
mod binary;
mod eval;
mod families;
mod fetch;
mod functions;
mod guard;
mod matchers;
mod params;
mod query;
mod series;
mod source;
mod value;
mod window;

use axum::{Router, routing::get};

use super::AppState;

pub(super) use families::{Part, hourly, label_of, name_of};

/// Routes below `/api/v1`.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::labels).post(series::labels))
        .route("/label/{name}/values", get(series::label_values))
        .route("/metadata", get(series::metadata))
        .route("/status/buildinfo", get(answer::build_info))
        .route("/query_exemplars", get(answer::no_list).post(answer::no_list))
        .route("/rules", get(answer::no_rules))
        .route("/alerts", get(answer::no_alerts))
}
