//! A run over time, in slices that become wider as it becomes longer, so that any run fits in the same memory.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{chart::Interval, tally::fold};

/// The slices that workers report. They are merged, never averaged.
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// With more, slices are joined in pairs. It is enough for a picture.
const MAX_SLICES: usize = 240;

/// The number of the slice in which a request ended, `measured` after the warm-up. In the warm-up, with `warming` left
/// of it, numbers are below 0 and rise.
pub(crate) fn number_of(measured: Duration, warming: Option<Duration>) -> i64 {
    let whole = |time: Duration| i64::try_from(time.as_nanos() / SLICE.as_nanos()).unwrap_or(i64::MAX - 1);
    match warming {
        None => whole(measured),
        Some(left) => -1 - whole(left),
    }
}

/// The requests that ended in a slice of time.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Connections that failed.
    pub(crate) unreachable: u64,
    /// Of successful requests, in nanoseconds to two digits, which is enough for pictures.
    pub(crate) latency: Histogram<u64>,
}

impl Slice {
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
    slices: Vec<Option<Slice>>,
    /// How often slices were joined.
    joined: u32,
}

impl Series {
    /// Adds a slice; `number` counts in [`SLICE`]s.
    pub(crate) fn add(&mut self, number: u64, slice: Slice) {
        while number >> self.joined >= MAX_SLICES as u64 {
            self.join();
        }
        let at = usize::try_from(number >> self.joined).unwrap_or(MAX_SLICES - 1);
        if self.slices.len() <= at {
            self.slices.resize_with(at + 1, || None);
        }
        put(&mut self.slices[at], slice);
    }

    fn join(&mut self) {
        let slices = std::mem::take(&mut self.slices);
        self.slices = (0..slices.len().div_ceil(2)).map(|_| None).collect();
        for (at, slice) in slices.into_iter().enumerate() {
            if let Some(slice) = slice {
                put(&mut self.slices[at / 2], slice);
            }
        }
        self.joined += 1;
    }

    /// The intervals from the start to `end`. The last one may be shorter.
    pub(crate) fn intervals(&self, end: Duration) -> Vec<Interval> {
        let width = SLICE.as_secs_f64() * f64::from(1_u32 << self.joined.min(31));
        let ends = ((end.as_secs_f64() / width).ceil() as usize).min(MAX_SLICES);
        // Up to the end even if no request ended, so that a server that stalled to the end is seen.
        let mut count = self.slices.len().max(ends);
        let left_at = |at: usize| end.as_secs_f64() - at as f64 * width;
        // A very short last interval would show a meaningless rate, so it is joined to the one before.
        let sliver = count > 1 && left_at(count - 1) < width / 2.0 && left_at(count - 1) > 0.0;
        count -= usize::from(sliver);
        let mut intervals = Vec::with_capacity(count);
        for at in 0..count {
            let slice = self.slices.get(at).and_then(Option::as_ref);
            let joined = match self.slices.get(at + 1) {
                Some(Some(last)) if sliver && at + 1 == count => {
                    let mut joined = last.clone();
                    slice.inspect(|slice| joined.add(slice));
                    Some(joined)
                }
                _ => None,
            };
            let slice = joined.as_ref().or(slice);
            let start_s = at as f64 * width;
            let width_s = match left_at(at) {
                left if left > 0.0 && (left < width || (sliver && at + 1 == count)) => left,
                _ => width,
            };
            let quantile = |of| slice.map_or(0, |slice| slice.latency.value_at_quantile(of));
            intervals.push(Interval {
                start_s,
                width_s,
                done: slice.map_or(0, |slice| slice.done),
                failed: slice.map_or(0, |slice| slice.failed),
                percentiles_ns: [0.5, 0.95, 0.99].map(quantile),
            });
        }
        intervals
    }
}

fn put(place: &mut Option<Slice>, slice: Slice) {
    match place {
        Some(there) => there.add(&slice),
        None => *place = Some(slice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::slice_histogram;

    fn slice(latency_ns: u64) -> Slice {
        let mut latency = slice_histogram();
        latency.saturating_record(latency_ns);
        Slice { done: 1, failed: 0, unreachable: 0, latency }
    }

    #[test]
    fn slices_of_the_warm_up_rise_to_those_that_count() {
        let millis = Duration::from_millis;
        let warming = [250, 150, 50, 0].map(|left| number_of(Duration::ZERO, Some(millis(left))));
        assert_eq!(warming, [-3, -2, -1, -1]);
        assert_eq!([0, 99, 100].map(|at| number_of(millis(at), None)), [0, 0, 1]);
    }

    #[test]
    fn any_run_fits_and_nothing_is_lost() {
        for slices in [1, 239, 240, 241, 3_000_u64] {
            let mut series = Series::default();
            for number in 0..slices {
                series.add(number, slice(1000));
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
            series.add(0, slice(latency));
        }
        let [interval] = series.intervals(SLICE).try_into().unwrap();
        assert!(interval.percentiles_ns[0] < 1_100 && interval.percentiles_ns[2] > 8_900_000, "{interval:?}");
    }

    #[test]
    fn an_interval_without_requests_is_empty() {
        let mut series = Series::default();
        series.add(2, slice(5));
        let done = |series: &Series, end| {
            series.intervals(end).iter().map(|interval| interval.done).collect::<Vec<_>>()
        };
        assert_eq!(done(&series, SLICE * 3), [0, 0, 1]);
        assert_eq!(done(&series, SLICE * 5), [0, 0, 1, 0, 0], "to the end of the run");
        series.add(3, slice(5));
        assert_eq!(done(&series, SLICE * 3 + SLICE / 4), [0, 0, 2], "a sliver goes to the one before");
    }
}
