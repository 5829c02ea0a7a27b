//! The progress of long work on the database, on a terminal.

use std::{sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::store::sqlite::maintenance::{Progress, Stage, Watch};

const BYTES: &str = "{prefix:20!} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} {eta:>4} left";
const ROWS: &str = "{prefix:20!} {wide_bar} {human_pos:>11}/{human_len:11} {eta:>4} left";
const UNCOUNTED: &str = "{prefix:20!} {spinner} {elapsed}";
const TICK: Duration = Duration::from_millis(100);

/// One line on stderr that shows the step. The library hides it unless stderr is a terminal.
pub(super) struct Display {
    bar: ProgressBar,
}

impl Display {
    pub(super) fn new() -> Self {
        Self { bar: ProgressBar::no_length() }
    }

    /// Returns a watch that reports to this display and cancels when `cancelled` returns true.
    pub(super) fn watch(&self, cancelled: impl Fn() -> bool + Send + Sync + 'static) -> Watch {
        let (bar, shown) = (self.bar.clone(), Mutex::new(None));
        Watch::new(cancelled, move |progress| {
            if let Ok(mut shown) = shown.lock() {
                show(&bar, &mut shown, progress);
            }
        })
    }

    /// Clears the line.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn show(bar: &ProgressBar, shown: &mut Option<Stage>, progress: Progress) {
    if *shown != Some(progress.stage) {
        *shown = Some(progress.stage);
        let (prefix, template) = look(progress.stage);
        bar.reset();
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(prefix);
        match progress.total {
            0 => bar.enable_steady_tick(TICK),
            _ => bar.disable_steady_tick(),
        }
    }
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

fn look(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Copying => ("copying", BYTES),
        Stage::Verifying => ("verifying", UNCOUNTED),
        Stage::Reading(table) => (table, ROWS),
        Stage::CopyingRows => ("copying", ROWS),
        Stage::ComparingRows => ("comparing", ROWS),
        Stage::Compacting => ("working", UNCOUNTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_well_formed() {
        for template in [BYTES, ROWS, UNCOUNTED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
