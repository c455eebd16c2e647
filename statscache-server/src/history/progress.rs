//! What the daemon and `statscache backfill` tell each other: `POST` and `GET /admin/backfill`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where both are.
pub const PATH: &str = "/admin/backfill";

/// What is to be asked of the history service: everything in `[from, to)`, whatever was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillRequest {
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub to: String,
}

/// How far the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackfillStatus {
    /// What it does.
    pub state: BackfillState,
    /// What is being filled and what was filled last, in order of time.
    pub ranges: Vec<BackfillRange>,
}

/// What the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackfillState {
    /// There is nothing to fill.
    Idle,
    /// It fetches.
    Running,
    /// The history service does not answer, or wants to be left alone; it is asked again later.
    Waiting,
}

/// A span of time that is filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackfillRange {
    /// Its beginning, RFC 3339.
    pub from: String,
    /// Its end, RFC 3339.
    pub to: String,
    /// Up to where it is filled, RFC 3339; `from` at the beginning, `to` when it is done.
    pub done_until: String,
    /// Messages that were fetched.
    pub messages: u64,
    /// Those of them that were there already.
    pub duplicates: u64,
    /// Whom it is for: `everyone`, or the id of an instance.
    pub audience: String,
    /// What is wrong, if something is.
    pub error: Option<String>,
}

impl BackfillRange {
    /// Whether it is filled.
    pub fn is_done(&self) -> bool {
        self.done_until == self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_as_documented() {
        let text = r#"{"state":"waiting","ranges":[{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","done_until":"2026-01-01T12:00:00Z","messages":5,"duplicates":2,"audience":"everyone","error":null}]}"#;
        let status: BackfillStatus = serde_json::from_str(text).expect("a status");
        assert_eq!(status.state, BackfillState::Waiting);
        assert!(!status.ranges[0].is_done());
        assert_eq!(serde_json::to_string(&status).expect("JSON"), text);
        let request = serde_json::from_str::<BackfillRequest>(r#"{"from":"a","to":"b","x":1}"#);
        assert!(request.is_err(), "an unknown field may be a misspelt one");
    }
}
