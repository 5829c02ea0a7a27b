//! Requests by route, method and status, and how long they took.
//!
//! Every thread that serves has cells of its own for each route, taken once at its start: counting a request adds to
//! three atomics that no other thread writes. The crate's own histogram takes a lock, and its families look their
//! labels up; here both are paid for by whoever reads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

/// What does not stand in a list of labels counts under this.
const OTHER: &str = "other";
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"];
/// In rising order.
const STATUSES: [u16; 20] =
    [200, 204, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 421, 422, 429, 431, 500, 501, 503, 507];
/// Upper bounds of latency, in nanoseconds: 0.1 ms to 10 s.
const BOUNDS_NS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
const NS_PER_SECOND: f64 = 1e9;

/// All requests of a server; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    routes: Arc<Mutex<Vec<Arc<RouteCounts>>>>,
}

/// Requests of one route, as one thread counts them.
#[derive(Debug)]
pub struct RouteCounts {
    label: String,
    methods: [Counts; METHODS.len() + 1],
}

#[derive(Debug, Default)]
struct Counts {
    statuses: [AtomicU64; STATUSES.len() + 1],
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Requests {
    /// Cells for one route, to be kept by the thread that serves it. `label` is its pattern, never a path that was asked
    /// for: there must be few.
    #[must_use]
    pub fn route(&self, label: impl Into<String>) -> Arc<RouteCounts> {
        let route = Arc::new(RouteCounts { label: label.into(), methods: Default::default() });
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&route));
        route
    }
}

impl RouteCounts {
    /// Counts a request.
    pub fn count(&self, method: &str, status: u16, time: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
        let status = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < nanoseconds);
        let counts = &self.methods[method];
        counts.statuses[status].fetch_add(1, Ordering::Relaxed);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// What all threads together have counted of one route and method.
#[derive(Default)]
struct Sum {
    statuses: [u64; STATUSES.len() + 1],
    buckets: [u64; BOUNDS_NS.len() + 1],
    nanoseconds: u64,
}

impl Sum {
    fn add(&mut self, counts: &Counts) {
        let add = |sums: &mut [u64], cells: &[AtomicU64]| {
            for (sum, cell) in sums.iter_mut().zip(cells) {
                *sum += cell.load(Ordering::Relaxed);
            }
        };
        add(&mut self.statuses, &counts.statuses);
        add(&mut self.buckets, &counts.buckets);
        self.nanoseconds = self.nanoseconds.saturating_add(counts.nanoseconds.load(Ordering::Relaxed));
    }

    fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sums: BTreeMap<(&str, usize), Sum> = BTreeMap::new();
        for route in &routes {
            for (method, counts) in route.methods.iter().enumerate() {
                sums.entry((&route.label, method)).or_default().add(counts);
            }
        }
        // A series begins with its first request.
        sums.retain(|_, sum| sum.requests() > 0);
        let method_name = |method: usize| METHODS.get(method).copied().unwrap_or(OTHER);

        let help = "Requests by route, method and status of the answer";
        let mut counter =
            encoder.encode_descriptor("registry_http_requests", help, None, MetricType::Counter)?;
        for ((route, method), sum) in &sums {
            for (place, count) in sum.statuses.iter().enumerate().filter(|(_, count)| **count > 0) {
                let status = STATUSES.get(place).map_or_else(|| OTHER.to_owned(), u16::to_string);
                let labels =
                    [("route", *route), ("method", method_name(*method)), ("status", status.as_str())];
                counter.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }

        let help = "From the head of a request to its answer, without the time to send that";
        let name = "registry_http_request_duration_seconds";
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for ((route, method), sum) in &sums {
            let bounds = BOUNDS_NS.iter().map(|bound| *bound as f64 / NS_PER_SECOND);
            let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(sum.buckets).collect();
            let labels = [("route", *route), ("method", method_name(*method))];
            histogram.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                sum.nanoseconds as f64 / NS_PER_SECOND,
                sum.requests(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::prometheus_text, registry::Registry};

    use super::*;

    fn shown(requests: &Requests) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(requests.clone()));
        let mut page = String::new();
        prometheus_text::encode(&mut page, &registry).unwrap();
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn what_the_threads_counted_is_shown_as_one() {
        let requests = Requests::default();
        let cells: Vec<_> = (0..4).map(|_| requests.route("/models/{id}")).collect();
        std::thread::scope(|scope| {
            for cells in &cells {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        cells.count("GET", 200, Duration::from_micros(200));
                    }
                });
            }
        });
        cells[0].count("GET", 404, Duration::from_secs(11));
        let lines = shown(&requests);
        let labels = "route=\"/models/{id}\",method=\"GET\"";
        for line in [
            format!("registry_http_requests_total{{{labels},status=\"200\"}} 4000"),
            format!("registry_http_requests_total{{{labels},status=\"404\"}} 1"),
            format!("registry_http_request_duration_seconds_count{{{labels}}} 4001"),
            format!("registry_http_request_duration_seconds_bucket{{{labels},le=\"0.0001\"}} 0"),
            format!("registry_http_request_duration_seconds_bucket{{{labels},le=\"0.00025\"}} 4000"),
            format!("registry_http_request_duration_seconds_bucket{{{labels},le=\"10\"}} 4000"),
            format!("registry_http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 4001"),
            format!("registry_http_request_duration_seconds_sum{{{labels}}} 11.8"),
        ] {
            assert!(lines.contains(&line), "{line} is missing in {lines:#?}");
        }
    }

    #[test]
    fn a_time_at_a_bound_counts_below_it() {
        for (place, bound) in BOUNDS_NS.into_iter().enumerate() {
            for (nanoseconds, bucket) in [(bound, place), (bound + 1, place + 1)] {
                let cells = Requests::default().route("/");
                cells.count("GET", 200, Duration::from_nanos(nanoseconds));
                assert_eq!(cells.methods[0].buckets[bucket].load(Ordering::Relaxed), 1, "{nanoseconds}");
            }
        }
    }

    #[test]
    fn methods_and_statuses_nobody_foresaw_make_no_series_of_their_own() {
        let requests = Requests::default();
        let cells = requests.route("unmatched");
        for method in ["PURGE", "TRACE", "get"] {
            for status in [200, 299, 418, 599] {
                cells.count(method, status, Duration::ZERO);
            }
        }
        let lines = shown(&requests);
        let counted: Vec<_> = lines.iter().filter(|line| line.contains("requests_total")).collect();
        assert_eq!(counted.len(), 2, "{lines:#?}");
        assert!(counted[1].ends_with("status=\"other\"} 9"), "{counted:?}");
        assert!(STATUSES.is_sorted());
    }
}
