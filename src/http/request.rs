//! Reads authenticated requests: path, query, headers and body, collecting every error for one 422 answer.

mod query;

use std::{borrow::Cow, collections::HashSet, future::Ready, net::IpAddr, rc::Rc, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest, dev,
    http::{
        Method,
        header::{self, HeaderMap, HeaderName},
    },
    web::{Bytes, Data},
};
use percent_encoding::{PercentDecode, percent_decode_str};
use serde_json::Value;

use crate::{
    domain::{Precondition, Principal, VersionId, VersionRef},
    registry::{Caller, Change, Registry, Warnings},
};

use super::{
    access::Accesses,
    api::Api,
    app::App,
    auth::Authenticated,
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

/// An authenticated request whose caller may call this endpoint. Handlers take it first: otherwise the rest of the request is not
/// read.
pub(super) struct Call {
    pub(super) app: Data<App>,
    request: HttpRequest,
    payload: dev::Payload,
    principal: Arc<Principal>,
    /// The name in the audit trail, if it is not the one of the principal.
    actor: Option<String>,
    peer: Option<IpAddr>,
    query: Vec<(String, String)>,
    /// The query parameters that the handler has read. `/v1` refuses all others.
    read: Vec<String>,
    api: Api,
    faults: Faults,
    /// What policies warn of, once the change is committed.
    warnings: Warnings,
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
        let caller = app.authenticator.authenticate(&app.registry, request.headers(), peer, is_basic_allowed);
        let Authenticated { principal, actor } = caller.inspect_err(|error| {
            app.telemetry.connections.authentication_failures(error.authentication_failure()).inc();
        })?;
        let access = request.app_data::<Accesses>().map(|accesses| accesses.of(request.method()));
        access.unwrap_or(Accesses::UNLISTED).check(&principal)?;
        let query = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
        Ok(Self {
            app,
            request: request.clone(),
            payload: payload.take(),
            principal,
            actor,
            peer,
            query,
            read: Vec::new(),
            api,
            faults: Faults::default(),
            warnings: Warnings::default(),
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

    /// Returns true if the client names this media type as one that it accepts.
    pub(super) fn accepts(&self, media_type: &str) -> bool {
        let accepted = self.header(header::ACCEPT).unwrap_or_default();
        let named = |part: &str| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        accepted.split(',').any(|part| named(part) == media_type)
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

    /// Returns the headers, with the key in them.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Returns who calls, and what the caller may do.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn caller(&self) -> Caller {
        let actor = self.actor.as_ref().unwrap_or(&self.principal.name).clone();
        let principal = Arc::clone(&self.principal);
        Caller {
            actor,
            principal,
            host: self.peer.map(|peer| peer.to_string()),
            warnings: self.warnings.clone(),
        }
    }

    /// Takes what policies warn of in a change by this call.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.take()
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

    /// Reads a value as leniently as its API does.
    fn read_text<T: FromText>(&self, text: &str) -> Result<T, Problem> {
        if self.is_v1() {
            T::check_strict(text)?;
        }
        T::from_text(text)
    }

    /// Records a fault of `/v1`.
    pub(super) fn refuse(&mut self, part: &str, name: &str, message: impl Into<Cow<'static, str>>) {
        self.faults.record(Problem::described(message), [part.into(), name.into()], Value::Null);
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
}
