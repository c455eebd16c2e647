//! How much of what was answered may be on its way: clients that read slowly hold the bytes that they were promised.

use std::sync::Arc;

use axum::{
    body::{self, Body, Bytes, HttpBody},
    response::{IntoResponse, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{common, problem::Problem};

/// Bytes of large bodies on their way, all together.
const BYTES_MAX: usize = 256 << 20;
/// What is smaller is bounded by the number of connections.
const LARGE: usize = 64 << 10;
/// Bytes to one permit.
const UNIT: usize = 4 << 10;

/// Counts them.
#[derive(Clone)]
pub(super) struct Outgoing(Arc<Semaphore>);

/// Bytes that count until the last of them has left.
struct Counted {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX / UNIT)))
    }

    /// The same bytes, counted as long as somebody has them; a problem if there are too many already. One that is longer
    /// than all may be goes alone.
    fn count(&self, bytes: Bytes) -> Result<Bytes, Problem> {
        let units = bytes.len().div_ceil(UNIT).min(BYTES_MAX / UNIT) as u32;
        match self.0.clone().try_acquire_many_owned(units) {
            Ok(permit) => Ok(Bytes::from_owner(Counted { bytes, _permit: permit })),
            Err(_) => {
                Err(Problem::full("large answers are on their way to others who read slowly; ask again, or for less"))
            }
        }
    }

    /// The response, its body counted if it is large. Streams count themselves.
    pub(super) async fn hold(&self, response: Response) -> Response {
        if !is_large(&response) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(bytes) = body::to_bytes(body, usize::MAX).await else { return Problem::internal().into_response() };
        match self.count(bytes) {
            Ok(bytes) => Response::from_parts(parts, Body::from(bytes)),
            Err(problem) => {
                let mut refusal = problem.into_response();
                common::set_headers(refusal.headers_mut());
                refusal
            }
        }
    }
}

/// Whether it has to be counted. Nobody knows how long a stream is.
pub(super) fn is_large(response: &Response) -> bool {
    response.body().size_hint().exact().is_some_and(|size| size >= LARGE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_count_until_they_have_left() {
        let outgoing = Outgoing::new();
        let large = |len: usize| outgoing.count(Bytes::from(vec![0; len]));
        let first = large(BYTES_MAX / 2).expect("room");
        let piece = first.slice(..10);
        let second = large(BYTES_MAX / 2).expect("room");
        assert!(large(LARGE).is_err(), "no room");
        assert!(!is_large(&Response::new(Body::from(vec![0; LARGE - 1]))), "small ones go on");
        assert!(is_large(&Response::new(Body::from(vec![0; LARGE]))));
        drop(first);
        assert!(large(LARGE).is_err(), "a piece of it is there still");
        drop(piece);
        let third = large(LARGE).expect("room again");
        drop((second, third));
        assert_eq!(large(2 * BYTES_MAX).expect("alone").len(), 2 * BYTES_MAX);
    }
}
