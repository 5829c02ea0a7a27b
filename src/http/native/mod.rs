//! The contract of 0.2.0, and what this server adds to it in headers.

mod answer;
mod events;
mod health;
mod metrics;
mod models;
mod overview;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "only fuzzers reach it from outside")]
pub mod probe;
mod promotion;
mod telemetry;

use actix_web::{
    HttpResponse, Resource,
    web::{self, ServiceConfig},
};

use crate::telemetry::Requests;

use super::error::ApiError;

/// What a handler gives back.
type Answer = Result<HttpResponse, ApiError>;

/// An id as nearly every caller writes it.
const PLAIN_ID: &str = "{model_id:[0-9]+}";
/// Whatever stands in its place, to be read leniently or refused.
const ANY_ID: &str = "{model_id}";

/// All paths of the contract, each counted in `requests` by its pattern. The router tries them one after the other, each
/// by a regular expression, so those that are called most stand first.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let (get, head, post) = (web::get, web::head, web::post);
    let at = |path: &str, allowed| at(requests, path, allowed);
    version(paths, requests, PLAIN_ID);
    paths
        .service(at("/", "GET, HEAD").route(get().to(health::service)).route(head().to(health::service)))
        .service(at("/health", "GET, HEAD").route(get().to(health::health)).route(head().to(health::health)))
        .service(
            at("/models", "GET, HEAD, POST")
                .route(get().to(models::list))
                .route(head().to(models::list))
                .route(post().to(models::register)),
        )
        .service(
            at("/models/by-name/{name}/{version}", "GET, HEAD")
                .route(get().to(models::get_by_name))
                .route(head().to(models::get_by_name)),
        )
        .service(
            at("/models/status/{status}", "GET, HEAD")
                .route(get().to(models::list_by_status))
                .route(head().to(models::list_by_status)),
        );
    version(paths, requests, ANY_ID);
    paths
        .service(
            at("/production/{name}", "GET, HEAD")
                .route(get().to(promotion::production))
                .route(head().to(promotion::production)),
        )
        .service(
            at("/compare", "GET, HEAD")
                .route(get().to(overview::compare))
                .route(head().to(overview::compare)),
        )
        .service(at("/stats", "GET, HEAD").route(get().to(overview::stats)).route(head().to(overview::stats)))
        .service(
            at("/queues", "GET, HEAD").route(get().to(overview::queues)).route(head().to(overview::queues)),
        )
        .service(at("/ready", "GET, HEAD").route(get().to(health::ready)).route(head().to(health::ready)))
        .service(
            at("/metrics", "GET, HEAD")
                .route(get().to(telemetry::metrics))
                .route(head().to(telemetry::metrics)),
        );
}

/// The paths of one version, where `id` is the pattern of its id.
fn version(paths: &mut ServiceConfig, requests: &Requests, id: &str) {
    let (get, head, post, patch, delete) = (web::get, web::head, web::post, web::patch, web::delete);
    let at = |path: &str, allowed| at(requests, path, allowed);
    paths
        .service(
            at(&format!("/models/{id}"), "GET, HEAD, PATCH, DELETE")
                .route(get().to(models::get))
                .route(head().to(models::get))
                .route(patch().to(models::update))
                .route(delete().to(models::delete)),
        )
        .service(
            at(&format!("/models/{id}/metrics"), "GET, HEAD, POST")
                .route(get().to(metrics::suites))
                .route(head().to(metrics::suites))
                .route(post().to(metrics::record)),
        )
        .service(at(&format!("/models/{id}/promote"), "POST").route(post().to(promotion::promote)))
        .service(
            at(&format!("/models/{id}/events"), "GET, HEAD")
                .route(get().to(events::list))
                .route(head().to(events::list)),
        );
}

/// A path that answers methods other than its own with 405 and the list of those, key or no key.
fn at(requests: &Requests, path: &str, allowed: &'static str) -> Resource {
    // Found by `observe`, which counts what was asked here.
    let counts = requests.route(path.replace(PLAIN_ID, "{id}").replace(ANY_ID, "{id}"));
    web::resource(path)
        .app_data(counts)
        .default_service(web::to(move || async move { Answer::Err(ApiError::MethodNotAllowed(allowed)) }))
}
