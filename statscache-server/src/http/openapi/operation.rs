//! One operation of the document, put together piece by piece, and what operations share.

use serde_json::{Value, json};

/// Problems that answers may be, by status: name of the response, and when it comes.
const PROBLEMS: [(u16, &str); 11] = [
    (400, "A parameter or the URL cannot be read, or the answer would be too expensive."),
    (401, "The token is missing or wrong."),
    (404, "There is no such thing; the problem says what there is."),
    (405, "Not with this method; `Allow` says which."),
    (406, "Not in any of the formats that `Accept` asks for."),
    (409, "Not as things are."),
    (413, "The body is longer than it may be."),
    (415, "The body is of a type that nobody reads."),
    (422, "It can be read, but makes no sense."),
    (500, "The answer could not be made; the daemon's log says why."),
    (503, "Too many others ask, or the instance was not started; `Retry-After` says when to come back."),
];

/// An operation.
pub(super) struct Operation(Value);

impl Operation {
    /// Its `operationId` and what it is about.
    pub(super) fn new(id: &str, tag: &str, summary: &str) -> Self {
        Self(json!({"operationId": id, "tags": [tag], "summary": summary, "parameters": [], "responses": {}}))
    }

    /// More than the summary, in Markdown.
    pub(super) fn description(mut self, text: &str) -> Self {
        if !text.is_empty() {
            self.0["description"] = text.into();
        }
        self
    }

    /// Adds parameters.
    pub(super) fn parameters(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        if let Some(all) = self.0["parameters"].as_array_mut() {
            all.extend(parameters);
        }
        self
    }

    /// The body that it takes, as JSON.
    pub(super) fn body(mut self, schema: Value, example: Value) -> Self {
        let content = json!({"application/json": {"schema": schema, "example": example}});
        self.0["requestBody"] = json!({"required": true, "content": content});
        self
    }

    /// The body that it takes, as a form.
    pub(super) fn form(mut self, schema: Value) -> Self {
        let content = json!({"application/x-www-form-urlencoded": {"schema": schema}});
        self.0["requestBody"] = json!({"content": content});
        self
    }

    /// An answer as JSON.
    pub(super) fn json(self, status: u16, description: &str, schema: Value) -> Self {
        self.answer(status, description, json!({"application/json": {"schema": schema}}))
    }

    /// An answer, its content by media type.
    pub(super) fn answer(mut self, status: u16, description: &str, content: Value) -> Self {
        self.0["responses"][status.to_string()] = json!({"description": description, "content": content});
        self
    }

    /// An answer without a body.
    pub(super) fn empty(mut self, status: u16, description: &str) -> Self {
        self.0["responses"][status.to_string()] = json!({"description": description});
        self
    }

    /// Headers of an answer, by the names of [`headers`].
    pub(super) fn with_headers(mut self, status: u16, names: &[&str]) -> Self {
        for name in names {
            let reference = json!({"$ref": format!("#/components/headers/{name}")});
            self.0["responses"][status.to_string()]["headers"][*name] = reference;
        }
        self
    }

    /// Problems that it may answer with.
    pub(super) fn problems(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let reference = json!({"$ref": format!("#/components/responses/Problem{status}")});
            self.0["responses"][status.to_string()] = reference;
        }
        self
    }

    /// Only with the token.
    pub(super) fn with_token(mut self) -> Self {
        self.0["security"] = json!([{"token": []}]);
        self
    }
}

impl From<Operation> for Value {
    fn from(operation: Operation) -> Self {
        operation.0
    }
}

/// A response for each kind of problem.
pub(super) fn problem_responses() -> Value {
    let mut responses = json!({});
    for (status, description) in PROBLEMS {
        let content = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        let mut response = json!({"description": description, "content": content});
        let header = match status {
            401 => Some("WWW-Authenticate"),
            405 => Some("Allow"),
            503 => Some("Retry-After"),
            _ => None,
        };
        if let Some(name) = header {
            response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
        responses[format!("Problem{status}")] = response;
    }
    responses
}

/// Headers that answers have.
pub(super) fn headers() -> Value {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "Allow": header("Methods that there are."),
        "ETag": header("The same as long as the answer is; for `If-None-Match`."),
        "Link": header("RFC 8288: `rel=\"next\"` leads to what follows, `service-desc` to this document."),
        "Location": header("Where it is."),
        "Retry-After": header("Seconds."),
        "Statscache-As-Of": header("`as_of`, of formats that hold rows alone."),
        "Statscache-Partial": header("`partial`, of formats that hold rows alone."),
        "Statscache-Watermark": header("`watermark.time`, of formats that hold rows alone."),
        "Warning": header("Why older rows are not there."),
        "WWW-Authenticate": header("`Bearer`."),
        "X-Link-Count": header("Pages."),
        "X-Link-Number": header("Number of this page."),
    })
}
