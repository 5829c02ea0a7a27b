//! Reads authenticated requests: path, query, headers and body, collecting every error for one 422 answer.

use std::{borrow::Cow, collections::HashSet, future::Ready, net::IpAddr, rc::Rc};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, dev,
    http::{
        Method,
        header::{self, HeaderName, HeaderValue},
    },
    web::{Bytes, Data},
};
use percent_encoding::{PercentDecode, percent_decode_str};
use serde_json::Value;

use crate::{
    domain::{Cursor, Precondition, Refusal, VersionId, VersionRef},
    registry::{Caller, Change, Registry},
};

use super::{
    api::Api,
    app::App,
    body::{self, Pieces},
    connection::ConnectionState,
    entity_tags::{EntityTags, revision},
    error::ApiError,
    fault::{FaultType, Faults, Problem},
    fields::Fields,
    json::Form,
    lenient::FromText,
    openapi::Unfit,
    parsing,
};

/// The limits on bodies.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyLimit {
    Write,
    /// Of a body with tags, whose values may have 100,000 characters, each escaped in six bytes or more.
    Tags,
    Metrics,
    /// Of a registration, which may list files.
    Files,
}

/// Enough for a hundred thousand files, in bytes.
const FILES_BODY_BYTES: usize = 32 << 20;
/// The largest body with tags, unless the limit for writes is larger.
const TAGS_BODY_BYTES: usize = 2 << 20;

/// An authenticated request. Handlers take it first: without a valid key the rest of the request is not read.
pub(super) struct Call {
    pub(super) app: Data<App>,
    request: HttpRequest,
    payload: dev::Payload,
    actor: String,
    peer: Option<IpAddr>,
    query: Vec<(String, String)>,
    /// The query parameters that the handler has read. `/v1` refuses all others.
    read: Vec<String>,
    api: Api,
    faults: Faults,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        std::future::ready(Self::authenticated(request, payload))
    }
}

impl Call {
    fn authenticated(request: &HttpRequest, payload: &mut dev::Payload) -> Result<Self, ApiError> {
        let app = request.app_data::<Data<App>>().ok_or(ApiError::NoKeyConfigured)?.clone();
        let peer = app.options.proxies.client(request.peer_addr(), request.headers());
        let api = Api::of(request.match_info());
        let is_basic_allowed = api == Api::Mlflow;
        let actor = app.authenticator.authenticate(request.headers(), peer, is_basic_allowed);
        let actor = actor.inspect_err(|error| {
            app.telemetry.connections.authentication_failures(error.authentication_failure()).inc();
        })?;
        let query = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
        Ok(Self {
            app,
            request: request.clone(),
            payload: payload.take(),
            actor,
            peer,
            query,
            read: Vec::new(),
            api,
            faults: Faults::default(),
        })
    }

    fn is_v1(&self) -> bool {
        self.api == Api::V1
    }

    pub(super) fn method(&self) -> &Method {
        self.request.method()
    }

    pub(super) fn header(&self, name: header::HeaderName) -> Option<Cow<'_, str>> {
        self.request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    /// Takes the parameters of the query, in their order.
    pub(super) fn take_query_pairs(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.query)
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    /// Returns the JSON that the call gets.
    pub(super) fn form(&self) -> Form {
        if self.is_v1() {
            return Form::V1;
        }
        Form::Native { expose_paths: self.app.options.expose_local_paths }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.app.registry
    }

    pub(super) fn caller(&self) -> Caller {
        Caller { actor: self.actor.clone(), host: self.peer.map(|peer| peer.to_string()) }
    }

