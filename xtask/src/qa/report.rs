//! The report: first the keys of 0.2.0 in their order, then ours. An unknown value is null and has a reason.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::step::{Outcome, Step, StepResult};

/// Keys of 0.2.0, with the step that finds the value; `None` if it describes the run itself.
const FIRST_KEYS: [(&str, Option<Step>); 22] = [
    ("generated_at_epoch", None),
    ("platform", None),
    ("tests_total", Some(Step::Tests)),
    ("tests_passed", Some(Step::Tests)),
    ("tests_failed", Some(Step::Tests)),
    ("tests_skipped", Some(Step::Tests)),
    ("pass_rate", Some(Step::Tests)),
    ("runtime_seconds", Some(Step::Tests)),
    ("coverage_percent", Some(Step::Coverage)),
    ("slow_tests", Some(Step::Tests)),
    ("vulns_found", Some(Step::Advisories)),
    ("vuln_deps_affected", Some(Step::Advisories)),
    ("concurrency_ok", Some(Step::Concurrency)),
    ("concurrency_requests_total", Some(Step::Concurrency)),
    ("concurrency_requests_success", Some(Step::Concurrency)),
    ("concurrency_requests_failed", Some(Step::Concurrency)),
    ("concurrency_locked_errors", Some(Step::Concurrency)),
    ("concurrency_latency_ms_p50", Some(Step::Concurrency)),
    ("concurrency_latency_ms_p95", Some(Step::Concurrency)),
    ("started_at_epoch", None),
    ("ended_at_epoch", None),
    ("qa_runtime_seconds", None),
];

/// Ours, after those that describe the run.
const KEYS: [(&str, Option<Step>); 13] = [
    ("clippy_issues_total", Some(Step::Clippy)),
    ("doctests_total", Some(Step::Doctests)),
    ("doctests_passed", Some(Step::Doctests)),
    ("doctests_failed", Some(Step::Doctests)),
    ("coverage_tool", Some(Step::Coverage)),
    ("licence_faults", Some(Step::Licences)),
    ("advisories_other", Some(Step::Advisories)),
    ("concurrency_requests_per_second", Some(Step::Concurrency)),
    ("concurrency_writes_missing", Some(Step::Concurrency)),
    ("concurrency_profile", Some(Step::Concurrency)),
    ("benchmarks_run", Some(Step::Bench)),
    ("audit_warnings", Some(Step::Audit)),
    ("audit_failures", Some(Step::Audit)),
];

/// Lines of a failure that the summary shows; the report has all.
const SUMMARY_LINES: usize = 12;

#[derive(Debug, Clone)]
pub(super) struct Report {
    values: Map<String, Value>,
    pub(super) results: Vec<StepResult>,
    strict: bool,
}

impl Report {
    /// Creates the report; `about` has the keys that describe the run itself.
    pub(super) fn new(results: Vec<StepResult>, about: &[(&str, Value)], strict: bool) -> Self {
        let mut report = Self { values: Map::new(), results, strict };
        let null = |keys: &[(&str, Option<Step>)]| -> Map<String, Value> {
            keys.iter().map(|(key, _)| ((*key).to_owned(), Value::Null)).collect()
        };
        let mut values = null(&FIRST_KEYS);
        let complete = report.results.iter().all(|result| result.outcome != Outcome::NotSelected);
        for (key, value) in [("ok", report.ok()), ("complete", complete), ("strict", strict)] {
            values.insert(key.to_owned(), json!(value));
        }
        values.extend(about.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        values.extend(null(&KEYS));
        let (mut steps, mut failures) = (Vec::new(), Vec::new());
        for result in &report.results {
            let name = result.step.name();
            values.extend(result.figures.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            steps.push(json!({
                "name": name,
                "outcome": result.outcome.name(),
                "required": result.step.is_required(),
                "seconds": thousandths(result.seconds),
                "note": result.note,
                "log": result.log,
            }));
            let failed = result.failures.iter();
            failures
                .extend(failed.map(|(what, output)| json!({"step": name, "name": what, "output": output})));
        }
        let unknown = FIRST_KEYS.into_iter().chain(KEYS).filter(|(key, _)| values[*key].is_null());
        let reasons: Map<_, _> = unknown.map(|(key, step)| (key.to_owned(), report.note_of(step))).collect();
        values.insert("steps".to_owned(), Value::Array(steps));
        values.insert("failures".to_owned(), Value::Array(failures));
        values.insert("unavailable".to_owned(), Value::Object(reasons));
        report.values = values;
        report
    }

    fn note_of(&self, step: Option<Step>) -> Value {
        let result = self.results.iter().find(|result| Some(result.step) == step);
        result.map_or(Value::Null, |result| json!(format!("{}: {}", result.step.name(), result.note)))
    }

    /// Returns true if no step keeps the tree from shipping.
    pub(super) fn ok(&self) -> bool {
        !self.results.iter().any(|result| self.blocks(result))
    }

    pub(super) fn blocks(&self, result: &StepResult) -> bool {
        match result.outcome {
            Outcome::Failed => true,
            Outcome::Unavailable => self.strict || result.step.is_required(),
            Outcome::Ok | Outcome::NotSelected => false,
        }
    }

    pub(super) fn value(&self, key: &str) -> &Value {
        self.values.get(key).unwrap_or(&Value::Null)
    }

    pub(super) fn json(&self) -> String {
        format!("{:#}\n", Value::Object(self.values.clone()))
    }

    /// Returns the failures and the steps, as lines for a terminal.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for result in &self.results {
            for (name, output) in &result.failures {
                let _ = writeln!(text, "{}: {name}", result.step.name());
                relevant_lines(output).iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            }
        }
        for result in self.results.iter().filter(|result| result.outcome != Outcome::NotSelected) {
            let (step, outcome) = (result.step.name(), result.outcome.name());
            let _ = writeln!(text, "{step:<12} {outcome:<12} {:>8.1} s  {}", result.seconds, result.note);
        }
        text
    }

