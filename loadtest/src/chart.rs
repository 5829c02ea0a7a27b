//! The chart of a run: one page that needs nothing else, for a browser, a phone or paper.
//!
//! It draws what it is given and measures nothing. [`svg`] draws any line plot by itself.

mod axis;
mod marks;
mod page;
mod plot;
#[cfg(test)]
mod tests;
mod text;

use hdrhistogram::Histogram;

pub use axis::{Axis, Labels, Scale};
pub use page::page;
pub use plot::{Mark, Panel, Plot, Series, svg};

/// What is shown of a run.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// What was run, on what, and what came of it: name and value.
    pub facts: Vec<(String, String)>,
    /// Latencies in nanoseconds, each with its name: a kind of request, say.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// The run, piece by piece, in order.
    pub seconds: Vec<Second>,
}

/// A piece of a run, about a second long. The last one may be shorter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// When it began, counted from the start of the run.
    pub start_s: f64,
    /// How long it was.
    pub width_s: f64,
    /// Requests that were answered as wanted in it; those that failed are not among them.
    pub done: u64,
    /// Requests that failed in it.
    pub failed: u64,
    /// The median latency of what was done. Meaningless, and not drawn, where nothing was.
    pub p50_ns: u64,
    /// The 99th percentile likewise.
    pub p99_ns: u64,
}
