//! Tests by cargo-nextest and their coverage by cargo-llvm-cov, and the examples in the documentation by cargo.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use regex::Regex;
use serde_json::{Value, json};

use super::step::{Context, Outcome, Ran, Step, StepResult};
use crate::repository::printed;

const NEXTEST: &str = "cargo-nextest is not installed: cargo install cargo-nextest --locked";
const LLVM_COV: &str = "cargo-llvm-cov is not installed: rustup component add llvm-tools && cargo install cargo-llvm-cov --locked";
/// Written by the profile `qa` of `.config/nextest.toml`.
const JUNIT: &str = "target/nextest/qa/junit.xml";
/// The slowest tests in the report.
const SLOW_TESTS: usize = 10;

/// Returns true if cargo-llvm-cov and LLVM's own tools are installed.
fn can_measure(context: &Context) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir"]);
    let libraries = printed(rustc).unwrap_or_default();
    let profdata = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    context.has("llvm-cov") && (profdata.is_file() || std::env::var_os("LLVM_PROFDATA").is_some())
}

pub(super) fn all(context: &Context) -> Result<StepResult> {
    let step = Step::Tests;
    if !context.has("nextest") {
        return Ok(StepResult::new(step, Outcome::Unavailable, NEXTEST));
    }
    let measured = context.selected.contains(&Step::Coverage) && can_measure(context);
    if measured {
        // The results of an earlier run would count as well.
        context.run(step, &mut context.cargo(["llvm-cov", "clean", "--workspace"]))?;
    }
    let begin: &[&str] = if measured { &["llvm-cov", "nextest", "--no-report"] } else { &["nextest", "run"] };
    let mut command = context.cargo([begin, &["--workspace", "--locked"]].concat());
    let junit = context.repository.root.join(JUNIT);
    let _ = fs::remove_file(&junit);
    let ran = context.run(step, command.env("NEXTEST_PROFILE", "qa"))?;
    let xml = fs::read_to_string(junit).unwrap_or_default();
    fs::write(context.out.join("junit.xml"), &xml)?;
    Ok(junit_result(&xml, &ran))
}

fn junit_result(xml: &str, ran: &Ran) -> StepResult {
    let Ok(document) = roxmltree::Document::parse(xml) else {
        let result = StepResult::new(Step::Tests, Outcome::Failed, "the tests did not run");
        return result.because_of("cargo nextest", ran);
    };
    let seconds = |node: &roxmltree::Node<'_, '_>| -> f64 {
        node.attribute("time").and_then(|time| time.parse().ok()).unwrap_or(0.0)
    };
    let mut tests = Vec::new();
    let mut failures = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let name =
            [node.attribute("classname"), node.attribute("name")].map(Option::unwrap_or_default).join(" ");
        if node.children().any(|child| child.has_tag_name("failure") || child.has_tag_name("error")) {
            let output = node.children().filter(|child| child.tag_name().name().starts_with("system-"));
            failures.push((name.clone(), output.filter_map(|child| child.text()).collect::<String>()));
        }
        tests.push((name, seconds(&node)));
    }
    let (total, failed) = (tests.len(), failures.len());
    // JUnit leaves skipped tests out; the closing line has their number.
    let skipped = Regex::new(r"(?m)^ *Summary .* (\d+) skipped").ok();
    let skipped =
        skipped.and_then(|skipped| skipped.captures(&ran.stderr)?[1].parse().ok()).unwrap_or(0_usize);
    tests.sort_by(|a, b| b.1.total_cmp(&a.1));
    let slow: Value =
        tests.iter().take(SLOW_TESTS).map(|(name, time)| json!({"name": name, "seconds": time})).collect();
    // In percent, to two digits; null if no test ran.
    let rate = (total > 0).then(|| ((total - failed) as f64 / total as f64 * 1e4).round() / 100.0);
    let ok = ran.success && failed == 0 && total > 0;
    let mut result = StepResult::new(Step::Tests, ok, format!("{} of {total} tests passed", total - failed))
        .with("tests_total", total + skipped)
        .with("tests_passed", total - failed)
        .with("tests_failed", failed)
        .with("tests_skipped", skipped)
        .with("pass_rate", rate)
        .with("runtime_seconds", seconds(&document.root_element()))
        .with("slow_tests", slow);
    for (name, output) in failures {
        result = result.because(name, output);
    }
    if ok || failed > 0 { result } else { result.because_of("cargo nextest", ran) }
}

