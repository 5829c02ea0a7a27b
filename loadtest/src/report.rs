//! The report of a run: first the keys of 0.2.0's concurrency check in their order, then more.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    chart::Interval,
    readback::{Production, Readback},
    tally::Tally,
};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// All requests were sent.
    Requests,
    /// The time ran out.
    Duration,
    /// The user ended it.
    Interrupt,
    /// The server has ended.
    ServerGone,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub struct Latency {
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Latency {
    /// Returns the summary of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |ns: f64| (ns / 1000.0).round() / 1000.0;
        let quantile = |of| millis(histogram.value_at_quantile(of) as f64);
        // The lowest value of an empty histogram is not a latency.
        let min = if histogram.is_empty() { 0 } else { histogram.min() };
        Self {
            count: histogram.len(),
            min: millis(min as f64),
            max: millis(histogram.max() as f64),
            mean: millis(histogram.mean()),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
        }
    }

    pub(crate) fn of_some(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self::of(histogram))
    }
}

/// The open loop.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateReport {
    /// Requests per second that were due.
    pub asked: f64,
    /// Successful requests per second.
    pub reached: f64,
    /// Requests that were due.
    pub due: u64,
    /// Requests that were due and not sent before the end, since every connection was waiting. They are in the latencies
    /// with the time they had waited, the least that their latencies would have been.
    pub unsent: u64,
    /// How long the first of those had waited.
    pub oldest_unsent_ms: f64,
    /// From due times to sending times. It is a part of the latency.
    pub lateness_ms: Latency,
    /// From sending times: what a tool with coordinated omission calls latency.
    pub service_ms: Latency,
}

/// The load before the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub struct Warmup {
    pub seconds: f64,
    pub requests: u64,
    pub failed: u64,
}

/// On the wire, with heads.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub struct Bytes {
    pub sent: u64,
    pub received: u64,
}

/// The requests of one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "as in the report")]
pub struct OperationReport {
    pub success: u64,
    pub failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    pub latency_ms: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_latency_ms: Option<Latency>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The versions that the run registered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Versions {
    /// Their name.
    pub name: String,
    /// Versions that were registered before the load.
    pub prepared: usize,
    /// How many were deleted afterwards; absent if they were kept, or ended with their server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    /// Why they could not be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The report of a run. Fields are serialised in this order.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// True if no request failed, all were sent, and every acknowledged write was kept.
    pub ok: bool,
    /// All requests that ended.
    pub requests_total: u64,
    /// Successful requests.
    pub requests_success: u64,
    /// Failed requests, without promotions that the gate refused.
    pub requests_failed: u64,
    /// Answers that said that the database is locked.
    pub locked_errors: u64,
    /// Answers by status.
    pub status_code_counts: BTreeMap<u16, u64>,
    /// Errors of connections by name.
    pub exception_type_counts: BTreeMap<String, u64>,
    /// Of successful requests. In the open loop from their due times, and with the waits of requests that were not sent.
    pub latency_ms: Latency,
    /// The first different errors.
    pub errors_sample: Vec<String>,
    /// The first version of the run.
    pub model_id: u64,
    /// The end of the warm-up, in seconds since 1970.
    pub started_at_epoch: f64,
    /// The same plus the runtime.
    pub ended_at_epoch: f64,
    /// From the end of the warm-up to the last answer.
    pub runtime_seconds: f64,
    /// Successful requests per second.
    pub requests_per_second: f64,
    /// The scenario.
    pub scenario: &'static str,
    /// Callers.
    pub connections: usize,
    /// Threads that they shared.
    pub workers: usize,
    /// How it ended.
    pub ended_by: EndedBy,
    /// Requests that were running when the run was cut short.
    pub requests_abandoned: u64,
    /// Promotions that the gate refused: neither a success nor a failure.
    pub requests_refused: u64,
    /// Of failed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_latency_ms: Option<Latency>,
    /// Present in the open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateReport>,
    /// Present if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
    /// Without the warm-up.
    pub bytes: Bytes,
    /// By name.
    pub operations: BTreeMap<&'static str, OperationReport>,
    /// The writes, compared with the audit trail.
    pub readback: Readback,
    /// Present if versions were promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<Production>,
    /// The versions that the run registered.
    pub versions: Versions,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Latencies in nanoseconds by name. The first has all requests.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// The run over time.
    pub intervals: Vec<Interval>,
}

pub(crate) fn operations(tally: &Tally) -> BTreeMap<&'static str, OperationReport> {
    let reports = tally.operations.iter().map(|(operation, tally)| {
        let report = OperationReport {
            success: tally.success,
            failed: tally.failed,
            refused: tally.refused,
            latency_ms: Latency::of(&tally.latency),
            failed_latency_ms: Latency::of_some(&tally.failed_latency),
        };
        (operation.name(), report)
    });
    reports.collect()
}

/// Returns `count` per second.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Returns seconds, rounded to microseconds.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::histogram;

    #[test]
    fn latencies_are_milliseconds_and_nothing_is_zero() {
        let mut latencies = histogram();
        assert_eq!(
            Latency::of(&latencies),
            Latency { count: 0, min: 0.0, max: 0.0, mean: 0.0, p50: 0.0, p95: 0.0, p99: 0.0, p999: 0.0 }
        );
        for micros in 1..=1000 {
            latencies.saturating_record(micros * 1000);
        }
        let of = Latency::of(&latencies);
        for (found, expected) in
            [(of.min, 0.001), (of.p50, 0.5), (of.p95, 0.95), (of.p99, 0.99), (of.max, 1.0), (of.mean, 0.5)]
        {
            assert!((found - expected).abs() <= expected * 0.002 + 0.0005, "{found} {expected}");
        }
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert_eq!((per_second(5, Duration::ZERO), per_second(5, Duration::from_secs(2))), (0.0, 2.5));
    }
}
