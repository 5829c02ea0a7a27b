//! The calls of the native API, one method each: path, body, and answer.
//!
//! Each may fail with any [`ClientError`] except the errors of creating a client or a key: [`ClientError::NotFound`] if it names
//! a version that does not exist, [`ClientError::Conflict`] if the version's state or the [`Condition`] forbids the change.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::form_urlencoded;

use crate::{answer, client::Client, error::ClientError};
use registry_domain::{Status, VersionId};

/// Characters that a path segment contains as they are.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const NO_MODEL: &str = "its answer contains no model";
const ELSEWHERE: &str = "another API is at its path";

const IF_UPDATED_AT: HeaderName = HeaderName::from_static("if-updated-at");

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The versions on this page.
    pub models: Vec<Value>,
    /// The number of versions on all pages, if the registry says so.
    pub total: Option<u64>,
    /// The next page, for [`Client::next_page`]; absent on the last one.
    pub next: Option<String>,
}

/// A precondition of a write.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// The version must have this `updated_at` (metrics only).
    pub if_updated_at: Option<String>,
    /// The version must have this ETag.
    pub if_match: Option<String>,
}

impl Condition {
    fn headers(&self) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, text) in [(IF_UPDATED_AT, &self.if_updated_at), (header::IF_MATCH, &self.if_match)] {
            let Some(text) = text else { continue };
            let value = HeaderValue::from_str(text.trim()).map_err(|_| ClientError::Refused {
                status: 400,
                detail: format!(
                    "{text:?} can't be sent as {name}; give the value that the registry returned"
                ),
            })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl Client {
    /// Registers a version with a body of `POST /models`, and returns it with the registry's field order and digits.
    pub fn register(&self, body: &Value) -> Result<Value, ClientError> {
        let (_, model) = self.send(Method::POST, "/models", Some(body), &Condition::default())?;
        self.expect_model(model)
    }

    /// Returns a version by its id.
    pub fn model(&self, id: VersionId) -> Result<Value, ClientError> {
        self.expect_model(self.get(&format!("/models/{id}"))?)
    }

    /// Returns a version by its id, and its ETag if the registry sends one.
    pub fn model_with_etag(&self, id: VersionId) -> Result<(Value, Option<String>), ClientError> {
        let (headers, body) =
            self.send(Method::GET, &format!("/models/{id}"), None, &Condition::default())?;
        let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok((self.expect_model(body)?, etag))
    }

    /// Returns a version by its model's name and its label.
    pub fn model_by_name(&self, name: &str, version: &str) -> Result<Value, ClientError> {
        self.expect_model(self.get(&format!("/models/by-name/{}/{}", segment(name), segment(version)))?)
    }

    /// Returns the production version of a model.
    pub fn production(&self, name: &str) -> Result<Value, ClientError> {
        self.expect_model(self.get(&format!("/production/{}", segment(name)))?)
    }

    /// Returns the first page of a list; `query` has the parameters of `GET /models`, unescaped.
    pub fn models(&self, query: &[(&str, &str)]) -> Result<Page, ClientError> {
        self.next_page(&with_query("/models", query))
    }

    /// Returns the page after one, by its [`Page::next`].
    pub fn next_page(&self, next: &str) -> Result<Page, ClientError> {
        let (headers, body) = self.send(Method::GET, next, None, &Condition::default())?;
        let models = self.array(body)?;
        if models.is_empty() && self.is_elsewhere() {
            return Err(self.not_a_registry(ELSEWHERE));
        }
        Ok(Page { models, total: answer::total_count(&headers), next: answer::next_link(&headers) })
    }

    /// Returns the suites of a version with their scores, or only one suite.
    pub fn metrics(&self, id: VersionId, suite: Option<&str>) -> Result<Value, ClientError> {
        let query: Vec<_> = suite.iter().map(|suite| ("suite", *suite)).collect();
        let body = self.get(&with_query(&format!("/models/{id}/metrics"), &query))?;
        self.expect(body, Value::is_object, "its answer contains no suites")
    }

    /// Merges scores into a suite with a body of `POST /models/{id}/metrics`.
    pub fn record_metrics(
        &self,
        id: VersionId,
        body: &Value,
        condition: &Condition,
    ) -> Result<Value, ClientError> {
        let path = format!("/models/{id}/metrics");
        self.expect_model(self.send(Method::POST, &path, Some(body), condition)?.1)
    }

    /// Returns the audit trail of a version, newest first.
    pub fn events(&self, id: VersionId, limit: u32, offset: u64) -> Result<Vec<Value>, ClientError> {
        let body = self.get(&format!("/models/{id}/events?limit={limit}&offset={offset}"))?;
        self.array(body)
    }

    /// Sets the status of a version.
    pub fn promote(&self, id: VersionId, to: Status, condition: &Condition) -> Result<Value, ClientError> {
        let path = with_query(&format!("/models/{id}/promote"), &[("to_status", to.as_str())]);
        self.expect_model(self.send(Method::POST, &path, None, condition)?.1)
    }

    /// Changes a version with a body of `PATCH /models/{id}`.
    pub fn update(&self, id: VersionId, body: &Value, condition: &Condition) -> Result<Value, ClientError> {
        self.expect_model(self.send(Method::PATCH, &format!("/models/{id}"), Some(body), condition)?.1)
    }

    /// Deletes a version; a production or frozen one only with `force`. Its events remain.
    pub fn delete(&self, id: VersionId, force: bool, condition: &Condition) -> Result<Value, ClientError> {
        let path = format!("/models/{id}?force={force}");
        let (_, body) = self.send(Method::DELETE, &path, None, condition)?;
        self.expect(body, Value::is_object, "its answer does not say what was deleted")
    }

    /// Compares versions: `{"models": […], "comparison": {…}}`. Unknown ids are omitted.
    pub fn compare(&self, ids: &[VersionId]) -> Result<Value, ClientError> {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let body = self.get(&with_query("/compare", &[("ids", &ids.join(","))]))?;
        self.expect(
            body,
            |body| body.get("models").is_some_and(Value::is_array),
            "its answer holds no models",
        )
    }

    /// Returns the counters: `{"total_models", "by_status": {…}, "by_name": {…}}`.
    pub fn stats(&self) -> Result<Value, ClientError> {
        let counts = |body: &Value| {
            let is_map = |field: &str| body.get(field).is_some_and(Value::is_object);
            body.get("total_models").is_some_and(Value::is_u64) && is_map("by_status") && is_map("by_name")
        };
        self.expect(self.get("/stats")?, counts, "its answer contains no counts")
    }

    /// Checks that the server runs, and with `ready` that it accepts writes, else [`ClientError::Unavailable`]. Without
    /// retries, since monitoring retries itself.
    pub fn health(&self, ready: bool) -> Result<(), ClientError> {
        let (path, expected) = if ready { ("/ready", "ready") } else { ("/health", "healthy") };
        let body = match self.exchange(&Method::GET, path, None, &HeaderMap::new()) {
            Ok((_, body)) => body,
            Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) => Value::Null,
            Err(error) => return Err(error),
        };
        let is_so = |body: &Value| body.get("status").and_then(Value::as_str) == Some(expected);
        self.expect(body, is_so, "its answer does not state its health").map(|_| ())
    }

    /// Returns true if the base URL has a path, and no registry is there but perhaps another API with similar answers.
    fn is_elsewhere(&self) -> bool {
        let has_path = self.base_url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        has_path
            && matches!(
                self.health(false),
                Err(ClientError::NotARegistry { .. }
                    | ClientError::NoSuchPath { .. }
                    | ClientError::KeyRefused { .. })
            )
    }

    fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None, &Condition::default()).map(|(_, body)| body)
    }

    /// Sends a request, with retries if they are safe, and returns headers and JSON of a successful answer.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        condition: &Condition,
    ) -> Result<(HeaderMap, Value), ClientError> {
        let body = body.map(Value::to_string);
        match self.exchange_with_retries(&method, path, body.as_deref(), &condition.headers()?) {
            Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) if self.is_elsewhere() => {
                Err(self.not_a_registry(ELSEWHERE))
            }
            answered => answered,
        }
    }

    fn array(&self, body: Value) -> Result<Vec<Value>, ClientError> {
        match body {
            Value::Array(items) => Ok(items),
            _ => Err(self.not_a_registry("its answer is not a list")),
        }
    }

    /// Returns `body` if it is a version, which is an object with an id.
    fn expect_model(&self, body: Value) -> Result<Value, ClientError> {
        self.expect(body, |body| id_in(body).is_some(), NO_MODEL)
    }

    pub(super) fn expect(
        &self,
        body: Value,
        is_expected: impl Fn(&Value) -> bool,
        otherwise: &str,
    ) -> Result<Value, ClientError> {
        if is_expected(&body) { Ok(body) } else { Err(self.not_a_registry(otherwise)) }
    }

    pub(super) fn not_a_registry(&self, reason: &str) -> ClientError {
        ClientError::NotARegistry { url: self.base_url.clone(), reason: reason.to_owned() }
    }
}

pub(super) fn id_in(body: &Value) -> Option<VersionId> {
    body.get("id").and_then(Value::as_i64)
}

pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_segment_and_any_text_one_value() {
        assert_eq!(segment("org/m:1 ü%.b~"), "org%2Fm%3A1%20%C3%BC%25.b~");
        assert_eq!(with_query("/models", &[]), "/models");
        assert_eq!(
            with_query("/models", &[("q", "a&b=ü c"), ("tag", "")]),
            "/models?q=a%26b%3D%C3%BC+c&tag="
        );
    }

    #[test]
    fn a_condition_that_no_header_can_carry_is_refused() {
        let condition = Condition { if_match: Some("a\nb".to_owned()), ..Condition::default() };
        let text = condition.headers().unwrap_err().to_string();
        assert!(text.contains("can't be sent as if-match"), "{text}");
    }
}
