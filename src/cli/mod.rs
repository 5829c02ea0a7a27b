//! The commands. One file a command, each with a `run`.

pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A model registry: versions, artifact digests, scores, gated promotion and an audit trail.
#[derive(Debug, Parser)]
#[command(name = "registry", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the registry's HTTP server
    Serve(serve::Serve),
}

/// Runs the command that was given.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Serve(serve) => serve.run().map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}
