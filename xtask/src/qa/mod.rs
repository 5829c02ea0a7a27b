//! `cargo xtask qa`: checks whether this tree can ship.
//!
//! Steps run one after the other. Their results become the report, as JSON and words (`report.rs`) and as a page
//! (`page.rs`).

use std::{
    fs,
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};
use serde_json::json;

use crate::repository::{Repository, printed};

mod checks;
mod page;
mod report;
mod step;
mod testing;

use report::{Report, thousandths};
use step::{Context, LOGS, Outcome, Step, StepResult};

const REPORT: &str = "qa_report.json";
const PAGE: &str = "qa_report.html";

/// Check whether this tree can ship: lints, tests, coverage, load, licences, and a report of it all
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
}

impl Qa {
    /// Returns true if the tree can ship.
    pub(crate) fn run(&self) -> Result<bool> {
        let repository = Repository::here()?;
        let out = repository.root.join(&self.out);
        // The folder contains one report and its parts.
        for old in [out.join(LOGS), out.join(REPORT), out.join(PAGE)] {
            let _ = if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
        }
        fs::create_dir_all(out.join(LOGS)).with_context(|| format!("{} can't be created", out.display()))?;
        let steps = Step::value_variants();
        let selected: Vec<Step> = steps.iter().copied().filter(|step| self.selects(*step)).collect();
        let context = Context { repository, out, selected, release: self.release };
        let (begin, started) = (Instant::now(), epoch());
        let results: Vec<_> = steps.iter().map(|step| run_step(*step, &context)).collect();
        let ended = epoch();
        let mut rustc = std::process::Command::new("rustc");
        rustc.arg("--version");
        let about = [
            ("generated_at_epoch", json!(ended)),
            ("platform", json!(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH))),
            ("started_at_epoch", json!(started)),
            ("ended_at_epoch", json!(ended)),
            ("qa_runtime_seconds", thousandths(begin.elapsed().as_secs_f64())),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("commit", json!(context.repository.git(&["rev-parse", "HEAD"])?.trim())),
            ("changed_files", json!(context.repository.changes()?.len())),
            ("rustc", json!(printed(rustc)?.trim())),
            ("cores", json!(std::thread::available_parallelism().map_or(1, usize::from))),
        ];
        let report = Report::new(results, &about, self.strict);
        let chart = fs::read_to_string(context.out.join(checks::CHART)).ok();
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
        return StepResult::new(step, Outcome::NotSelected, "the step was left out");
    };
    eprintln!("[{:>2}/{}] {}", at + 1, context.selected.len(), step.name());
    let begin = Instant::now();
    let result = match step {
        Step::Format => context.run_check(step, &mut context.cargo(["fmt", "--all", "--check"])),
        Step::Clippy => checks::clippy(context),
        Step::Docs => {
            let args = ["doc", "--no-deps", "--workspace", "--locked", "--keep-going"];
            context.run_check(step, context.cargo(args).env("RUSTDOCFLAGS", "-D warnings"))
        }
        Step::Tests => testing::all(context),
        Step::Coverage => testing::coverage(context),
        Step::Doctests => testing::doctests(context),
        Step::Concurrency => checks::concurrency(context),
        Step::Bench => checks::bench(context),
        // For these cargo-deny needs no network.
        Step::Licences => checks::deny(context, step, &["bans", "licenses", "sources"]),
        Step::Advisories => checks::deny(context, step, &["advisories"]),
        Step::Audit => checks::audit(context),
    };
    let mut result = result.unwrap_or_else(|error| {
        let result = StepResult::new(step, Outcome::Failed, "it could not be run");
        result.because(step.name(), format!("{error:#}"))
    });
    result.seconds = begin.elapsed().as_secs_f64();
    result.log = context.log_of(step);
    eprintln!("        {}: {}, {:.1} s", result.outcome.name(), result.note, result.seconds);
    result
}

fn epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}
