//! `registry loadtest`: loads a registry, and checks that it kept every acknowledged write.
//!
//! The crate `registry-loadtest` makes the load. This module owns flags, the server if none is named, files, the progress
//! line, and the exit code.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::available_parallelism,
};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use registry_loadtest::{
    EndedBy, Error, Halt, Options, Outcome, Plan, Rate, Report, Scenario, Span, Stop, Target, Watch, Weights,
};

use self::{display::Display, files::Files, server::OwnServer};
use super::{
    exit::{self, Failure},
    interrupt::Interrupt,
    print,
    remote::Remote,
};
use crate::client::{ClientError, read_base_url};

mod display;
mod files;
mod server;

const EXAMPLES: &str = "\
Examples:
  The concurrency check: 10 callers on a temporary server, each records scores 20 times:
    registry loadtest
  Half a minute of typical use, with a chart:
    registry loadtest --scenario mixed --duration 30s --warmup 2s --connections 64 --chart load.html
  2000 requests per second at fixed times; latencies count from the due times:
    registry loadtest --scenario read --rate 2000 --duration 10s --hdr-out read.hgrm
  Another registry; the versions made there are deleted afterwards, their events stay:
    registry loadtest --url http://staging:8001 --api-key-file key --scenario mixed --requests 5000";

const NOTES: &str = "\
Which registry is loaded:
  Without --url or --profile, a temporary server with a temporary database. Variables and the configuration file never
  name the registry to load; only these two flags do.

What is measured:
  Each caller has one connection, which is open and was used once before the clock starts. Latencies are those of
  successful requests, from their sending; with --rate from their due times, and requests that could not be sent count
  with the time they had waited. Percentiles come from one histogram, to three digits.

What ok means:
  No request failed or was abandoned, all due requests were sent, the audit trail of the run's versions has every
  acknowledged write and nothing else, and those versions were deleted unless they are kept. If versions were promoted,
  at least one promotion was acknowledged.";

