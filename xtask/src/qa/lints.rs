//! Clippy and cargo-deny, counted from their messages in JSON.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use super::steps::{Context, Ran, Step, StepResult};

const DENY: &str = "cargo-deny is not installed: cargo install cargo-deny --locked";

fn json_lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

pub(super) fn clippy(context: &Context) -> Result<StepResult> {
    // Warnings are not made errors, since those would stop the compiler before it has found all.
    let args =
        ["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--message-format", "json"];
    let ran = context.run(Step::Clippy, &mut context.cargo(args))?;
    Ok(judge_clippy(&ran))
}

fn judge_clippy(ran: &Ran) -> StepResult {
    // A library is compiled for its tests too, and its messages come twice.
    let mut issues: BTreeSet<(String, String)> = BTreeSet::new();
    for line in json_lines(&ran.stdout).filter(|line| line["reason"] == "compiler-message") {
        let message = &line["message"];
        let lint = message["code"]["code"].as_str();
        // Summaries such as "3 warnings emitted" have no place.
        if matches!(message["level"].as_str(), Some("warning" | "error")) && !message["spans"][0].is_null() {
            let rendered = message["rendered"].as_str().unwrap_or_default();
            issues.insert((lint.unwrap_or("error").to_owned(), rendered.to_owned()));
        }
    }
    let mut by_lint: BTreeMap<&str, u64> = BTreeMap::new();
    issues.iter().for_each(|(lint, _)| *by_lint.entry(lint).or_default() += 1);
    let by_lint: serde_json::Map<_, _> =
        by_lint.into_iter().map(|(lint, count)| (lint.to_owned(), Value::from(count))).collect();
    let ok = ran.success && issues.is_empty();
    let mut result = StepResult::by(Step::Clippy, ok, format!("{} issues", issues.len()));
    if issues.is_empty() && !ok {
        return result.because("cargo clippy", &ran.stderr);
    }
    result = result.with("clippy_issues_total", issues.len()).with("clippy_issues_by_lint", by_lint);
    issues.into_iter().fold(result, |result, (lint, rendered)| result.because(lint, rendered))
}

/// Licences, bans and sources, for which cargo-deny needs no network.
pub(super) fn licences(context: &Context) -> Result<StepResult> {
    deny(context, Step::Licences, &["bans", "licenses", "sources"])
}

/// Known vulnerabilities. Without a network the database can't be fetched, and nothing is known.
pub(super) fn advisories(context: &Context) -> Result<StepResult> {
    deny(context, Step::Advisories, &["advisories"])
}

fn deny(context: &Context, step: Step, checks: &[&str]) -> Result<StepResult> {
    if !context.has("deny") {
        return Ok(StepResult::unavailable(step, DENY));
    }
    let args = [&["deny", "--workspace", "--format", "json", "check"], checks].concat();
    let ran = context.run(step, &mut context.cargo(args))?;
    Ok(judge_deny(step, &ran))
}

/// Cargo-deny writes its messages to stderr.
fn judge_deny(step: Step, ran: &Ran) -> StepResult {
    let messages: Vec<Value> = json_lines(&ran.stderr).collect();
    // The summary comes only if the checks were made.
    if !messages.iter().any(|message| message["type"] == "summary") {
        return match ran.stderr.contains("failed to fetch") || ran.stderr.contains("failed to clone") {
            true => StepResult::unavailable(step, "the advisory database can't be reached"),
            false => StepResult::failed(step, "cargo deny failed").because_of("cargo deny", ran),
        };
    }
    let diagnostics = messages.iter().filter(|message| message["type"] == "diagnostic");
    let diagnostics = diagnostics.map(|message| &message["fields"]);
    let (mut ids, mut crates, mut errors, mut others) = (BTreeSet::new(), BTreeSet::new(), Vec::new(), 0);
    for fields in
        diagnostics.filter(|fields| fields["severity"] == "error" || fields["severity"] == "warning")
    {
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
    let note = if errors.is_empty() { "no faults".to_owned() } else { format!("{} faults", errors.len()) };
    let mut result = StepResult::by(step, ran.success && errors.is_empty(), note);
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

#[cfg(test)]
mod tests_of_lints {
    use serde_json::json;

    use super::{super::steps::Outcome, *};

    fn ran(success: bool, lines: &[Value]) -> Ran {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Ran { success, stdout: text.clone(), stderr: text }
    }

    fn figure(result: &StepResult, key: &str) -> Value {
        result
            .figures
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }

    #[test]
    fn each_issue_counts_once_and_summaries_do_not_count() {
        let line = |level: &str, code: &str, line: u64| {
            let spans = if line == 0 { json!([]) } else { json!([{"line_start": line}]) };
            let code = if code.is_empty() { Value::Null } else { json!({"code": code}) };
            let message =
                json!({"level": level, "code": code, "spans": spans, "rendered": format!("at {line}")});
            json!({"reason": "compiler-message", "message": message})
        };
        let lint = "clippy::needless_return";
        let result = judge_clippy(&ran(
            true,
            &[
                line("warning", lint, 3),
                line("warning", lint, 3),
                line("error", "", 5),
                line("warning", "", 0),
            ],
        ));
        assert_eq!((result.outcome, result.failures.len()), (Outcome::Failed, 2));
        assert_eq!(figure(&result, "clippy_issues_total"), 2);
        assert_eq!(
            figure(&result, "clippy_issues_by_lint"),
            json!({"clippy::needless_return": 1, "error": 1})
        );
        assert!(figure(&judge_clippy(&ran(false, &[])), "clippy_issues_total").is_null());
    }

    #[test]
    fn vulnerabilities_and_their_crates_count_once_each() {
        let found = |code: &str, id: &str, name: &str| {
            let graphs = json!([{"Krate": {"name": name}}]);
            let fields = json!({"code": code, "severity": "error", "advisory": {"id": id}, "graphs": graphs});
            json!({"type": "diagnostic", "fields": fields})
        };
        let summary = json!({"type": "summary"});
        let lines = [
            found("vulnerability", "RUSTSEC-1", "a"),
            found("vulnerability", "RUSTSEC-1", "b"),
            found("vulnerability", "RUSTSEC-2", "a"),
            found("unmaintained", "RUSTSEC-3", "c"),
            summary.clone(),
        ];
        let result = judge_deny(Step::Advisories, &ran(false, &lines));
        let figures =
            ["vulns_found", "vuln_deps_affected", "advisories_other"].map(|key| figure(&result, key));
        assert_eq!((result.outcome, figures), (Outcome::Failed, [json!(2), json!(2), json!(1)]));
        let none = judge_deny(Step::Licences, &ran(true, &[summary]));
        assert_eq!((none.outcome, figure(&none, "licence_faults")), (Outcome::Ok, json!(0)));
    }

    #[test]
    fn without_the_database_nothing_is_known() {
        let log = json!({"type": "log", "fields": {"message": "failed to fetch advisory database"}});
        let result = judge_deny(Step::Advisories, &ran(false, &[log]));
        assert_eq!((result.outcome, result.figures.len()), (Outcome::Unavailable, 0));
        assert_eq!(judge_deny(Step::Advisories, &ran(false, &[])).outcome, Outcome::Failed);
    }
}
