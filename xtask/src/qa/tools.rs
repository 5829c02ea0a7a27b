//! Which tools are there. Those that cargo does not bring are looked for on PATH.

use std::{env, path::Path, process::Command};

use crate::{
    command::on_path,
    error::Error,
    process::capture,
    repository::{Repository, succeeded},
};

pub(super) const NEXTEST: &str = "cargo install cargo-nextest --locked";
pub(super) const DENY: &str = "cargo install cargo-deny --locked";
pub(super) const LLVM_COV: &str = "rustup component add llvm-tools && cargo install cargo-llvm-cov --locked";

/// What coverage is measured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CoverageTool {
    /// In the same run as the tests.
    LlvmCov,
    /// In a run of its own.
    Tarpaulin,
    /// And why.
    None(String),
}

#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) rustc: String,
    pub(super) nextest: bool,
    pub(super) deny: bool,
    pub(super) coverage: CoverageTool,
}

impl Tools {
    pub(super) fn find(repository: &Repository) -> Result<Self, Error> {
        let rustc = |args: &[&str]| {
            let ended = capture(Command::new("rustc").args(args), &repository.interrupt)?;
            succeeded("rustc", ended).map(|said| said.trim().to_owned())
        };
        let libraries = rustc(&["--print", "target-libdir"])?;
        let profdata = Path::new(&libraries).parent().map(|target| target.join("bin/llvm-profdata"));
        let has_llvm = profdata.is_some_and(|profdata| profdata.is_file())
            || (env::var_os("LLVM_COV").is_some() && env::var_os("LLVM_PROFDATA").is_some());
        let has = |program| on_path(program).is_some();
        Ok(Self {
            rustc: rustc(&["--version"])?,
            nextest: has("cargo-nextest"),
            deny: has("cargo-deny"),
            coverage: coverage_tool(has("cargo-llvm-cov"), has_llvm, has("cargo-tarpaulin")),
        })
    }
}

fn coverage_tool(llvm_cov: bool, llvm: bool, tarpaulin: bool) -> CoverageTool {
    match (llvm_cov, llvm, tarpaulin) {
        (true, true, _) => CoverageTool::LlvmCov,
        (_, _, true) => CoverageTool::Tarpaulin,
        (true, false, _) => CoverageTool::None(
            "cargo-llvm-cov needs LLVM's tools: rustup component add llvm-tools".to_owned(),
        ),
        _ => {
            CoverageTool::None(format!("neither cargo-llvm-cov nor cargo-tarpaulin is installed: {LLVM_COV}"))
        }
    }
}

#[cfg(test)]
mod tests_of_tools {
    use super::*;

    #[test]
    fn the_tool_that_measures_in_the_same_run_is_taken_first() {
        assert_eq!(coverage_tool(true, true, true), CoverageTool::LlvmCov);
        assert_eq!(coverage_tool(true, false, true), CoverageTool::Tarpaulin);
        assert_eq!(coverage_tool(false, true, true), CoverageTool::Tarpaulin);
        for (llvm_cov, hint) in [(true, "llvm-tools"), (false, "cargo install cargo-llvm-cov")] {
            let CoverageTool::None(reason) = coverage_tool(llvm_cov, false, false) else { panic!("{hint}") };
            assert!(reason.contains(hint), "{reason}");
        }
    }
}
