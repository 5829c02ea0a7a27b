//! Tests by cargo-nextest and their coverage by cargo-llvm-cov; without nextest by `cargo test`, which says less.

use std::{fs, path::Path};

use anyhow::Result;
use regex::Regex;
use serde_json::{Value, json};

use super::{
    rustc,
    steps::{Context, Ran, Step, StepResult},
};

const NEXTEST: &str = "cargo-nextest is not installed: cargo install cargo-nextest --locked";
const LLVM_COV: &str = "cargo-llvm-cov is not installed: rustup component add llvm-tools && cargo install cargo-llvm-cov --locked";
/// Written by the profile `qa` of `.config/nextest.toml`.
const JUNIT: &str = "target/nextest/qa/junit.xml";
/// The slowest tests in the report.
const SLOW_TESTS: usize = 10;

/// Returns true if cargo-llvm-cov and LLVM's own tools are installed.
fn can_measure(context: &Context) -> bool {
    let libraries = rustc(&["--print", "target-libdir"]).unwrap_or_default();
    let tools = Path::new(&libraries).with_file_name("bin");
    context.has("llvm-cov")
        && (tools.join("llvm-profdata").is_file() || std::env::var_os("LLVM_PROFDATA").is_some())
}

pub(super) fn all(context: &Context) -> Result<StepResult> {
    let step = Step::Tests;
    let measured = context.selected.contains(&Step::Coverage) && can_measure(context);
    if measured {
        // What an earlier run left would count as well.
        context.run(step, &mut context.cargo(["llvm-cov", "clean", "--workspace"]))?;
    }
    if !context.has("nextest") {
        let begin: &[&str] = if measured { &["llvm-cov", "test", "--no-report"] } else { &["test"] };
        let kinds = ["--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
        let ran = context.run(step, &mut context.cargo([begin, &kinds].concat()))?;
        return Ok(judge_libtest(step, &ran, ["tests_total", "tests_passed", "tests_failed"]));
    }
    let begin: &[&str] = if measured { &["llvm-cov", "nextest", "--no-report"] } else { &["nextest", "run"] };
    let mut command = context.cargo([begin, &["--workspace", "--locked"]].concat());
    let junit = context.repository.root.join(JUNIT);
    let _ = fs::remove_file(&junit);
    let ran = context.run(step, command.env("NEXTEST_PROFILE", "qa"))?;
    let xml = fs::read_to_string(junit).unwrap_or_default();
    fs::write(context.out.join("junit.xml"), &xml)?;
    Ok(judge_junit(&xml, &ran))
}

fn judge_junit(xml: &str, ran: &Ran) -> StepResult {
    let step = Step::Tests;
    let Ok(document) = roxmltree::Document::parse(xml) else {
        return StepResult::failed(step, "the tests did not run").because_of("cargo nextest", ran);
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
    let ok = ran.success && failed == 0 && total > 0;
    let mut result = StepResult::by(step, ok, format!("{} of {total} tests passed", total - failed))
        .with("tests_total", total + skipped)
        .with("tests_passed", total - failed)
        .with("tests_failed", failed)
        .with("tests_skipped", skipped)
        .with("pass_rate", pass_rate(total - failed, total))
        .with("runtime_seconds", seconds(&document.root_element()))
        .with("slow_tests", slow);
    for (name, output) in failures {
        result = result.because(name, output);
    }
    if ok || failed > 0 { result } else { result.because_of("cargo nextest", ran) }
}

/// In percent, to two digits; null if no test ran.
fn pass_rate(passed: usize, total: usize) -> Value {
    if total == 0 { Value::Null } else { json!((passed as f64 / total as f64 * 1e4).round() / 100.0) }
}

/// Adds up the closing lines of `cargo test`. `keys` are those for total, passed and failed.
fn judge_libtest(step: Step, ran: &Ran, keys: [&'static str; 3]) -> StepResult {
    let mut counts = [0_usize; 3];
    let line = Regex::new(r"(?m)^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored");
    for captures in line.iter().flat_map(|line| line.captures_iter(&ran.stdout)) {
        for (count, at) in counts.iter_mut().zip(1..) {
            *count += captures[at].parse().unwrap_or(0);
        }
    }
    let [passed, failed, ignored] = counts;
    let mut note = format!("{passed} of {} passed", passed + failed);
    if step == Step::Tests {
        note = format!("{note}; for the rest {NEXTEST}");
    }
    let mut result = StepResult::by(step, ran.success, note)
        .with(keys[0], passed + failed + ignored)
        .with(keys[1], passed)
        .with(keys[2], failed);
    if step == Step::Tests {
        result = result.with("tests_skipped", ignored).with("pass_rate", pass_rate(passed, passed + failed));
    }
    if ran.success { result } else { result.because_of("cargo test", ran) }
}

/// Cargo-nextest does not run the examples in the documentation.
pub(super) fn doctests(context: &Context) -> Result<StepResult> {
    let args = ["test", "--doc", "--workspace", "--locked", "--no-fail-fast"];
    let ran = context.run(Step::Doctests, &mut context.cargo(args))?;
    Ok(judge_libtest(Step::Doctests, &ran, ["doctests_total", "doctests_passed", "doctests_failed"]))
}

/// The lines that the tests reached. What does not ship does not count.
pub(super) fn coverage(context: &Context) -> Result<StepResult> {
    let step = Step::Coverage;
    if !can_measure(context) {
        return Ok(StepResult::unavailable(step, LLVM_COV));
    }
    let args = ["llvm-cov", "report", "--json", "--summary-only", "--ignore-filename-regex", "(^|/)xtask/"];
    let ran = context.run(step, &mut context.cargo(args))?;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let Some(percent) = report["data"][0]["totals"]["lines"]["percent"].as_f64().filter(|_| ran.success)
    else {
        return Ok(
            StepResult::failed(step, "cargo llvm-cov report failed").because_of("cargo llvm-cov", &ran)
        );
    };
    fs::write(context.out.join("coverage.json"), &ran.stdout)?;
    let percent = (percent * 100.0).round() / 100.0;
    Ok(StepResult::ok(step, format!("{percent} % of the lines"))
        .with("coverage_percent", percent)
        .with("coverage_tool", "cargo-llvm-cov"))
}

#[cfg(test)]
mod tests_of_tests {
    use super::{super::steps::Outcome, *};

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

    fn figure<'a>(result: &'a StepResult, key: &str) -> &'a Value {
        result.figures.iter().find(|(name, _)| *name == key).map_or(&Value::Null, |(_, value)| value)
    }

    #[test]
    fn a_failed_test_fails_the_step_with_its_output() {
        let summary = "     Summary [  99.5s] 2 tests run: 1 passed, 1 failed, 12 skipped\n";
        let result = judge_junit(XML, &ran(false, "", summary));
        assert_eq!((result.outcome, result.note.as_str()), (Outcome::Failed, "1 of 2 tests passed"));
        let failure = ("pkg::api c".to_owned(), "one <two>\nthread 'c' panicked".to_owned());
        assert_eq!(result.failures, [failure]);
        for (key, value) in [
            ("tests_total", json!(14)),
            ("tests_skipped", json!(12)),
            ("pass_rate", json!(50.0)),
            ("runtime_seconds", json!(1.5)),
        ] {
            assert_eq!(figure(&result, key), &value, "{key}");
        }
        assert_eq!(figure(&result, "slow_tests")[0]["name"], "pkg::api c");
        for xml in ["", "<testsuites", "<html></html>"] {
            assert_eq!(judge_junit(xml, &ran(true, "", "")).outcome, Outcome::Failed, "{xml:?}");
        }
    }

    #[test]
    fn the_closing_lines_of_all_binaries_are_added_up() {
        let output = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\n\
                      test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n";
        let keys = ["tests_total", "tests_passed", "tests_failed"];
        let result = judge_libtest(Step::Tests, &ran(false, output, ""), keys);
        assert_eq!(keys.map(|key| figure(&result, key).as_u64()), [Some(7), Some(4), Some(1)]);
        assert_eq!((result.outcome, result.failures.len()), (Outcome::Failed, 1));
    }
}
