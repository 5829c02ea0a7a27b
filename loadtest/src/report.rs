//! The report of a run: first the keys of 0.2.0's concurrency check in their order, then more.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    chart::Interval,
    plan::Operation,
    readback::{Production, Readback},
    tally::Tally,
};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// All requests were sent.
    Requests,
    /// The time was over.
    Duration,
    /// The user ended it.
    Interrupt,
    /// The server has ended.
    ServerGone,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
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
    /// The summary of a histogram of nanoseconds.
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

/// The open loop: the rate, and what was reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RateReport {
    /// Requests per second that were due.
    pub(crate) asked: f64,
    /// Successful requests per second.
    pub(crate) reached: f64,
    pub(crate) due: u64,
    /// Requests that were due and not sent before the end, since every connection was waiting.
    pub(crate) unsent: u64,
    /// How long the first of those had waited. Each of them is in the latencies with the time it had waited, the least
    /// that its latency would have been.
    pub(crate) oldest_unsent_ms: f64,
    /// From due times to sending times. It is a part of the latency.
    pub(crate) lateness_ms: Latency,
    /// From sending times: what a tool with coordinated omission calls latency.
    pub(crate) service_ms: Latency,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Warmup {
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OperationReport {
    success: u64,
    failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    latency_ms: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_latency_ms: Option<Latency>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The versions that the run made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Versions {
    /// Their name.
    pub(crate) name: String,
    pub(crate) prepared: usize,
    /// How many were deleted afterwards; absent if they were kept, or ended with their server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<usize>,
    /// Why they could not be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
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
    pub(crate) locked_errors: u64,
    pub(crate) status_code_counts: BTreeMap<String, u64>,
    pub(crate) exception_type_counts: BTreeMap<String, u64>,
    /// Of successful requests. In the open loop from their due times, and with the waits of requests that were not sent.
    pub latency_ms: Latency,
    pub(crate) errors_sample: Vec<String>,
    /// The first version of the run.
    pub(crate) model_id: u64,
    pub(crate) started_at_epoch: f64,
    pub(crate) ended_at_epoch: f64,
    /// From the end of the warm-up to the last answer.
    pub runtime_seconds: f64,
    /// Reply well.
    pub requests_per_second: f64,
    /// The scenario.
    pub scenario: &'static str,
    /// Callers.
    pub connections: usize,
    pub(crate) workers: usize,
    /// How it ended.
    pub ended_by: EndedBy,
    /// Requests that were running when the run was cut short.
    pub requests_abandoned: u64,
    /// Promotions that the gate refused: neither a success nor a failure.
    pub requests_refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_latency_ms: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<RateReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warmup: Option<Warmup>,
    pub(crate) bytes: Bytes,
    pub(crate) operations: BTreeMap<&'static str, OperationReport>,
    /// The writes, compared with the audit trail.
    pub readback: Readback,
    /// Present if versions were promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<Production>,
    pub(crate) versions: Versions,
}

impl Report {
    /// Requests of the open loop that were not sent before the end.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.unsent)
    }

    /// Requests per second that were due, in the open loop.
    #[must_use]
    pub fn rate_asked(&self) -> Option<f64> {
        self.rate.as_ref().map(|rate| rate.asked)
    }

    /// The name of the run's versions.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.versions.name
    }

    /// Why those could not be deleted.
    #[must_use]
    pub fn left_behind(&self) -> Option<&str> {
        self.versions.error.as_deref()
    }
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

/// The number of answers by status.
pub(crate) fn statuses(tally: &Tally) -> BTreeMap<String, u64> {
    let counted = tally.statuses.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.map(|(status, count)| (status.to_string(), *count)).collect()
}

pub(crate) fn operations(tally: &Tally) -> BTreeMap<&'static str, OperationReport> {
    let seen = Operation::ALL.into_iter().zip(&tally.operations);
    seen.filter_map(|(operation, tally)| {
        let tally = tally.as_ref()?;
        let report = OperationReport {
            success: tally.success,
            failed: tally.failed,
            refused: tally.refused,
            latency_ms: Latency::of(&tally.latency),
            failed_latency_ms: Latency::of_some(&tally.failed_latency),
        };
        Some((operation.name(), report))
    })
    .collect()
}

/// `count` per second.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Seconds, rounded to microseconds.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

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
