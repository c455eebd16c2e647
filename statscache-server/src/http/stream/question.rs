//! What is asked again and again, and the one place where a stream gets its answers.

use std::sync::Arc;

use super::super::{
    AppState,
    answers::{Rendered, Variant},
    metric,
    problem::Problem,
    question, urlquery,
};

/// What `q` may be, for error messages.
const ALLOWED: &str = "the path of a metric, with its query behind it, all of it percent-encoded: \
    /plugins/volume/messages?start=now-1h&step=1m as %2Fplugins%2Fvolume%2Fmessages%3Fstart%3Dnow-1h%26step%3D1m";

/// A question to a metric. Those with the same text are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// Its URL: who asks that once shares the answer.
    target: String,
    id: String,
    metric: String,
    query: String,
}

impl Question {
    /// From the URL of its stream.
    pub(super) fn of_stream(path: &str, (id, metric): (String, String), query: Option<&str>) -> Self {
        let path = path.strip_suffix("/stream").unwrap_or(path);
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        Self { target, id, metric, query: query.unwrap_or_default().to_owned() }
    }

    /// Reads the path of a metric with its query.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let (id, metric) = read_path(path).ok_or_else(|| Problem::parameter("q", Some(text), ALLOWED))?;
        let question = Self { target: text.to_owned(), id, metric, query: query.to_owned() };
        question.parameters()?;
        Ok(question)
    }

    fn parameters(&self) -> Result<Vec<(String, String)>, Problem> {
        let parameters = urlquery::parse(&self.query)?;
        let other = parameters.iter().find(|(name, value)| name == "format" && value != "json");
        match other {
            Some((name, value)) => Err(Problem::parameter(name, Some(value), "json: events have it in one line")),
            None => Ok(parameters),
        }
    }

    /// What is wrong with it, as far as that can be told without answering it.
    pub(super) fn check(&self, state: &AppState) -> Result<(), Problem> {
        let parameters = self.parameters()?;
        question::Question::read(state, &state.view.load_full(), (&self.id, &self.metric), &parameters).map(drop)
    }

    /// The answer from the present view.
    pub(super) async fn answer(&self, state: &AppState) -> Result<Arc<Rendered>, Problem> {
        let names = (self.id.clone(), self.metric.clone());
        metric::answer(state, &self.target, names, &self.query, Variant::default()).await
    }
}

/// Id and metric of `/plugins/{id}/{metric}`.
fn read_path(path: &str) -> Option<(String, String)> {
    let (id, metric) = path.strip_prefix("/plugins/")?.split_once('/')?;
    let is_name = |part: &str| !part.is_empty() && !part.contains('/');
    (is_name(id) && is_name(metric)).then_some(())?;
    Some((urlquery::decode_path(id)?, urlquery::decode_path(metric)?))
}