    /// Returns a segment of the path, counted from 0. Unlike the router, it decodes `%2F` too.
    fn segment(&self, index: usize) -> PercentDecode<'_> {
        percent_decode_str(self.request.uri().path().split('/').nth(index + 1).unwrap_or_default())
    }

    /// Reads a text in the path.
    ///
    /// # Errors
    /// [`ApiError::UnknownPath`] if it is not UTF-8, as all names are.
    pub(super) fn path_text(&self, index: usize) -> Result<String, ApiError> {
        self.segment(index).decode_utf8().map(Cow::into_owned).map_err(|_| ApiError::UnknownPath)
    }

    /// Reads the id in `/models/{model_id}…`.
    pub(super) fn model_id(&mut self) -> VersionId {
        self.path(1, "model_id").unwrap_or_default()
    }

    /// Reads a value in the path, named `name` in its fault.
    pub(super) fn path<T: FromText>(&mut self, index: usize, name: &str) -> Option<T> {
        let text = self.segment(index).decode_utf8_lossy().into_owned();
        let read = self.read_text(&text);
        self.valid(read, "path", name, text)
    }

    /// Returns a query parameter as it was sent; the last one of this name wins.
    fn query_text(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads a value as leniently as its API does.
    fn read_text<T: FromText>(&self, text: &str) -> Result<T, Problem> {
        if self.is_v1() {
            T::check_strict(text)?;
        }
        T::from_text(text)
    }

    /// Returns a query parameter that is not empty. In `/v1` an empty one is a fault: it is more likely a mistake than a wish
    /// for everything.
    pub(super) fn query_not_empty(&mut self, name: &str) -> Option<String> {
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

    /// Records a fault of `/v1`.
    pub(super) fn refuse(&mut self, part: &str, name: &str, message: impl Into<Cow<'static, str>>) {
        self.faults.record(Problem::described(message), [part.into(), name.into()], Value::Null);
    }

    /// Reads a query parameter, if given.
    pub(super) fn query<T: FromText>(&mut self, name: &str) -> Option<T> {
        let text = self.take_query(name)?;
        let read = self.read_text(&text);
        self.valid(read, "query", name, text)
    }

    /// Returns all values of a query parameter.
    pub(super) fn queries(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns true if a query parameter is given that is not empty.
    pub(super) fn has_query(&self, name: &str) -> bool {
        self.query_text(name).is_some_and(|value| !value.is_empty())
    }

    /// Returns true if a query parameter is given as true: `True`, as Python writes it, `true` or `1`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.query_text(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// Reads the maximum number of rows in an answer.
    pub(super) fn limit(&mut self, default: i64, most: i64) -> u32 {
        let limit = self.query_integer("limit", 1, most).unwrap_or(default);
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    /// Reads a number from `least` to `most`, if given.
    pub(super) fn query_integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.take_query(name)?;
        let read = self.read_text(&text).and_then(|number| match number {
            _ if number < least => Err(Problem::less_than(least)),
            _ if number > most => Err(Problem::more_than(most)),
            _ => Ok(number),
        });
        self.valid(read, "query", name, text)
    }

    /// Reads ids separated by commas, at least one and at most `most`.
    pub(super) fn query_ids(&mut self, name: &str, most: usize) -> Vec<VersionId> {
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
    pub(super) fn only_query(&mut self, known: &[&str]) {
        for (name, value) in self.query.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let location = ["query".into(), name.as_str().into()];
            self.faults.record(FaultType::ExtraForbidden, location, value.as_str().into());
        }
    }

    /// Returns the value of `read`, or records its fault at `part` and `name`.
    fn valid<T>(&mut self, read: Result<T, Problem>, part: &str, name: &str, text: String) -> Option<T> {
        read.map_err(|problem| self.faults.record(problem, [part.into(), name.into()], text.into())).ok()
    }

    /// Reads the body and returns its fields.
    ///
    /// # Errors
    /// As [`body::read`]. Errors in the JSON are recorded for [`Call::check`].
    pub(super) async fn body(&mut self, limit: BodyLimit) -> Result<Fields<'_>, ApiError> {
        let body = self.body_bytes(limit).await?;
        Ok(Fields::parse(&body, self.is_v1(), &mut self.faults))
    }

    /// Reads a body that may be empty and returns its fields.
    ///
    /// # Errors
    /// As [`Call::body`].
    pub(super) async fn optional_body(&mut self, limit: BodyLimit) -> Result<Fields<'_>, ApiError> {
        let body = self.body_bytes(limit).await?;
        Ok(Fields::parse(if body.is_empty() { b"{}" } else { &body }, self.is_v1(), &mut self.faults))
    }

    /// Reads a body that may be long, and lets `read` read its fields. Those that it does not read are faults.
    ///
    /// # Errors
    /// As [`Call::body`].
    pub(super) async fn long_body<T: Send + 'static>(
        &mut self,
        limit: BodyLimit,
        read: impl FnOnce(&mut Fields<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let body = self.body_bytes(limit).await?;
        let (length_bytes, is_strict) = (body.len(), self.is_v1());
        let mut faults = std::mem::take(&mut self.faults);
        let parse = move || {
            let mut fields = Fields::parse(&body, is_strict, &mut faults);
            let value = read(&mut fields);
            fields.finish();
            (value, faults)
        };
        let (value, faults) = parsing::run(length_bytes, parse).await?;
        self.faults = faults;
        Ok(value)
    }

    /// Returns the body as pieces, of any length.
    pub(super) fn pieces(&mut self) -> Pieces<'_> {
        Pieces::new(&self.request, &mut self.payload, self.app.options.deadlines.body)
    }

    /// Returns the connection that the request came on.
    pub(super) fn connection(&self) -> Option<Rc<ConnectionState>> {
        self.request.conn_data::<Rc<ConnectionState>>().cloned()
    }

    /// Returns the path as it was sent.
    pub(super) fn path_as_sent(&self) -> &str {
        self.request.uri().path()
    }

    /// Returns a header that is text.
    pub(super) fn header_text(&self, name: HeaderName) -> Option<String> {
        Some(self.request.headers().get(name)?.to_str().ok()?.trim().to_owned())
    }

    /// Reads the body.
    ///
    /// # Errors
    /// As [`body::read`].
    pub(super) async fn body_bytes(&mut self, limit: BodyLimit) -> Result<Bytes, ApiError> {
        let options = &self.app.options;
        let limit = match limit {
            BodyLimit::Write => (options.max_write_body_bytes, "CAIA_REGISTRY_MAX_WRITE_BODY_BYTES"),
            BodyLimit::Tags => {
                (options.max_write_body_bytes.max(TAGS_BODY_BYTES), "CAIA_REGISTRY_MAX_WRITE_BODY_BYTES")
            }
            BodyLimit::Files => {
                (options.max_write_body_bytes.max(FILES_BODY_BYTES), "CAIA_REGISTRY_MAX_WRITE_BODY_BYTES")
            }
            BodyLimit::Metrics => (options.max_metrics_body_bytes, "CAIA_REGISTRY_MAX_METRICS_BODY_BYTES"),
        };
        body::read(&self.request, &mut self.payload, limit, options.deadlines.body).await
    }

    /// Fails if any faults were recorded. Call it once everything has been read: in `/v1`, a query parameter that was not
    /// read is a fault, and so are one that is given twice and an `If-Match` that the call does not support.
    ///
    /// # Errors
    /// [`ApiError::Unfit`] with all of them; in `/v1` [`ApiError::Invalid`].
    pub(super) fn check(&mut self) -> Result<(), ApiError> {
        if self.is_v1()
            && self.request.headers().contains_key(header::IF_MATCH)
            && !self.request.method().is_safe()
        {
            self.refuse("header", "If-Match", "not supported by this call; leave it out");
        }
        self.check_all()
    }

    /// Fails as [`Call::check`] does, but allows `If-Match`, and returns the change of a version in one of the states that it
    /// names.
    ///
    /// # Errors
    /// As [`Call::check`].
    pub(super) fn check_change(&mut self, version: VersionRef) -> Result<Change, ApiError> {
        self.check_all()?;
        Ok(self.change(version))
    }

    /// Fails as [`Call::check`] does, but allows `If-Match`, and returns its condition.
    ///
    /// # Errors
    /// As [`Call::check`].
    pub(super) fn check_precondition(&mut self) -> Result<Precondition, ApiError> {
        self.check_all()?;
        Ok(self.precondition())
    }

    fn check_all(&mut self) -> Result<(), ApiError> {
        if !self.is_v1() {
            let detail = self.faults.take();
            return if detail.is_empty() { Ok(()) } else { Err(ApiError::Unfit(Unfit { detail })) };
        }
        let mut seen = HashSet::new();
        for (name, _) in &self.query {
            let location = ["query".into(), name.as_str().into()];
            if !seen.insert(name) {
                self.faults.record(Problem::described("given twice; send it once"), location, Value::Null);
            } else if !self.read.contains(name) {
                self.faults.record(FaultType::ExtraForbidden, location, Value::Null);
            }
        }
        let (faults, unlisted) = self.faults.take_listed();
        if faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid { faults, unlisted }) }
    }

    /// Returns a change of a version, in one of the states that `If-Match` allows. Weak tags never match for a write.
    pub(super) fn change(&self, version: VersionRef) -> Change {
        Change { version, precondition: self.precondition(), caller: self.caller() }
    }

    /// Returns the condition of `If-Match`.
    fn precondition(&self) -> Precondition {
        let revisions = match EntityTags::read(self.request.headers(), "if-match") {
            EntityTags::Absent | EntityTags::Any => None,
            EntityTags::These(tags) => {
                let strong = tags.iter().filter(|tag| !tag.starts_with("W/"));
                Some(strong.map(|tag| revision(tag).to_owned()).collect())
            }
        };
        Precondition { revisions, if_updated_at: None }
    }

    /// Returns a change as [`Call::change`] does, with the condition of 0.2.0 too: the header `If-Updated-At`, else the
    /// query parameter.
    pub(super) fn change_if_updated_at(&self, version: VersionRef) -> Change {
        // An invalid time must match no state rather than be ignored.
        let header = self.request.headers().get("if-updated-at");
        let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut change = self.change(version);
        change.precondition.if_updated_at =
            header.as_deref().and_then(given).or_else(|| self.query_text("if_updated_at").and_then(given));
        change
    }

    /// Returns the revisions that the caller already has, from `If-None-Match`.
    pub(super) fn seen(&self) -> EntityTags {
        EntityTags::read(self.request.headers(), "if-none-match")
    }

    /// Returns the path and query of the next page of the same list, after `cursor`.
    pub(super) fn next_page(&self, cursor: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let kept = self.query.iter().filter(|(name, _)| name != "cursor" && name != "offset");
        query.extend_pairs(kept).append_pair("cursor", cursor);
        format!("{}?{}", self.request.uri().path(), query.finish())
    }

    /// Adds a link to the next page, if there is one. It is absolute if the request names its host, for clients that don't
    /// resolve it.
    pub(super) fn link_next(&self, response: &mut HttpResponse, next: Option<&Cursor>) {
        let Some(next) = next else { return };
        let page = self.next_page(&next.encode());
        let link = format!("<{}{page}>; rel=\"next\"", self.origin().unwrap_or_default());
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }

    /// Returns the scheme and host by which the client reaches this server, if it names a host.
    fn origin(&self) -> Option<String> {
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
    pub(super) fn cursor(&mut self, list: &str, offset: i64) -> Result<Option<Cursor>, Refusal> {
        let Some(text) = self.query_not_empty("cursor") else { return Ok(None) };
        if offset > 0 {
            return Err(Refusal::Invalid(
                "cursor and offset exclude each other; send only one of them".to_owned(),
            ));
        }
        Cursor::decode(&text, list).map(Some)
    }
}
