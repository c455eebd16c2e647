//! Answers and errors in the shapes that Prometheus has.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeTuple};
use serde_json::{Value, json};

/// Why there is no answer: Prometheus' error type, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    kind: &'static str,
    text: String,
}

impl ApiError {
    /// The question is wrong in itself.
    pub(super) fn bad_data(text: impl Into<String>) -> Self {
        Self { kind: "bad_data", text: text.into() }
    }

    /// A parameter of the question is.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {why}"))
    }

    /// The question can be read, but not answered.
    pub(super) fn execution(text: impl Into<String>) -> Self {
        Self { kind: "execution", text: text.into() }
    }

    /// Not now.
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self { kind: "unavailable", text: text.into() }
    }

    /// A defect of this program.
    pub(super) fn internal() -> Self {
        Self { kind: "internal", text: "the answer could not be made; the daemon's log says why".to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            "bad_data" => StatusCode::BAD_REQUEST,
            "execution" => StatusCode::UNPROCESSABLE_ENTITY,
            "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"status": "error", "errorType": self.kind, "error": self.text}))).into_response()
    }
}

/// An answer.
#[derive(Debug, Serialize)]
pub(super) struct Success<T> {
    status: &'static str,
    data: T,
    /// Why something is not in it that may be looked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    infos: Vec<String>,
}

impl<T: Serialize> Success<T> {
    /// Nothing but the data.
    pub(super) fn new(data: T) -> Self {
        Self { status: "success", data, warnings: Vec::new(), infos: Vec::new() }
    }

    /// With warnings and infos.
    pub(super) fn with(data: T, warnings: Vec<String>, infos: Vec<String>) -> Self {
        Self { warnings, infos, ..Self::new(data) }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// A moment, in microseconds since 1970, and the value then: `[1435781430.781, "1"]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample(pub(super) i64, pub(super) f64);

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pair(serializer, self.0, &number(self.1))
    }
}

/// A moment and a text.
pub(super) struct TextSample(pub(super) i64, pub(super) String);

impl Serialize for TextSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pair(serializer, self.0, &self.1)
    }
}

/// Seconds with at most three decimals, as Prometheus keeps milliseconds.
fn pair<S: Serializer>(serializer: S, micros: i64, text: &str) -> Result<S::Ok, S::Error> {
    let millis = micros.div_euclid(1000);
    let mut pair = serializer.serialize_tuple(2)?;
    match millis % 1000 {
        0 => pair.serialize_element(&(millis / 1000))?,
        _ => pair.serialize_element(&(millis as f64 / 1000.0))?,
    }
    pair.serialize_element(text)?;
    pair.end()
}

/// A number as Prometheus writes it.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        size if size != 0.0 && !(1e-6..1e21).contains(&size) => {
            let text = format!("{value:e}");
            if size >= 1e21 { text.replace('e', "e+") } else { text }
        }
        _ => value.to_string(),
    }
}

/// What Grafana asks for to learn what it talks to: the version whose API this is (`match[]` for labels, POST
/// everywhere, no native histograms).
pub(super) async fn build_info() -> Success<Value> {
    Success::new(json!({
        "version": "2.24.0",
        "revision": concat!("statscache ", env!("CARGO_PKG_VERSION")),
        "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    }))
}

/// There are no exemplars.
pub(super) async fn no_list() -> Success<Value> {
    Success::new(json!([]))
}

/// There are no rules.
pub(super) async fn no_rules() -> Success<Value> {
    Success::new(json!({"groups": []}))
}

/// There are no alerts.
pub(super) async fn no_alerts() -> Success<Value> {
    Success::new(json!({"alerts": []}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_moments_are_written_as_prometheus_does() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (0.000_001, "0.000001"),
            (0.000_000_5, "5e-7"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(value), text);
        }
        for (micros, json) in [
            (1_435_781_430_781_000, r#"[1435781430.781,"1"]"#),
            (1_435_781_430_000_999, r#"[1435781430,"1"]"#),
            (-500_000, r#"[-0.5,"1"]"#),
        ] {
            assert_eq!(serde_json::to_string(&Sample(micros, 1.0)).expect("JSON"), json);
        }
    }
}
