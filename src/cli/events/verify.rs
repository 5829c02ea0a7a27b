//! `registry events verify`: an export of the audit trail on its own, without a registry.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{
    audit::verify::verify,
    exit::{self, Failure},
    print,
};

/// Verify an export of the audit trail; needs no registry.
///
/// The chains of hashes show if an event of the export was changed, removed or reordered. Compare the digest with the one that was
/// noted when it was exported: only that shows if the whole export was written again.
#[derive(Debug, Args)]
#[command(after_long_help = format!("\
Examples:
    registry events verify trail-2026-11-29.jsonl

{}", exit::HELP))]
pub(super) struct Verify {
    /// The export, as lines of JSON or as CSV
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

impl Verify {
    /// Verifies the export.
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.path.display().to_string();
        let verified = verify(&self.path)?;
        let counts = format!(
            "{} of {}",
            print::counted(verified.events, "event"),
            print::counted(verified.models as u64, "model")
        );
        let problems = verified.problems;
        let sound = if problems.total == 0 { "sound" } else { "NOT sound" };
        print::result_line(&format!(
            "{path} is {sound}: {counts}; the digest of the chains' ends is {}",
            verified.digest
        ))?;
        for problem in &problems.listed {
            print::result_line(&format!("  {problem}"))?;
        }
        match problems.total {
            0 => Ok(()),
            total => Err(Failure::failed(format!(
                "{path} has {}, see the report",
                print::counted(total, "problem")
            ))),
        }
    }
}
