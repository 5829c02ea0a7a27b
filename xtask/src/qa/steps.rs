//! The steps, what they share, and those that only need an exit code.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::{lints, tests};
use crate::{
    audit::{Audit, Level},
    repository::{Repository, run, words},
};

/// The folder of the logs, inside the folder of the report.
pub(super) const LOGS: &str = "logs";
/// The page of the load test.
pub(super) const CHART: &str = "concurrency.html";
/// Lines of an output that the report keeps.
const MAX_OUTPUT_LINES: usize = 200;
/// Benchmarks with their own `main`, which run for minutes. Clippy compiles them.
const HARNESSES: [&str; 2] = ["curve", "ratios"];

/// In the order in which they run: quick ones that fail often come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Step {
    Format,
    Clippy,
    Docs,
    Tests,
    Coverage,
    Doctests,
    Concurrency,
    Bench,
    Licences,
    Advisories,
    Audit,
}

impl Step {
    pub(super) const ALL: [Self; 11] = [
        Self::Format,
        Self::Clippy,
        Self::Docs,
        Self::Tests,
        Self::Coverage,
        Self::Doctests,
        Self::Concurrency,
        Self::Bench,
        Self::Licences,
        Self::Advisories,
        Self::Audit,
    ];

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Format => ("format", "cargo fmt finds nothing to change"),
            Self::Clippy => ("clippy", "clippy and the compiler find no issues"),
            Self::Docs => ("docs", "the documentation builds without warnings"),
            Self::Tests => ("tests", "all tests, by cargo-nextest if it is installed"),
            Self::Coverage => ("coverage", "the lines that the tests reach, by cargo-llvm-cov"),
            Self::Doctests => ("doctests", "the examples in the documentation"),
            Self::Concurrency => {
                ("concurrency", "registry loadtest: no request fails, no acknowledged write is lost")
            }
            Self::Bench => ("bench", "each benchmark runs once"),
            Self::Licences => ("licences", "cargo-deny: licences, bans and sources of all dependencies"),
            Self::Advisories => {
                ("advisories", "cargo-deny: known vulnerabilities, by the database of RustSec")
            }
            Self::Audit => ("audit", "cargo xtask audit: secrets, stray files, versions, package"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.words().0
    }

