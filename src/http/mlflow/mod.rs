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

use actix_web::{
    Route,
    http::Method,
    web::{self, ServiceConfig},
};

use crate::telemetry::Requests;

use super::{
    api::{MLFLOW, MLFLOW_SERVER},
    endpoint::{self, Endpoint},
};

pub(super) use error::{MlflowCode, failure, plain_failure};
pub(super) use pages::Pages;

/// The method, the path after the prefix, and the handler of a call.
type Call = (Method, &'static str, fn() -> Route);

/// Returns the calls, with their paths after the prefix. The calls of a path must be adjacent.
fn endpoints() -> Vec<Endpoint> {
    let calls: [Call; _] = [
        (Method::GET, "registered-models/get", || web::to(models::get)),
        (Method::POST, "registered-models/create", || web::to(models::create)),
        (Method::PATCH, "registered-models/update", || web::to(models::update)),
        (Method::POST, "registered-models/rename", || web::to(models::rename)),
        (Method::DELETE, "registered-models/delete", || web::to(models::delete)),
        (Method::POST, "registered-models/get-latest-versions", || web::to(models::latest_versions)),
        (Method::GET, "registered-models/get-latest-versions", || web::to(models::latest_versions)),
        (Method::GET, "registered-models/search", || web::to(search::models)),
        (Method::POST, "registered-models/set-tag", || web::to(models::set_tag)),
        (Method::DELETE, "registered-models/delete-tag", || web::to(models::delete_tag)),
        (Method::GET, "registered-models/alias", || web::to(aliases::get)),
        (Method::POST, "registered-models/alias", || web::to(aliases::set)),
        (Method::DELETE, "registered-models/alias", || web::to(aliases::delete)),
        (Method::GET, "model-versions/get", || web::to(versions::get)),
        (Method::POST, "model-versions/create", || web::to(versions::create)),
        (Method::PATCH, "model-versions/update", || web::to(versions::update)),
        (Method::DELETE, "model-versions/delete", || web::to(versions::delete)),
        (Method::POST, "model-versions/transition-stage", || web::to(versions::transition_stage)),
        (Method::GET, "model-versions/get-download-uri", || web::to(versions::download_uri)),
        (Method::GET, "model-versions/search", || web::to(search::versions)),
        (Method::POST, "model-versions/set-tag", || web::to(versions::set_tag)),
        (Method::DELETE, "model-versions/delete-tag", || web::to(versions::delete_tag)),
    ];
    calls
        .into_iter()
        .map(|(method, path, route)| Endpoint::undescribed(method, &format!("{}/{path}", MLFLOW[0]), route))
        .collect()
}

/// Registers the endpoints under both prefixes, each counted in `requests` by its path under the first one.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    files::configure(paths, requests);
    let all = endpoints();
    let all: Vec<_> = all.iter().collect();
    for prefix in MLFLOW {
        let scope = web::scope(prefix).configure(|paths| {
            endpoint::serve(paths, requests, &all, |path| {
                path.strip_prefix(MLFLOW[0]).unwrap_or(path).to_owned()
            });
        });
        paths.service(scope);
    }
    let version = Endpoint::undescribed(Method::GET, "/version", || web::to(server::version));
    let info = MLFLOW_SERVER.map(|prefix| {
        Endpoint::undescribed(Method::GET, &format!("{prefix}/server-info"), || web::to(server::info))
    });
    let public: Vec<_> = info.iter().chain([&version]).collect();
    endpoint::serve(paths, requests, &public, str::to_owned);
}
