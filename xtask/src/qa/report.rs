//! The report: the keys of 0.2.0's in their order, and then ours. What is not known is null and has a reason.

use serde_json::{Map, Value, json};

use super::{
    context::{Outcome, StepResult},
    steps::Step,
};

/// Keys of 0.2.0, with the step that knows the value; `None` for what is known in any case.
const KEYS_OF_OLD: [(&str, Option<Step>); 22] = [
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

/// Ours. They come behind, with those of [`About`] and the steps.
const KEYS: [(&str, Option<Step>); 15] = [
    ("clippy_issues_total", Some(Step::Clippy)),
    ("clippy_issues_by_lint", Some(Step::Clippy)),
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
    ("rustc", None),
];

/// The step that knows the value of a key.
pub(super) fn step_of(key: &str) -> Option<Step> {
    KEYS_OF_OLD.into_iter().chain(KEYS).find(|(known, _)| *known == key).and_then(|(_, step)| step)
}

/// What is known of the run itself.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) started_at_epoch: f64,
    pub(super) ended_at_epoch: f64,
    pub(super) runtime_seconds: f64,
    pub(super) strict: bool,
    pub(super) version: String,
    pub(super) commit: String,
    /// Files that differ from the commit.
    pub(super) changed_files: usize,
    pub(super) rustc: String,
    pub(super) cores: usize,
}

/// The report, and the steps it is made of.
#[derive(Debug, Clone)]
pub(super) struct Report {
    values: Map<String, Value>,
    pub(super) results: Vec<StepResult>,
    strict: bool,
}

impl Report {
    pub(super) fn of(results: &[StepResult], about: &About) -> Self {
        let mut report = Self { values: Map::new(), results: results.to_vec(), strict: about.strict };
        for (key, _) in KEYS_OF_OLD {
            report.values.insert(key.to_owned(), Value::Null);
        }
        let thousandth = |seconds: f64| json!((seconds * 1e3).round() / 1e3);
        for (key, value) in [
            ("generated_at_epoch", json!(about.ended_at_epoch)),
            ("platform", json!(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH))),
            ("started_at_epoch", json!(about.started_at_epoch)),
            ("ended_at_epoch", json!(about.ended_at_epoch)),
            ("qa_runtime_seconds", thousandth(about.runtime_seconds)),
            ("ok", json!(report.ok())),
            ("complete", json!(report.is_complete())),
            ("strict", json!(about.strict)),
            ("version", json!(about.version)),
            ("commit", json!(about.commit)),
            ("changed_files", json!(about.changed_files)),
            ("rustc", json!(about.rustc)),
            ("cores", json!(about.cores)),
        ] {
            report.values.insert(key.to_owned(), value);
        }
        for (key, _) in KEYS {
            report.values.entry(key).or_insert(Value::Null);
        }
        for (key, value) in results.iter().flat_map(|result| &result.ended.figures) {
            report.values.insert((*key).to_owned(), value.clone());
        }
        report.values.insert("steps".to_owned(), results.iter().map(step).collect());
        report.values.insert("failures".to_owned(), report.failures());
        let unavailable = report.reasons();
        report.values.insert("unavailable".to_owned(), Value::Object(unavailable));
        report
    }

    /// Whether the tree can ship, as far as it was looked at.
    pub(super) fn ok(&self) -> bool {
        self.results.iter().all(|result| !self.is_against(result))
    }

    /// Whether this step's end keeps the tree from shipping.
    pub(super) fn is_against(&self, result: &StepResult) -> bool {
        match result.outcome {
            Outcome::Failed => true,
            Outcome::Unavailable => self.strict || result.step.is_required(),
            Outcome::Ok | Outcome::NotSelected => false,
        }
    }

    /// Whether no step was left out.
    pub(super) fn is_complete(&self) -> bool {
        self.results.iter().all(|result| result.outcome != Outcome::NotSelected)
    }

    pub(super) fn value(&self, key: &str) -> &Value {
        self.values.get(key).unwrap_or(&Value::Null)
    }

    pub(super) fn json(&self) -> String {
        format!("{:#}\n", Value::Object(self.values.clone()))
    }

    fn failures(&self) -> Value {
        let failed = self.results.iter().flat_map(|result| {
            result.ended.failures.iter().map(
                |failure| json!({"step": result.step.name(), "name": failure.name, "output": failure.output}),
            )
        });
        failed.collect()
    }

    /// Why each key that is null is so.
    fn reasons(&self) -> Map<String, Value> {
        let mut reasons = Map::new();
        for (key, step) in KEYS_OF_OLD.into_iter().chain(KEYS) {
            if self.value(key) != &Value::Null {
                continue;
            }
            let result = self.results.iter().find(|result| Some(result.step) == step);
            let own = result.and_then(|result| result.ended.reasons.iter().find(|(of, _)| *of == key));
            let reason = match (own, result) {
                (Some((_, reason)), _) => reason.clone(),
                (None, Some(result)) if result.outcome == Outcome::Failed => {
                    format!("the step {} failed: {}", result.step.name(), result.note)
                }
                (None, Some(result)) => result.note.clone(),
                (None, None) => "it was not asked".to_owned(),
            };
            reasons.insert(key.to_owned(), json!(reason));
        }
        reasons
    }
}