    pub(super) fn about(self) -> &'static str {
        self.words().1
    }

    /// Returns true if a missing tool is a failure even without `--strict`.
    pub(super) fn is_required(self) -> bool {
        !matches!(self, Self::Coverage | Self::Licences | Self::Advisories)
    }

    pub(super) fn run(self, context: &Context) -> Result<StepResult> {
        match self {
            Self::Format => context.judge(self, &mut context.cargo(["fmt", "--all", "--check"])),
            Self::Clippy => lints::clippy(context),
            Self::Docs => {
                let args = ["doc", "--no-deps", "--workspace", "--locked", "--keep-going"];
                context.judge(self, context.cargo(args).env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Tests => tests::all(context),
            Self::Coverage => tests::coverage(context),
            Self::Doctests => tests::doctests(context),
            Self::Concurrency => concurrency(context),
            Self::Bench => bench(context),
            Self::Licences => lints::licences(context),
            Self::Advisories => lints::advisories(context),
            Self::Audit => audit(context),
        }
    }
}

/// What a step works with.
pub(super) struct Context {
    pub(super) repository: Repository,
    /// The folder of the report.
    pub(super) out: PathBuf,
    pub(super) selected: Vec<Step>,
    /// Load the release build.
    pub(super) release: bool,
}

/// A command that has ended.
pub(super) struct Ran {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Context {
    pub(super) fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        self.repository.cargo(args)
    }

    /// Returns true if cargo has this command.
    pub(super) fn has(&self, tool: &str) -> bool {
        run(&mut self.cargo([tool, "--version"])).is_ok_and(|output| output.status.success())
    }

    /// Runs a command, and adds it and its output to the log of the step.
    pub(super) fn run(&self, step: Step, command: &mut Command) -> Result<Ran> {
        let output = run(command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        self.log(step, &format!("$ {}\n{stderr}{stdout}\n", words(command)))?;
        Ok(Ran { success: output.status.success(), stdout, stderr })
    }

    pub(super) fn log(&self, step: Step, text: &str) -> Result<()> {
        let path = self.out.join(LOGS).join(format!("{}.log", step.name()));
        let log = OpenOptions::new().create(true).append(true).open(path);
        log.and_then(|mut log| log.write_all(text.as_bytes())).context("the log can't be written")
    }

    /// The path of a step's log from the folder of the report.
    pub(super) fn log_of(&self, step: Step) -> Option<String> {
        let path = format!("{LOGS}/{}.log", step.name());
        self.out.join(&path).is_file().then_some(path)
    }

    /// Runs a command whose exit code is the result.
    fn judge(&self, step: Step, command: &mut Command) -> Result<StepResult> {
        let ran = self.run(step, command)?;
        Ok(match ran.success {
            true => StepResult::ok(step, "no issues"),
            false => {
                StepResult::failed(step, format!("{} failed", words(command))).because_of(step.name(), &ran)
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Failed,
    /// A tool is missing, or could not reach its data.
    Unavailable,
    NotSelected,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::NotSelected => "not_selected",
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub(super) struct StepResult {
    pub(super) step: Step,
    pub(super) outcome: Outcome,
    /// In one line.
    pub(super) note: String,
    pub(super) seconds: f64,
    pub(super) log: Option<String>,
    /// Values of the report's keys. A key that is missing is null there, with the note as reason.
    pub(super) figures: Vec<(&'static str, Value)>,
    /// What failed, and its output.
    pub(super) failures: Vec<(String, String)>,
}

impl StepResult {
    fn new(step: Step, outcome: Outcome, note: impl Into<String>) -> Self {
        let (figures, failures) = (Vec::new(), Vec::new());
        Self { step, outcome, note: note.into(), seconds: 0.0, log: None, figures, failures }
    }

    pub(super) fn ok(step: Step, note: impl Into<String>) -> Self {
        Self::new(step, Outcome::Ok, note)
    }

    pub(super) fn failed(step: Step, note: impl Into<String>) -> Self {
        Self::new(step, Outcome::Failed, note)
    }

    pub(super) fn unavailable(step: Step, note: impl Into<String>) -> Self {
        Self::new(step, Outcome::Unavailable, note)
    }

    pub(super) fn not_selected(step: Step) -> Self {
        Self::new(step, Outcome::NotSelected, "the step was left out")
    }

    pub(super) fn by(step: Step, success: bool, note: impl Into<String>) -> Self {
        if success { Self::ok(step, note) } else { Self::failed(step, note) }
    }

    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.figures.push((key, value.into()));
        self
    }

    pub(super) fn because(mut self, name: impl Into<String>, output: impl AsRef<str>) -> Self {
        let lines: Vec<_> = output.as_ref().lines().collect();
        let end = lines[lines.len().saturating_sub(MAX_OUTPUT_LINES)..].join("\n");
        self.failures.push((name.into(), end));
        self
    }

    /// As [`Self::because`], with the output of a command.
    pub(super) fn because_of(self, name: impl Into<String>, ran: &Ran) -> Self {
        self.because(name, format!("{}{}", ran.stderr, ran.stdout))
    }
}

/// `registry loadtest` on its own server. Its report is kept as it is.
fn concurrency(context: &Context) -> Result<StepResult> {
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
    let Some(report) = fs::read(&report).ok().and_then(|text| serde_json::from_slice(&text).ok()) else {
        return Ok(
            StepResult::failed(step, "the load test left no report").because_of("registry loadtest", &ran)
        );
    };
    Ok(judge_load(&report, &ran, profile))
}

fn judge_load(report: &Value, ran: &Ran, profile: &str) -> StepResult {
    let value = |pointer: &str| report.pointer(pointer).cloned().unwrap_or_default();
    let note = format!(
        "{} of {} requests, p50 {} ms, p95 {} ms, {profile} build",
        value("/requests_success"),
        value("/requests_total"),
        value("/latency_ms/p50"),
        value("/latency_ms/p95"),
    );
    let ok = ran.success && report["ok"] == true;
    let mut result = StepResult::by(Step::Concurrency, ok, note).with("concurrency_profile", profile);
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

/// In the debug build, which shows that they run. People measure by hand.
fn bench(context: &Context) -> Result<StepResult> {
    let metadata = context.repository.metadata()?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages = packages.filter(|package| package["source"].is_null());
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let benches =
        targets.filter(|target| target["kind"][0] == "bench").filter_map(|target| target["name"].as_str());
    let benches: Vec<_> = benches.filter(|bench| !HARNESSES.contains(bench)).collect();
    let mut command = context.cargo(["test", "--locked", "--no-fail-fast"]);
    command.args(benches.iter().flat_map(|bench| ["--bench", bench]));
    let ran = context.run(Step::Bench, &mut command)?;
    // Criterion prints it for each benchmark.
    let count = ran.stdout.lines().filter(|line| line.trim() == "Success").count();
    let ok = ran.success && count >= benches.len();
    let note = format!("{count} benchmarks of {} files ran", benches.len());
    let result = StepResult::by(Step::Bench, ok, note).with("benchmarks_run", count);
    Ok(if ok { result } else { result.because_of("cargo test --bench", &ran) })
}

fn audit(context: &Context) -> Result<StepResult> {
    let findings = Audit::default().findings(&context.repository, &mut |_| {})?;
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    context.log(Step::Audit, &lines)?;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (passed, warnings, failures) = (count(Level::Pass), count(Level::Warn), count(Level::Fail));
    let note = format!("{passed} passed, {warnings} warnings, {failures} failed");
    let mut result = StepResult::by(Step::Audit, failures == 0, note)
        .with("audit_warnings", warnings)
        .with("audit_failures", failures);
    for finding in findings.into_iter().filter(|finding| finding.level == Level::Fail) {
        result = result.because(finding.check, finding.text);
    }
    Ok(result)
}

#[cfg(test)]
mod tests_of_steps {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_steps_are_known_by_their_names_and_in_order() {
        assert!(Step::ALL.is_sorted());
        assert_eq!(Step::value_variants(), Step::ALL);
        for step in Step::ALL {
            assert_eq!(Step::from_str(step.name(), false), Ok(step));
        }
    }

    #[test]
    fn a_load_that_lost_a_write_fails_with_the_words_of_the_load_test() {
        let ran = |success| Ran { success, stdout: String::new(), stderr: "1 write is missing".to_owned() };
        let report = json!({"ok": false, "latency_ms": {"p50": 1.5}, "readback": {"missing": 1}});
        let result = judge_load(&report, &ran(false), "dev");
        assert_eq!((result.outcome, result.failures[0].1.as_str()), (Outcome::Failed, "1 write is missing"));
        assert!(result.figures.contains(&("concurrency_latency_ms_p50", json!(1.5))));
        assert_eq!(judge_load(&json!({"ok": true}), &ran(true), "dev").outcome, Outcome::Ok);
        assert_eq!(judge_load(&json!({"ok": true}), &ran(false), "dev").outcome, Outcome::Failed);
    }
}
