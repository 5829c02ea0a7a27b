//! The measurements of one worker: histograms and counts, merged after the run.
//!
//! Nothing is shared between threads, so recording takes no lock. Only failures allocate.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::{plan::Operation, series::Slice};

/// Longer latencies are recorded as this.
const MAX_LATENCY: Duration = Duration::from_secs(3600);
const DIGITS: u8 = 3;
const SLICE_DIGITS: u8 = 2;
/// Different error messages in the report.
const MAX_ERRORS: usize = 10;
const STATUSES: usize = 600;

/// Nanoseconds to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    with_digits(DIGITS)
}

/// Nanoseconds to two digits, in a tenth of the memory.
pub(crate) fn slice_histogram() -> Histogram<u64> {
    with_digits(SLICE_DIGITS)
}

#[allow(clippy::expect_used, reason = "bounds and digits are constants, and the tests make one of each")]
fn with_digits(digits: u8) -> Histogram<u64> {
    let max_ns = u64::try_from(MAX_LATENCY.as_nanos()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, max_ns, digits).expect("the bounds are in order")
}

/// Adds `from` to `into`, which has the same bounds.
pub(crate) fn fold(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // It fails only for values out of bounds, which are the same.
    let _ = into.add(from);
}

fn record(histogram: &mut Histogram<u64>, span: Duration) {
    record_many(histogram, span, 1);
}

pub(crate) fn record_many(histogram: &mut Histogram<u64>, span: Duration, count: u64) {
    // Two readings of the clock may be equal, and 0 is below the lowest bucket.
    histogram.saturating_record_n(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1), count);
}

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
    pub(crate) failure: Option<Failure>,
    /// The gate refused a promotion, which is neither a success nor a failure.
    pub(crate) refused: bool,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The name of the connection's error, if there was no answer.
    pub(crate) kind: Option<Cow<'static, str>>,
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
    /// For operations that occur, by their index.
    pub(crate) operations: [Option<Box<OperationTally>>; Operation::ALL.len()],
    pub(crate) statuses: Vec<u64>,
    pub(crate) kinds: BTreeMap<Cow<'static, str>, u64>,
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
            operations: [const { None }; Operation::ALL.len()],
            statuses: vec![0; STATUSES],
            kinds: BTreeMap::new(),
            errors: Vec::new(),
            locked: 0,
            lateness: histogram(),
            warmup_requests: 0,
            warmup_failed: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_end: Duration::ZERO,
            slice: empty_slice(),
            slice_number: -1,
        }
    }

    /// Records a request, and returns the slice before this one if that has ended.
    pub(crate) fn record(&mut self, ended: Ended) -> Option<(i64, Slice)> {
        let flushed = self.turn_to(ended.slice);
        let unreachable = ended.failure.as_ref().is_some_and(|failure| failure.unreachable);
        self.slice.unreachable += u64::from(unreachable);
        match &ended.failure {
            Some(_) => self.slice.failed += 1,
            None if ended.refused => {}
            None => {
                self.slice.done += 1;
                record(&mut self.slice.latency, ended.latency);
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
        record(&mut self.lateness, ended.latency.saturating_sub(ended.service));
        if let Some(count) = ended.status.and_then(|status| self.statuses.get_mut(usize::from(status))) {
            *count += 1;
        }
        let tally =
            self.operations[ended.operation.index()].get_or_insert_with(|| Box::new(OperationTally::new()));
        match ended.failure {
            None if ended.refused => tally.refused += 1,
            None => {
                tally.success += 1;
                record(&mut tally.latency, ended.latency);
                record(&mut tally.service, ended.service);
            }
            Some(failure) => {
                tally.failed += 1;
                record(&mut tally.failed_latency, ended.latency);
                self.note(failure);
            }
        }
        flushed
    }

    fn note(&mut self, failure: Failure) {
        self.locked += u64::from(failure.locked);
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&failure.text) {
            self.errors.push(failure.text);
        }
        if let Some(kind) = failure.kind {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    /// Takes the current slice, if it has any requests.
    pub(crate) fn flush(&mut self) -> Option<(i64, Slice)> {
        if self.slice.done + self.slice.failed == 0 {
            return None;
        }
        Some((self.slice_number, std::mem::replace(&mut self.slice, empty_slice())))
    }

    fn turn_to(&mut self, number: i64) -> Option<(i64, Slice)> {
        if number == self.slice_number {
            return None;
        }
        let flushed = self.flush();
        self.slice_number = number;
        flushed
    }

    /// Adds the measurements of another worker.
    pub(crate) fn add(&mut self, other: Self) {
        for (mine, theirs) in self.operations.iter_mut().zip(other.operations) {
            match (mine.as_mut(), theirs) {
                (Some(mine), Some(theirs)) => mine.add(&theirs),
                (None, Some(theirs)) => *mine = Some(theirs),
                (_, None) => {}
            }
        }
        for (mine, theirs) in self.statuses.iter_mut().zip(other.statuses) {
            *mine += theirs;
        }
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        for text in other.errors {
            if self.errors.len() < MAX_ERRORS && !self.errors.contains(&text) {
                self.errors.push(text);
            }
        }
        fold(&mut self.lateness, &other.lateness);
        self.locked += other.locked;
        self.warmup_requests += other.warmup_requests;
        self.warmup_failed += other.warmup_failed;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.last_end = self.last_end.max(other.last_end);
    }

    /// All operations together.
    pub(crate) fn total(&self) -> OperationTally {
        let mut total = OperationTally::new();
        for operation in self.operations.iter().flatten() {
            total.add(operation);
        }
        total
    }
}

fn empty_slice() -> Slice {
    Slice { done: 0, failed: 0, unreachable: 0, latency: slice_histogram() }
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
            refused: false,
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
        assert_eq!((one.statuses[200], one.sent_bytes, one.last_end), (100, 1000, Duration::from_millis(2)));
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let mut tally = Tally::new();
        tally.record(ended(None, 5));
        assert_eq!((tally.warmup_requests, tally.total().success, tally.statuses[200]), (1, 0, 0));
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

    #[test]
    fn failures_are_counted_apart_and_each_message_is_kept_once() {
        let mut tally = Tally::new();
        for _ in 0..3 {
            let failure = Failure {
                kind: Some(Cow::Borrowed("Timeout")),
                unreachable: false,
                locked: true,
                text: "no answer".to_owned(),
            };
            tally.record(Ended { status: None, failure: Some(failure), ..ended(Some(1), 9) });
        }
        let total = tally.total();
        assert_eq!(
            (total.failed, total.success, total.latency.len(), total.failed_latency.len()),
            (3, 0, 0, 3)
        );
        assert_eq!((tally.locked, tally.kinds["Timeout"], tally.errors.len()), (3, 3, 1));
    }
}
