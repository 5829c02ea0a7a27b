//! The API of 0.2.0, with this server's additions in headers.

mod events;
mod health;
mod metrics;
mod models;
mod overview;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "only fuzzers reach it from outside")]
pub mod probe;
mod promotion;
pub(super) mod schema;
mod telemetry;

use actix_web::web::ServiceConfig;

use crate::telemetry::Requests;

use super::endpoint::{self, Endpoint, endpoints};

/// Matches any id, which the handler reads leniently or refuses.
const ANY_ID: &str = "{model_id}";
/// Matches an id as nearly every caller writes it.
const PLAIN_ID: &str = "{model_id:[0-9]+}";

/// Returns all endpoints, in the order of the description. The router tries paths in this order too.
pub(super) fn endpoints() -> Vec<Endpoint> {
    endpoints! {
        "models" => [
            models::list: Read,
            models::register: Register,
            models::get: Read,
            models::update: Register | Evaluate | Promote,
            models::delete: Delete,
            models::get_by_name: Read,
            models::list_by_status: Read,
        ],
        "metrics" => [metrics::suites: Read, metrics::record: Evaluate],
        "promotion" => [promotion::promote: Promote, promotion::production: Read],
        "audit" => [events::list: Read],
        "overview" => [overview::compare: Read, overview::stats: Read, overview::queues: Read, telemetry::metrics: Read],
        "server" => [health::service: Public, health::health: Public, health::ready: Public],
    }
}

/// Registers the endpoints, each counted in `requests` by its path. The router tries paths one after the other, each by a regular
/// expression, so the most frequent ones come first. Patterns that match any id come last, since an id could be a word of another path.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let all = endpoints();
    let (versions, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.path.contains(ANY_ID));
    endpoint::serve(paths, requests, &versions, |path| path.replace(ANY_ID, PLAIN_ID));
    endpoint::serve(paths, requests, &others, str::to_owned);
    endpoint::serve(paths, requests, &versions, str::to_owned);
}
