//! The binary `registry`: parse, run, exit code.

use std::process::ExitCode;

use model_registry::cli;

/// A job's memory is allocated on one thread and freed on another. That makes glibc's allocator a quarter of the cost of a
/// write, and musl's has one lock for all threads.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