/// Load a registry, measure latencies, and check that every acknowledged write was kept.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{NOTES}\n\n{}", exit::HELP))]
pub struct Loadtest {
    /// The requests: metrics, read, list, register, promote, mixed, or health (the cheapest request)
    #[arg(long, value_name = "NAME", default_value = "metrics", value_parser = scenario_parser(), hide_possible_values = true)]
    scenario: Scenario,
    /// The share of each operation in the scenario mixed
    /// [default: read=70,list=10,metrics=15,register=4,promote=1]
    #[arg(long, value_name = "NAME=N,…")]
    weights: Option<Weights>,
    /// Callers, each with its own connection, waiting for each answer; 0.2.0 called them threads
    #[arg(long, visible_alias = "threads", value_name = "N", default_value_t = 10)]
    connections: usize,
    /// Threads that the callers share [default: half the cores, at most 8]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// End after this number of requests per caller; 20 if nothing else ends it
    #[arg(long, value_name = "N")]
    requests_per_thread: Option<u64>,
    /// End after this number of requests in all
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// End after this time, such as 10s or 2m
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// Begin with load that is not counted
    #[arg(long, value_name = "TIME")]
    warmup: Option<Span>,
    /// Send this number of requests per second at fixed times; without it, each answer triggers the next request
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    rate: Option<Rate>,
    /// Versions to register beforehand [default: 1 for metrics, 300 for reading]
    #[arg(long, value_name = "N")]
    models: Option<usize>,
    /// The suite whose scores are recorded
    #[arg(long, value_name = "NAME", default_value = "smoke-v1")]
    suite: String,
    /// The longest time for an answer
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: Span,
    /// Keep the registered versions in the registry
    #[arg(long)]
    keep: bool,
    /// The file of the report, as JSON; its folder is made
    #[arg(long, value_name = "FILE", default_value = "qa_artifacts/concurrency.json")]
    out: PathBuf,
    /// A file of the latency distribution, for HdrHistogram's tools
    #[arg(long, value_name = "FILE")]
    hdr_out: Option<PathBuf>,
    /// An HTML file with charts of the distribution and of the run over time
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

fn scenario_parser() -> impl TypedValueParser<Value = Scenario> {
    PossibleValuesParser::new(Scenario::ALL.map(Scenario::name)).map(|name| {
        let named = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        // The parser accepts only these names.
        named.unwrap_or(Scenario::Mixed)
    })
}

impl Loadtest {
    /// Makes the run and reports its result.
    ///
    /// # Errors
    /// If the run was not ok, could not begin, or its files can't be written.
    pub fn run(self) -> Result<(), Failure> {
        let plan = self.plan()?;
        let elsewhere = self.elsewhere()?;
        // Before the load, so that an hour of it is not lost.
        let files = Files::check(&self.out, self.hdr_out.as_deref(), self.chart.as_deref())?;
        let interrupt = Interrupt::listen()?;
        let outcome = match elsewhere {
            Some((url, key)) => {
                let target = Target::resolve(&url, &key).map_err(|error| failure(error, url.as_str()))?;
                load(&plan, &target, interrupt, None)?
            }
            None => {
                let server = OwnServer::start(&interrupt)?;
                let (target, server) = (server.target()?, Arc::new(Mutex::new(server)));
                let at_forced_end = Arc::clone(&server);
                interrupt.before_forced_exit(move || server::kill(&at_forced_end));
                let outcome = load(&plan, &target, interrupt, Some(&server));
                server::end(&server);
                outcome?
            }
        };
        let value = serde_json::to_value(&outcome.report)
            .map_err(|error| Failure::failed(format!("the report can't be made: {error}")))?;
        // The result is printed even if the disk is full.
        let written = files.write(&outcome);
        print::result(&value)?;
        match written {
            Ok(()) => self.verdict(&outcome.report),
            Err(failure) => {
                print::line(&summary(&outcome.report));
                Err(failure)
            }
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let options = Options {
            scenario: self.scenario,
            weights: self.weights.clone(),
            connections: self.connections,
            workers: self.workers,
            requests_per_caller: self.requests_per_thread,
            requests: self.requests,
            duration: self.duration,
            warmup: self.warmup,
            rate: self.rate,
            models: self.models,
            suite: self.suite.clone(),
            timeout: self.timeout,
            keep: self.keep,
            cores: available_parallelism().map_or(1, usize::from),
        };
        Plan::try_from(options).map_err(|error| Failure::usage(error.to_string()))
    }

    /// URL and key of the registry that flags name. Variables and the configuration file are ignored, so that they can't
    /// direct the load to a registry in use.
    fn elsewhere(&self) -> Result<Option<(url::Url, String)>, Failure> {
        if self.remote.names_a_registry() {
            let (url, key) = self.remote.named()?;
            return Ok(Some((read_base_url(&url)?, key.reveal().to_owned())));
        }
        let useless = self.remote.key_flag().or(self.keep.then_some("--keep"));
        match useless {
            None => Ok(None),
            Some(flag) => Err(Failure::usage(format!(
                "{flag} goes with --url or --profile; without them a temporary server is loaded"
            ))),
        }
    }

    /// The last line on stderr; an error if the run was not ok.
    fn verdict(&self, report: &Report) -> Result<(), Failure> {
        let text = format!("{}; report in {}", summary(report), self.out.display());
        match (report.ok, report.ended_by) {
            (true, _) => {
                print::line(&format!("ok: {text}"));
                Ok(())
            }
            (false, EndedBy::Interrupt) => Err(Failure::interrupted(format!("ended early: {text}"))),
            (false, _) => Err(Failure::failed(format!("not ok: {text}"))),
        }
    }
}

fn load(
    plan: &Plan,
    target: &Target,
    interrupt: Interrupt,
    own: Option<&Arc<Mutex<OwnServer>>>,
) -> Result<Outcome, Failure> {
    let server = own.map(Arc::clone);
    let stop: Stop = Arc::new(move || {
        if interrupt.requested() {
            return Some(Halt::Interrupted);
        }
        server.as_ref().is_some_and(server::has_ended).then_some(Halt::ServerGone)
    });
    let mut display = Display::new();
    let watch = Watch { stop, server_is_ours: own.is_some() };
    let outcome = registry_loadtest::run(plan, target, &watch, &mut |stage| display.show(stage));
    display.end();
    outcome.map_err(|error| failure(error, target.url()))
}

/// The error with the words that all commands share.
fn failure(error: Error, url: &str) -> Failure {
    let url = url.to_owned();
    Failure::from(match error {
        Error::LeftBehind { name, why, cause } => {
            let left = format!("; versions named {name} may be left in the registry: {why}");
            return failure(*cause, &url).followed_by(&left);
        }
        Error::BadTarget(why) => return Failure::usage(format!("{url} can't be loaded: {why}")),
        Error::Halted(Halt::Interrupted) => {
            return Failure::interrupted("ended before the load began; there is no report");
        }
        Error::Halted(Halt::ServerGone) => {
            return Failure::failed(format!(
                "the server at {url} ended before the load began; look at its log"
            ));
        }
        Error::Client(error) => {
            return Failure::failed(format!("the load can't be made: {error}; fewer --connections may help"));
        }
        Error::Unreachable { reason, refused } => ClientError::Unreachable { url, reason, refused },
        Error::AnswerLost { reason, timed_out } => ClientError::AnswerLost { url, reason, timed_out },
        Error::KeyRefused => ClientError::KeyRefused { url, key_source: None },
        Error::Unavailable { detail } => ClientError::Unavailable { url, detail, retry_after: None },
        Error::NotARegistry { reason } => ClientError::NotARegistry { url, reason },
        Error::Refused { status, detail } => ClientError::Refused { status, detail },
    })
}

/// The result in one line.
fn summary(report: &Report) -> String {
    let latency = &report.latency_ms;
    let mut parts = vec![
        format!(
            "{} of {} requests in {:.2} s, {}/s",
            print::count(report.requests_success),
            print::count(report.requests_total),
            report.runtime_seconds,
            print::count(report.requests_per_second.round() as u64),
        ),
        format!("p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", latency.p50, latency.p95, latency.p99),
        format!("{} failed", print::count(report.requests_failed)),
    ];
    if report.requests_refused > 0 {
        parts.push(format!("{} promotions refused", print::count(report.requests_refused)));
    }
    if report.requests_abandoned > 0 {
        parts.push(format!("{} abandoned", print::count(report.requests_abandoned)));
    }
    if report.ended_by == EndedBy::ServerGone {
        parts.push("the server went away".to_owned());
    }
    if report.unsent() > 0 {
        parts.push(format!("{} were due and could not be sent in time", print::count(report.unsent())));
    }
    let readback = &report.readback;
    match &readback.error {
        Some(error) => parts.push(format!("the writes could not be read back: {error}")),
        None if readback.missing.unwrap_or(0) > 0 || readback.unexpected > 0 => parts.push(format!(
            "of {} acknowledged writes {} are missing from the audit trail, and it has {} unexpected events",
            print::count(readback.writes_acknowledged),
            print::count(readback.missing.unwrap_or(0)),
            print::count(readback.unexpected),
        )),
        None if readback.writes_acknowledged > 0 => parts.push(format!(
            "all {} acknowledged writes are in the audit trail",
            print::count(readback.writes_acknowledged)
        )),
        None => {}
    }
    if report.production.as_ref().is_some_and(|production| !production.is_ok()) {
        parts.push("the wrong version is in production".to_owned());
    }
    if let Some(error) = report.left_behind() {
        parts.push(format!("versions named {} may be left in the registry: {error}", report.name()));
    }
    parts.join("; ")
}

/// Returns true if two paths lead to the same file, which need not exist.
fn is_same(one: &Path, other: &Path) -> bool {
    let placed = |path: &Path| std::path::absolute(crate::artifact::followed(path)).ok();
    placed(one).is_some_and(|one| placed(other) == Some(one))
}
