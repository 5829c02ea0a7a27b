//! The measurements of one worker: histograms and counts, merged after the run.
//!
//! Nothing is shared between threads, so recording takes no lock. Only failures allocate.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    histogram::{fold, histogram, record},
    plan::Operation,
    series::Slice,
};

/// Different error messages in the report.
const MAX_ERRORS: usize = 10;

/// One request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) operation: Operation,
    /// Since the warm-up; absent in the warm-up, which is not counted.
    pub(crate) at: Option<Duration>,
    /// The slice in which it ended: below 0 in the warm-up.
    pub(crate) slice: i64,
    /// From its due time.
    pub(crate) latency: Duration,
    /// From its sending time.
    pub(crate) service: Duration,
    pub(crate) sent_bytes: usize,
    pub(crate) received_bytes: usize,
    /// Absent if there was no answer.
    pub(crate) status: Option<u16>,
    /// Absent also if the gate refused a promotion, which is neither a success nor a failure.
    pub(crate) failure: Option<Failure>,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The name of the connection's error, if there was no answer.
    pub(crate) kind: Option<String>,
    pub(crate) unreachable: bool,
    /// The answer says that the database is locked.
    pub(crate) locked: bool,
    pub(crate) text: String,
}

/// The measurements of one operation.
#[derive(Debug, Clone)]
pub(crate) struct OperationTally {
    /// Of successful requests, from their due times.
    pub(crate) latency: Histogram<u64>,
    /// The same, from their sending times.
    pub(crate) service: Histogram<u64>,
    /// Of failed requests.
    pub(crate) failed_latency: Histogram<u64>,
    pub(crate) success: u64,
    pub(crate) failed: u64,
    /// Promotions that the gate refused.
    pub(crate) refused: u64,
}

impl OperationTally {
    pub(crate) fn new() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            failed_latency: histogram(),
            success: 0,
            failed: 0,
            refused: 0,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        fold(&mut self.latency, &other.latency);
        fold(&mut self.service, &other.service);
        fold(&mut self.failed_latency, &other.failed_latency);
        self.success += other.success;
        self.failed += other.failed;
        self.refused += other.refused;
    }
}

/// The measurements of one worker, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The operations that occurred.
    pub(crate) operations: BTreeMap<Operation, OperationTally>,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Errors of connections by name.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// The first different messages.
    pub(crate) errors: Vec<String>,
    pub(crate) locked: u64,
    /// From due times to sending times.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) warmup_requests: u64,
    pub(crate) warmup_failed: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// The end of the last request, since the warm-up.
    pub(crate) last_end: Duration,
    /// The current slice and its number.
    slice: Slice,
    slice_number: i64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            operations: BTreeMap::new(),
            statuses: BTreeMap::new(),
            kinds: BTreeMap::new(),
            errors: Vec::new(),
            locked: 0,
            lateness: histogram(),
            warmup_requests: 0,
            warmup_failed: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_end: Duration::ZERO,
            slice: Slice::new(),
            slice_number: i64::MIN,
        }
    }

    /// Records a request, and returns the slice before this one if that has ended.
    pub(crate) fn record(&mut self, ended: Ended) -> Option<(i64, Slice)> {
        let flushed = if ended.slice == self.slice_number { None } else { self.flush() };
        self.slice_number = ended.slice;
        let refused = ended.failure.is_none() && ended.status == Some(409);
        match &ended.failure {
            Some(failure) => {
                self.slice.failed += 1;
                self.slice.unreachable += u64::from(failure.unreachable);
            }
            None if refused => {}
            None => {
                self.slice.done += 1;
                record(&mut self.slice.latency, ended.latency, 1);
            }
        }
        let Some(at) = ended.at else {
            self.warmup_requests += 1;
            self.warmup_failed += u64::from(ended.failure.is_some());
            return flushed;
        };
        self.last_end = self.last_end.max(at);
        self.sent_bytes += ended.sent_bytes as u64;
        self.received_bytes += ended.received_bytes as u64;
        record(&mut self.lateness, ended.latency.saturating_sub(ended.service), 1);
        if let Some(status) = ended.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        let tally = self.operations.entry(ended.operation).or_insert_with(OperationTally::new);
        match ended.failure {
            None if refused => tally.refused += 1,
            None => {
                tally.success += 1;
                record(&mut tally.latency, ended.latency, 1);
                record(&mut tally.service, ended.service, 1);
            }
            Some(failure) => {
                tally.failed += 1;
                record(&mut tally.failed_latency, ended.latency, 1);
                self.locked += u64::from(failure.locked);
                self.keep_error(failure.text);
                if let Some(kind) = failure.kind {
                    *self.kinds.entry(kind).or_default() += 1;
                }
            }
        }
        flushed
    }

    fn keep_error(&mut self, text: String) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&text) {
            self.errors.push(text);
        }
    }

    /// Takes the current slice, if it has any requests.
    pub(crate) fn flush(&mut self) -> Option<(i64, Slice)> {
        let any = self.slice.done + self.slice.failed > 0;
        any.then(|| (self.slice_number, std::mem::replace(&mut self.slice, Slice::new())))
    }

    /// Adds the measurements of another worker.
    pub(crate) fn add(&mut self, other: Self) {
        for (operation, theirs) in other.operations {
            self.operations.entry(operation).or_insert_with(OperationTally::new).add(&theirs);
        }
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        other.errors.into_iter().for_each(|text| self.keep_error(text));
        fold(&mut self.lateness, &other.lateness);
        self.locked += other.locked;
        self.warmup_requests += other.warmup_requests;
        self.warmup_failed += other.warmup_failed;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.last_end = self.last_end.max(other.last_end);
    }

    /// Returns all operations together.
    pub(crate) fn total(&self) -> OperationTally {
        let mut total = OperationTally::new();
        self.operations.values().for_each(|operation| total.add(operation));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(at_millis: Option<u64>, latency_millis: u64) -> Ended {
        Ended {
            operation: Operation::Read,
            at: at_millis.map(Duration::from_millis),
            slice: at_millis.map_or(-1, |millis| i64::try_from(millis / 100).unwrap()),
            latency: Duration::from_millis(latency_millis),
            service: Duration::from_millis(1),
            sent_bytes: 10,
            received_bytes: 20,
            status: Some(200),
            failure: None,
        }
    }

    #[test]
    fn percentiles_of_workers_together_are_those_of_all_their_requests() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for _ in 0..99 {
            one.record(ended(Some(1), 1));
        }
        other.record(ended(Some(2), 1000));
        one.add(other);
        let total = one.total();
        let millis = |quantile| total.latency.value_at_quantile(quantile) / 1_000_000;
        // The average of both p50 would be 500.
        assert_eq!((millis(0.5), millis(0.999), total.success), (1, 1000, 100));
        assert_eq!((one.statuses[&200], one.sent_bytes, one.last_end), (100, 1000, Duration::from_millis(2)));
    }

    #[test]
    fn a_slice_is_returned_when_the_next_one_begins() {
        let mut tally = Tally::new();
        assert!(tally.record(ended(None, 1)).is_none());
        let (number, slice) = tally.record(ended(Some(0), 1)).unwrap();
        assert_eq!((number, slice.done), (-1, 1));
        assert!(tally.record(ended(Some(99), 1)).is_none());
        let (number, slice) = tally.record(ended(Some(100), 1)).unwrap();
        assert_eq!((number, slice.done), (0, 2));
        let (number, slice) = tally.flush().unwrap();
        assert_eq!((number, slice.done), (1, 1));
        assert!(tally.flush().is_none());
    }
}
