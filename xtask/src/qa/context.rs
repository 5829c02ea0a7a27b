//! What a step has to work with, and what it gives back.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{steps::Step, tools::Tools};
use crate::{
    command,
    error::Error,
    files,
    process::run,
    repository::{Repository, last_lines},
};

/// Beneath the folder of the report.
pub(super) const LOGS: &str = "logs";
/// Of a long log only the end is of use.
const MAX_OUTPUT_LINES: usize = 200;

pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) out: &'a Path,
    pub(super) tools: Tools,
    pub(super) selected: BTreeSet<Step>,
    /// Whether the release build is loaded.
    pub(super) release: bool,
}

/// A command that has ended.
pub(super) struct Ran {
    pub(super) success: bool,
    /// What it wrote to stdout, where that was kept apart.
    pub(super) stdout: String,
    /// What it wrote to the log.
    pub(super) log: String,
}

impl Context<'_> {
    pub(super) fn cargo<'s>(&self, args: impl IntoIterator<Item = &'s str>) -> Command {
        command::cargo(&self.repository.root, args)
    }

    fn log_path(&self, step: Step) -> PathBuf {
        self.out.join(LOGS).join(format!("{}.log", step.name()))
    }

    /// Runs it with all that it says in the step's log.
    pub(super) fn run(&self, step: Step, command: &mut Command) -> Result<Ran, Error> {
        let (log, from) = self.open_log(step, command)?;
        let both = self.copy(step, &log)?;
        let status = run(command, both, self.copy(step, &log)?, &self.repository.interrupt)?;
        Ok(Ran { success: status.success(), stdout: String::new(), log: self.read_log(step, log, from)? })
    }

    /// Runs it with stdout kept apart, since it is for machines, and stderr in the log.
    pub(super) fn run_apart(&self, step: Step, command: &mut Command) -> Result<Ran, Error> {
        let (log, from) = self.open_log(step, command)?;
        let failed = |source| Error::Unwritable { path: self.log_path(step), source };
        let mut apart = tempfile::tempfile().map_err(failed)?;
        let stdout = self.copy(step, &apart)?;
        let status = run(command, stdout, self.copy(step, &log)?, &self.repository.interrupt)?;
        let mut bytes = Vec::new();
        apart.rewind().and_then(|()| apart.read_to_end(&mut bytes)).map_err(failed)?;
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { success: status.success(), stdout, log: self.read_log(step, log, from)? })
    }

    fn open_log(&self, step: Step, command: &Command) -> Result<(File, u64), Error> {
        let path = self.log_path(step);
        let opened =
            OpenOptions::new().create(true).append(true).read(true).open(&path).and_then(|mut log| {
                writeln!(log, "$ {}", command::words(command))?;
                let from = log.seek(SeekFrom::End(0))?;
                Ok((log, from))
            });
        opened.map_err(|source| Error::Unwritable { path, source })
    }

    fn copy(&self, step: Step, file: &File) -> Result<File, Error> {
        file.try_clone().map_err(|source| Error::Unwritable { path: self.log_path(step), source })
    }

    fn read_log(&self, step: Step, mut log: File, from: u64) -> Result<String, Error> {
        let mut bytes = Vec::new();
        let read = log.seek(SeekFrom::Start(from)).and_then(|_| log.read_to_end(&mut bytes));
        read.map_err(|source| Error::Unreadable { path: self.log_path(step), source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Adds to the log what a person wants to read there.
    pub(super) fn note(&self, step: Step, text: &str) -> Result<(), Error> {
        let path = self.log_path(step);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let written = opened.and_then(|mut log| log.write_all(text.as_bytes()));
        written.map_err(|source| Error::Unwritable { path, source })
    }

    /// Writes what a step read, so that others can read it too.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<(), Error> {
        files::write_atomically(&self.out.join(name), text.as_bytes())
    }

    /// Takes away what an earlier run left under that name, so that it can't be taken for this one's.
    pub(super) fn forget(&self, path: &Path) -> Result<(), Error> {
        match fs::remove_file(path) {
            Err(source) if path.exists() => Err(Error::Unwritable { path: path.to_owned(), source }),
            _ => Ok(()),
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Failed,
    /// Its tool is missing, or could not reach its data.
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

/// Something that failed, with what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) output: String,
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// In one line.
    pub(super) note: String,
    /// Values of the report's keys. What is left out stays null, for the reason of the note.
    pub(super) figures: Vec<(&'static str, Value)>,
    /// Reasons of single keys that stay null though the step went well.
    pub(super) reasons: Vec<(&'static str, String)>,
    pub(super) failures: Vec<Failure>,
}

impl Ended {
    fn new(outcome: Outcome, note: impl Into<String>) -> Self {
        Self { outcome, note: note.into(), figures: Vec::new(), reasons: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn ok(note: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, note)
    }

    pub(super) fn failed(note: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, note)
    }

    pub(super) fn unavailable(note: impl Into<String>) -> Self {
        Self::new(Outcome::Unavailable, note)
    }

    /// Whether it went well, by `success`.
    pub(super) fn by(success: bool, note: impl Into<String>) -> Self {
        if success { Self::ok(note) } else { Self::failed(note) }
    }

    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.figures.push((key, value.into()));
        self
    }

    /// A key that stays null, and why.
    pub(super) fn without(mut self, key: &'static str, reason: impl Into<String>) -> Self {
        self.reasons.push((key, reason.into()));
        self
    }

    pub(super) fn because(mut self, name: impl Into<String>, output: impl Into<String>) -> Self {
        self.failures.push(Failure { name: name.into(), output: end_of(&output.into()) });
        self
    }
}

fn end_of(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    lines[lines.len().saturating_sub(MAX_OUTPUT_LINES)..].join("\n")
}

/// A step with its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepResult {
    pub(super) step: Step,
    pub(super) outcome: Outcome,
    pub(super) note: String,
    pub(super) seconds: f64,
    /// Beneath the folder of the report.
    pub(super) log: Option<String>,
    pub(super) ended: Ended,
}

impl StepResult {
    pub(super) fn of(step: Step, ended: Result<Ended, Error>, seconds: f64, context: &Context<'_>) -> Self {
        let ended = ended.unwrap_or_else(|error| {
            Ended::failed(last_lines(&error.to_string(), 1)).because(step.name(), error.to_string())
        });
        let log = format!("{LOGS}/{}.log", step.name());
        let log = context.out.join(&log).is_file().then_some(log);
        Self::new(step, ended, seconds, log)
    }

    pub(super) fn new(step: Step, ended: Ended, seconds: f64, log: Option<String>) -> Self {
        Self { step, outcome: ended.outcome, note: ended.note.clone(), seconds, log, ended }
    }

    pub(super) fn not_selected(step: Step) -> Self {
        Self::new(step, Ended::new(Outcome::NotSelected, "the step was left out"), 0.0, None)
    }
}
