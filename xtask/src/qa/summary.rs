//! The report as words for a terminal.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

use super::{
    context::{Outcome, StepResult},
    report::Report,
};

/// Lines of a failure that are shown here; all are in the report.
const OUTPUT_LINES: usize = 12;

pub(super) fn summary(report: &Report, json: &Path, page: &Path) -> String {
    let mut text = String::from("\n");
    for result in &report.results {
        for failure in &result.ended.failures {
            let _ = writeln!(text, "{}: {}", result.step.name(), failure.name);
            for line in telling(&failure.output) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    let _ = writeln!(text, "{:<12} {:<12} {:>8}  WHAT", "STEP", "OUTCOME", "SECONDS");
    for result in report.results.iter().filter(|result| result.outcome != Outcome::NotSelected) {
        let (step, seconds) = (result.step.name(), result.seconds);
        let _ = writeln!(text, "{step:<12} {:<12} {seconds:>8.1}  {}", outcome(report, result), result.note);
    }
    let slow = report.value("slow_tests").as_array().into_iter().flatten().take(3);
    let slow: Vec<_> = slow.map(|test| format!("{} ({} s)", plain(&test["name"]), test["seconds"])).collect();
    if !slow.is_empty() {
        let _ = writeln!(text, "slowest tests: {}", slow.join(", "));
    }
    let _ = writeln!(text, "report: {}, page: {}", json.display(), page.display());
    let _ = write!(text, "{}", verdict(report));
    text
}

/// From where a test panicked up to its backtrace, else the end.
fn telling(output: &str) -> Vec<&str> {
    let lines: Vec<_> = output.lines().collect();
    let from = lines.iter().position(|line| line.contains("panicked at"));
    let from = from.unwrap_or(lines.len().saturating_sub(OUTPUT_LINES));
    let told = lines[from..].iter().copied().take_while(|line| line.trim() != "stack backtrace:");
    told.filter(|line| !line.trim().is_empty()).take(OUTPUT_LINES).collect()
}

fn outcome(report: &Report, result: &StepResult) -> &'static str {
    match result.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "FAILED",
        Outcome::Unavailable if report.is_against(result) => "NOT KNOWN",
        Outcome::Unavailable => "not known",
        Outcome::NotSelected => "left out",
    }
}

/// In one line.
pub(super) fn verdict(report: &Report) -> String {
    let names = |wanted: &dyn Fn(&StepResult) -> bool| {
        let found = report.results.iter().filter(|result| wanted(result));
        found.map(|result| result.step.name()).collect::<Vec<_>>().join(", ")
    };
    let unknown = names(&|result| result.outcome == Outcome::Unavailable);
    let left_out = names(&|result| result.outcome == Outcome::NotSelected);
    let mut verdict = if report.ok() {
        "ok: nothing that was looked at keeps this from shipping".to_owned()
    } else {
        format!("NOT OK: {}", names(&|result| report.is_against(result)))
    };
    for (what, names) in [("not known", unknown), ("left out", left_out)] {
        if !names.is_empty() {
            let _ = write!(verdict, "; {what}: {names}");
        }
    }
    verdict
}

/// A value without quotes, and `–` for what is not known.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests_of_summary {
    use super::{
        super::{
            context::Ended,
            report::tests_of_report::{about, result},
            steps::Step,
        },
        *,
    };

    #[test]
    fn of_a_test_that_panicked_the_panic_is_told_and_not_the_backtrace() {
        let output = "running 1 test\n\nthread 'a' panicked at x.rs:1\nleft: 1\nstack backtrace:\n 0: main\n";
        assert_eq!(telling(output), ["thread 'a' panicked at x.rs:1", "left: 1"]);
        let long: String = (0..40).map(|line| format!("{line}\n")).collect();
        assert_eq!((telling(&long).len(), telling(&long)[11]), (12, "39"));
    }

    #[test]
    fn the_summary_says_why_it_is_not_ok_and_what_is_not_known() {
        let results = [
            result(Step::Tests, Ended::failed("1 of 2 tests failed").because("a::b", "panicked at x")),
            result(Step::Advisories, Ended::unavailable("no network")),
            StepResult::not_selected(Step::Bench),
        ];
        let text = summary(&Report::of(&results, &about()), Path::new("r.json"), Path::new("r.html"));
        for part in [
            "tests: a::b\n    panicked at x\n",
            "tests        FAILED            1.2  1 of 2 tests failed\n",
            "advisories   not known         1.2  no network\n",
            "NOT OK: tests; not known: advisories; left out: bench",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
