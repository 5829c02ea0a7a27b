//! What a server counts of itself, and how Prometheus reads it.
//!
//! One [`Telemetry`] is made for one server and handed to whoever has something to count; nothing here is global,
//! since a process may run several servers. The other rooms count into handles, each of which is an atomic or a few:
//! nobody waits for anybody. This room imports none of them; HTTP, SQL and queues are labels here.

mod requests;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
pub use requests::{Requests, RouteCounts};

/// Upper bounds of operations in one commit.
const OPERATION_BOUNDS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of what a commit takes, in seconds: from a fast disk's sync to a disk that is about to fail.
const COMMIT_BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A label and its value. Values are words of this program's, never of a caller's: as many series as words.
type Label = [(&'static str, &'static str); 1];

/// Counts of one server.
#[derive(Debug)]
pub struct Telemetry {
    /// Who connects, and who is turned away before a request is read.
    pub connections: Connections,
    /// Requests by route, method and status.
    pub requests: Requests,
    /// What waits.
    pub queues: Queues,
    /// What is committed.
    pub writing: Writing,
    /// What is digested.
    pub hashing: Hashing,
    registry: Registry,
}

/// Who connects, and who is turned away.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// Connections that are open.
    pub open: Gauge,
    refused: Family<Label, Counter>,
    authentication_failures: Family<Label, Counter>,
}

impl Connections {
    /// Connections that were closed unserved for this reason.
    #[must_use]
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.refused.get_or_create_owned(&[("reason", reason)])
    }

    /// Requests without a valid key, by what was wrong.
    #[must_use]
    pub fn authentication_failures(&self, reason: &'static str) -> Counter {
        self.authentication_failures.get_or_create_owned(&[("reason", reason)])
    }
}

/// What waits.
#[derive(Debug, Clone, Default)]
pub struct Queues {
    depth: Family<Label, Gauge>,
    capacity: Family<Label, Gauge>,
    refused: Family<Label, Counter>,
}

impl Queues {
    /// Takes down how full a queue is. To be told before what was counted is shown.
    pub fn set(&self, queue: &'static str, depth: usize, capacity: usize) {
        self.depth.get_or_create_owned(&[("queue", queue)]).set(gauged(depth));
        self.capacity.get_or_create_owned(&[("queue", queue)]).set(gauged(capacity));
    }

    /// Jobs that this queue had no room for.
    #[must_use]
    pub fn refused(&self, queue: &'static str) -> Counter {
        self.refused.get_or_create_owned(&[("queue", queue)])
    }
}

/// What is committed, and the files it goes into.
#[derive(Debug, Clone)]
pub struct Writing {
    /// Operations in each commit.
    pub operations: Histogram,
    /// From the beginning of a transaction to its synced commit, in seconds.
    pub commit_seconds: Histogram,
    /// Transactions that were not committed.
    pub failed_commits: Counter,
    /// 1 where the last transaction was committed, 0 where it was not.
    pub writable: Gauge,
    /// Pages in the write-ahead log.
    pub wal_pages: Gauge,
    /// Bytes of the log's file.
    pub wal_bytes: Gauge,
    /// Bytes of the database's file.
    pub database_bytes: Gauge,
    /// Times that pages were moved from the log into the database.
    pub checkpoints: Counter,
    /// Times that this failed.
    pub failed_checkpoints: Counter,
}

/// What is digested.
#[derive(Debug, Clone, Default)]
pub struct Hashing {
    /// Bytes read to be digested.
    pub bytes: Counter,
    /// Seconds that took, summed over the threads.
    pub seconds: Counter<f64>,
    /// Files that were read to their end.
    pub files: Counter,
}

