//! `cargo xtask audit`: may this tree be released?
//!
//! Each check is a function from texts to findings, so that a test can make it fail.

use std::fmt;

use anyhow::Result;
use clap::Args;

use crate::{changelog, repository::Repository};

mod agreement;
mod files;
mod secrets;

pub(crate) use agreement::version;

/// Say whether this tree may be released: secrets, stray files, versions, changelog, lock file, package
#[derive(Debug, Default, Args)]
pub(crate) struct Audit {
    /// Also fail for unreleased changes in the changelog, and for uncommitted files
    #[arg(long)]
    release: bool,
    /// Compile the package as its users do, which takes minutes
    #[arg(long)]
    compile_package: bool,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Pass,
    Warn,
    Fail,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) check: &'static str,
    /// What is true, or what is wrong and what to do.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn pass(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Pass, check, text: text.into() }
    }

    pub(crate) fn warn(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Warn, check, text: text.into() }
    }

    pub(crate) fn fail(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fail, check, text: text.into() }
    }

    /// A warning that is a failure if `fail`.
    fn warn_or_fail(check: &'static str, text: impl Into<String>, fail: bool) -> Self {
        if fail { Self::fail(check, text) } else { Self::warn(check, text) }
    }

    /// All faults of a check, or that it passed.
    pub(crate) fn of_faults(check: &'static str, faults: Vec<String>, passed: String) -> Vec<Self> {
        if faults.is_empty() {
            return vec![Self::pass(check, passed)];
        }
        faults.into_iter().map(|fault| Self::fail(check, fault)).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Pass => "PASS",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "[{level}] {}: {}", self.check, self.text)
    }
}

impl Audit {
    /// Returns true if nothing failed.
    pub(crate) fn run(&self) -> Result<bool> {
        let findings = self.findings(&Repository::here()?, &mut |finding| println!("{finding}"))?;
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (passed, warned, failed) = (count(Level::Pass), count(Level::Warn), count(Level::Fail));
        println!("{passed} passed, {warned} warnings, {failed} failed");
        Ok(failed == 0)
    }

    /// Makes all checks, and reports each finding as soon as it is known.
    pub(crate) fn findings(
        &self,
        repository: &Repository,
        report: &mut dyn FnMut(&Finding),
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut add = |more: Vec<Finding>| {
            more.iter().for_each(&mut *report);
            findings.extend(more);
        };
        let tracked = repository.tracked()?;
        add(files::stray(&tracked));
        add(secrets::check(&tracked));
        match repository.metadata() {
            Ok(metadata) => {
                add(agreement::versions(&metadata));
                let text = repository.read(changelog::FILE).unwrap_or_default();
                add(agreement::changelog(&text, &version(&metadata), self.release));
                add(files::packages(repository, &metadata, self.compile_package)?);
            }
            Err(error) => {
                let text = format!("{error:#}; run cargo metadata, and commit Cargo.lock");
                add(vec![Finding::fail("lock file", text)]);
            }
        }
        add(agreement::working_tree(&repository.changes()?, self.release));
        Ok(findings)
    }
}
