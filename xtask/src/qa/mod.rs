//! `cargo xtask qa`: can this tree ship?
//!
//! Steps run one after the other (`steps.rs`). Their results become the report, as JSON and words (`report.rs`) and as
//! a page (`page.rs`).

use std::{
    fs,
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::repository::{Repository, printed};

mod lints;
mod page;
mod report;
mod steps;
mod tests;

use report::{About, Report};
use steps::{Context, LOGS, Step, StepResult};

const REPORT: &str = "qa_report.json";
const PAGE: &str = "qa_report.html";

/// Say whether this tree can ship: lints, tests, coverage, load, licences, and a report of it all
#[derive(Debug, Args)]
pub(crate) struct Qa {
    /// The folder of the report, from the root of the repository
    #[arg(long, value_name = "DIR", default_value = "qa_artifacts")]
    out: PathBuf,
    /// Leave a step out; may be given several times
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<Step>,
    /// Run only these; coverage includes tests
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "skip")]
    only: Vec<Step>,
    /// Also fail if a tool is missing or can't reach its data
    #[arg(long)]
    strict: bool,
    /// Load the release build instead of the debug build
    #[arg(long)]
    release: bool,
    /// Print the steps, and run none
    #[arg(long)]
    list: bool,
}

impl Qa {
    /// Returns true if the tree can ship.
    pub(crate) fn run(&self) -> Result<bool> {
        if self.list {
            Step::ALL.iter().for_each(|step| println!("{:<12} {}", step.name(), step.about()));
            return Ok(true);
        }
        let repository = Repository::here()?;
        let out = repository.root.join(&self.out);
        // The folder holds one report and what it is made of.
        for old in [out.join(LOGS), out.join(REPORT), out.join(PAGE)] {
            let _ = if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
        }
        fs::create_dir_all(out.join(LOGS)).with_context(|| format!("{} can't be made", out.display()))?;
        let selected: Vec<Step> = Step::ALL.into_iter().filter(|step| self.selects(*step)).collect();
        let context = Context { repository, out, selected, release: self.release };
        let (begin, started_at_epoch) = (Instant::now(), epoch());
        let results: Vec<_> = Step::ALL.iter().map(|step| run_step(*step, &context)).collect();
        let about = About {
            started_at_epoch,
            ended_at_epoch: epoch(),
            runtime_seconds: begin.elapsed().as_secs_f64(),
            strict: self.strict,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: context.repository.git(&["rev-parse", "HEAD"])?.trim().to_owned(),
            changed_files: context.repository.changes()?.len(),
            rustc: rustc(&["--version"])?,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let report = Report::new(results, &about);
        let chart = fs::read_to_string(context.out.join(steps::CHART)).ok();
        for (name, text) in [(REPORT, report.json()), (PAGE, page::page(&report, chart.as_deref()))] {
            fs::write(context.out.join(name), text).with_context(|| format!("{name} can't be written"))?;
        }
        println!("\n{}report: {}", report.summary(), self.out.join(REPORT).display());
        println!("{}", report.verdict());
        Ok(report.ok())
    }

    /// Coverage is what the tests cover, so each needs the other.
    fn selects(&self, step: Step) -> bool {
        let named =
            |step| if self.only.is_empty() { !self.skip.contains(&step) } else { self.only.contains(&step) };
        match step {
            Step::Tests => named(step) || self.only.contains(&Step::Coverage),
            Step::Coverage => named(step) && self.selects(Step::Tests),
            _ => named(step),
        }
    }
}

fn run_step(step: Step, context: &Context) -> StepResult {
    let Some(at) = context.selected.iter().position(|selected| *selected == step) else {
        return StepResult::not_selected(step);
    };
    eprintln!("[{:>2}/{}] {}: {}", at + 1, context.selected.len(), step.name(), step.about());
    let begin = Instant::now();
    let mut result = step.run(context).unwrap_or_else(|error| {
        StepResult::failed(step, "it could not be run").because(step.name(), format!("{error:#}"))
    });
    result.seconds = begin.elapsed().as_secs_f64();
    result.log = context.log_of(step);
    eprintln!("        {}: {}, {:.1} s", result.outcome.name(), result.note, result.seconds);
    result
}

fn rustc(args: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new("rustc");
    command.args(args);
    Ok(printed(command)?.trim().to_owned())
}

fn epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}
