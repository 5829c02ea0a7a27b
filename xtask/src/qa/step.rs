//! The steps by name, their results, and what they share.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::repository::{Repository, run, words};

/// The folder of the logs, inside the folder of the report.
pub(super) const LOGS: &str = "logs";
/// Lines of an output that the report keeps.
const MAX_OUTPUT_LINES: usize = 200;

/// In the order in which they run: quick ones that fail often come first. The help shows these lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Step {
    /// cargo fmt finds nothing to change
    Format,
    /// Clippy and the compiler find no issues
    Clippy,
    /// The documentation builds without warnings
    Docs,
    /// All tests, by cargo-nextest
    Tests,
    /// The lines that the tests reach, by cargo-llvm-cov
    Coverage,
    /// The examples in the documentation
    Doctests,
    /// registry loadtest: no request fails, no acknowledged write is lost
    Concurrency,
    /// Each benchmark runs once
    Bench,
    /// cargo-deny: licences, bans and sources of all dependencies
    Licences,
    /// cargo-deny: known vulnerabilities, by the database of RustSec
    Advisories,
    /// cargo xtask audit: secrets, stray files, versions, package
    Audit,
}

impl Step {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns true if a missing tool is a failure even without `--strict`.
    pub(super) fn is_required(self) -> bool {
        !matches!(self, Self::Coverage | Self::Licences | Self::Advisories)
    }
}

/// The input of all steps.
pub(super) struct Context {
    pub(super) repository: Repository,
    /// The folder of the report.
    pub(super) out: PathBuf,
    pub(super) selected: Vec<Step>,
    /// Load the release build.
    pub(super) release: bool,
}

/// The result of a command.
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

    /// Returns the path of a step's log from the folder of the report.
    pub(super) fn log_of(&self, step: Step) -> Option<String> {
        let path = format!("{LOGS}/{}.log", step.name());
        self.out.join(&path).is_file().then_some(path)
    }

    /// Runs a command whose exit code is the result.
    pub(super) fn run_check(&self, step: Step, command: &mut Command) -> Result<StepResult> {
        let ran = self.run(step, command)?;
        Ok(match ran.success {
            true => StepResult::new(step, Outcome::Ok, "no issues"),
            false => {
                let note = format!("{} failed", words(command));
                StepResult::new(step, Outcome::Failed, note).because_of(step.name(), &ran)
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

impl From<bool> for Outcome {
    fn from(success: bool) -> Self {
        if success { Self::Ok } else { Self::Failed }
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
    pub(super) fn new(step: Step, outcome: impl Into<Outcome>, note: impl Into<String>) -> Self {
        let (outcome, note) = (outcome.into(), note.into());
        Self { step, outcome, note, seconds: 0.0, log: None, figures: Vec::new(), failures: Vec::new() }
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

    /// Adds a failure as [`Self::because`] does, with the output of a command.
    pub(super) fn because_of(self, name: impl Into<String>, ran: &Ran) -> Self {
        self.because(name, format!("{}{}", ran.stderr, ran.stdout))
    }

    #[cfg(test)]
    pub(super) fn figure(&self, key: &str) -> Value {
        let figure = self.figures.iter().find(|(name, _)| *name == key);
        figure.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}
