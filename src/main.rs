//! The binary `registry`: parse, run, exit code.

use std::process::ExitCode;

use model_registry::cli;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