    /// Returns the verdict on one line.
    pub(super) fn verdict(&self) -> String {
        let names = |select: &dyn Fn(&StepResult) -> bool| {
            let selected = self.results.iter().filter(|result| select(result));
            selected.map(|result| result.step.name()).collect::<Vec<_>>().join(", ")
        };
        let mut verdict = if self.ok() {
            "ok: nothing that was checked keeps this from shipping".to_owned()
        } else {
            format!("NOT OK: {}", names(&|result| self.blocks(result)))
        };
        for (what, outcome) in [("unavailable", Outcome::Unavailable), ("left out", Outcome::NotSelected)] {
            let names = names(&|result| result.outcome == outcome);
            if !names.is_empty() {
                let _ = write!(verdict, "; {what}: {names}");
            }
        }
        verdict
    }
}

/// Returns seconds to three decimals.
pub(super) fn thousandths(seconds: f64) -> Value {
    json!((seconds * 1e3).round() / 1e3)
}

/// Returns the lines from a test's panic to its backtrace; without a panic, the last lines.
fn relevant_lines(output: &str) -> Vec<&str> {
    let lines: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.iter().position(|line| line.contains("panicked at"));
    let from = from.unwrap_or(lines.len().saturating_sub(SUMMARY_LINES));
    lines[from..].iter().copied().take_while(|line| *line != "stack backtrace:").take(SUMMARY_LINES).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn all(result: impl Fn(Step) -> StepResult) -> Vec<StepResult> {
        Step::value_variants().iter().map(|step| result(*step)).collect()
    }

    #[test]
    fn the_keys_of_0_2_0_come_first_and_in_their_order() {
        let report = Report::new(all(|step| StepResult::new(step, true, "")), &[], false);
        let keys: Vec<_> = report.values.keys().map(String::as_str).collect();
        assert_eq!(keys[..22], FIRST_KEYS.map(|(key, _)| key));
        assert_eq!(keys[22], "ok");
        assert_eq!(keys.last(), Some(&"unavailable"));
    }

    #[test]
    fn an_unknown_value_is_null_with_a_reason_and_never_zero() {
        let results = all(|step| match step {
            Step::Tests => StepResult::new(step, true, "some tests").with("tests_total", 3),
            Step::Advisories => StepResult::new(step, Outcome::Unavailable, "no network"),
            _ => StepResult::new(step, true, "well"),
        });
        let report = Report::new(results, &[], false);
        let reasons = report.value("unavailable");
        assert_eq!(
            (report.value("vulns_found"), &reasons["vulns_found"]),
            (&Value::Null, &json!("advisories: no network"))
        );
        assert_eq!(reasons["slow_tests"], "tests: some tests");
        assert_eq!(report.value("tests_total"), 3);
        for (key, _) in FIRST_KEYS.into_iter().chain(KEYS) {
            assert_eq!(report.value(key).is_null(), reasons.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn failures_and_required_steps_that_are_unavailable_keep_it_from_shipping() {
        for step in Step::value_variants() {
            let ok = |outcome, strict| {
                let outcome_of = |other| if other == *step { outcome } else { Outcome::Ok };
                let results = all(|other| StepResult::new(other, outcome_of(other), ""));
                Report::new(results, &[], strict).ok()
            };
            assert!(!ok(Outcome::Failed, false), "{step:?}");
            assert_eq!(ok(Outcome::Unavailable, false), !step.is_required(), "{step:?}");
            assert!(!ok(Outcome::Unavailable, true), "{step:?}");
            assert!(ok(Outcome::NotSelected, true), "{step:?}");
        }
    }

    #[test]
    fn the_summary_names_what_failed_without_its_backtrace() {
        let output = "running 1 test\n\nthread 'a' panicked at x.rs:1\nleft: 1\nstack backtrace:\n 0: main\n";
        let results = vec![
            StepResult::new(Step::Tests, false, "0 of 1 tests passed").because("a::b", output),
            StepResult::new(Step::Advisories, Outcome::Unavailable, "no network"),
            StepResult::new(Step::Bench, Outcome::NotSelected, ""),
        ];
        let report = Report::new(results, &[], false);
        let expected = "tests: a::b\n    thread 'a' panicked at x.rs:1\n    left: 1\n\
                        tests        failed            0.0 s  0 of 1 tests passed\n\
                        advisories   unavailable       0.0 s  no network\n";
        assert_eq!(report.summary(), expected);
        assert_eq!(report.verdict(), "NOT OK: tests; unavailable: advisories; left out: bench");
    }
}
