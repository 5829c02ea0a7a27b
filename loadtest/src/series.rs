//! How a run went over time: slices that get wider as it gets longer, so that any run fits in the same memory.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{chart::Second, tally::fold};

/// What workers tell at once. Theirs are merged, never averaged.
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// Before slices are joined in pairs: enough for a picture.
const MAX_SLICES: usize = 240;

/// What ended within a slice of time.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Connections that did not come about.
    pub(crate) unreachable: u64,
    /// Nanoseconds of those that succeeded, to two digits: it is for pictures.
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

/// All slices of a run, of one width.
#[derive(Debug, Default)]
pub(crate) struct Series {
    slices: Vec<Option<Slice>>,
    /// How often slices were joined in pairs.
    joined: u32,
}

impl Series {
    /// Takes what ended in the slice of this number, counted in [`SLICE`]s.
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

    /// From the start to `end`, where the last stretch may be cut short.
    pub(crate) fn stretches(&self, end: Duration) -> Vec<Second> {
        let width = SLICE.as_secs_f64() * f64::from(1_u32 << self.joined.min(31));
        let mut stretches = Vec::with_capacity(self.slices.len());
        for (at, slice) in self.slices.iter().enumerate() {
            let start_s = at as f64 * width;
            let width_s = match end.as_secs_f64() - start_s {
                left if left > 0.0 && left < width => left,
                _ => width,
            };
            let quantile = |of| slice.as_ref().map_or(0, |slice| slice.latency.value_at_quantile(of));
            stretches.push(Second {
                start_s,
                width_s,
                done: slice.as_ref().map_or(0, |slice| slice.done),
                failed: slice.as_ref().map_or(0, |slice| slice.failed),
                p50_ns: quantile(0.5),
                p99_ns: quantile(0.99),
            });
        }
        stretches
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
    fn any_run_fits_and_nothing_is_lost() {
        for slices in [1, 239, 240, 241, 3_000_u64] {
            let mut series = Series::default();
            for number in 0..slices {
                series.add(number, slice(1000));
            }
            let stretches = series.stretches(SLICE * u32::try_from(slices).unwrap());
            assert!(stretches.len() <= MAX_SLICES, "{slices}");
            assert_eq!(stretches.iter().map(|stretch| stretch.done).sum::<u64>(), slices);
            let seconds: f64 = stretches.iter().map(|stretch| stretch.width_s).sum();
            assert!((seconds - slices as f64 / 10.0).abs() < 0.001, "{slices} {seconds}");
        }
    }

    #[test]
    fn percentiles_are_those_of_all_and_no_average() {
        let mut series = Series::default();
        for latency in [1_000_u64, 1_000, 1_000, 9_000_000] {
            series.add(0, slice(latency));
        }
        let [stretch] = series.stretches(SLICE).try_into().unwrap();
        assert!(stretch.p50_ns < 1_100 && stretch.p99_ns > 8_900_000, "{stretch:?}");
    }

    #[test]
    fn a_stretch_in_which_nothing_ended_is_there_and_empty() {
        let mut series = Series::default();
        series.add(2, slice(5));
        assert_eq!(series.stretches(SLICE * 3).iter().map(|s| s.done).collect::<Vec<_>>(), [0, 0, 1]);
    }
}
