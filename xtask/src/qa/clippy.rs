//! What clippy and the compiler have to say, counted by lint from cargo's messages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    context::{Context, Ended},
    steps::Step,
};
use crate::error::Error;

const MESSAGES: &str = "clippy.jsonl";
/// What has no lint: a file that does not compile.
const NO_LINT: &str = "error";

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    // Warnings are not made errors: those would hide what comes behind them.
    let args =
        ["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--message-format", "json"];
    let ran = context.run_apart(Step::Clippy, &mut context.cargo(args))?;
    let issues = issues(&ran.stdout);
    context.keep(MESSAGES, &messages(&ran.stdout))?;
    let rendered: String = issues.iter().map(|issue| issue.rendered.as_str()).collect();
    context.note(Step::Clippy, &rendered)?;
    let mut by_lint: BTreeMap<String, u64> = BTreeMap::new();
    for issue in &issues {
        *by_lint.entry(issue.lint.clone()).or_default() += 1;
    }
    let well = ran.success && issues.is_empty();
    let note = match issues.len() {
        0 if ran.success => "no issues".to_owned(),
        0 => "cargo clippy failed".to_owned(),
        1 => "1 issue".to_owned(),
        more => format!("{more} issues"),
    };
    let mut ended = Ended::by(well, note);
    if ran.success || !issues.is_empty() {
        let by_lint: serde_json::Map<_, _> =
            by_lint.into_iter().map(|(lint, count)| (lint, Value::from(count))).collect();
        ended = ended.with("clippy_issues_total", issues.len()).with("clippy_issues_by_lint", by_lint);
    }
    for issue in issues {
        ended = ended.because(format!("{} in {}", issue.lint, issue.place), issue.rendered);
    }
    if !well && ended.failures.is_empty() {
        ended = ended.because("cargo clippy", ran.log);
    }
    Ok(ended)
}

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Issue {
    place: String,
    lint: String,
    rendered: String,
}

/// The lines that say something of the code; most say what was built.
fn messages(stdout: &str) -> String {
    let kept = stdout.lines().filter(|line| line.contains(r#""reason":"compiler-message""#));
    kept.map(|line| format!("{line}\n")).collect()
}

/// Each once: what stands in a library is told for its tests too.
fn issues(stdout: &str) -> BTreeSet<Issue> {
    let parsed = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let messages = parsed.filter(|line| line["reason"] == "compiler-message");
    messages.filter_map(|line| issue(&line["message"])).collect()
}

fn issue(message: &Value) -> Option<Issue> {
    let level = message["level"].as_str()?;
    let spans = message["spans"].as_array()?;
    let lint = message["code"]["code"].as_str();
    // The words at the end, of how many there were, have neither.
    if !matches!(level, "warning" | "error") && !level.starts_with("error")
        || (lint.is_none() && spans.is_empty())
    {
        return None;
    }
    let primary = spans.iter().find(|span| span["is_primary"] == true).or(spans.first());
    let place = primary.map_or_else(String::new, |span| {
        format!("{}:{}", span["file_name"].as_str().unwrap_or_default(), span["line_start"])
    });
    let rendered = message["rendered"].as_str().or(message["message"].as_str()).unwrap_or_default();
    Some(Issue { place, lint: lint.unwrap_or(NO_LINT).to_owned(), rendered: rendered.to_owned() })
}

#[cfg(test)]
mod tests_of_clippy {
    use serde_json::json;

    use super::*;

    fn line(level: &str, code: Value, line: u64) -> String {
        let spans = if line == 0 {
            json!([])
        } else {
            json!([{"file_name": "src/a.rs", "line_start": line, "is_primary": true}])
        };
        let message = json!({"level": level, "code": code, "spans": spans, "rendered": format!("{level}: at {line}\n")});
        json!({"reason": "compiler-message", "message": message}).to_string()
    }

    #[test]
    fn each_issue_counts_once_and_totals_do_not() {
        let lint = json!({"code": "clippy::needless_return"});
        let stdout = [
            line("warning", lint.clone(), 3),
            line("warning", lint.clone(), 3),
            line("warning", lint, 9),
            line("error", Value::Null, 5),
            line("warning", Value::Null, 0),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "not JSON".to_owned(),
        ]
        .join("\n");
        let found = issues(&stdout);
        let told: Vec<_> = found.iter().map(|issue| (issue.place.as_str(), issue.lint.as_str())).collect();
        let lint = "clippy::needless_return";
        assert_eq!(told, [("src/a.rs:3", lint), ("src/a.rs:5", "error"), ("src/a.rs:9", lint)]);
        assert_eq!(messages(&stdout).lines().count(), 5);
    }
}
