//! Progress bars on stderr. The library hides them unless it is a terminal.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::{
    artifact::{ArtifactError, OpenFile},
    domain::Measurement,
};

/// On 80 columns this leaves 16 for the bar itself.
const BAR: &str = "{prefix:20!} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} \
                   {decimal_bytes_per_sec:>12} {eta:>4} left";
const COUNTED: &str = "{prefix} {wide_bar} {human_pos:>9}/{human_len:9} {eta:>4} left";
const UNBOUNDED: &str = "{prefix} {human_pos}";

/// Returns a single bar, which disappears when it is dropped.
pub(super) fn only_bar(path: &Path, size_bytes: u64) -> OnlyBar {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    OnlyBar(ProgressBar::new(size_bytes).with_style(style).with_prefix(print::one_line(&name)))
}

/// Returns a bar of `total` things, which disappears when it is dropped.
pub(super) fn bar(prefix: &'static str, total: u64) -> OnlyBar {
    let style = ProgressStyle::with_template(COUNTED).unwrap_or_else(|_| ProgressStyle::default_bar());
    OnlyBar(ProgressBar::new(total).with_style(style).with_prefix(prefix))
}

/// Returns a count of things whose total is unknown, which disappears when it is dropped.
pub(super) fn counter(prefix: &'static str) -> OnlyBar {
    let style = ProgressStyle::with_template(UNBOUNDED).unwrap_or_else(|_| ProgressStyle::default_bar());
    OnlyBar(ProgressBar::no_length().with_style(style).with_prefix(prefix))
}

/// Digests a file with a bar, as long as `go_on` returns true.
///
/// # Errors
/// As [`OpenFile::measure`].
pub(super) fn digest(file: &OpenFile, go_on: impl Fn() -> bool) -> Result<Measurement, ArtifactError> {
    let bar = only_bar(file.path(), file.size_bytes());
    file.measure(|_, done| {
        bar.set(done);
        go_on()
    })
}

/// A bar that disappears when it is dropped.
pub(super) struct OnlyBar(ProgressBar);

impl OnlyBar {
    /// Sets what is done.
    pub(super) fn set(&self, done: u64) {
        self.0.set_position(done);
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
    fn the_bars_are_well_formed() {
        for template in [BAR, COUNTED, UNBOUNDED] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
