//! Histograms of nanoseconds, all with the same bounds, so that they can be added up.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer latencies are recorded as this.
const MAX_NS: u64 = 3600 * 1_000_000_000;

/// Returns a histogram of three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    with_digits(3)
}

/// Returns a histogram of two digits, in a tenth of the memory: enough for pictures and progress.
pub(crate) fn slice_histogram() -> Histogram<u64> {
    with_digits(2)
}

#[allow(clippy::expect_used, reason = "bounds and digits are constants, and the tests make one of each")]
fn with_digits(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, digits).expect("the bounds are in order")
}

/// Adds `from` to `into`, which has the same bounds.
pub(crate) fn fold(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // It fails only for values out of bounds, which are the same.
    let _ = into.add(from);
}

/// Records `span`, `count` times.
pub(crate) fn record(histogram: &mut Histogram<u64>, span: Duration, count: u64) {
    // Two readings of the clock may be equal, and 0 is below the lowest bucket.
    histogram.saturating_record_n(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1), count);
}
