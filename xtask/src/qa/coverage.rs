//! How much of what ships the tests reach, in lines: by cargo-llvm-cov from the run of the tests, else by cargo-tarpaulin in a
//! run of its own.

use std::fs;

use serde_json::Value;

use super::{
    context::{Context, Ended},
    steps::Step,
    tools::CoverageTool,
};
use crate::error::Error;

const ARTIFACT: &str = "coverage.json";
/// Not a part of what ships.
const LEFT_OUT: &str = "xtask";

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    context.forget(&context.out.join(ARTIFACT))?;
    match &context.tools.coverage {
        CoverageTool::LlvmCov => by_llvm_cov(context),
        CoverageTool::Tarpaulin => by_tarpaulin(context),
        CoverageTool::None(reason) => Ok(Ended::unavailable(reason)),
    }
}

fn by_llvm_cov(context: &Context<'_>) -> Result<Ended, Error> {
    let mut command = context.cargo(["llvm-cov", "report", "--json", "--summary-only"]);
    command.args(["--ignore-filename-regex", &format!("(^|/){LEFT_OUT}/")]);
    let ran = context.run_apart(Step::Coverage, &mut command)?;
    if !ran.success {
        return Ok(Ended::failed("cargo llvm-cov report failed").because("cargo llvm-cov report", ran.log));
    }
    context.keep(ARTIFACT, &ran.stdout)?;
    let read: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    Ok(told("cargo-llvm-cov", read["data"][0]["totals"]["lines"]["percent"].as_f64(), ran.log))
}

fn by_tarpaulin(context: &Context<'_>) -> Result<Ended, Error> {
    let folder =
        tempfile::tempdir().map_err(|error| Error::Failed(format!("no temporary folder: {error}")))?;
    let mut command =
        context.cargo(["tarpaulin", "--workspace", "--exclude", LEFT_OUT, "--locked", "--skip-clean"]);
    command.args(["--engine", "llvm", "--target-dir", "target/tarpaulin", "--out", "Json", "--output-dir"]);
    let ran = context.run(Step::Coverage, command.arg(folder.path()))?;
    let written = fs::read_to_string(folder.path().join("tarpaulin-report.json"));
    let text = match written {
        Ok(text) if ran.success => text,
        _ => return Ok(Ended::failed("cargo tarpaulin failed").because("cargo tarpaulin", ran.log)),
    };
    context.keep(ARTIFACT, &text)?;
    let read: Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(told("cargo-tarpaulin", read["coverage"].as_f64(), ran.log))
}

fn told(tool: &str, percent: Option<f64>, log: String) -> Ended {
    let Some(percent) = percent else {
        return Ended::failed(format!("{tool} names no percentage")).because(tool, log);
    };
    let percent = (percent * 100.0).round() / 100.0;
    Ended::ok(format!("{percent} % of the lines"))
        .with("coverage_percent", percent)
        .with("coverage_tool", tool)
}

#[cfg(test)]
mod tests_of_coverage {
    use super::{super::context::Outcome, *};

    #[test]
    fn a_report_without_a_percentage_is_no_nought() {
        let ended = told("tool", None, String::new());
        assert_eq!((ended.outcome, ended.figures.len()), (Outcome::Failed, 0));
        assert_eq!(told("tool", Some(91.23456), String::new()).figures[0].1, 91.23);
    }
}
