//! Answers: a version with its entity tag, a list with its links, a body.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use serde::Serialize;

use crate::domain::{Page, Version, VersionId, VersionRef, VersionRow};

use super::{
    entity_tags::EntityTags,
    error::ApiError,
    json::Form,
    request::Call,
    rows::Versions,
    stream::{self, Begun, SMALL_BYTES, Source, turn_to_start},
};

/// The result of a handler.
pub(super) type Answer = Result<HttpResponse, ApiError>;

const POLICY_WARNING: HeaderName = HeaderName::from_static("x-policy-warning");
/// What a header can't have, and the sign of an encoding.
const UNSAFE_IN_HEADER: &AsciiSet = &CONTROLS.add(b'%');
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// The usual size of a version without metrics, so that its buffer need not grow, in bytes.
const MODEL_BYTES: usize = 1024;

/// The answer with a version.
struct VersionAnswer {
    revision: String,
    /// Its id and its JSON, unless the caller has this revision already.
    body: Option<(VersionId, Vec<u8>)>,
}

impl VersionAnswer {
    fn of<S: AsRef<str> + Serialize>(model: &Version<S>, seen: &EntityTags, form: Form) -> Self {
        let revision = model.revision();
        let body = (!seen.include(&revision)).then(|| {
            let mut json = Vec::with_capacity(MODEL_BYTES);
            form.write_version(&mut json, model);
            (model.id, json)
        });
        Self { revision, body }
    }

    fn is_small(&self) -> bool {
        self.body.as_ref().is_none_or(|(_, json)| json.len() <= SMALL_BYTES)
    }

    fn into_response(self, call: &Call, status: StatusCode) -> HttpResponse {
        let tag = (header::ETAG, format!("\"{}\"", self.revision));
        let Some((id, json)) = self.body else {
            return HttpResponse::NotModified().insert_header(tag).finish();
        };
        let mut response = HttpResponse::build(status);
        response.insert_header(tag).insert_header(header::ContentType::json());
        if json.len() <= SMALL_BYTES {
            return response.body(json);
        }
        response.body(Versions::one(&call.app, call.form(), id, json).into_body(call.is_head()))
    }
}

/// Answers with the requested version. A large one is read again in a turn, so that few large results wait in memory.
pub(super) async fn version(call: &Call, version: VersionRef) -> Answer {
    let written = view(call);
    let small = move |model: &VersionRow<'_>| {
        // Most of a large version is its metrics, so few writes are wasted.
        let may_be_small = model.metrics.as_ref().is_none_or(|metrics| metrics.len() <= SMALL_BYTES);
        may_be_small.then(|| written(model)).filter(VersionAnswer::is_small)
    };
    let answer = match call.registry().model(version.clone(), small).await? {
        Some(answer) => answer,
        None => {
            let _turn = turn_to_start().await?;
            call.registry().model(version, view(call)).await?
        }
    };
    Ok(answer.into_response(call, StatusCode::OK))
}

fn view(call: &Call) -> impl FnOnce(&VersionRow<'_>) -> VersionAnswer + Send + use<> {
    let (seen, form) = (call.seen(), call.form());
    move |model: &VersionRow<'_>| VersionAnswer::of(model, &seen, form)
}

/// Answers with the changed version.
pub(super) fn changed(call: &Call, model: &Version) -> HttpResponse {
    written(call, model, StatusCode::OK)
}

/// Answers with a version that was created.
pub(super) fn created(call: &Call, model: &Version) -> HttpResponse {
    written(call, model, StatusCode::CREATED)
}

/// Answers with a version that was written. In `/v1`, a header has each warning of a policy, percent-encoded where it is not ASCII.
fn written(call: &Call, model: &Version, status: StatusCode) -> HttpResponse {
    let mut response = VersionAnswer::of(model, &EntityTags::Absent, call.form()).into_response(call, status);
    if call.form() == Form::V1 {
        for warning in call.warnings() {
            let encoded = utf8_percent_encode(&warning, UNSAFE_IN_HEADER).to_string();
            if let Ok(value) = HeaderValue::try_from(encoded) {
                response.headers_mut().append(POLICY_WARNING, value);
            }
        }
    }
    response
}

/// Answers with a body that is JSON already.
///
/// # Errors
/// [`ApiError::TooManyLargeAnswers`] if it is large and no budget is left.
pub(super) fn json(body: Vec<u8>) -> Answer {
    let body = stream::whole(body).ok_or(ApiError::TooManyLargeAnswers)?;
    Ok(HttpResponse::Ok().insert_header(header::ContentType::json()).body(body))
}

/// Answers with rows.
pub(super) fn rows<S: Source>(call: &Call, rows: Begun<S>) -> HttpResponse {
    HttpResponse::Ok().insert_header(header::ContentType::json()).body(rows.into_body(call.is_head()))
}

/// Answers with a page of a list, its total if it is known, and a link to the next page if there is one.
pub(super) fn page<S: Source>(call: &Call, rows: Begun<S>, page: &Page) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(header::ContentType::json());
    if let Some(total) = page.total {
        response.insert_header((TOTAL_COUNT, total));
    }
    if let Some(next) = &page.next {
        let link = format!("<{}>; rel=\"next\"", call.next_page(&next.encode()));
        response.insert_header((header::LINK, link));
    }
    response.body(rows.into_body(call.is_head()))
}
