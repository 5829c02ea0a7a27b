//! The server's metrics, and their text for Prometheus.
//!
//! One [`Telemetry`] belongs to one server; nothing is global, since a process may run several. Other modules count into handles
//! that they get from here. This module must not know those modules: HTTP, SQL and queues are only labels here.

mod requests;

use std::{
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
pub use requests::{Requests, RouteCounts};

/// Upper bounds of the operations in one commit.
const OPERATION_BOUNDS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of the time of a commit, in seconds: from the sync of a fast disk to a disk that is about to fail.
const COMMIT_BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A label and its value. Values are words of this program, never of a caller, so there are few series.
type Label = [(&'static str, &'static str); 1];

/// Declares metrics that belong together: field, type, first value, name and help of each.
/// The encoder adds `_total` to the names of counters.
macro_rules! metrics {
    ($(#[$doc:meta])* $group:ident { $($field:ident: $kind:ty = $new:expr, $name:literal, $help:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $group {
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl $group {
            fn new(registry: &mut Registry) -> Self {
                let group = Self { $($field: $new),+ };
                $(registry.register($name, $help, group.$field.clone());)+
                group
            }
        }
    };
}

metrics! {
    /// Connections and authentication.
    Connections {
        open: Gauge = Gauge::default(), "registry_http_connections_open", "Connections that are open";
        refused: Family<Label, Counter> = Family::default(),
            "registry_http_connections_refused", "Connections closed unserved, by reason";
        authentication_failures: Family<Label, Counter> = Family::default(),
            "registry_authentication_failures", "Requests without a valid key, by reason";
    }
}

impl Connections {
    /// Returns the counter of connections closed unserved for this reason.
    #[must_use]
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.refused.get_or_create_owned(&[("reason", reason)])
    }

    /// Returns the counter of requests without a valid key, by reason.
    #[must_use]
    pub fn authentication_failures(&self, reason: &'static str) -> Counter {
        self.authentication_failures.get_or_create_owned(&[("reason", reason)])
    }
}

metrics! {
    /// The queues in front of the actors.
    Queues {
        depth: Family<Label, Gauge> = Family::default(), "registry_queue_depth", "Jobs that wait in a queue";
        capacity: Family<Label, Gauge> = Family::default(), "registry_queue_capacity", "Jobs that can wait in a queue";
        refused: Family<Label, Counter> = Family::default(),
            "registry_queue_refused", "Jobs refused at once because their queue was full";
    }
}

impl Queues {
    /// Sets the depth of a queue. Call this before rendering the metrics.
    pub fn set(&self, queue: &'static str, depth: usize, capacity: usize) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.depth.get_or_create(&[("queue", queue)]).set(gauge(depth));
        self.capacity.get_or_create(&[("queue", queue)]).set(gauge(capacity));
    }

    /// Returns the counter of jobs refused because this queue was full.
    #[must_use]
    pub fn refused(&self, queue: &'static str) -> Counter {
        self.refused.get_or_create_owned(&[("queue", queue)])
    }
}

metrics! {
    /// Commits and the files they go to.
    Writing {
        operations: Histogram = Histogram::new(OPERATION_BOUNDS),
            "registry_commit_operations", "Operations in a commit";
        commit_seconds: Histogram = Histogram::new(COMMIT_BOUNDS),
            "registry_commit_duration_seconds", "From the beginning of a transaction to its synced commit";
        failed_commits: Counter = Counter::default(),
            "registry_commits_failed", "Transactions that could not be committed";
        writable: Gauge = Gauge::default(), "registry_writable", "1 if the last commit succeeded, else 0";
        wal_pages: Gauge = Gauge::default(), "registry_wal_pages", "Pages in use in the write-ahead log";
        wal_bytes: Gauge = Gauge::default(), "registry_wal_bytes", "Size of the file of the write-ahead log";
        database_bytes: Gauge = Gauge::default(), "registry_database_bytes", "Size of the database file";
        checkpoints: Counter = Counter::default(), "registry_checkpoints", "Checkpoints of the write-ahead log";
        failed_checkpoints: Counter = Counter::default(), "registry_checkpoints_failed", "Checkpoints that failed";
    }
}

metrics! {
    /// Streams of events.
    Following {
        followers: Gauge = Gauge::default(), "registry_event_streams_open", "Event streams that are open";
        dropped: Counter = Counter::default(),
            "registry_event_streams_dropped", "Event streams closed because their client read too slowly";
    }
}

metrics! {
    /// Digests of local files.
    Hashing {
        bytes: Counter = Counter::default(), "registry_hash_bytes", "Bytes of local files read to be digested";
        seconds: Counter<f64> = Counter::default(), "registry_hash_seconds", "Time spent reading and digesting them";
        files: Counter = Counter::default(), "registry_hash_files", "Local files read to their end";
    }
}

impl Hashing {
    /// Adds bytes that were read and the time that took.
    pub fn add(&self, bytes: u64, time: Duration) {
        self.bytes.inc_by(bytes);
        self.seconds.inc_by(time.as_secs_f64());
    }
}

metrics! {
    /// Deliveries of events to webhooks.
    Deliveries {
        pending: Gauge = Gauge::default(), "registry_webhook_deliveries_pending", "Deliveries to webhooks that are to be sent";
        delivered: Counter = Counter::default(), "registry_webhook_deliveries_delivered", "Deliveries that a receiver has taken";
        failed: Counter = Counter::default(), "registry_webhook_attempts_failed", "Attempts of deliveries that failed";
        parked: Counter = Counter::default(), "registry_webhook_deliveries_parked", "Deliveries that failed for a day and are not attempted again";
    }
}

/// The metrics of one server.
#[derive(Debug)]
#[allow(missing_docs, reason = "see their types")]
pub struct Telemetry {
    pub connections: Connections,
    pub requests: Requests,
    pub queues: Queues,
    pub writing: Writing,
    pub following: Following,
    pub hashing: Hashing,
    pub deliveries: Deliveries,
    registry: Registry,
}

impl Telemetry {
    /// Creates the metrics, all zero. `build` lists the parts of the program and their versions.
    #[must_use]
    pub fn new(build: &[(&'static str, &'static str)]) -> Self {
        let mut registry = Registry::default();
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64());
        registry.register("process_start_time_seconds", "When the server was started, since 1970", start);
        let parts = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        parts.get_or_create(&build.to_vec()).set(1);
        registry.register(
            "registry_build_info",
            "Always 1; the parts of the server and their versions",
            parts,
        );
        Self {
            connections: Connections::new(&mut registry),
            requests: Requests::new(&mut registry),
            queues: Queues::new(&mut registry),
            writing: Writing::new(&mut registry),
            following: Following::new(&mut registry),
            hashing: Hashing::new(&mut registry),
            deliveries: Deliveries::new(&mut registry),
            registry,
        }
    }

    /// Renders all metrics and returns the media type and the text. The format is the one that `accept` requests, or
    /// else the one that all scrapers read.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn render(&self, accept: &str) -> Result<(&'static str, String), fmt::Error> {
        let mut page = String::new();
        if accept.to_ascii_lowercase().contains("application/openmetrics-text") {
            text::encode(&mut page, &self.registry)?;
            return Ok(("application/openmetrics-text; version=1.0.0; charset=utf-8", page));
        }
        prometheus_text::encode(&mut page, &self.registry)?;
        Ok((prometheus_text::CONTENT_TYPE, page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_have_the_same_content_and_only_one_marks_its_end() {
        let telemetry = Telemetry::new(&[("version", "1.2.3")]);
        telemetry.connections.refused("limit").inc();
        telemetry.requests.route("/models/{id}").count("GET", 200, Duration::from_micros(300));
        let (_, classic) = telemetry.render("text/plain").unwrap();
        let (_, open) = telemetry.render("application/openmetrics-text;version=1.0.0").unwrap();
        let samples = |page: &str| {
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            let mut names: Vec<_> =
                lines.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect();
            names.sort();
            names
        };
        assert_eq!(samples(&classic), samples(&open));
        assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF"));
    }
}
