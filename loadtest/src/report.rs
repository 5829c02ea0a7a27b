//! What a run comes to, with the keys that the concurrency check of 0.2.0 had, in that order, and more behind them.

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
    /// Someone ended it.
    Interrupt,
    /// The server went away.
    ServerGone,
}

/// What latencies come to, in milliseconds.
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
    /// Of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |ns: f64| (ns / 1000.0).round() / 1000.0;
        let quantile = |of| millis(histogram.value_at_quantile(of) as f64);
        // An empty histogram's lowest value is no latency of anything.
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

    fn of_any(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self::of(histogram))
    }
}

/// What the open loop asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RateReport {
    /// Requests a second that were due.
    pub(crate) asked: f64,
    /// Requests a second that were answered well.
    pub(crate) reached: f64,
    pub(crate) due: u64,
    /// Those that were due and could not be sent before the end, since every connection was waiting.
    pub(crate) unsent: u64,
    /// How long the first of those had waited by then. Each of them is in the latencies with what it had waited, which
    /// is the least that it would have taken.
    pub(crate) oldest_unsent_ms: f64,
    /// How long after their time requests were sent. It is a part of their latency.
    pub(crate) lateness_ms: Latency,
    /// From when they were sent, which is what a tool with coordinated omission would call latency.
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
    #[serde(skip_serializing_if = "is_nought")]
    refused: u64,
    latency_ms: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_latency_ms: Option<Latency>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "it is called so")]
fn is_nought(count: &u64) -> bool {
    *count == 0
}

/// The versions that the run made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Versions {
    /// Their name.
    pub(crate) name: String,
    pub(crate) prepared: usize,
    /// How many were deleted afterwards; absent where they were left, or went with their server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<usize>,
    /// Why they could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The report of a run. Fields are serialised in this order.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// No request failed, everything was sent, and everything acknowledged was kept.
    pub ok: bool,
    /// Requests that were answered, or failed.
    pub requests_total: u64,
    /// Requests that were answered well.
    pub requests_success: u64,
    /// All others but those that were refused as they may be.
    pub requests_failed: u64,
    pub(crate) locked_errors: u64,
    pub(crate) status_code_counts: BTreeMap<String, u64>,
    pub(crate) exception_type_counts: BTreeMap<String, u64>,
    /// Of the requests that were answered well; of the open loop from when they were due, and with what those that
    /// could not be sent had waited.
    pub latency_ms: Latency,
    pub(crate) errors_sample: Vec<String>,
    /// The first version that was prepared.
    pub(crate) model_id: u64,
    pub(crate) started_at_epoch: f64,
    pub(crate) ended_at_epoch: f64,
    /// From the start, after the warm-up, to the last answer.
    pub runtime_seconds: f64,
    /// Answered well.
    pub requests_per_second: f64,
    /// What was done.
    pub scenario: &'static str,
    /// Callers.
    pub connections: usize,
    pub(crate) workers: usize,
    /// How it ended.
    pub ended_by: EndedBy,
    /// Under way when the run was cut short.
    pub requests_abandoned: u64,
    /// Promotions to which the gate was closed: answered as they may be, and neither a success nor a failure.
    pub requests_refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_latency_ms: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<RateReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warmup: Option<Warmup>,
    pub(crate) bytes: Bytes,
    pub(crate) operations: BTreeMap<&'static str, OperationReport>,
    /// What the audit trail says of the writes.
    pub readback: Readback,
    /// Where versions were promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<Production>,
    pub(crate) versions: Versions,
}

impl Report {
    /// Requests of the open loop that were due and could not be sent before the end.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.unsent)
    }

    /// Requests a second that were due, where there was a rate.
    #[must_use]
    pub fn rate_asked(&self) -> Option<f64> {
        self.rate.as_ref().map(|rate| rate.asked)
    }

    /// The name of all versions that the run made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.versions.name
    }

    /// Why those could not be deleted, where they should have been.
    #[must_use]
    pub fn left_behind(&self) -> Option<&str> {
        self.versions.error.as_deref()
    }
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// For people and scripts.
    pub report: Report,
    /// Latencies in nanoseconds, by kind: all of them first, and for the open loop what the server took.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// How it went over time, in pieces that are wider the longer it took.
    pub intervals: Vec<Interval>,
}

/// The parts that come from the tally alone.
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
            failed_latency_ms: Latency::of_any(&tally.failed_latency),
        };
        Some((operation.name(), report))
    })
    .collect()
}

pub(crate) fn failed_latency(histogram: &Histogram<u64>) -> Option<Latency> {
    Latency::of_any(histogram)
}

/// `count` in that time, a second.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Seconds to the microsecond, and no more digits than mean anything.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

    #[test]
    fn latencies_are_milliseconds_and_nothing_is_nought() {
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
    fn a_rate_of_no_time_is_none() {
        assert_eq!((per_second(5, Duration::ZERO), per_second(5, Duration::from_secs(2))), (0.0, 2.5));
    }
}
