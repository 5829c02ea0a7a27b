//! MLflow's REST API for registries, for its unmodified client.
//!
//! [`arguments`] reads requests and [`error`] writes errors as MLflow's server does. The OpenAPI description leaves these endpoints
//! out: the contract is MLflow's, and its clients read none.

mod aliases;
mod answer;
mod arguments;
mod error;
mod files;
mod models;
mod pages;
mod search;
mod server;
mod versions;
mod webhooks;

use actix_web::{
    Route,
    http::Method,
    web::{self, ServiceConfig},
};

use crate::telemetry::Requests;

use super::{
    access::{Access, access},
    api::{MLFLOW, MLFLOW_ARTIFACTS, MLFLOW_SERVER},
    endpoint::{self, Endpoint},
};

pub(super) use error::{MlflowCode, failure, plain_failure};
pub(super) use pages::Pages;

/// The method, the path after the prefix, who may call, and the handler of a call.
type Call = (Method, &'static str, Access, fn() -> Route);

/// The calls about the registry, with their paths after the prefix. The calls of a path must be adjacent.
fn calls() -> Vec<Call> {
    vec![
        (Method::GET, "registered-models/get", access!(Read), || web::to(models::get)),
        (Method::POST, "registered-models/create", access!(Register), || web::to(models::create)),
        (Method::PATCH, "registered-models/update", access!(Register), || web::to(models::update)),
        (Method::POST, "registered-models/rename", access!(Register), || web::to(models::rename)),
        (Method::DELETE, "registered-models/delete", access!(Delete), || web::to(models::delete)),
        (Method::POST, "registered-models/get-latest-versions", access!(Read), || {
            web::to(models::latest_versions)
        }),
        (Method::GET, "registered-models/get-latest-versions", access!(Read), || {
            web::to(models::latest_versions)
        }),
        (Method::GET, "registered-models/search", access!(Read), || web::to(search::models)),
        (Method::POST, "registered-models/set-tag", access!(Register), || web::to(models::set_tag)),
        (Method::DELETE, "registered-models/delete-tag", access!(Register), || web::to(models::delete_tag)),
        (Method::GET, "registered-models/alias", access!(Read), || web::to(aliases::get)),
        (Method::POST, "registered-models/alias", access!(Alias | Promote), || web::to(aliases::set)),
        (Method::DELETE, "registered-models/alias", access!(Alias | Promote), || web::to(aliases::delete)),
        (Method::GET, "model-versions/get", access!(Read), || web::to(versions::get)),
        (Method::POST, "model-versions/create", access!(Register), || web::to(versions::create)),
        (Method::PATCH, "model-versions/update", access!(Register), || web::to(versions::update)),
        (Method::DELETE, "model-versions/delete", access!(Delete), || web::to(versions::delete)),
        (Method::POST, "model-versions/transition-stage", access!(Promote), || {
            web::to(versions::transition_stage)
        }),
        (Method::GET, "model-versions/get-download-uri", access!(Read), || web::to(versions::download_uri)),
        (Method::GET, "model-versions/search", access!(Read), || web::to(search::versions)),
        (Method::POST, "model-versions/set-tag", access!(Register), || web::to(versions::set_tag)),
        (Method::DELETE, "model-versions/delete-tag", access!(Register), || web::to(versions::delete_tag)),
        (Method::POST, "webhooks", access!(Webhooks), || web::to(webhooks::create)),
        (Method::GET, "webhooks", access!(Webhooks), || web::to(webhooks::list)),
        (Method::GET, "webhooks/{id}", access!(Webhooks), || web::to(webhooks::get)),
        (Method::PATCH, "webhooks/{id}", access!(Webhooks), || web::to(webhooks::update)),
        (Method::DELETE, "webhooks/{id}", access!(Webhooks), || web::to(webhooks::delete)),
        (Method::POST, "webhooks/{id}/test", access!(Webhooks), || web::to(webhooks::test)),
    ]
}

/// The calls about files.
fn file_calls() -> Vec<Call> {
    vec![
        (Method::GET, files::PATH, access!(Read), || web::to(files::list)),
        (Method::GET, "artifacts/{path}", access!(Read), || web::to(files::get)),
        (Method::PUT, "artifacts/{path}", access!(Register), || web::to(files::refuse)),
        (Method::DELETE, "artifacts/{path}", access!(Delete), || web::to(files::refuse)),
    ]
}

/// Returns the calls under the first of each pair of prefixes.
fn endpoints_under_prefixes() -> [([&'static str; 2], Vec<Endpoint>); 2] {
    [(MLFLOW, calls()), (MLFLOW_ARTIFACTS, file_calls())].map(|(prefixes, calls)| {
        let [first, _] = prefixes;
        let endpoint = |(method, path, access, route): Call| {
            Endpoint::undescribed(method, &format!("{first}/{path}"), access, route)
        };
        (prefixes, calls.into_iter().map(endpoint).collect())
    })
}

/// Returns all endpoints that need a key, with their paths under the first prefix.
pub(super) fn endpoints() -> Vec<Endpoint> {
    endpoints_under_prefixes().into_iter().flat_map(|(_, endpoints)| endpoints).collect()
}

/// Registers the endpoints under both prefixes, each counted in `requests` by its path under the first one.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    for (prefixes, all) in endpoints_under_prefixes() {
        let [first, _] = prefixes;
        let all: Vec<_> = all.iter().collect();
        for prefix in prefixes {
            let scope = web::scope(prefix).configure(|paths| {
                endpoint::serve(paths, requests, &all, |path| {
                    path.strip_prefix(first).unwrap_or(path).replace("{path}", "{path:.+}")
                });
            });
            paths.service(scope);
        }
    }
    let version =
        Endpoint::undescribed(Method::GET, "/version", access!(Public), || web::to(server::version));
    let info = MLFLOW_SERVER.map(|prefix| {
        Endpoint::undescribed(Method::GET, &format!("{prefix}/server-info"), access!(Public), || {
            web::to(server::info)
        })
    });
    let public: Vec<_> = info.iter().chain([&version]).collect();
    endpoint::serve(paths, requests, &public, str::to_owned);
}
