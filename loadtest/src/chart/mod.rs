//! The chart of a run: one HTML page that needs nothing else.
//!
//! It shows what it is given and measures nothing. [`svg`] draws any line plot by itself.

mod page;
mod plot;
#[cfg(test)]
mod tests;

use hdrhistogram::Histogram;

pub use page::page;
pub use plot::{Axis, Mark, Panel, Plot, Scale, Series, svg};

/// What the page shows of a run.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// Settings and results: name and value.
    pub facts: Vec<(String, String)>,
    /// Latencies in nanoseconds by name, such as a kind of request.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// The run over time, in order.
    pub intervals: Vec<Interval>,
}

/// A part of a run. The last one may be shorter than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its begin, from the start of the run.
    pub start_s: f64,
    /// Its length.
    pub width_s: f64,
    /// Requests that succeeded in it.
    pub done: u64,
    /// Requests that failed in it.
    pub failed: u64,
    /// Latencies in nanoseconds at 50, 95 and 99 %. Meaningless if nothing was done.
    pub percentiles_ns: [u64; 3],
}
