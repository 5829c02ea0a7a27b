//! The maintainers' commands on the repository: `cargo xtask qa`, `audit`, `changelog`, `release`.
//!
//! cargo-nextest, cargo-llvm-cov and cargo-deny check tests, coverage and licences. This crate adds the report, the
//! checks that versions agree, and the steps of a release.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod audit;
mod changelog;
mod qa;
mod release;
mod repository;

const EXIT_CODES: &str = "\
Exit codes:
  0  all checks passed
  1  a check failed, or could not be run
  2  the command line is wrong";

/// The maintainers' commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Qa(qa::Qa),
    Audit(audit::Audit),
    Changelog(changelog::Changelog),
    Release(release::Release),
}

fn main() -> ExitCode {
    let passed = match Cli::parse().command {
        Command::Qa(qa) => qa.run(),
        Command::Audit(audit) => audit.run(),
        Command::Changelog(changelog) => changelog.run(),
        Command::Release(release) => release.run(),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
