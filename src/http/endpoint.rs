//! The endpoints of the API: path, method, handler, description of each, and who may call it.
//!
//! The router and the published description are both built from these, so neither can contain an endpoint that the other lacks.
//! `#[utoipa::path]` above a handler describes its endpoint.

use actix_web::{
    Resource, Route,
    http::Method,
    web::{self, ServiceConfig},
};
use utoipa::openapi::{HttpMethod, path::Operation};

use crate::telemetry::Requests;

use super::{
    access::{Access, Accesses},
    error::ApiError,
};

/// One method of one path, with its handler.
pub(super) struct Endpoint {
    /// In the syntax of both the router and the description, like `/models/{model_id}`.
    pub(super) path: String,
    pub(super) method: Method,
    /// The group of the description that it belongs to.
    pub(super) tag: &'static str,
    pub(super) operation: Operation,
    pub(super) access: Access,
    route: fn() -> Route,
}

/// The endpoints of these handlers, each with who may call it, grouped by the tag of their description, which is the
/// `#[utoipa::path]` of each.
macro_rules! endpoints {
    ($($tag:literal => [$($module:ident::$handler:ident: $($access:ident)|+),+ $(,)?]),+ $(,)?) => {
        pastey::paste! {
            vec![$($($crate::http::endpoint::Endpoint::described_by::<$module::[<__path_ $handler>]>(
                $tag,
                $crate::http::access::access!($($access)|+),
                || actix_web::web::to($module::$handler),
            )),+),+]
        }
    };
}
pub(super) use endpoints;

impl Endpoint {
    /// Creates the endpoint of a handler with this description.
    pub(super) fn described_by<D: utoipa::Path>(
        tag: &'static str,
        access: Access,
        route: fn() -> Route,
    ) -> Self {
        let method = match D::methods().first() {
            Some(HttpMethod::Post) => Method::POST,
            Some(HttpMethod::Put) => Method::PUT,
            Some(HttpMethod::Patch) => Method::PATCH,
            Some(HttpMethod::Delete) => Method::DELETE,
            _ => Method::GET,
        };
        Self { path: D::path(), method, tag, operation: D::operation(), access, route }
    }

    /// Creates the endpoint of a handler that the description leaves out.
    pub(super) fn undescribed(method: Method, path: &str, access: Access, route: fn() -> Route) -> Self {
        Self { path: path.to_owned(), method, tag: "", operation: Operation::default(), access, route }
    }

    /// Returns true if it needs no key.
    pub(super) fn is_public(&self) -> bool {
        self.access == Access::Public
    }
}

/// Adds the routes of `endpoints`, which must be grouped by path. `pattern` turns a path into what the router matches.
pub(super) fn serve(
    paths: &mut ServiceConfig,
    requests: &Requests,
    endpoints: &[&Endpoint],
    pattern: impl Fn(&str) -> String,
) {
    for endpoints in endpoints.chunk_by(|one, next| one.path == next.path) {
        let routes = endpoints.iter().flat_map(|endpoint| {
            let head = (endpoint.method == Method::GET).then_some(Method::HEAD);
            [endpoint.method.clone()].into_iter().chain(head).map(|method| (method, endpoint.route))
        });
        let routes: Vec<_> = routes.collect();
        let allowed: Vec<_> = routes.iter().map(|(method, _)| method.as_str()).collect();
        let path = &endpoints[0].path;
        let accesses = endpoints.iter().map(|endpoint| (endpoint.method.clone(), endpoint.access)).collect();
        let resource = at(requests, path, &pattern(path), allowed.join(", "), accesses);
        let add = |resource: Resource, (method, route): (Method, fn() -> Route)| {
            resource.route(route().method(method))
        };
        paths.service(routes.into_iter().fold(resource, add));
    }
}

/// Returns a path that answers unknown methods with 405 and the list of `allowed` ones, with or without a key.
/// Its requests are counted under `path`, and let through by `accesses`.
pub(super) fn at(
    requests: &Requests,
    path: &str,
    pattern: &str,
    allowed: String,
    accesses: Vec<(Method, Access)>,
) -> Resource {
    // `observe` finds it there and counts.
    let counts = requests.route(&path.replace("{model_id}", "{id}"));
    web::resource(pattern).app_data(counts).app_data(Accesses(accesses)).default_service(web::to(move || {
        std::future::ready(Err::<&str, _>(ApiError::MethodNotAllowed(allowed.clone())))
    }))
}
