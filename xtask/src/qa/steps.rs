//! The steps, in the order in which they run: what is quick and often wrong comes first.

use clap::ValueEnum;

use super::{
    auditing, benches, clippy, concurrency,
    context::{Context, Ended},
    coverage, deny, tests,
};
use crate::error::Error;

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

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Docs => "docs",
            Self::Tests => "tests",
            Self::Coverage => "coverage",
            Self::Doctests => "doctests",
            Self::Concurrency => "concurrency",
            Self::Bench => "bench",
            Self::Licences => "licences",
            Self::Advisories => "advisories",
            Self::Audit => "audit",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Format => "cargo fmt finds nothing to change",
            Self::Clippy => "clippy and the compiler have nothing to say",
            Self::Docs => "the documentation is built without warnings",
            Self::Tests => "all tests, by cargo-nextest where it is there",
            Self::Coverage => "how much of src/ and loadtest/ the tests reach",
            Self::Doctests => "the examples in the documentation",
            Self::Concurrency => "registry loadtest: no request fails, no acknowledged write is lost",
            Self::Bench => "each benchmark runs once",
            Self::Licences => "cargo-deny: licences, bans and sources of all dependencies",
            Self::Advisories => "cargo-deny: known vulnerabilities, by the database of RustSec",
            Self::Audit => "cargo xtask audit: secrets, stray files, versions, package",
        }
    }

    /// Whether it has to be known. What is not, only warns where its tool is missing; `--strict` asks for all.
    pub(super) fn is_required(self) -> bool {
        !matches!(self, Self::Coverage | Self::Licences | Self::Advisories)
    }

    pub(super) fn run(self, context: &Context<'_>) -> Result<Ended, Error> {
        match self {
            Self::Format => format(context),
            Self::Clippy => clippy::run(context),
            Self::Docs => docs(context),
            Self::Tests => tests::run(context),
            Self::Coverage => coverage::run(context),
            Self::Doctests => tests::doctests(context),
            Self::Concurrency => concurrency::run(context),
            Self::Bench => benches::run(context),
            Self::Licences => deny::licences(context),
            Self::Advisories => deny::advisories(context),
            Self::Audit => auditing::run(context),
        }
    }
}

fn format(context: &Context<'_>) -> Result<Ended, Error> {
    let ran = context.run(Step::Format, &mut context.cargo(["fmt", "--all", "--check"]))?;
    Ok(if ran.success {
        Ended::ok("nothing to change")
    } else {
        Ended::failed("some files are not formatted; run cargo fmt --all").because("cargo fmt", ran.log)
    })
}

fn docs(context: &Context<'_>) -> Result<Ended, Error> {
    let mut command = context.cargo(["doc", "--no-deps", "--workspace", "--locked", "--keep-going"]);
    let ran = context.run(Step::Docs, command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(if ran.success {
        Ended::ok("no warnings")
    } else {
        Ended::failed("rustdoc has warnings").because("cargo doc", ran.log)
    })
}

#[cfg(test)]
mod tests_of_steps {
    use super::*;

    #[test]
    fn all_steps_are_known_by_their_names_and_in_their_order() {
        assert!(Step::ALL.is_sorted());
        assert_eq!(Step::value_variants(), Step::ALL);
        for step in Step::ALL {
            assert_eq!(Step::from_str(step.name(), false), Ok(step));
        }
    }
}
