//! Bars for work that takes its time. They are drawn on a terminal only, and on stderr.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

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

/// The same for work that has only one. It leaves no trace on the terminal, however that ends.
pub(super) fn only_bar(path: &Path, size_bytes: u64) -> OnlyBar {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    OnlyBar(add_bar(&bars(), &name, size_bytes))
}

/// A bar that goes when its work ends.
pub(super) struct OnlyBar(ProgressBar);

impl OnlyBar {
    /// So many bytes are done.
    pub(super) fn set(&self, done_bytes: u64) {
        self.0.set_position(done_bytes);
    }
}

impl Drop for OnlyBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
