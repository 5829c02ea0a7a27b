//! `cargo xtask qa`: can this tree ship?
//!
//! Steps run one after the other (`steps.rs`, and a file for each that has something to read), each gives figures and an
//! outcome, and all of them become the report: as JSON (`report.rs`), as a page (`page.rs`) and as words (`summary.rs`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use clap::Args;

use crate::{
    error::{Error, FAILED},
    files,
    repository::Repository,
};

mod auditing;
mod benches;
mod clippy;
mod concurrency;
mod context;
mod coverage;
mod deny;
mod junit;
mod libtest;
mod page;
mod report;
mod steps;
mod summary;
mod tests;
mod tools;

use context::{Context, Outcome, StepResult};
use report::Report;
use steps::Step;
use tools::Tools;

const REPORT: &str = "qa_report.json";
const PAGE: &str = "qa_report.html";

/// Say whether this tree can ship: lints, tests, coverage, load, licences, and a report of it all
#[derive(Debug, Args)]
pub(crate) struct Qa {
    /// Where the report and what it is made of go, from the root of the repository
    #[arg(long, value_name = "DIR", default_value = "qa_artifacts")]
    out: PathBuf,
    /// Leave a step out; may be given several times
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<Step>,
    /// Run only these; coverage brings tests with it
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "skip")]
    only: Vec<Step>,
    /// Fail also where a tool is missing or can't reach its data
    #[arg(long)]
    strict: bool,
    /// Load the release build, which is what ships, in place of the debug build; it may have to be built first
    #[arg(long)]
    release: bool,
    /// Say which steps there are, and run none
    #[arg(long)]
    list: bool,
}

impl Qa {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        if self.list {
            Step::ALL.iter().for_each(|step| println!("{:<12} {}", step.name(), step.about()));
            return Ok(ExitCode::SUCCESS);
        }
        let repository = Repository::here()?;
        let selected = self.selected();
        let out = repository.root.join(&self.out);
        prepare(&out)?;
        let tools = Tools::find(&repository)?;
        let context = Context { repository: &repository, out: &out, tools, selected, release: self.release };
        let started = (Instant::now(), epoch());
        let results = run_all(&context)?;
        let report = Report::of(&results, &self.about(&context, started)?);
        let chart = fs::read_to_string(out.join(concurrency::CHART)).ok();
        files::write_atomically(&out.join(REPORT), report.json().as_bytes())?;
        files::write_atomically(&out.join(PAGE), page::page(&report, chart.as_deref()).as_bytes())?;
        println!("{}", summary::summary(&report, &self.out.join(REPORT), &self.out.join(PAGE)));
        Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    fn selected(&self) -> BTreeSet<Step> {
        let mut selected: BTreeSet<Step> = match self.only.is_empty() {
            true => Step::ALL.into_iter().filter(|step| !self.skip.contains(step)).collect(),
            false => self.only.iter().copied().collect(),
        };
        // Coverage is what the tests cover.
        if self.only.contains(&Step::Coverage) {
            selected.insert(Step::Tests);
        }
        if !selected.contains(&Step::Tests) {
            selected.remove(&Step::Coverage);
        }
        selected
    }

    fn about(&self, context: &Context<'_>, started: (Instant, f64)) -> Result<report::About, Error> {
        let repository = context.repository;
        Ok(report::About {
            started_at_epoch: started.1,
            ended_at_epoch: epoch(),
            runtime_seconds: started.0.elapsed().as_secs_f64(),
            strict: self.strict,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: repository.git(&["rev-parse", "HEAD"])?.trim().to_owned(),
            changed_files: repository.changes()?.len(),
            rustc: context.tools.rustc.clone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// A folder without the report of another time, which would not be of what lies beside it.
fn prepare(out: &Path) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: out.to_owned(), source };
    fs::create_dir_all(out.join(context::LOGS)).map_err(unwritable)?;
    // What an earlier run left would stand beside, or in, a report that is not its own.
    let artifacts =
        ["clippy.jsonl", "coverage.json", "deny-advisories.jsonl", "deny-licences.jsonl", "junit.xml"];
    let load = ["concurrency.hgrm", "concurrency.html", "concurrency.json"];
    for name in [REPORT, PAGE].into_iter().chain(artifacts).chain(load) {
        let path = out.join(name);
        if path.exists() {
            fs::remove_file(path).map_err(unwritable)?;
        }
    }
    for entry in fs::read_dir(out.join(context::LOGS)).map_err(unwritable)?.flatten() {
        fs::remove_file(entry.path()).map_err(unwritable)?;
    }
    Ok(())
}

fn run_all(context: &Context<'_>) -> Result<Vec<StepResult>, Error> {
    let mut results = Vec::new();
    for step in Step::ALL {
        if !context.selected.contains(&step) {
            results.push(StepResult::not_selected(step));
            continue;
        }
        let at = context.selected.iter().position(|selected| *selected == step).unwrap_or(0) + 1;
        eprintln!("[{at:>2}/{}] {}: {}", context.selected.len(), step.name(), step.about());
        let started = Instant::now();
        let ended = step.run(context);
        if context.repository.interrupt.is_wanted() {
            let said = "what ran was ended, and no report was written".to_owned();
            return Err(Error::Interrupted(said));
        }
        let result = StepResult::of(step, ended, started.elapsed().as_secs_f64(), context);
        eprintln!("        {}, {:.1} s{}", result.words(), result.seconds, log_words(&result, context));
        results.push(result);
    }
    Ok(results)
}

fn epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}

impl StepResult {
    fn words(&self) -> String {
        match &self.outcome {
            Outcome::Ok => format!("ok: {}", self.note),
            Outcome::Failed => format!("FAILED: {}", self.note),
            Outcome::Unavailable => format!("not known: {}", self.note),
            Outcome::NotSelected => "left out".to_owned(),
        }
    }
}

/// Where more is to be read.
fn log_words(result: &StepResult, context: &Context<'_>) -> String {
    let shown =
        |log: &String| context.out.strip_prefix(&context.repository.root).unwrap_or(context.out).join(log);
    result.log.as_ref().map(|log| format!("; log: {}", shown(log).display())).unwrap_or_default()
}
