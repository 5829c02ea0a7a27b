//! The binary `registry`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use model_registry::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
