//! The blob routes of the OCI distribution specification: `/v2/` and `/v2/{name}/blobs/…`.
//!
//! That specification describes them, so the OpenAPI description does not. Blobs are the same under each name: a name only says
//! for which model a client sends or takes them. Errors have the form of that specification.

mod blobs;
mod error;
mod path;
mod uploads;

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{self, ServiceConfig},
};

use crate::{registry::RegistryError, telemetry::Requests};

use super::{
    access::{Access, access},
    answer::Answer,
    endpoint,
    error::ApiError,
    request::Call,
};

pub(super) use error::{OciError, error_body};

/// The version of the API that Docker's clients look for.
const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");
/// The digest of the blob in an answer.
const CONTENT_DIGEST: &str = "docker-content-digest";

const VERSION: &str = "/v2/";
const UPLOADS: &str = "/v2/{name}/blobs/uploads/";
const UPLOAD: &str = "/v2/{name}/blobs/uploads/{upload}";
const BLOB: &str = "/v2/{name}/blobs/{digest}";

/// Returns who may call each method of each path.
pub(super) fn accesses() -> Vec<(Method, &'static str, Access)> {
    vec![
        (Method::GET, VERSION, access!(AnyKey)),
        (Method::POST, UPLOADS, access!(Register)),
        (Method::GET, UPLOAD, access!(Register)),
        (Method::PATCH, UPLOAD, access!(Register)),
        (Method::PUT, UPLOAD, access!(Register)),
        (Method::DELETE, UPLOAD, access!(Register)),
        (Method::GET, BLOB, access!(Read)),
        (Method::DELETE, BLOB, access!(Delete)),
    ]
}

/// Registers the routes. Names may contain slashes, so the longest routes come first.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let at = |path: &'static str, pattern: &str, allowed: &str| {
        let accesses = accesses().into_iter().filter(|(_, listed, _)| *listed == path);
        let accesses = accesses.map(|(method, _, access)| (method, access)).collect();
        endpoint::at(requests, path, pattern, allowed.to_owned(), accesses)
    };
    for pattern in ["/v2", "/v2/"] {
        let resource = at(VERSION, pattern, "GET, HEAD");
        paths.service(resource.route(web::get().to(version)).route(web::head().to(version)));
    }
    for pattern in ["/v2/{name:.+}/blobs/uploads/", "/v2/{name:.+}/blobs/uploads"] {
        paths.service(at(UPLOADS, pattern, "POST").route(web::post().to(uploads::begin)));
    }
    let upload = at(UPLOAD, "/v2/{name:.+}/blobs/uploads/{upload}", "GET, PATCH, PUT, DELETE");
    paths.service(
        upload
            .route(web::get().to(uploads::status))
            .route(web::patch().to(uploads::append))
            .route(web::put().to(uploads::finish))
            .route(web::delete().to(uploads::cancel)),
    );
    let blob = at(BLOB, "/v2/{name:.+}/blobs/{digest}", "GET, HEAD");
    paths.service(
        blob.route(web::get().to(blobs::get))
            .route(web::head().to(blobs::get))
            .route(web::method(Method::DELETE).to(blobs::delete)),
    );
    let unknown = || async { Err::<HttpResponse, _>(ApiError::UnknownPath) };
    paths.service(web::scope("/v2").default_service(web::to(unknown)));
}

/// Answers that this server has the API, with an artifact store, and that the key is valid.
async fn version(call: Call) -> Answer {
    if !call.registry().has_artifacts() {
        return Err(RegistryError::NoArtifactStore.into());
    }
    Ok(HttpResponse::Ok().insert_header(API_VERSION).insert_header(header::ContentType::json()).body("{}"))
}
