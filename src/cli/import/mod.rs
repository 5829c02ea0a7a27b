//! `registry import`: takes over what another registry holds.

mod arrived;
mod body;
mod files;
mod mlflow;
mod places;
mod report;
mod source;
mod target;
mod transfer;

use clap::{Args, Subcommand};

use super::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  What an import from an MLflow server would take over:
    registry import mlflow http://mlflow.example.org:5000 --dry-run
  The import; run it again to go on after an interruption:
    registry import mlflow http://mlflow.example.org:5000
  The same with the files of the versions, into the registry's artifact store:
    registry import mlflow http://mlflow.example.org:5000 --with-artifacts";

/// Take over models and versions from another registry.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Import {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    Mlflow(Box<mlflow::Mlflow>),
}

impl Import {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            ImportCommand::Mlflow(command) => command.run(),
        }
    }
}

/// Returns the failure of an import that the user stops.
fn interrupted() -> Failure {
    Failure::interrupted("stopped; run the same command again to go on")
}
