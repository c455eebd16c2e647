//! How many queries are worked on at once, and how long others wait for that.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Queries at a time, whatever the number of cores: one long one does not hold up the others.
const RUNNING_MIN: usize = 2;
/// How long a query waits: a dashboard's patience. How many do is bounded by the connections, each
/// of which asks one thing at a time; hundreds of short ones are done in that time.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Hands out the turns. A query that runs cannot be stopped; one that waits is gone with its
/// connection, because nothing of it is in any queue but this.
pub(super) struct Queries {
    running: Arc<Semaphore>,
    wait_max: Duration,
}

impl Queries {
    /// As many at a time as there are cores.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(RUNNING_MIN, usize::from);
        Self::with(cores.max(RUNNING_MIN), WAIT_MAX)
    }

    fn with(running: usize, wait_max: Duration) -> Self {
        Self { running: Arc::new(Semaphore::new(running)), wait_max }
    }

    /// How long a query waits.
    pub(super) fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// Does this on another thread when its turn comes.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        // It waits here, where it is dropped with its connection and holds no view, and not among tokio's blocking
        // tasks, which nobody can call off.
        let turn = self.turn().await?;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked.await.map_err(|_| Problem::internal())
    }

    /// Waits for a turn, first come first served, which lasts until what this gives is dropped. A
    /// problem if none comes in time.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = tokio::time::timeout(self.wait_max, self.running.clone().acquire_owned()).await;
        turn.map_err(|_| Problem::busy())?.map_err(|_| Problem::internal())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use axum::{http::header, response::IntoResponse};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn some_run_and_the_rest_wait_in_a_row() {
        let queries = Queries::with(2, Duration::from_secs(600));
        let (one, two) = (queries.turn().await.expect("a turn"), queries.turn().await.expect("a turn"));
        let mut gone = Box::pin(queries.turn());
        let (mut third, mut fourth) = (pin!(queries.turn()), pin!(queries.turn()));
        assert!(poll(gone.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
        // Whose client has left takes no turn from those behind it.
        drop(gone);
        drop(one);
        assert!(poll(fourth.as_mut()).is_pending(), "the third was first");
        let third = third.await.expect("a turn");
        drop((two, third));
        drop(fourth.await.expect("a turn"));
        assert_eq!(queries.running.available_permits(), 2, "no turn is lost");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_back() {
        let queries = Queries::with(1, Duration::from_millis(10));
        let turn = queries.turn().await.expect("a turn");
        let answer = queries.turn().await.expect_err("nobody is done").into_response();
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        drop(turn);
        drop(queries.turn().await.expect("a turn"));
    }

    #[test]
    fn two_run_even_on_one_core() {
        assert!(Queries::new().running.available_permits() >= 2);
    }
}
