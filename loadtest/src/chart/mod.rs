//! The chart of a run: one self-contained HTML page.
//!
//! It shows what it is given and measures nothing. [`svg`] draws any line plot by itself.

mod page;
mod plot;
#[cfg(test)]
mod tests;

pub use page::{Chart, Interval, page, three_digits};
pub use plot::{Axis, Mark, Panel, Plot, Scale, Series, number, svg};
