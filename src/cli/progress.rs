//! Bars for work that takes its time. They are drawn on a terminal only, and on stderr.

use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print;

/// Of 80 columns it leaves 16 to the bar itself.
const BAR: &str = "{prefix:20!} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} \
                   {decimal_bytes_per_sec:>12} {eta:>4} left";

/// Room for bars side by side.
pub(super) fn bars() -> MultiProgress {
    MultiProgress::with_draw_target(if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    })
}

/// A bar for something of this name and size among `bars`.
pub(super) fn add_bar(bars: &MultiProgress, name: &str, size_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    bars.add(ProgressBar::new(size_bytes).with_style(style).with_prefix(print::one_line(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
