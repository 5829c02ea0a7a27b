//! Reads authenticated requests: path, query, headers and body, noting every error for one 422 answer.

use std::{borrow::Cow, future::Ready, net::IpAddr};

use actix_web::{
    FromRequest, HttpRequest, dev,
    http::{Method, header::HeaderMap},
    web::{Bytes, Data},
};
use percent_encoding::{PercentDecode, percent_decode_str};
use serde_json::Value;

use crate::{
    domain::{ModelId, Precondition, Refusal},
    registry::{Caller, Registry},
};

use super::{
    App,
    body::{self, Fields},
    error::ApiError,
    fault::{FaultKind, Faults},
    lenient,
};

/// The limits on bodies.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyLimit {
    Write,
    Metrics,
}

impl BodyLimit {
    fn setting(self) -> &'static str {
        match self {
            Self::Write => "CAIA_REGISTRY_MAX_WRITE_BODY_BYTES",
            Self::Metrics => "CAIA_REGISTRY_MAX_METRICS_BODY_BYTES",
        }
    }
}

/// An authenticated request. Handlers take it first: without a valid key the rest of the request is not read.
pub(super) struct Call {
    pub(super) app: Data<App>,
    request: HttpRequest,
    payload: dev::Payload,
    actor: String,
    peer: Option<IpAddr>,
    query: Vec<(String, String)>,
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
        let peer = app.proxies.client(request.peer_addr(), request.headers());
        let actor = app.authenticator.authenticate(request.headers(), peer).inspect_err(|error| {
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
            faults: Faults::default(),
        })
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.app.registry
    }

    pub(super) fn caller(&self) -> Caller {
        Caller { actor: self.actor.clone(), host: self.peer.map(|peer| peer.to_string()) }
    }

    /// A segment of the path, counted from 0 and decoded, unlike by the router, including `%2F`.
    fn segment(&self, index: usize) -> PercentDecode<'_> {
        percent_decode_str(self.request.uri().path().split('/').nth(index + 1).unwrap_or_default())
    }

    /// A text in the path.
    ///
    /// # Errors
    /// [`ApiError::UnknownPath`] if it is not UTF-8, as all names are.
    pub(super) fn path_text(&self, index: usize) -> Result<String, ApiError> {
        self.segment(index).decode_utf8().map(Cow::into_owned).map_err(|_| ApiError::UnknownPath)
    }

    /// The id in `/models/{model_id}…`.
    pub(super) fn model_id(&mut self) -> ModelId {
        let text = self.segment(1).decode_utf8_lossy().into_owned();
        let read = lenient::integer_text(&text);
        self.faults.catch(read, "path", "model_id", || text.into()).unwrap_or_default()
    }

    /// One of `names` in the path.
    pub(super) fn path_choice<T>(
        &mut self,
        index: usize,
        name: &str,
        names: &'static [&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.segment(index).decode_utf8_lossy().into_owned();
        let read = parse(&text).ok_or(FaultKind::Literal(names));
        self.faults.catch(read, "path", name, || text.into())
    }

    /// A query parameter as it was sent; the last one of this name wins.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is not empty.
    pub(super) fn query_text(&self, name: &str) -> Option<String> {
        self.query(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Ids separated by commas, at least one and at most `most`.
    pub(super) fn query_ids(&mut self, name: &str, most: usize) -> Vec<ModelId> {
        let Some(text) = self.query(name).map(str::to_owned) else {
            self.faults.note(FaultKind::Missing, ["query".into(), name.into()], Value::Null);
            return Vec::new();
        };
        let read = match text.split(',').nth(most) {
            Some(_) => Err(FaultKind::TooMany(most)),
            None => text.split(',').map(lenient::integer_text).collect(),
        };
        self.faults.catch(read, "query", name, || text.into()).unwrap_or_default()
    }

    /// Notes a fault for each parameter that is not one of `known`.
    pub(super) fn only_query(&mut self, known: &[&str]) {
        for (name, value) in self.query.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let location = ["query".into(), name.as_str().into()];
            self.faults.note(FaultKind::ExtraForbidden, location, value.as_str().into());
        }
    }

    /// A number from `least` to `most`, if given.
    pub(super) fn query_integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.query(name)?.to_owned();
        let read = lenient::integer_text(&text).and_then(|number| match number {
            _ if number < least => Err(FaultKind::GreaterThanEqual(least)),
            _ if number > most => Err(FaultKind::LessThanEqual(most)),
            _ => Ok(number),
        });
        self.faults.catch(read, "query", name, || text.into())
    }

    /// One of `names`, if given.
    pub(super) fn query_choice<T>(
        &mut self,
        name: &str,
        names: &'static [&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.query(name)?.to_owned();
        let read = parse(&text).ok_or(FaultKind::Literal(names));
        self.faults.catch(read, "query", name, || text.into())
    }

    /// A flag, which is off by default.
    pub(super) fn query_flag(&mut self, name: &str) -> bool {
        let Some(text) = self.query(name).map(str::to_owned) else { return false };
        let read = lenient::boolean_text(&text);
        self.faults.catch(read, "query", name, || text.into()).unwrap_or_default()
    }

    /// The fields of the body.
    ///
    /// # Errors
    /// As [`body::read`]. Errors in the JSON are noted for [`Call::check`].
    pub(super) async fn body(&mut self, limit: BodyLimit) -> Result<Fields<'_>, ApiError> {
        let body = self.body_bytes(limit).await?;
        Ok(Fields::parse(&body, &mut self.faults))
    }

    /// The fields of a body that may be empty.
    ///
    /// # Errors
    /// As [`Call::body`].
    pub(super) async fn optional_body(&mut self, limit: BodyLimit) -> Result<Fields<'_>, ApiError> {
        let body = self.body_bytes(limit).await?;
        Ok(Fields::parse(if body.is_empty() { b"{}" } else { &body }, &mut self.faults))
    }

    async fn body_bytes(&mut self, limit: BodyLimit) -> Result<Bytes, ApiError> {
        let max_bytes = match limit {
            BodyLimit::Write => self.app.max_write_body_bytes,
            BodyLimit::Metrics => self.app.max_metrics_body_bytes,
        };
        body::read(&self.request, &mut self.payload, max_bytes, limit.setting(), self.app.body_deadline).await
    }

    /// Fails if any faults were noted. Call it once everything has been read.
    ///
    /// # Errors
    /// [`ApiError::Unfit`] with all of them.
    pub(super) fn check(&mut self) -> Result<(), ApiError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::Unfit(std::mem::take(&mut self.faults)))
    }

    /// The revisions that `If-Match` allows. Weak tags never match for a write.
    pub(super) fn precondition(&self) -> Precondition {
        let tags = EntityTags::read(self.request.headers(), "if-match");
        let revisions = match tags {
            EntityTags::Absent | EntityTags::Any => None,
            EntityTags::These(tags) => {
                Some(tags.into_iter().filter(|tag| !tag.weak).map(|tag| tag.revision).collect())
            }
        };
        Precondition { revisions, if_updated_at: None }
    }

    /// As [`Call::precondition`], with the form of 0.2.0 too: the header `If-Updated-At`, else the query parameter.
    pub(super) fn precondition_with_updated_at(&self) -> Precondition {
        // An invalid time must match no state rather than be ignored.
        let header = self.request.headers().get("if-updated-at");
        let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let if_updated_at =
            header.as_deref().and_then(given).or_else(|| self.query("if_updated_at").and_then(given));
        Precondition { if_updated_at, ..self.precondition() }
    }

    /// The revisions that the caller already has, from `If-None-Match`.
    pub(super) fn seen(&self) -> EntityTags {
        EntityTags::read(self.request.headers(), "if-none-match")
    }

    /// The path and query of the next page of the same list, after `cursor`.
    pub(super) fn next_page(&self, cursor: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let kept = self.query.iter().filter(|(name, _)| name != "cursor" && name != "offset");
        query.extend_pairs(kept).append_pair("cursor", cursor);
        format!("{}?{}", self.request.uri().path(), query.finish())
    }

    /// The end of the previous page.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a cursor of another list, or one combined with an offset.
    pub(super) fn cursor(&self, list: &str, offset: i64) -> Result<Option<crate::domain::Cursor>, Refusal> {
        let Some(text) = self.query_text("cursor") else { return Ok(None) };
        if offset > 0 {
            return Err(Refusal::Invalid(
                "cursor and offset exclude each other; send only one of them".to_owned(),
            ));
        }
        crate::domain::Cursor::decode(&text, list).map(Some)
    }
}

/// The entity tags of a conditional request.
pub(super) enum EntityTags {
    Absent,
    /// `*`
    Any,
    These(Vec<EntityTag>),
}

pub(super) struct EntityTag {
    revision: String,
    weak: bool,
}

impl EntityTags {
    /// Reads a list of tags, with or without quotes.
    pub(super) fn read(head: &HeaderMap, name: &str) -> Self {
        let mut values = head.get_all(name).peekable();
        if values.peek().is_none() {
            return Self::Absent;
        }
        let texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let tags = texts.iter().flat_map(|text: &Cow<'_, str>| text.split(','));
        let tags: Vec<_> = tags.map(str::trim).filter(|tag| !tag.is_empty()).collect();
        if tags.contains(&"*") {
            return Self::Any;
        }
        let tag = |text: &str| {
            let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
            EntityTag { revision: quoted.trim_matches('"').to_owned(), weak }
        };
        Self::These(tags.into_iter().map(tag).collect())
    }

    /// Returns true if the caller already has this revision.
    pub(super) fn include(&self, revision: &str) -> bool {
        match self {
            Self::Absent => false,
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.revision == revision),
        }
    }
}
