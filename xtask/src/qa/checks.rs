//! Steps other than tests: clippy, cargo-deny, the load test, benchmarks and the audit.

use std::{collections::BTreeSet, fs};

use anyhow::Result;
use serde_json::Value;

use super::step::{Context, Outcome, Ran, Step, StepResult};
use crate::audit::{Audit, Level};

/// The page of the load test.
pub(super) const CHART: &str = "concurrency.html";
const DENY: &str = "cargo-deny is not installed: cargo install cargo-deny --locked";
/// The benchmarks by criterion. The others run for minutes; clippy compiles them.
const BENCHES: [&str; 4] = ["commit", "digest", "query", "suites"];

/// Warnings are not made errors, since those would stop the compiler before it has found all.
pub(super) fn clippy(context: &Context) -> Result<StepResult> {
    let args =
        ["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--message-format", "short"];
    let ran = context.run(Step::Clippy, &mut context.cargo(args))?;
    Ok(clippy_result(&ran))
}

fn clippy_result(ran: &Ran) -> StepResult {
    let is_issue = |line: &&str| line.contains(": warning: ") || line.contains(": error");
    // A library is compiled for its tests too, and its messages come twice.
    let issues: BTreeSet<&str> = ran.stderr.lines().filter(is_issue).collect();
    let ok = ran.success && issues.is_empty();
    let result = StepResult::new(Step::Clippy, ok, format!("{} issues", issues.len()));
    if issues.is_empty() && !ok {
        return result.because_of("cargo clippy", ran);
    }
    let result = result.with("clippy_issues_total", issues.len());
    issues.into_iter().fold(result, |result, issue| result.because(issue, ""))
}

/// Without a network the database of advisories can't be fetched, and nothing is known.
pub(super) fn deny(context: &Context, step: Step, checks: &[&str]) -> Result<StepResult> {
    if !context.has("deny") {
        return Ok(StepResult::new(step, Outcome::Unavailable, DENY));
    }
    let args = [&["deny", "--workspace", "--format", "json", "check"], checks].concat();
    let ran = context.run(step, &mut context.cargo(args))?;
    Ok(deny_result(step, &ran))
}

/// Cargo-deny writes its messages to stderr, as lines of JSON.
fn deny_result(step: Step, ran: &Ran) -> StepResult {
    let messages: Vec<Value> =
        ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // The summary comes only if the checks were made.
    if !messages.iter().any(|message| message["type"] == "summary") {
        return match ran.stderr.contains("failed to fetch") || ran.stderr.contains("failed to clone") {
            true => StepResult::new(step, Outcome::Unavailable, "the advisory database can't be reached"),
            false => {
                StepResult::new(step, Outcome::Failed, "cargo deny failed").because_of("cargo deny", ran)
            }
        };
    }
    let (mut ids, mut crates, mut errors, mut others) = (BTreeSet::new(), BTreeSet::new(), Vec::new(), 0);
    for message in messages.iter().filter(|message| message["type"] == "diagnostic") {
        let fields = &message["fields"];
        if fields["severity"] != "error" && fields["severity"] != "warning" {
            continue;
        }
        if fields["code"] == "vulnerability" {
            ids.insert(fields["advisory"]["id"].to_string());
            let graphs = fields["graphs"].as_array().into_iter().flatten();
            crates.extend(graphs.map(|graph| graph["Krate"]["name"].to_string()));
        } else {
            others += 1;
        }
        if fields["severity"] == "error" {
            errors.push(fields);
        }
    }
    let note = format!("{} faults", errors.len());
    let mut result = StepResult::new(step, ran.success && errors.is_empty(), note);
    result = match step {
        Step::Licences => result.with("licence_faults", errors.len()),
        _ => result
            .with("vulns_found", ids.len())
            .with("vuln_deps_affected", crates.len())
            .with("advisories_other", others),
    };
    for fields in errors {
        let text = |key: &str| fields[key].as_str().unwrap_or_default();
        result = result.because(format!("{}: {}", text("code"), text("message")), format!("{fields:#}"));
    }
    result
}

/// Runs `registry loadtest` on its own server, and keeps its report unchanged.
pub(super) fn concurrency(context: &Context) -> Result<StepResult> {
    let step = Step::Concurrency;
    let report = context.out.join("concurrency.json");
    let chart = context.out.join(CHART);
    for old in [&report, &chart] {
        let _ = fs::remove_file(old);
    }
    let profile = if context.release { "release" } else { "dev" };
    let mut command =
        context.cargo(["run", "--quiet", "--locked", "--bin", "registry", "--profile", profile, "--"]);
    command.args(["loadtest", "--out"]).arg(&report).arg("--chart").arg(&chart);
    command.arg("--hdr-out").arg(context.out.join("concurrency.hgrm"));
    let ran = context.run(step, &mut command)?;
    let report = fs::read(&report).ok().and_then(|text| serde_json::from_slice(&text).ok());
    Ok(load_result(&report.unwrap_or_default(), &ran, profile))
}

