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

/// Returns a single bar, which disappears when it is dropped.
pub(super) fn only_bar(path: &Path, size_bytes: u64) -> OnlyBar {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    OnlyBar(ProgressBar::new(size_bytes).with_style(style).with_prefix(print::one_line(&name)))
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
