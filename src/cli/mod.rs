//! The commands: one file each, with its flags and a `run`.
//!
//! Nobody imports this room. It owns the terminal: what goes to stdout, what to stderr, and the exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;
mod config;
pub mod details;
mod digesting;
pub mod exit;
pub mod ingest;
mod interrupt;
pub mod maintenance;
pub mod model_ref;
pub mod object_flags;
mod print;
mod progress;
pub mod publish;
pub mod publishing;
pub mod registration;
pub mod remote;
pub mod serve;
mod setback;
pub mod verify;
pub mod watch;

/// A registry of model versions: what bytes they are, how well they scored, which one is in production.
#[derive(Debug, Parser)]
#[command(name = "registry", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Ingest(Box<ingest::Ingest>),
    Publish(Box<publish::Publish>),
    Watch(Box<watch::Watch>),
    Bench(Box<bench::Bench>),
    Verify(Box<verify::Verify>),
    Maintenance(Box<maintenance::Maintenance>),
}

/// Runs what was asked for and says how it ended.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve(serve) => serve.run().map_err(|error| exit::Failure::failed(error.to_string())),
        Command::Ingest(ingest) => ingest.run(),
        Command::Bench(bench) => bench.run(),
        Command::Verify(verify) => verify.run(),
        Command::Publish(publish) => publish.run(),
        Command::Watch(watch) => watch.run(),
        Command::Maintenance(maintenance) => maintenance.run(),
    };
    exit::report(outcome)
}