fn step(result: &StepResult) -> Value {
    json!({
        "name": result.step.name(),
        "outcome": result.outcome.name(),
        "required": result.step.is_required(),
        "seconds": (result.seconds * 1e3).round() / 1e3,
        "note": result.note,
        "log": result.log,
    })
}

#[cfg(test)]
pub(super) mod tests_of_report {
    use super::{super::context::Ended, *};

    pub(in crate::qa) fn about() -> About {
        About {
            started_at_epoch: 1.0,
            ended_at_epoch: 3.5,
            runtime_seconds: 2.5,
            strict: false,
            version: "0.3.0".to_owned(),
            commit: "abc".to_owned(),
            changed_files: 0,
            rustc: "rustc 1".to_owned(),
            cores: 2,
        }
    }

    pub(in crate::qa) fn result(step: Step, ended: Ended) -> StepResult {
        StepResult::new(step, ended, 1.25, Some(format!("logs/{}.log", step.name())))
    }

    fn all(outcome: impl Fn(Step) -> Ended) -> Vec<StepResult> {
        Step::ALL.into_iter().map(|step| result(step, outcome(step))).collect()
    }

    #[test]
    fn the_keys_of_old_come_first_and_in_their_order() {
        let report = Report::of(&all(|_| Ended::ok("")), &about());
        let keys: Vec<_> = report.values.keys().map(String::as_str).collect();
        assert_eq!(keys[..22], KEYS_OF_OLD.map(|(key, _)| key));
        assert_eq!(keys.last(), Some(&"unavailable"));
    }

    #[test]
    fn what_is_not_known_is_null_with_a_reason_and_never_nought() {
        let results = all(|step| match step {
            Step::Tests => Ended::ok("").with("tests_total", 3).without("slow_tests", "no nextest"),
            Step::Advisories => Ended::unavailable("no network"),
            Step::Clippy => Ended::failed("it broke"),
            _ => Ended::ok("well"),
        });
        let report = Report::of(&results, &about());
        let reason = |key: &str| report.value("unavailable")[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (report.value("vulns_found"), reason("vulns_found").as_str()),
            (&Value::Null, "no network")
        );
        assert_eq!(reason("slow_tests"), "no nextest");
        assert_eq!(reason("clippy_issues_total"), "the step clippy failed: it broke");
        assert_eq!(report.value("tests_total"), 3);
        for (key, _) in KEYS_OF_OLD.into_iter().chain(KEYS) {
            assert_eq!(report.value(key).is_null(), report.value("unavailable").get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn what_fails_or_is_required_and_not_known_keeps_it_from_shipping() {
        let with =
            |of: Step, ended: &Ended| all(|step| if step == of { ended.clone() } else { Ended::ok("") });
        let ok = |results: &[StepResult], strict| Report::of(results, &About { strict, ..about() }).ok();
        for step in Step::ALL {
            assert!(!ok(&with(step, &Ended::failed("")), false), "{step:?}");
            let unknown = with(step, &Ended::unavailable(""));
            assert_eq!(ok(&unknown, false), !step.is_required(), "{step:?}");
            assert!(!ok(&unknown, true), "{step:?}");
        }
        let mut left_out = all(|_| Ended::ok(""));
        left_out[0] = StepResult::not_selected(Step::Format);
        let report = Report::of(&left_out, &about());
        assert!(report.ok() && !report.is_complete());
    }
}
