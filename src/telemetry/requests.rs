//! Requests by route, method and status, and how long they took.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of latency, in seconds.
const LATENCY_BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Methods with series of their own; a caller can make up any number of others.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"];
const OTHER_METHOD: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    route: Arc<str>,
    method: &'static str,
}

/// The requests of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Requests {
    counts: Family<CountLabels, Counter>,
    times: Family<TimeLabels, Histogram, fn() -> Histogram>,
}

/// The requests of one route.
#[derive(Debug)]
pub struct RouteCounts {
    route: Arc<str>,
    requests: Requests,
}

impl Requests {
    pub(super) fn new(to: &mut Registry) -> Self {
        let times = Family::new_with_constructor((|| Histogram::new(LATENCY_BOUNDS)) as fn() -> Histogram);
        let requests = Self { counts: Family::default(), times };
        to.register(
            "registry_http_requests",
            "Requests by route, method and status",
            requests.counts.clone(),
        );
        to.register(
            "registry_http_request_duration_seconds",
            "From the head of a request to its answer, without the time to send that",
            requests.times.clone(),
        );
        requests
    }

    /// Returns the counters of one route. `route` is its pattern, never a requested path: there must be few.
    #[must_use]
    pub fn route(&self, route: &str) -> Arc<RouteCounts> {
        Arc::new(RouteCounts { route: route.into(), requests: self.clone() })
    }
}

impl RouteCounts {
    /// Counts a request.
    pub fn count(&self, method: &str, status: u16, time: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD);
        let route = || Arc::clone(&self.route);
        let times = TimeLabels { route: route(), method };
        self.requests.times.get_or_create(&times).observe(time.as_secs_f64());
        self.requests.counts.get_or_create(&CountLabels { route: route(), method, status }).inc();
    }
}
