//! `/v1`: this server's own API, strict and complete.
//!
//! [`Call`](super::request::Call) reads its requests strictly, and [`observe`](super::observe) gives its errors their form.

mod aliases;
mod bodies;
mod events;
mod files;
mod models;
mod path;
mod schema;
mod scores;
mod search;
mod tags;
mod versions;
mod webhooks;

use actix_web::web::{self, ServiceConfig};

use crate::telemetry::Requests;

use super::{
    api::V1,
    endpoint::{self, Endpoint, endpoints},
};

pub(super) use schema::all as schemas;

/// Returns all endpoints, in the order of the description. The endpoints of a path must be adjacent.
pub(super) fn endpoints() -> Vec<Endpoint> {
    endpoints! {
        "v1: models" => [
            models::list,
            models::create,
            models::get,
            models::update,
            models::delete,
            models::restore,
            tags::set_model_tag,
            tags::delete_model_tag,
        ],
        "v1: versions" => [
            versions::list,
            versions::register,
            versions::get,
            versions::update,
            versions::delete,
            versions::restore,
            tags::set_version_tag,
            tags::delete_version_tag,
            files::list,
            scores::get,
            scores::record,
            search::search,
            versions::get_by_id,
        ],
        "v1: aliases" => [
            aliases::list,
            aliases::set,
            aliases::delete,
            aliases::history,
            aliases::rollback,
        ],
        "v1: webhooks" => [
            webhooks::list,
            webhooks::create,
            webhooks::get,
            webhooks::update,
            webhooks::delete,
            webhooks::test,
            webhooks::deliveries,
            webhooks::replay,
        ],
        "v1: audit" => [events::list, events::whoami],
    }
}

/// Registers the endpoints, each counted in `requests` by its path.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let all = endpoints();
    let all: Vec<_> = all.iter().collect();
    let scope = web::scope(V1).configure(|paths| {
        endpoint::serve(paths, requests, &all, |path| path.strip_prefix(V1).unwrap_or(path).to_owned());
    });
    paths.service(scope);
}