/// Evaluates a load test; `report` is null if it left none.
fn load_result(report: &Value, ran: &Ran, profile: &str) -> StepResult {
    let value = |pointer: &str| report.pointer(pointer).cloned().unwrap_or_default();
    let note = format!(
        "{} of {} requests, p50 {} ms, p95 {} ms, {profile} build",
        value("/requests_success"),
        value("/requests_total"),
        value("/latency_ms/p50"),
        value("/latency_ms/p95"),
    );
    let ok = ran.success && report["ok"] == true;
    let mut result = StepResult::new(Step::Concurrency, ok, note).with("concurrency_profile", profile);
    for (key, pointer) in [
        ("concurrency_ok", "/ok"),
        ("concurrency_requests_total", "/requests_total"),
        ("concurrency_requests_success", "/requests_success"),
        ("concurrency_requests_failed", "/requests_failed"),
        ("concurrency_locked_errors", "/locked_errors"),
        ("concurrency_latency_ms_p50", "/latency_ms/p50"),
        ("concurrency_latency_ms_p95", "/latency_ms/p95"),
        ("concurrency_requests_per_second", "/requests_per_second"),
        ("concurrency_writes_missing", "/readback/missing"),
    ] {
        result = result.with(key, value(pointer));
    }
    if ok { result } else { result.because("registry loadtest", &ran.stderr) }
}

/// Runs them in the debug build, only to show that they work. Measuring is a manual step.
pub(super) fn bench(context: &Context) -> Result<StepResult> {
    let mut command = context.cargo(["test", "--locked", "--no-fail-fast"]);
    command.args(BENCHES.iter().flat_map(|bench| ["--bench", bench]));
    let ran = context.run(Step::Bench, &mut command)?;
    // Criterion prints it for each benchmark.
    let count = ran.stdout.lines().filter(|line| line.trim() == "Success").count();
    let ok = ran.success && count >= BENCHES.len();
    let result = StepResult::new(Step::Bench, ok, format!("{count} benchmarks ran"));
    let result = result.with("benchmarks_run", count);
    Ok(if ok { result } else { result.because_of("cargo test --bench", &ran) })
}

pub(super) fn audit(context: &Context) -> Result<StepResult> {
    let findings = Audit::default().findings(&context.repository, &mut |_| {})?;
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    context.log(Step::Audit, &lines)?;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (passed, warnings, failures) = (count(Level::Pass), count(Level::Warn), count(Level::Fail));
    let note = format!("{passed} passed, {warnings} warnings, {failures} failed");
    let mut result = StepResult::new(Step::Audit, failures == 0, note)
        .with("audit_warnings", warnings)
        .with("audit_failures", failures);
    for finding in findings.into_iter().filter(|finding| finding.level == Level::Fail) {
        result = result.because(finding.check, finding.text);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ran(success: bool, stderr: String) -> Ran {
        Ran { success, stdout: String::new(), stderr }
    }

    #[test]
    fn each_lint_counts_once_and_summaries_do_not_count() {
        let output = "    Checking x\nsrc/a.rs:3:5: warning: unneeded `return`\nwarning: `x` generated 1 warning\n\
                      src/a.rs:3:5: warning: unneeded `return`\nsrc/b.rs:1:1: error[E0425]: cannot find\n";
        let result = clippy_result(&ran(true, output.to_owned()));
        assert_eq!((result.outcome, result.failures.len()), (Outcome::Failed, 2));
        assert_eq!(result.figure("clippy_issues_total"), 2);
        let result = clippy_result(&ran(false, String::new()));
        assert!(result.outcome == Outcome::Failed && result.figure("clippy_issues_total").is_null());
    }

    #[test]
    fn vulnerabilities_and_their_crates_count_once_each() {
        let found = |code: &str, id: &str, name: &str| {
            let graphs = json!([{"Krate": {"name": name}}]);
            let fields = json!({"code": code, "severity": "error", "advisory": {"id": id}, "graphs": graphs});
            format!("{}\n", json!({"type": "diagnostic", "fields": fields}))
        };
        let summary = "{\"type\":\"summary\"}\n";
        let output = [
            found("vulnerability", "RUSTSEC-1", "a"),
            found("vulnerability", "RUSTSEC-1", "b"),
            found("vulnerability", "RUSTSEC-2", "a"),
            found("unmaintained", "RUSTSEC-3", "c"),
            summary.to_owned(),
        ];
        let result = deny_result(Step::Advisories, &ran(false, output.concat()));
        let figures = ["vulns_found", "vuln_deps_affected", "advisories_other"].map(|key| result.figure(key));
        assert_eq!((result.outcome, figures), (Outcome::Failed, [json!(2), json!(2), json!(1)]));
        let none = deny_result(Step::Licences, &ran(true, summary.to_owned()));
        assert_eq!((none.outcome, none.figure("licence_faults")), (Outcome::Ok, json!(0)));
    }

    #[test]
    fn without_the_database_nothing_is_known() {
        let log = json!({"type": "log", "fields": {"message": "failed to fetch advisory database"}});
        let result = deny_result(Step::Advisories, &ran(false, log.to_string()));
        assert_eq!((result.outcome, result.figures.len()), (Outcome::Unavailable, 0));
        assert_eq!(deny_result(Step::Advisories, &ran(false, String::new())).outcome, Outcome::Failed);
    }

    #[test]
    fn a_load_that_lost_a_write_fails_with_the_words_of_the_load_test() {
        let ran = |success| ran(success, "1 write is missing".to_owned());
        let report = json!({"ok": false, "latency_ms": {"p50": 1.5}, "readback": {"missing": 1}});
        let result = load_result(&report, &ran(false), "dev");
        assert_eq!((result.outcome, result.failures[0].1.as_str()), (Outcome::Failed, "1 write is missing"));
        assert_eq!(result.figure("concurrency_latency_ms_p50"), 1.5);
        assert_eq!(load_result(&json!({"ok": true}), &ran(true), "dev").outcome, Outcome::Ok);
        assert_eq!(load_result(&json!({"ok": true}), &ran(false), "dev").outcome, Outcome::Failed);
        assert_eq!(load_result(&Value::Null, &ran(true), "dev").outcome, Outcome::Failed, "no report");
    }
}
