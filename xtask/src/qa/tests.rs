//! All tests. Where cargo-llvm-cov is there, the same run says what they cover.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{
    context::{Context, Ended},
    junit::{self, Run, TestOutcome},
    libtest,
    steps::Step,
    tools::{CoverageTool, NEXTEST},
};
use crate::error::Error;

/// The profile in `.config/nextest.toml`.
const PROFILE: &str = "qa";
const JUNIT: &str = "junit.xml";
/// Where nextest puts it, wherever cargo builds.
const STORE: &str = "target/nextest";
/// How many of the slowest are told.
const SLOW_TESTS: usize = 10;

/// Whether the tests run is measured for coverage.
pub(super) fn is_measured(context: &Context<'_>) -> bool {
    context.tools.coverage == CoverageTool::LlvmCov && context.selected.contains(&Step::Coverage)
}

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    let measured = is_measured(context);
    if measured {
        // What an earlier build or run left would count as code that no test reaches.
        let cleaned = context.run(Step::Tests, &mut context.cargo(["llvm-cov", "clean", "--workspace"]))?;
        if !cleaned.success {
            return Ok(
                Ended::failed("cargo llvm-cov clean failed").because("cargo llvm-cov clean", cleaned.log)
            );
        }
    }
    if context.tools.nextest { by_nextest(context, measured) } else { by_libtest(context, measured) }
}

fn by_nextest(context: &Context<'_>, measured: bool) -> Result<Ended, Error> {
    let begin: &[&str] = if measured { &["llvm-cov", "nextest", "--no-report"] } else { &["nextest", "run"] };
    let mut command = context.cargo([begin, &["--workspace", "--locked"]].concat());
    command.env("NEXTEST_PROFILE", PROFILE);
    let written = context.repository.root.join(STORE).join(PROFILE).join(JUNIT);
    context.forget(&written)?;
    context.forget(&context.out.join(JUNIT))?;
    let ran = context.run(Step::Tests, &mut command)?;
    let xml = match fs::read_to_string(&written) {
        Ok(xml) => xml,
        Err(_) => return Ok(Ended::failed("the tests did not run").because("cargo nextest", ran.log)),
    };
    context.keep(JUNIT, &xml)?;
    let run = match junit::read(&xml) {
        Ok(run) => run,
        Err(reason) => {
            return Ok(Ended::failed(format!("{JUNIT} can't be read: {reason}")).because(JUNIT, ran.log));
        }
    };
    let skipped = skipped(&ran.log).map(|skipped| skipped + run.count(TestOutcome::Skipped) as u64);
    Ok(told(&run, skipped, ran.success, ran.log))
}

/// Nextest leaves tests that it skips out of its JUnit; only its closing line has their number.
fn skipped(log: &str) -> Option<u64> {
    let line = log.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    let (_, counts) = line.rsplit_once(": ")?;
    let part = counts.split(", ").find_map(|part| part.strip_suffix(" skipped"));
    part.map_or(Some(0), |count| count.trim().parse().ok())
}

fn told(run: &Run, skipped: Option<u64>, success: bool, log: String) -> Ended {
    let (passed, failed) = (run.count(TestOutcome::Passed), run.count(TestOutcome::Failed));
    let ran = passed + failed;
    let well = success && failed == 0 && passed > 0;
    let note = match failed {
        0 if well => format!("{passed} tests passed"),
        0 => "the test runner failed".to_owned(),
        _ => format!("{failed} of {ran} tests failed"),
    };
    let mut ended = Ended::by(well, note)
        .with("tests_passed", passed)
        .with("tests_failed", failed)
        .with("pass_rate", percent(passed as u64, ran as u64))
        .with("runtime_seconds", run.seconds)
        .with("slow_tests", slow(run));
    ended = match skipped {
        Some(skipped) => ended.with("tests_total", ran as u64 + skipped).with("tests_skipped", skipped),
        None => ended.with("tests_total", ran).without(
            "tests_skipped",
            "the closing line of cargo-nextest does not say it; tests_total is without them",
        ),
    };
    for test in run.tests.iter().filter(|test| test.outcome == TestOutcome::Failed) {
        ended = ended.because(&test.name, &test.output);
    }
    if !well && failed == 0 { ended.because("cargo nextest", log) } else { ended }
}

/// Of a hundred, to two digits; null of none.
fn percent(part: u64, all: u64) -> Value {
    if all == 0 { Value::Null } else { json!((part as f64 / all as f64 * 1e4).round() / 100.0) }
}

fn slow(run: &Run) -> Value {
    let mut tests: Vec<_> = run.tests.iter().filter(|test| test.outcome != TestOutcome::Skipped).collect();
    tests.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let slow = tests.iter().take(SLOW_TESTS);
    slow.map(|test| json!({"name": test.name, "seconds": test.seconds})).collect()
}

