//! One view, from which a whole request is answered, and waiting for the turn to do so.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use statscache_core::{
    limits::QUERY_CELLS_MAX,
    query::{Answer, Query, QueryError},
    segment::{ReadError, SegmentKey},
    view::View,
};
use statscache_plugin_sdk::Timestamp;

use super::{
    super::{
        AppState,
        question::{self, VIEWS_MAX},
    },
    answer::ApiError,
    families::{self, Family},
    matchers::Selector,
};

/// Names that one selector may mean: each is a question of its own.
const FAMILIES_MAX: usize = 100;

/// What a request is answered from.
pub(super) struct Source {
    view: Arc<View>,
    /// Cells that may still be visited for this request, however many selectors it has.
    cells: Cell<u64>,
    families: BTreeMap<String, Family>,
}

/// Why there is no answer from this view.
pub(super) enum Failure {
    /// There is none.
    Final(ApiError),
    /// A newer view may have one.
    Gone(SegmentKey),
    /// Something does not read.
    Damaged(SegmentKey),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Final(error)
    }
}

impl Source {
    fn new(view: Arc<View>) -> Self {
        let families = families::all(&view);
        Self { view, cells: Cell::new(QUERY_CELLS_MAX), families }
    }

    /// The present: when the view was published.
    pub(super) fn as_of(&self) -> i64 {
        self.view.as_of.micros()
    }

    /// The present as retention sees it.
    pub(super) fn horizon(&self) -> Timestamp {
        self.view.horizon.min(self.view.as_of)
    }

    /// All names.
    pub(super) fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.values()
    }

    /// The names that a selector means.
    pub(super) fn selected(&self, selector: &Selector) -> Result<Vec<&Family>, ApiError> {
        let selected: Vec<&Family> = self.families().filter(|family| selector.wants(family)).collect();
        if selected.len() > FAMILIES_MAX {
            let text = format!("a selector means {} names, the most is {FAMILIES_MAX}; name one", selected.len());
            return Err(ApiError::execution(text));
        }
        Ok(selected)
    }

    /// Puts a question to a metric; nothing if nothing of the range is kept.
    pub(super) fn ask(&self, family: &Family, query: &Query) -> Result<Option<Answer>, Failure> {
        match question::ask(&self.view, (&family.instance, &family.metric), query, self.cells.get()) {
            Ok(answer) => {
                self.cells.set(self.cells.get().saturating_sub(answer.cells));
                Ok(Some(answer))
            }
            Err(QueryError::NotKept { .. } | QueryError::EmptyRange { .. }) => Ok(None),
            Err(QueryError::Stale(key)) => Err(Failure::Gone(key)),
            Err(QueryError::Unreadable(ReadError::Damaged(key, ..))) => Err(Failure::Damaged(key)),
            Err(error) => Err(Failure::Final(refused(&family.name, &error))),
        }
    }
}

/// What the core refuses, in words of this API.
fn refused(name: &str, error: &QueryError) -> ApiError {
    let narrow = "add matchers, aggregate with `sum by (…)`, or ask for a shorter range or a greater step";
    match error {
        QueryError::TooExpensive { cells, max } => ApiError::execution(format!(
            "`{name}` would take a look at about {cells} cells, and {max} of {QUERY_CELLS_MAX} are left; {narrow}"
        )),
        QueryError::TooManyRows => {
            ApiError::execution(format!("`{name}` has too many samples in that range; {narrow}"))
        }
        QueryError::Step { .. } => ApiError::bad_data(format!("`{name}`: {error}")),
        error => {
            tracing::error!("a query failed: {}", crate::health::describe(error));
            ApiError::internal()
        }
    }
}

/// Waits for a turn and does the work, on a newer view if one has gone meanwhile.
pub(super) async fn work<T: Send + 'static>(
    state: AppState,
    work: impl Fn(&Source) -> Result<T, Failure> + Send + 'static,
) -> Result<T, ApiError> {
    let queries = state.queries.clone();
    let worked = queries.run(move || {
        let mut gone = None;
        for _ in 0..VIEWS_MAX {
            match work(&Source::new(state.view.load_full())) {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Gone(key)) => gone = Some(key),
                Err(Failure::Damaged(key)) => {
                    gone = Some(key);
                    break;
                }
            }
        }
        // The next commit looks at it; what is damaged is missing from then on, and the rest is answered.
        gone.into_iter().for_each(|key| state.health.doubt(key));
        Err(ApiError::unavailable("part of the state does not read; it is looked at now, ask again in a second"))
    });
    worked.await.map_err(|problem| match problem.is_busy() {
        true => ApiError::unavailable("other queries take all the time there is; ask again in a second, or for less"),
        false => ApiError::internal(),
    })?
}
