//! The present. The only caller of the system's clock; everything else is handed the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; negative before.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now_micros() -> i64 {
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}
