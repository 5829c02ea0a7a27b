//! `/v1`: this server's own API, strict and complete.
//!
//! [`Call`](super::request::Call) reads its requests strictly, and [`observe`](super::observe) gives its errors their form.

mod aliases;
mod approvals;
mod bodies;
mod events;
mod files;
mod follow;
mod keys;
mod models;
mod path;
mod policies;
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

pub(super) use follow::write_event;
pub(super) use schema::all as schemas;

/// Returns all endpoints, in the order of the description. The endpoints of a path must be adjacent.
pub(super) fn endpoints() -> Vec<Endpoint> {
    endpoints! {
        "v1: models" => [
            models::list: Read,
            models::create: Register,
            models::get: Read,
            models::update: Register,
            models::delete: Delete,
            models::restore: Delete,
            tags::set_model_tag: Register,
            tags::delete_model_tag: Register,
        ],
        "v1: versions" => [
            versions::list: Read,
            versions::register: Register,
            versions::get: Read,
            versions::update: Register | Evaluate | Promote,
            versions::delete: Delete,
            versions::restore: Delete,
            tags::set_version_tag: Register,
            tags::delete_version_tag: Register,
            files::list: Read,
            scores::get: Read,
            scores::record: Evaluate,
            search::search: Read,
            versions::get_by_id: Read,
        ],
        "v1: aliases" => [
            aliases::list: Read,
            aliases::set: Alias | Promote,
            aliases::delete: Alias | Promote,
            aliases::history: Read,
            aliases::rollback: Promote,
        ],
        "v1: policies" => [
            policies::list: Read,
            policies::test: Policies | Promote,
            policies::get: Read,
            policies::set: Policies,
            policies::delete: Policies,
            approvals::list: Read,
            approvals::of_version: Read,
            approvals::approve: Approve | Register,
            approvals::withdraw: Approve | Register,
        ],
        "v1: audit" => [events::list: Read, events::records: Read],
        "v1: keys" => [
            keys::whoami: AnyKey,
            keys::list: Keys,
            keys::create: Keys,
            keys::get: Keys,
            keys::revoke: Keys,
            keys::rotate: Keys,
        ],
        "v1: webhooks" => [
            webhooks::list: Webhooks,
            webhooks::create: Webhooks,
            webhooks::get: Webhooks,
            webhooks::update: Webhooks,
            webhooks::delete: Webhooks,
            webhooks::test: Webhooks,
            webhooks::deliveries: Webhooks,
            webhooks::replay: Webhooks,
        ],
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
