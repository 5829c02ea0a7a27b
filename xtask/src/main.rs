//! What the maintainers run on the repository: `cargo xtask qa`, `audit`, `changelog`, `release`.
//!
//! Here is the command line and the exit code. `qa/` says whether the tree can ship, `audit/` whether it can be
//! released; both judge texts by pure functions, and `repository.rs`, `process.rs` and `files.rs` are the edge where files
//! and commands are.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod audit;
mod changelog;
mod command;
mod error;
mod files;
mod manifest;
mod process;
mod qa;
mod release;
mod repository;
#[cfg(test)]
mod testing;

/// The maintainers' commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, after_help = error::EXIT_CODES)]
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
    let ended = match Cli::parse().command {
        Command::Qa(qa) => qa.run(),
        Command::Audit(audit) => audit.run(),
        Command::Changelog(changelog) => changelog.run(),
        Command::Release(release) => release.run(),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.code())
        }
    }
}
