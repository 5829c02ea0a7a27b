//! Answers with a model, a version, or nothing.

use actix_web::HttpResponse;
use serde_json::json;

use crate::{
    domain::{Status, Version, VersionRef, VersionRow},
    registry,
};

use super::{
    super::{
        answer::{self, Answer},
        json::{
            list_of,
            mlflow::{add_aliases, write_model, write_version},
        },
        request::Call,
    },
    error::OrMissing as _,
};

/// Answers with nothing.
pub(super) fn done() -> Answer {
    Ok(HttpResponse::Ok().json(json!({})))
}

/// Answers with the model of this name and its newest versions.
pub(super) async fn model(call: &Call, name: String) -> Answer {
    let found = call.registry().model_with_latest(name.clone(), Status::ALL.to_vec(), json_of);
    let (summary, latest) = found.await.or_no_model(&name)?;
    let latest: Vec<_> = latest.into_iter().map(|(json, _)| json).collect();
    let mut json = Vec::new();
    write_model(&mut json, &summary, &latest);
    answer::json(wrapped("registered_model", json))
}

/// Answers with the newest version of each of these statuses.
pub(super) async fn latest_versions(call: &Call, name: String, statuses: Vec<Status>) -> Answer {
    let found = call.registry().model_with_latest(name.clone(), statuses, json_of);
    let (_, latest) = found.await.or_no_model(&name)?;
    if latest.is_empty() {
        return done();
    }
    let latest = latest.into_iter().map(|(mut json, aliases)| {
        add_aliases(&mut json, &aliases);
        json
    });
    let mut json = list_of("model_versions", latest, |out, version| out.extend_from_slice(&version));
    json.extend_from_slice(b"]}");
    answer::json(json)
}

pub(super) fn json_of(row: &VersionRow<'_>) -> Vec<u8> {
    let mut json = Vec::new();
    write_version(&mut json, row);
    json
}

/// Returns a version that a reference names as JSON, with its aliases.
pub(super) async fn version_json(call: &Call, version: VersionRef) -> registry::Result<Vec<u8>> {
    let found = call.registry().aliased_version(version, json_of);
    let (mut json, aliases) = found.await?;
    add_aliases(&mut json, &aliases);
    Ok(json)
}

/// Answers with a version that was read.
pub(super) fn version(json: Vec<u8>) -> Answer {
    answer::json(wrapped("model_version", json))
}

/// Answers with a version that was changed.
pub(super) fn changed((version, aliases): (Version, Vec<String>)) -> Answer {
    let mut json = Vec::new();
    write_version(&mut json, &version);
    add_aliases(&mut json, &aliases);
    self::version(json)
}

/// Answers with JSON.
pub(super) fn json(json: Vec<u8>) -> Answer {
    answer::json(json)
}

/// Returns `{"name": json}`.
fn wrapped(name: &str, json: Vec<u8>) -> Vec<u8> {
    [format!("{{\"{name}\":").as_bytes(), &json, b"}"].concat()
}
