//! The bars that long work shows on a terminal, and nowhere else.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print;

/// Of 80 columns it leaves 16 to the bar itself.
const BAR: &str = "{prefix:20!} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} \
                   {decimal_bytes_per_sec:>12} {eta:>4} left";

/// stderr where that is a terminal, else nothing.
pub(super) fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// A bar for work on the file at `path`, to be shown where its owner says.
pub(super) fn bar(path: &Path, size_bytes: u64) -> ProgressBar {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(size_bytes), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_prefix(print::one_line(&name.to_string_lossy()))
}

/// The same, shown by itself. It goes once it is dropped.
pub(super) fn only_bar(path: &Path, size_bytes: u64) -> Shown {
    let bar = bar(path, size_bytes);
    bar.set_draw_target(target());
    Shown(bar)
}

/// A bar that leaves no trace on the terminal, however its work ends.
pub(super) struct Shown(ProgressBar);

impl Shown {
    /// So many bytes are done.
    pub(super) fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Shown {
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
