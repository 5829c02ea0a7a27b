//! Progress bars on stderr. The library hides them unless it is a terminal.

use std::path::Path;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::print;

/// On 80 columns this leaves 16 for the bar itself.
const BAR: &str = "{prefix:20!} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} \
                   {decimal_bytes_per_sec:>12} {eta:>4} left";

/// A set of bars.
pub(super) fn bars() -> MultiProgress {
    MultiProgress::new()
}

/// Adds a bar with this name and size.
pub(super) fn add_bar(bars: &MultiProgress, name: &str, size_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    bars.add(ProgressBar::new(size_bytes).with_style(style).with_prefix(print::one_line(name)))
}

/// A single bar, which disappears when it is dropped.
pub(super) fn only_bar(path: &Path, size_bytes: u64) -> OnlyBar {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    OnlyBar(add_bar(&bars(), &name, size_bytes))
}

/// A bar that disappears when it is dropped.
pub(super) struct OnlyBar(ProgressBar);

impl OnlyBar {
    /// Sets the bytes that are done.
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
