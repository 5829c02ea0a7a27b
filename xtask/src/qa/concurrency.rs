//! The concurrency check: `registry loadtest` on a server of its own. Its report is kept as it is.

use std::fs;

use serde_json::Value;

use super::{
    context::{Context, Ended},
    steps::Step,
};
use crate::{audit, command, error::Error};

const ARTIFACT: &str = "concurrency.json";
const DISTRIBUTION: &str = "concurrency.hgrm";
/// The page that the load test draws, whose pictures go into ours.
pub(super) const CHART: &str = "concurrency.html";

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    for name in [ARTIFACT, DISTRIBUTION, CHART] {
        context.forget(&context.out.join(name))?;
    }
    let (profile, args): (_, &[&str]) =
        if context.release { ("release", &["--release"]) } else { ("dev", &[]) };
    let binary = match audit::built(context.repository, args)? {
        Ok(binary) => binary,
        Err(reason) => return Ok(Ended::failed("the binary can't be built").because("cargo build", reason)),
    };
    let mut command = command::plain(&context.repository.root, &binary);
    audit::own_settings(&mut command);
    command.arg("loadtest").arg("--out").arg(context.out.join(ARTIFACT));
    command.arg("--hdr-out").arg(context.out.join(DISTRIBUTION)).arg("--chart").arg(context.out.join(CHART));
    let ran = context.run_apart(Step::Concurrency, &mut command)?;
    let text = fs::read_to_string(context.out.join(ARTIFACT)).unwrap_or_default();
    match serde_json::from_str(&text) {
        Ok(report) => Ok(told(&report, ran.success, profile, &ran.log)),
        Err(_) => Ok(Ended::failed("the load test left no report").because("registry loadtest", ran.log)),
    }
}

/// The report's keys under our names.
const KEYS: [(&str, &str); 9] = [
    ("concurrency_ok", "/ok"),
    ("concurrency_requests_total", "/requests_total"),
    ("concurrency_requests_success", "/requests_success"),
    ("concurrency_requests_failed", "/requests_failed"),
    ("concurrency_locked_errors", "/locked_errors"),
    ("concurrency_latency_ms_p50", "/latency_ms/p50"),
    ("concurrency_latency_ms_p95", "/latency_ms/p95"),
    ("concurrency_requests_per_second", "/requests_per_second"),
    ("concurrency_writes_missing", "/readback/missing"),
];

fn told(report: &Value, success: bool, profile: &str, log: &str) -> Ended {
    let value = |pointer: &str| report.pointer(pointer).cloned().unwrap_or_default();
    let note = format!(
        "{} of {} requests, p50 {} ms, p95 {} ms, {profile} build",
        value("/requests_success"),
        value("/requests_total"),
        value("/latency_ms/p50"),
        value("/latency_ms/p95"),
    );
    let well = success && report["ok"] == true;
    let mut ended = Ended::by(well, note).with("concurrency_profile", profile);
    for (key, pointer) in KEYS {
        ended = match value(pointer) {
            Value::Null => ended.without(key, format!("the report of the load test has no {pointer}")),
            value => ended.with(key, value),
        };
    }
    if well { ended } else { ended.because("registry loadtest", log) }
}

#[cfg(test)]
mod tests_of_concurrency {
    use serde_json::json;

    use super::{super::context::Outcome, *};

    #[test]
    fn a_load_that_lost_something_fails_and_says_what_the_load_test_said() {
        let report = json!({"ok": false, "requests_total": 200, "latency_ms": {"p50": 1.5}, "readback": {"missing": 1}});
        let ended = told(&report, false, "dev", "1 write is missing");
        assert_eq!(
            (ended.outcome, ended.failures[0].output.as_str()),
            (Outcome::Failed, "1 write is missing")
        );
        let figure =
            |key| ended.figures.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        assert_eq!(figure("concurrency_latency_ms_p50"), Some(json!(1.5)));
        assert_eq!(figure("concurrency_locked_errors"), None);
        assert!(ended.reasons.iter().any(|(key, _)| *key == "concurrency_locked_errors"));
        assert_eq!(told(&json!({"ok": true}), true, "dev", "").outcome, Outcome::Ok);
        // Whichever of the two says no.
        assert_eq!(told(&json!({"ok": true}), false, "dev", "").outcome, Outcome::Failed);
    }
}