fn by_libtest(context: &Context<'_>, measured: bool) -> Result<Ended, Error> {
    let begin: &[&str] = if measured { &["llvm-cov", "test", "--no-report"] } else { &["test"] };
    let kinds = ["--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
    let ran = context.run(Step::Tests, &mut context.cargo([begin, &kinds].concat()))?;
    let counts = libtest::count(&ran.log);
    let reason = format!("only cargo-nextest says it: {NEXTEST}");
    if counts.binaries == 0 {
        return Ok(Ended::failed("the tests did not run").because("cargo test", ran.log));
    }
    let ran_count = counts.passed + counts.failed;
    let note = format!("{} of {ran_count} tests passed", counts.passed);
    let mut ended = Ended::by(ran.success && counts.failed == 0, note)
        .with("tests_total", ran_count + counts.ignored)
        .with("tests_passed", counts.passed)
        .with("tests_failed", counts.failed)
        .with("tests_skipped", counts.ignored)
        .with("pass_rate", percent(counts.passed, ran_count))
        .without("runtime_seconds", &reason)
        .without("slow_tests", &reason);
    for (name, output) in libtest::failures(&ran.log) {
        ended = ended.because(name, output);
    }
    if !ran.success && ended.failures.is_empty() {
        ended = ended.because("cargo test", ran.log);
    }
    Ok(ended)
}

/// The examples in the documentation, which cargo-nextest does not run.
pub(super) fn doctests(context: &Context<'_>) -> Result<Ended, Error> {
    let args = ["test", "--doc", "--workspace", "--locked", "--no-fail-fast"];
    let ran = context.run(Step::Doctests, &mut context.cargo(args))?;
    let counts = libtest::count(&ran.log);
    let total = counts.passed + counts.failed + counts.ignored;
    let note = match total {
        0 => "there are none".to_owned(),
        _ => format!("{} of {total} passed", counts.passed),
    };
    let mut ended = Ended::by(ran.success, note);
    if counts.binaries > 0 {
        ended = ended
            .with("doctests_total", total)
            .with("doctests_passed", counts.passed)
            .with("doctests_failed", counts.failed);
    }
    for (name, output) in libtest::failures(&ran.log) {
        ended = ended.because(name, output);
    }
    if !ran.success && ended.failures.is_empty() {
        ended = ended.because("cargo test --doc", ran.log);
    }
    Ok(ended)
}

fn metadata(context: &Context<'_>) -> Result<Value, Error> {
    let ended = context.repository.cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
    let text = crate::repository::succeeded("cargo metadata", ended)?;
    serde_json::from_str(&text).map_err(|error| Error::Failed(format!("cargo metadata is not JSON: {error}")))
}

/// Targets of that kind in the workspace, by name.
pub(super) fn targets(context: &Context<'_>, kind: &str) -> Result<BTreeSet<String>, Error> {
    let metadata = metadata(context)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let wanted = targets
        .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|of| of == kind)));
    Ok(wanted.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests_of_tests {
    use super::{super::context::Outcome, *};
    use crate::qa::junit::Test;

    fn run(outcomes: &[TestOutcome]) -> Run {
        let test = |(at, outcome): (usize, &TestOutcome)| Test {
            name: format!("t{at}"),
            seconds: at as f64,
            outcome: *outcome,
            output: "why".to_owned(),
        };
        Run { tests: outcomes.iter().enumerate().map(test).collect(), seconds: 2.5 }
    }

    fn figure<'a>(ended: &'a Ended, key: &str) -> &'a Value {
        ended.figures.iter().find(|(name, _)| *name == key).map_or(&Value::Null, |(_, value)| value)
    }

    #[test]
    fn a_test_that_fails_makes_the_step_fail_and_is_told() {
        use TestOutcome::{Failed, Passed};
        let ended = told(&run(&[Passed, Failed, Passed]), Some(1), false, String::new());
        assert_eq!((ended.outcome, ended.note.as_str()), (Outcome::Failed, "1 of 3 tests failed"));
        assert_eq!((ended.failures[0].name.as_str(), ended.failures[0].output.as_str()), ("t1", "why"));
        assert_eq!(figure(&ended, "tests_total"), 4);
        assert_eq!(figure(&ended, "pass_rate"), 66.67);
        assert_eq!(figure(&ended, "slow_tests")[0]["name"], "t2");
        let well = told(&run(&[Passed]), None, true, String::new());
        assert_eq!((well.outcome, figure(&well, "tests_skipped")), (Outcome::Ok, &Value::Null));
        assert_eq!(well.reasons[0].0, "tests_skipped");
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_or_runs_none_is_no_success() {
        assert_eq!(
            told(&run(&[TestOutcome::Passed]), None, false, "log".to_owned()).outcome,
            Outcome::Failed
        );
        assert_eq!(told(&run(&[]), None, true, "log".to_owned()).outcome, Outcome::Failed);
    }

    #[test]
    fn skipped_tests_are_read_from_the_closing_line() {
        let line = |counts: &str| format!("   Summary [  99.540s] 698 tests run: {counts}\n");
        assert_eq!(skipped(&line("698 passed (3 slow), 1 skipped")), Some(1));
        assert_eq!(skipped(&line("690 passed, 8 failed, 12 skipped")), Some(12));
        assert_eq!(skipped(&line("698 passed")), Some(0));
        assert_eq!(skipped("error: could not compile"), None);
    }
}
