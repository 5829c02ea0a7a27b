//! The pull API of the Hugging Face Hub, for unmodified clients with `HF_ENDPOINT`.
//!
//! Its contract is what those clients send and read, so the OpenAPI description leaves it out. A version is a commit, and its
//! revision the commit's id. Errors are in headers, which the clients look at. The API only reads.

mod error;
mod files;
mod models;
mod path;

use actix_web::{
    Route, guard,
    http::Method,
    web::{self, ServiceConfig},
};

use crate::telemetry::Requests;

use super::{
    access::{Access, Accesses, access},
    answer::Answer,
    endpoint::{self, Endpoint},
    request::Call,
};

pub(super) use error::{HubError, fail};
pub(super) use path::is_hub;

/// The path of a file.
pub(super) const FILE: &str = "/{name}/resolve/{revision}/{path}";
pub(super) const FILE_ACCESS: Access = access!(Read);

/// Makes a route to a handler.
type Handler = fn() -> Route;

/// Returns the calls. The router tries them in this order: a name and a path may contain slashes, and the handler finds out where
/// each ends. The calls of a path must be adjacent.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let calls: [(Method, &str, Access, Handler); _] = [
        (Method::GET, "/api/models", access!(Read), || web::to(models::list)),
        (Method::GET, "/api/models/{name}/tree/{revision}", access!(Read), || web::to(files::tree)),
        (Method::GET, "/api/models/{name}/tree/{revision}/{path}", access!(Read), || web::to(files::tree)),
        (Method::POST, "/api/models/{name}/paths-info/{revision}", access!(Read), || {
            web::to(files::paths_info)
        }),
        (Method::GET, "/api/models/{name}/revision/{revision}", access!(Read), || {
            web::to(models::at_revision)
        }),
        (Method::GET, "/api/models/{name}/commits/{revision}", access!(Read), || web::to(models::commits)),
        (Method::GET, "/api/models/{name}/refs", access!(Read), || web::to(models::refs)),
        (Method::GET, "/api/models/{name}/auth-check", access!(Read), || web::to(models::auth_check)),
        (Method::GET, "/api/models/{name}/auth-check/write", access!(Read), || web::to(models::write_check)),
        (Method::GET, "/api/models/{name}", access!(Read), || web::to(models::get)),
        (Method::GET, "/api/whoami-v2", access!(AnyKey), || web::to(models::whoami)),
    ];
    calls
        .into_iter()
        .map(|(method, path, access, route)| Endpoint::undescribed(method, path, access, route))
        .collect()
}

/// Registers the endpoints, each counted in `requests` by its path. Files are at the root, so all other APIs come first, and paths
/// that they leave unknown stay unknown.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    for others in ["/api/datasets", "/api/spaces"] {
        // Whatever the method is, the answer is the same.
        let accesses = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let accesses = Accesses(accesses.map(|method| (method, access!(Read))).into());
        paths.service(web::scope(others).app_data(accesses).default_service(web::to(only_models)));
    }
    let all = endpoints();
    let all: Vec<_> = all.iter().collect();
    endpoint::serve(paths, requests, &all, |path| {
        path.replace("{name}", "{name:.+}").replace("{path}", "{path:.+}")
    });
    let pattern = "/{name:.+}/resolve/{revision}/{path:.+}";
    let file =
        endpoint::at(requests, FILE, pattern, "GET, HEAD".to_owned(), vec![(Method::GET, FILE_ACCESS)]);
    let file = file.guard(guard::fn_guard(|context| path::is_file(context.head().uri.path())));
    paths.service(file.route(web::get().to(files::resolve)).route(web::head().to(files::resolve)));
}

async fn only_models(_: Call) -> Answer {
    Err(HubError::OnlyModels.into())
}

/// Reads the maximum number of rows in an answer. One that is too large is the largest.
fn limit(call: &mut Call, default: u32, most: u32) -> Result<u32, HubError> {
    let Some(text) = call.query_not_empty("limit") else { return Ok(default) };
    let limit = text.parse::<u64>().ok().filter(|limit| *limit > 0);
    let limit = limit
        .ok_or_else(|| HubError::Unsupported(format!("limit is {text:?}; give a number from 1 to {most}")))?;
    Ok(u32::try_from(limit).unwrap_or(most).min(most))
}
