//! The benchmarks, each once and in the debug build: enough to see that they run. What they measure is measured by hand.

use super::{
    context::{Context, Ended},
    steps::Step,
    tests,
};
use crate::error::Error;

/// These have a main of their own, measure whole servers for minutes, and are only compiled here (by clippy).
const HARNESSES: [&str; 2] = ["curve", "ratios"];
/// Criterion says so of each benchmark that ran.
const RAN: &str = "Success";

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    let mut benches = tests::targets(context, "bench")?;
    benches.retain(|bench| !HARNESSES.contains(&bench.as_str()));
    let mut args = vec!["test", "--locked", "--no-fail-fast"];
    for bench in &benches {
        args.extend(["--bench", bench]);
    }
    let ran = context.run(Step::Bench, &mut context.cargo(args))?;
    Ok(told(benches.len(), ran.success, ran.log))
}

fn told(files: usize, success: bool, log: String) -> Ended {
    let count = log.lines().filter(|line| line.trim() == RAN).count();
    let note = format!("{count} benchmarks of {files} files ran");
    let ended = Ended::by(success && count >= files, note).with("benchmarks_run", count);
    if success && count >= files { ended } else { ended.because("cargo test --bench", log) }
}
