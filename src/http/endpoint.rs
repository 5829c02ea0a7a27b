//! The endpoints of the API: path, method, handler and description of each.
//!
//! The router and the published description are both built from these, so neither can contain an endpoint that the other lacks.
//! The description of an endpoint stands above its handler, in `#[utoipa::path]`.

use actix_web::{
    Resource, Route,
    http::Method,
    web::{self, ServiceConfig},
};
use utoipa::openapi::{HttpMethod, path::Operation};

use crate::telemetry::Requests;

use super::error::ApiError;

/// One method of one path, with its handler.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// In the syntax of both the router and the description, like `/models/{model_id}`.
    pub(super) path: String,
    pub(super) method: HttpMethod,
    pub(super) operation: Operation,
    route: fn() -> Route,
}

/// The endpoints of these handlers, grouped by the tag of their description, which is the `#[utoipa::path]` of each.
macro_rules! endpoints {
    ($($tag:literal => [$($module:ident::$handler:ident),+ $(,)?]),+ $(,)?) => {
        pastey::paste! {
            [$($($crate::http::endpoint::Endpoint::described_by::<$module::[<__path_ $handler>]>(
                $tag,
                || actix_web::web::to($module::$handler),
            )),+),+].concat()
        }
    };
}
pub(super) use endpoints;

impl Endpoint {
    /// One endpoint for each method of the description.
    pub(super) fn described_by<D: utoipa::Path>(tag: &str, route: fn() -> Route) -> Vec<Self> {
        let at = |method| {
            let mut operation = D::operation();
            operation.tags = Some(vec![tag.to_owned()]);
            Self { path: D::path(), method, operation, route }
        };
        D::methods().into_iter().map(at).collect()
    }

    /// Returns true if it needs no key: its description says `security(())`.
    pub(super) fn is_public(&self) -> bool {
        self.operation.security.is_some()
    }

    /// The methods it answers; GET includes HEAD.
    fn methods(&self) -> Vec<Method> {
        match self.method {
            HttpMethod::Get => vec![Method::GET, Method::HEAD],
            HttpMethod::Post => vec![Method::POST],
            HttpMethod::Put => vec![Method::PUT],
            HttpMethod::Delete => vec![Method::DELETE],
            HttpMethod::Options => vec![Method::OPTIONS],
            HttpMethod::Head => vec![Method::HEAD],
            HttpMethod::Patch => vec![Method::PATCH],
            HttpMethod::Trace => vec![Method::TRACE],
        }
    }
}

/// Adds the routes of `endpoints`. `pattern` turns a path into what the router matches.
pub(super) fn serve(
    paths: &mut ServiceConfig,
    requests: &Requests,
    endpoints: &[&Endpoint],
    pattern: impl Fn(&str) -> String,
) {
    let mut paths_so_far = Vec::new();
    for Endpoint { path, .. } in endpoints {
        if paths_so_far.contains(&path) {
            continue;
        }
        paths_so_far.push(path);
        let routes: Vec<_> = endpoints
            .iter()
            .filter(|endpoint| endpoint.path == *path)
            .flat_map(|endpoint| endpoint.methods().into_iter().map(|method| (method, endpoint.route)))
            .collect();
        let allowed: Vec<_> = routes.iter().map(|(method, _)| method.as_str()).collect();
        let resource = at(requests, path, &pattern(path), allowed.join(", "));
        let add = |resource: Resource, (method, route): (Method, fn() -> Route)| {
            resource.route(route().method(method))
        };
        paths.service(routes.into_iter().fold(resource, add));
    }
}

/// A path that answers methods other than its own with 405 and the list of those, with or without a key.
/// Its requests are counted under `path`.
pub(super) fn at(requests: &Requests, path: &str, pattern: &str, allowed: String) -> Resource {
    // `observe` finds it there and counts.
    let counts = requests.route(&path.replace("{model_id}", "{id}"));
    web::resource(pattern).app_data(counts).default_service(web::to(move || {
        std::future::ready(Err::<&str, _>(ApiError::MethodNotAllowed(allowed.clone())))
    }))
}
