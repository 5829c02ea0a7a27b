//! The binary `registry`: parse, run, exit code.

use std::process::ExitCode;

use model_registry::cli;

/// A job's memory is allocated on one thread and freed on another, which makes glibc's allocator a third of the cost of a
/// write; musl's has one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
