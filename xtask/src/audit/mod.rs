//! `cargo xtask audit`: checks whether this tree can be released.
//!
//! Each check is a function from texts to findings, so that a test can make it fail.

use anyhow::Result;
use clap::Args;

use crate::{changelog, repository::Repository};

mod agreement;
mod files;
mod finding;
mod secrets;

pub(crate) use agreement::version;
pub(crate) use finding::{Finding, Level};

/// Check whether this tree can be released: secrets, stray files, versions, changelog, lock file, package
#[derive(Debug, Default, Args)]
pub(crate) struct Audit {
    /// Also fail for unreleased changes in the changelog, and for uncommitted files
    #[arg(long)]
    release: bool,
    /// Compile the package as its users do, which takes minutes
    #[arg(long)]
    compile_package: bool,
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

    /// Runs all checks, and reports each finding as soon as it is known.
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
                add(vec![files::packages(repository, &metadata, self.compile_package)?]);
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
