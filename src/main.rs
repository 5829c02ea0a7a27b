//! The binary `registry`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use model_registry::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