/// The two forms in which Prometheus and its kin read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Version 0.0.4 of Prometheus' text.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Form {
    /// The form that a scraper asks for by its `Accept`; without, the one that all can read.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let named = accept.to_ascii_lowercase().contains("application/openmetrics-text");
        if named { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Telemetry {
    /// Counts from nothing. `build` is what the program consists of: each part and its version.
    #[must_use]
    pub fn new(build: &[(&'static str, &'static str)]) -> Self {
        let mut registry = Registry::default();
        let started = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let start = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        start.set(started.as_secs_f64());
        registry.register("process_start_time_seconds", "When the server was started, since 1970", start);
        let parts = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        parts.get_or_create_owned(&build.to_vec()).set(1);
        registry.register("registry_build_info", "Always 1; what the server is made of", parts);
        let requests = Requests::default();
        registry.register_collector(Box::new(requests.clone()));
        Self {
            connections: Connections::registered(&mut registry),
            requests,
            queues: Queues::registered(&mut registry),
            writing: Writing::registered(&mut registry),
            hashing: Hashing::registered(&mut registry),
            registry,
        }
    }

    /// All that was counted.
    ///
    /// # Errors
    /// None of its own: writing into a string does not fail.
    pub fn render(&self, form: Form) -> Result<String, fmt::Error> {
        let mut page = String::new();
        match form {
            Form::Prometheus => prometheus_text::encode(&mut page, &self.registry)?,
            Form::OpenMetrics => text::encode(&mut page, &self.registry)?,
        }
        Ok(page)
    }
}

// Counters are named without the `_total` that the encoder puts behind them.

impl Connections {
    fn registered(to: &mut Registry) -> Self {
        let own = Self::default();
        to.register("registry_http_connections_open", "Connections that are open", own.open.clone());
        to.register(
            "registry_http_connections_refused",
            "Connections closed unserved, by reason",
            own.refused.clone(),
        );
        to.register(
            "registry_authentication_failures",
            "Requests without a valid key, by what was wrong",
            own.authentication_failures.clone(),
        );
        own
    }
}

impl Queues {
    fn registered(to: &mut Registry) -> Self {
        let own = Self::default();
        to.register("registry_queue_depth", "Jobs that wait in a queue", own.depth.clone());
        to.register("registry_queue_capacity", "Jobs that can wait in a queue", own.capacity.clone());
        to.register(
            "registry_queue_refused",
            "Jobs refused at once because their queue was full",
            own.refused.clone(),
        );
        own
    }
}

impl Writing {
    fn registered(to: &mut Registry) -> Self {
        let own = Self {
            operations: Histogram::new(OPERATION_BOUNDS),
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            failed_commits: Counter::default(),
            writable: Gauge::default(),
            wal_pages: Gauge::default(),
            wal_bytes: Gauge::default(),
            database_bytes: Gauge::default(),
            checkpoints: Counter::default(),
            failed_checkpoints: Counter::default(),
        };
        to.register("registry_commit_operations", "Operations in a commit", own.operations.clone());
        to.register(
            "registry_commit_duration_seconds",
            "From the beginning of a transaction to its synced commit",
            own.commit_seconds.clone(),
        );
        to.register(
            "registry_commits_failed",
            "Transactions that could not be committed",
            own.failed_commits.clone(),
        );
        to.register("registry_writable", "1 where the last commit succeeded, else 0", own.writable.clone());
        to.register("registry_wal_pages", "Pages in use in the write-ahead log", own.wal_pages.clone());
        to.register("registry_wal_bytes", "Size of the write-ahead log's file", own.wal_bytes.clone());
        to.register("registry_database_bytes", "Size of the database's file", own.database_bytes.clone());
        to.register(
            "registry_checkpoints",
            "Times that pages were moved from the log into the database",
            own.checkpoints.clone(),
        );
        to.register(
            "registry_checkpoints_failed",
            "Times that moving pages from the log into the database failed",
            own.failed_checkpoints.clone(),
        );
        own
    }
}

impl Hashing {
    /// Takes down bytes read, and for how long it was at them.
    pub fn add(&self, bytes: u64, time: Duration) {
        self.bytes.inc_by(bytes);
        self.seconds.inc_by(time.as_secs_f64());
    }

    fn registered(to: &mut Registry) -> Self {
        let own = Self::default();
        to.register("registry_hash_bytes", "Bytes of local files read to be digested", own.bytes.clone());
        to.register("registry_hash_seconds", "Time spent reading and digesting them", own.seconds.clone());
        to.register("registry_hash_files", "Local files read to their end", own.files.clone());
        own
    }
}

fn gauged(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Telemetry {
        let telemetry = Telemetry::new(&[("version", "1.2.3"), ("sqlite", "3.53")]);
        telemetry.connections.refused("limit").inc();
        telemetry.queues.set("write", 3, 4096);
        telemetry.queues.refused("write").inc_by(2);
        telemetry.writing.operations.observe(128.0);
        telemetry.hashing.add(1 << 20, Duration::from_millis(500));
        telemetry.requests.route("/models/{id}").count("GET", 200, Duration::from_micros(300));
        telemetry
    }

    #[test]
    fn both_forms_hold_the_same_and_only_one_says_where_it_ends() {
        let telemetry = counted();
        let classic = telemetry.render(Form::Prometheus).unwrap();
        let open = telemetry.render(Form::OpenMetrics).unwrap();
        let samples = |page: &str| {
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            let mut names: Vec<_> =
                lines.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect();
            names.sort();
            names
        };
        assert_eq!(samples(&classic), samples(&open));
        assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF"));
        for line in [
            "registry_build_info{version=\"1.2.3\",sqlite=\"3.53\"} 1",
            "registry_http_connections_refused_total{reason=\"limit\"} 1",
            "registry_queue_depth{queue=\"write\"} 3",
            "registry_queue_capacity{queue=\"write\"} 4096",
            "registry_queue_refused_total{queue=\"write\"} 2",
            "registry_commit_operations_bucket{le=\"64\"} 0",
            "registry_commit_operations_bucket{le=\"128\"} 1",
            "registry_commits_failed_total 0",
            "registry_hash_bytes_total 1048576",
            "registry_hash_seconds_total 0.5",
            "# TYPE registry_http_requests_total counter",
        ] {
            assert!(classic.lines().any(|found| found == line), "{line} is missing in {classic}");
        }
    }

    #[test]
    fn every_metric_says_what_it_is() {
        let page = counted().render(Form::Prometheus).unwrap();
        let named = |kind: &str| -> Vec<_> {
            let lines = page.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next());
            lines.map(str::to_owned).collect()
        };
        let (helps, types) = (named("# HELP "), named("# TYPE "));
        assert_eq!(helps, types);
        assert!(helps.len() > 20 && helps.iter().all(|name| name.contains('_')), "{helps:?}");
    }

    #[test]
    fn a_scraper_gets_the_form_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
        for (accept, form) in [
            (prometheus, Form::OpenMetrics),
            ("*/*", Form::Prometheus),
            ("", Form::Prometheus),
            ("text/plain", Form::Prometheus),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }
}