/// Cargo-nextest does not run the examples in the documentation.
pub(super) fn doctests(context: &Context) -> Result<StepResult> {
    let args = ["test", "--doc", "--workspace", "--locked", "--no-fail-fast"];
    let ran = context.run(Step::Doctests, &mut context.cargo(args))?;
    Ok(doctests_result(&ran))
}

/// Adds up the closing lines of `cargo test`.
fn doctests_result(ran: &Ran) -> StepResult {
    let mut counts = [0_usize; 3];
    let line = Regex::new(r"(?m)^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored");
    for captures in line.iter().flat_map(|line| line.captures_iter(&ran.stdout)) {
        for (count, at) in counts.iter_mut().zip(1..) {
            *count += captures[at].parse().unwrap_or(0);
        }
    }
    let [passed, failed, ignored] = counts;
    let note = format!("{passed} of {} passed", passed + failed);
    let result = StepResult::new(Step::Doctests, ran.success, note)
        .with("doctests_total", passed + failed + ignored)
        .with("doctests_passed", passed)
        .with("doctests_failed", failed);
    if ran.success { result } else { result.because_of("cargo test", ran) }
}

/// Measures the lines that the tests reach. Code that does not ship does not count.
pub(super) fn coverage(context: &Context) -> Result<StepResult> {
    let step = Step::Coverage;
    if !can_measure(context) {
        return Ok(StepResult::new(step, Outcome::Unavailable, LLVM_COV));
    }
    let args = ["llvm-cov", "report", "--json", "--summary-only", "--ignore-filename-regex", "(^|/)xtask/"];
    let ran = context.run(step, &mut context.cargo(args))?;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let Some(percent) = report["data"][0]["totals"]["lines"]["percent"].as_f64().filter(|_| ran.success)
    else {
        let result = StepResult::new(step, Outcome::Failed, "cargo llvm-cov report failed");
        return Ok(result.because_of("cargo llvm-cov", &ran));
    };
    fs::write(context.out.join("coverage.json"), &ran.stdout)?;
    let percent = (percent * 100.0).round() / 100.0;
    Ok(StepResult::new(step, Outcome::Ok, format!("{percent} % of the lines"))
        .with("coverage_percent", percent)
        .with("coverage_tool", "cargo-llvm-cov"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="2" failures="1" errors="0" time="1.5">
    <testsuite name="pkg::api" tests="2" failures="1">
        <testcase name="a::b" classname="pkg::api" time="0.25"/>
        <testcase name="c" classname="pkg::api" time="1.25">
            <failure message="panicked" type="test failure">words</failure>
            <system-out>one &lt;two&gt;
</system-out>
            <system-err>thread &apos;c&apos; panicked</system-err>
        </testcase>
    </testsuite>
</testsuites>"#;

    fn ran(success: bool, stdout: &str, stderr: &str) -> Ran {
        Ran { success, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    #[test]
    fn a_failed_test_fails_the_step_with_its_output() {
        let summary = "     Summary [  99.5s] 2 tests run: 1 passed, 1 failed, 12 skipped\n";
        let result = junit_result(XML, &ran(false, "", summary));
        assert_eq!((result.outcome, result.note.as_str()), (Outcome::Failed, "1 of 2 tests passed"));
        let failure = ("pkg::api c".to_owned(), "one <two>\nthread 'c' panicked".to_owned());
        assert_eq!(result.failures, [failure]);
        for (key, value) in [
            ("tests_total", json!(14)),
            ("tests_skipped", json!(12)),
            ("pass_rate", json!(50.0)),
            ("runtime_seconds", json!(1.5)),
        ] {
            assert_eq!(result.figure(key), value, "{key}");
        }
        assert_eq!(result.figure("slow_tests")[0]["name"], "pkg::api c");
        for xml in ["", "<testsuites", "<html></html>"] {
            assert_eq!(junit_result(xml, &ran(true, "", "")).outcome, Outcome::Failed, "{xml:?}");
        }
    }

    #[test]
    fn the_closing_lines_of_all_binaries_are_added_up() {
        let output = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\n\
                      test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n";
        let result = doctests_result(&ran(false, output, ""));
        let keys = ["doctests_total", "doctests_passed", "doctests_failed"];
        assert_eq!(keys.map(|key| result.figure(key)), [7, 4, 1]);
        assert_eq!((result.outcome, result.failures.len()), (Outcome::Failed, 1));
    }
}
