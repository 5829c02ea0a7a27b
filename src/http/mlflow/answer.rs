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
    files,
};

/// Answers with nothing.
pub(super) fn done() -> Answer {
    Ok(HttpResponse::Ok().json(json!({})))
}

/// Answers with the model of this name and its newest versions.
pub(super) async fn model(call: &Call, name: String) -> Answer {
    let found = call.registry().model_with_latest(name.clone(), Status::ALL.to_vec(), writer(call));
    let (summary, latest) = found.await.or_no_model(&name)?;
    let latest: Vec<_> = latest.into_iter().map(|(json, _)| json).collect();
    let mut json = Vec::new();
    write_model(&mut json, &summary, &latest);
    answer::json(wrapped("registered_model", json))
}

/// Answers with the newest version of each of these statuses.
pub(super) async fn latest_versions(call: &Call, name: String, statuses: Vec<Status>) -> Answer {
    let found = call.registry().model_with_latest(name.clone(), statuses, writer(call));
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

/// Returns what writes a version for the caller.
pub(super) fn writer(call: &Call) -> impl Fn(&VersionRow<'_>) -> Vec<u8> + Send + use<> {
    let address = files::address(call);
    move |row| {
        let mut json = Vec::new();
        write_version(&mut json, row, files::location(address.as_deref(), row));
        json
    }
}

/// Returns a version that a reference names as JSON, with its aliases.
pub(super) async fn version_json(call: &Call, version: VersionRef) -> registry::Result<Vec<u8>> {
    let found = call.registry().aliased_version(version, writer(call));
    let (mut json, aliases) = found.await?;
    add_aliases(&mut json, &aliases);
    Ok(json)
}

/// Answers with a version that was read.
pub(super) fn version(json: Vec<u8>) -> Answer {
    answer::json(wrapped("model_version", json))
}

/// Answers with a version that was changed.
pub(super) fn changed(call: &Call, (version, aliases): (Version, Vec<String>)) -> Answer {
    let mut json = Vec::new();
    write_version(&mut json, &version, files::location(files::address(call).as_deref(), &version));
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
