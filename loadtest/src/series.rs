//! A run over time, in slices that become wider as it becomes longer, so that any run fits in the same memory.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    chart::Interval,
    histogram::{fold, slice_histogram},
};

/// The slices that workers report. They are merged, never averaged.
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// With more, slices are joined in pairs. It is enough for a picture.
const MAX_SLICES: usize = 240;

/// Returns the number of the slice at `elapsed` from the start of the load; below 0 in the warm-up.
pub(crate) fn number_of(elapsed: Duration, warmup: Duration) -> i64 {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    (nanos(elapsed) - nanos(warmup)).div_euclid(nanos(SLICE))
}

/// The requests that ended in a slice of time.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Connections that failed.
    pub(crate) unreachable: u64,
    /// Of successful requests.
    pub(crate) latency: Histogram<u64>,
}

impl Slice {
    pub(crate) fn new() -> Self {
        Self { done: 0, failed: 0, unreachable: 0, latency: slice_histogram() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.unreachable += other.unreachable;
        fold(&mut self.latency, &other.latency);
    }
}

/// All slices of a run, all of one width.
#[derive(Debug, Default)]
pub(crate) struct Series {
    slices: Vec<Slice>,
    /// How often slices were joined.
    joined: u32,
}

impl Series {
    /// Adds a slice; `number` counts in [`SLICE`]s.
    pub(crate) fn add(&mut self, number: u64, slice: &Slice) {
        while number >> self.joined >= MAX_SLICES as u64 {
            self.join();
        }
        let at = usize::try_from(number >> self.joined).unwrap_or(MAX_SLICES - 1);
        self.extend_to(at + 1);
        self.slices[at].add(slice);
    }

    fn extend_to(&mut self, length: usize) {
        self.slices.resize_with(self.slices.len().max(length), Slice::new);
    }

    fn join(&mut self) {
        let pairs = self.slices.chunks(2).map(|pair| {
            let mut joined = pair[0].clone();
            pair[1..].iter().for_each(|slice| joined.add(slice));
            joined
        });
        self.slices = pairs.collect();
        self.joined += 1;
    }

    /// Returns the intervals from the start to `end`. The last one may be shorter.
    pub(crate) fn intervals(mut self, end: Duration) -> Vec<Interval> {
        let width = SLICE.as_secs_f64() * f64::from(1_u32 << self.joined.min(31));
        // Up to the end even if no request ended, so that a server that stalled to the end is seen.
        self.extend_to(((end.as_secs_f64() / width).ceil() as usize).min(MAX_SLICES));
        let left_at = |at: usize| end.as_secs_f64() - at as f64 * width;
        // A very short last interval would show a meaningless rate, so it is joined to the one before.
        let last = self.slices.len().saturating_sub(1);
        if last > 0 && (0.0..width / 2.0).contains(&left_at(last)) {
            let sliver = self.slices.pop();
            sliver.iter().for_each(|sliver| self.slices[last - 1].add(sliver));
        }
        let last = self.slices.len().saturating_sub(1);
        let interval = |(at, slice): (usize, &Slice)| Interval {
            start_s: at as f64 * width,
            width_s: if at == last && left_at(at) > 0.0 { left_at(at) } else { width },
            done: slice.done,
            failed: slice.failed,
            percentiles_ns: [0.5, 0.95, 0.99].map(|of| slice.latency.value_at_quantile(of)),
        };
        self.slices.iter().enumerate().map(interval).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(latency_ns: u64) -> Slice {
        let mut slice = Slice { done: 1, ..Slice::new() };
        slice.latency.saturating_record(latency_ns);
        slice
    }

    #[test]
    fn slices_of_the_warm_up_rise_to_those_that_count() {
        let millis = Duration::from_millis;
        let numbers = [0, 100, 249, 250, 349, 350].map(|at| number_of(millis(at), millis(250)));
        assert_eq!(numbers, [-3, -2, -1, 0, 0, 1]);
    }

    #[test]
    fn any_run_fits_and_nothing_is_lost() {
        for slices in [1, 239, 240, 241, 3_000_u64] {
            let mut series = Series::default();
            for number in 0..slices {
                series.add(number, &slice(1000));
            }
            let intervals = series.intervals(SLICE * u32::try_from(slices).unwrap());
            assert!(intervals.len() <= MAX_SLICES, "{slices}");
            assert_eq!(intervals.iter().map(|interval| interval.done).sum::<u64>(), slices);
            let seconds: f64 = intervals.iter().map(|interval| interval.width_s).sum();
            assert!((seconds - slices as f64 / 10.0).abs() < 0.001, "{slices} {seconds}");
        }
    }

    #[test]
    fn percentiles_are_those_of_all_requests_and_not_averages() {
        let mut series = Series::default();
        for latency in [1_000_u64, 1_000, 1_000, 9_000_000] {
            series.add(0, &slice(latency));
        }
        let [interval] = series.intervals(SLICE).try_into().unwrap();
        assert!(interval.percentiles_ns[0] < 1_100 && interval.percentiles_ns[2] > 8_900_000, "{interval:?}");
    }

    #[test]
    fn an_interval_without_requests_is_empty() {
        let done = |numbers: &[u64], end| {
            let mut series = Series::default();
            numbers.iter().for_each(|number| series.add(*number, &slice(5)));
            series.intervals(end).iter().map(|interval| interval.done).collect::<Vec<_>>()
        };
        assert_eq!(done(&[2], SLICE * 3), [0, 0, 1]);
        assert_eq!(done(&[2], SLICE * 5), [0, 0, 1, 0, 0], "to the end of the run");
        assert_eq!(done(&[2, 3], SLICE * 3 + SLICE / 4), [0, 0, 2], "a sliver goes to the one before");
    }
}
