//! A question to a metric, and what answers it: one view. Whatever is relative in it is relative to that view's
//! `as_of`, so that one view and one URL make one answer.

use std::sync::Arc;

use statscache_core::{
    limits::QUERY_CELLS_MAX,
    query::{self, Answer, Query, QueryError},
    segment::ReadError,
    view::{InstanceView, MetricView, View},
};

use super::{
    AppState,
    params::{self, Look},
    problem::Problem,
    time,
};

/// How often a question is put to a newer view. One is enough, unless a query takes longer than a minute.
pub(super) const VIEWS_MAX: usize = 3;

/// A question, with what answers it.
pub(super) struct Question {
    pub(super) view: Arc<View>,
    pub(super) instance: Arc<InstanceView>,
    pub(super) metric: Arc<MetricView>,
    pub(super) query: Query,
    pub(super) look: Look,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The question is wrong.
    Problem(Problem),
    /// It cannot be answered, or not from this view.
    Query(QueryError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl Question {
    /// Finds the metric in this view and reads the parameters.
    pub(super) fn read(
        state: &AppState,
        view: &Arc<View>,
        (id, name): (&str, &str),
        parameters: &[(String, String)],
    ) -> Result<Self, Problem> {
        let instance = state.instance(view, id)?.clone();
        let metric = instance.metric(name).cloned().ok_or_else(|| unknown_metric(id, name, &instance))?;
        let (query, look) = params::read(parameters, &metric.descriptor, state.rows_max, view.as_of)?;
        Ok(Self { view: view.clone(), instance, metric, query, look })
    }

    /// The answer. Takes a core for as long as it needs.
    pub(super) fn run(&self) -> Result<Answer, QueryError> {
        self.run_within(QUERY_CELLS_MAX)
    }

    /// As [`Self::run`], with so many cells visited at most.
    pub(super) fn run_within(&self, cells_max: u64) -> Result<Answer, QueryError> {
        ask(&self.view, (&self.instance, &self.metric), &self.query, cells_max)
    }
}

/// Puts a query to a metric as this view has it. What is open in it ends at the view's `as_of`.
pub(super) fn ask(
    view: &View,
    (instance, metric): (&InstanceView, &MetricView),
    query: &Query,
    cells_max: u64,
) -> Result<Answer, QueryError> {
    let coverage = instance.reading.seen_by(&view.coverage);
    let (now, horizon) = (view.as_of, view.horizon.min(view.as_of));
    let moves = instance.moves_of(metric);
    query::run(
        metric,
        query,
        query::From { chunks: &*view.chunks, coverage: &coverage, now, horizon, moves, cells_max },
    )
}

/// What to say of a metric that there is not.
pub(super) fn unknown_metric(id: &str, name: &str, instance: &InstanceView) -> Problem {
    let metrics: Vec<&str> = instance.metrics.iter().map(|metric| metric.descriptor.name.as_str()).collect();
    Problem::not_found(format!("plugin `{id}` has no metric `{name}`; it has {}", metrics.join(", ")))
}

/// Asks the present view, and a newer one where that has moved on meanwhile.
pub(super) fn on_view<T>(state: &AppState, ask: impl Fn(&Arc<View>) -> Result<T, Failure>) -> Result<T, Problem> {
    let mut gone = None;
    for _ in 0..VIEWS_MAX {
        match ask(&state.view.load_full()) {
            Ok(answer) => return Ok(answer),
            Err(Failure::Query(QueryError::Stale(key))) => gone = Some(key),
            Err(Failure::Query(QueryError::Unreadable(ReadError::Damaged(key, ..)))) => {
                gone = Some(key);
                break;
            }
            Err(Failure::Query(error)) => return Err(problem(error)),
            Err(Failure::Problem(problem)) => return Err(problem),
        }
    }
    // The next commit looks at it; what is damaged is missing from then on, and the rest is answered.
    gone.into_iter().for_each(|key| state.health.doubt(key));
    Err(Problem::unavailable("part of the state does not read; it is looked at now, ask again in a second".to_owned()))
}

/// What a client is told of it.
pub(super) fn problem(error: QueryError) -> Problem {
    match &error {
        QueryError::EmptyRange { start, .. } => {
            Problem::parameter("start", Some(&time::rfc3339(*start)), "a time before `end`, which is now if not given")
        }
        QueryError::Step { step, tiers } => {
            let allowed = format!("a multiple of the width of one of the metric's tiers: {tiers}");
            Problem::parameter("step", Some(&step.to_string()), allowed)
        }
        QueryError::NoBuckets => Problem::parameter("step", None, "no step: these are latest values"),
        QueryError::NoRollup => Problem::parameter("rollup", None, "no rollup: use `by` and `step`"),
        QueryError::TooExpensive { .. } | QueryError::TooManyRows | QueryError::TooManyMembers => {
            Problem::too_expensive(error.to_string())
        }
        QueryError::NotKept { step, since, tiers } => {
            let allowed = format!(
                "a step for which the range is kept: such steps go back to {}; the tiers are {tiers}",
                time::rfc3339(*since)
            );
            Problem::parameter("step", Some(&step.to_string()), allowed)
        }
        QueryError::Stale(_) | QueryError::Damaged(_) | QueryError::Unreadable(_) => {
            tracing::error!("a query failed: {}", crate::health::describe(&error));
            Problem::internal()
        }
    }
}
