//! The query of a request: its parameters, and links to further pages of the same list.

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderValue},
};
use serde_json::Value;

use crate::domain::{Cursor, Refusal, VersionId};

use super::{
    super::{
        fault::{FaultType, Problem},
        lenient::FromText,
    },
    Call,
};

impl Call {
    /// Returns a query parameter as it was sent; the last one of this name wins.
    pub(super) fn query_text(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns a query parameter that is not empty. In `/v1` an empty one is a fault: it is more likely a mistake than a wish
    /// for everything.
    pub(in crate::http) fn query_not_empty(&mut self, name: &str) -> Option<String> {
        let text = self.take_query(name)?;
        if text.is_empty() && self.is_v1() {
            self.refuse("query", name, "Input should not be empty; leave it out");
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// Returns a query parameter as it was sent, and marks it as read.
    fn take_query(&mut self, name: &str) -> Option<String> {
        if self.is_v1() {
            self.read.push(name.to_owned());
        }
        self.query_text(name).map(str::to_owned)
    }

    /// Reads a query parameter, if given.
    pub(in crate::http) fn query<T: FromText>(&mut self, name: &str) -> Option<T> {
        let text = self.take_query(name)?;
        let read = self.read_text(&text);
        self.valid(read, "query", name, text)
    }

    /// Returns all values of a query parameter.
    pub(in crate::http) fn queries(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns true if a query parameter is given that is not empty.
    pub(in crate::http) fn has_query(&self, name: &str) -> bool {
        self.query_text(name).is_some_and(|value| !value.is_empty())
    }

    /// Returns true if a query parameter is given as true: `True`, as Python writes it, `true` or `1`.
    pub(in crate::http) fn is_on(&self, name: &str) -> bool {
        self.query_text(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// Reads the maximum number of rows in an answer.
    pub(in crate::http) fn limit(&mut self, default: i64, most: i64) -> u32 {
        let limit = self.query_integer("limit", 1, most).unwrap_or(default);
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    /// Reads a number from `least` to `most`, if given.
    pub(in crate::http) fn query_integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.take_query(name)?;
        let read = self.read_text(&text).and_then(|number| match number {
            _ if number < least => Err(Problem::less_than(least)),
            _ if number > most => Err(Problem::more_than(most)),
            _ => Ok(number),
        });
        self.valid(read, "query", name, text)
    }

    /// Reads ids separated by commas, at least one and at most `most`.
    pub(in crate::http) fn query_ids(&mut self, name: &str, most: usize) -> Vec<VersionId> {
        let Some(text) = self.query_text(name).map(str::to_owned) else {
            self.faults.record(FaultType::Missing, ["query".into(), name.into()], Value::Null);
            return Vec::new();
        };
        let read = match text.split(',').nth(most) {
            Some(_) => Err(Problem::more_values_than(most)),
            None => text.split(',').map(VersionId::from_text).collect(),
        };
        self.valid(read, "query", name, text).unwrap_or_default()
    }

    /// Records a fault for each parameter that is not one of `known`.
    pub(in crate::http) fn only_query(&mut self, known: &[&str]) {
        for (name, value) in self.query.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let location = ["query".into(), name.as_str().into()];
            self.faults.record(FaultType::ExtraForbidden, location, value.as_str().into());
        }
    }

    /// Returns the path and query of the next page of the same list, after `cursor`.
    pub(in crate::http) fn next_page(&self, cursor: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let kept = self.query.iter().filter(|(name, _)| name != "cursor" && name != "offset");
        query.extend_pairs(kept).append_pair("cursor", cursor);
        format!("{}?{}", self.request.uri().path(), query.finish())
    }

    /// Adds a link to the next page, if there is one. It is absolute if the request names its host, for clients that don't
    /// resolve it.
    pub(in crate::http) fn link_next(&self, response: &mut HttpResponse, next: Option<&Cursor>) {
        let Some(next) = next else { return };
        let page = self.next_page(&next.encode());
        let link = format!("<{}{page}>; rel=\"next\"", self.origin().unwrap_or_default());
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }

    /// Returns the scheme and host by which the client reaches this server, if it names a host.
    pub(in crate::http) fn origin(&self) -> Option<String> {
        let head = self.request.headers();
        let host = head.get(header::HOST)?.to_str().ok()?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        let is_encrypted = self.app.options.tls.is_some()
            || self.app.options.proxies.is_encrypted(self.request.peer_addr(), head);
        let scheme = if is_encrypted { "https" } else { "http" };
        host.chars().all(is_host).then(|| format!("{scheme}://{host}"))
    }

    /// Returns the end of the previous page.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a cursor of another list, or one combined with an offset.
    pub(in crate::http) fn cursor(&mut self, list: &str, offset: i64) -> Result<Option<Cursor>, Refusal> {
        let Some(text) = self.query_not_empty("cursor") else { return Ok(None) };
        if offset > 0 {
            return Err(Refusal::Invalid(
                "cursor and offset exclude each other; send only one of them".to_owned(),
            ));
        }
        Cursor::decode(&text, list).map(Some)
    }
}
