//! Parameters as Prometheus takes them: from the URL, and from the body of a form.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};

use super::{super::urlquery, answer::ApiError};

/// Bytes of a form: a query of the greatest length with every byte escaped, and the rest.
const FORM_BYTES_MAX: usize = 512 << 10;
/// The end of the year 9999 in seconds: what is beyond cannot be written as a date.
const TIME_MAX: f64 = 253_402_300_799.0;
/// A hundred years.
const STEP_MAX: f64 = 100.0 * 366.0 * 86_400.0;

/// Names and values, those of the body first.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let url = request.uri().query().unwrap_or_default().to_owned();
        let too_long =
            |_| ApiError::bad_data(format!("the form does not come, or has more than {FORM_BYTES_MAX} bytes"));
        let body = to_bytes(request.into_body(), FORM_BYTES_MAX).await.map_err(too_long)?;
        let unreadable = || ApiError::bad_data("the form must be UTF-8, other characters than those of URLs as %XX");
        let body = str::from_utf8(&body).map_err(|_| unreadable())?;
        let mut pairs = urlquery::parse(body).map_err(|_| unreadable())?;
        pairs.extend(urlquery::parse(&url).map_err(|_| unreadable())?);
        Ok(Self(pairs))
    }
}

impl Form {
    /// The first value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All values of that name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// What must be there.
    pub(super) fn needed(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A moment, in microseconds since 1970.
    pub(super) fn time(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.needed(name);
        let wrong = || ApiError::parameter(name, format!("cannot parse \"{text}\" to a valid timestamp"));
        match text.parse::<f64>() {
            Ok(secs) if secs.abs() <= TIME_MAX => Ok((secs * 1e6).round() as i64),
            Ok(_) => Err(wrong()),
            Err(_) => text.parse::<jiff::Timestamp>().map(|time| time.as_microsecond()).map_err(|_| wrong()),
        }
    }

    /// Between two steps, in microseconds.
    pub(super) fn step(&self) -> Result<i64, ApiError> {
        let text = self.needed("step");
        let wrong = || ApiError::parameter("step", format!("cannot parse \"{text}\" to a valid duration"));
        let secs = match text.parse::<f64>() {
            Ok(secs) => secs,
            Err(_) => promql_parser::util::parse_duration(text).map_err(|_| wrong())?.as_secs_f64(),
        };
        match (secs * 1e6).round() {
            _ if !secs.is_finite() || secs.abs() > STEP_MAX => Err(wrong()),
            micros if micros >= 1.0 => Ok(micros as i64),
            _ => Err(ApiError::parameter(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            )),
        }
    }

    /// How many are wanted at most; 0 is no limit, as in Prometheus.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(ApiError::parameter("limit", "limit must be a whole number, 0 for none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, value: &str) -> Form {
        Form(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, micros) in [
            ("1700000000", Some(1_700_000_000_000_000)),
            ("1700000000.781", Some(1_700_000_000_781_000)),
            ("2026", Some(2_026_000_000)),
            ("-1.5", Some(-1_500_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500_000)),
            ("", None),
            ("now", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
        ] {
            assert_eq!(form("t", text).time("t").ok(), micros, "{text}");
        }
    }

    #[test]
    fn steps_are_seconds_or_spans() {
        for (text, micros) in [
            ("15", Some(15_000_000)),
            ("0.5", Some(500_000)),
            ("1m", Some(60_000_000)),
            ("1h30m", Some(5_400_000_000)),
            ("100ms", Some(100_000)),
            ("0", None),
            ("-1", None),
            ("", None),
            ("inf", None),
            ("nan", None),
            ("1e300", None),
            ("200y", None),
            ("fast", None),
        ] {
            assert_eq!(form("step", text).step().ok(), micros, "{text}");
        }
    }
}
