//! Progress of the load: one line, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use registry_loadtest::{Progress, Stage};

use crate::cli::print;

const LINE: &str = "{spinner} {wide_msg}";

/// The line. It is cleared at the end.
pub(super) struct Display(ProgressBar);

impl Display {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self(ProgressBar::new_spinner().with_style(style))
    }

    pub(super) fn show(&mut self, stage: Stage) {
        if !self.0.is_hidden() {
            self.0.set_message(words(stage));
            self.0.tick();
        }
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}

fn words(stage: Stage) -> String {
    let of =
        |done: usize, all: usize| format!("{} of {}", print::count(done as u64), print::count(all as u64));
    match stage {
        Stage::Preparing(done, all) => format!("registering versions: {}", of(done, all)),
        Stage::Loading(progress) => loading(&progress),
        Stage::ReadingBack(done, all) => format!("reading the audit trail: {} versions", of(done, all)),
        Stage::TidyingUp(done) => format!("deleting versions: {}", print::count(done as u64)),
    }
}

fn loading(progress: &Progress) -> String {
    let left = match (progress.end, progress.requests) {
        (Some(end), _) => format!("{} s left", whole_seconds(end.saturating_sub(progress.elapsed))),
        (None, Some(requests)) => {
            format!("{} of {}", print::count(progress.done.min(requests)), print::count(requests))
        }
        (None, None) => String::new(),
    };
    let millis = |ns: u64| ns as f64 / 1e6;
    let warming = if progress.warming_up { "warming up: " } else { "" };
    format!(
        "{warming}{}/s, p50 {:.2} ms, p99 {:.2} ms, {} failed, {left}",
        print::count(progress.per_second.round() as u64),
        millis(progress.p50_ns),
        millis(progress.p99_ns),
        print::count(progress.failed),
    )
}

/// Rounded up, so that a run never has 0 s left.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_current_rate_and_what_is_left() {
        let progress = Progress {
            warming_up: false,
            elapsed: Duration::from_millis(2100),
            end: Some(Duration::from_secs(10)),
            requests: None,
            done: 5000,
            failed: 1,
            per_second: 12_345.4,
            p50_ns: 410_000,
            p99_ns: 2_100_000,
        };
        assert_eq!(loading(&progress), "12,345/s, p50 0.41 ms, p99 2.10 ms, 1 failed, 8 s left");
        let counted = Progress { warming_up: true, end: None, requests: Some(9000), ..progress };
        assert!(
            loading(&counted).starts_with("warming up: ") && loading(&counted).ends_with("5,000 of 9,000")
        );
    }
}
