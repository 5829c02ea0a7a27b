//! `registry loadtest`: loads a registry, and checks that it kept every acknowledged write.
//!
//! The crate `registry-loadtest` generates the load. This module owns flags, the server if none is named, files, the
//! progress line, and the exit code.

use std::sync::{Arc, Mutex};

use clap::Args;
use registry_loadtest::{EndedBy, Halt, Outcome, Plan, Report, Stop, Target};

use self::{
    display::Display,
    files::Files,
    messages::{failure, summary},
    plan::Load,
    server::OwnServer,
};
use super::{
    exit::{self, Failure},
    interrupt::Interrupt,
    print,
    remote::Remote,
};
use crate::client::parse_base_url;

mod display;
mod files;
mod messages;
mod plan;
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
  Each caller has one connection, which is opened and used once before the clock starts. Latencies cover successful
  requests, from the time they are sent, or with --rate from the time they are due. Requests that could not be sent
  count with the time they had waited. Percentiles come from one histogram, to three digits.

What ok means:
  No request failed or was abandoned, all due requests were sent, the audit trail of the run's versions has every
  acknowledged write and nothing else, and those versions were deleted unless they are kept. If versions were promoted,
  at least one promotion was acknowledged.";

/// Load a registry, measure latencies, and check that every acknowledged write was kept.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{NOTES}\n\n{}", exit::HELP))]
pub(super) struct Loadtest {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    remote: Remote,
}

impl Loadtest {
    /// Runs the load test and reports its result.
    ///
    /// # Errors
    /// If the run was not ok, could not begin, or its files can't be written.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut plan = self.load.plan()?;
        let elsewhere = self.elsewhere()?;
        // Before the load, so that an hour of it is not lost.
        self.files.check()?;
        let interrupt = Interrupt::listen()?;
        let outcome = match elsewhere {
            Some((url, key)) => {
                let target = Target::resolve(&url, &key).map_err(|error| failure(error, url.as_str()))?;
                load(&plan, &target, interrupt, None)?
            }
            None => {
                let server = OwnServer::start()?;
                let (target, server) = (server.target()?, Arc::new(Mutex::new(server)));
                let at_forced_end = Arc::clone(&server);
                interrupt.before_forced_exit(move || server::kill(&at_forced_end));
                // The versions end with the server.
                plan.keep = true;
                let outcome = load(&plan, &target, interrupt, Some(&server));
                server::kill(&server);
                outcome?
            }
        };
        let value = serde_json::to_value(&outcome.report)
            .map_err(|error| Failure::failed(format!("the report can't be created: {error}")))?;
        // The result is printed even if the disk is full.
        let written = self.files.write(&outcome);
        print::result(&value)?;
        match written {
            Ok(()) => self.verdict(&outcome.report),
            Err(failure) => {
                print::line(&summary(&outcome.report));
                Err(failure)
            }
        }
    }

    /// URL and key of the registry that flags name. Variables and the configuration file are ignored, so that they can't
    /// direct the load to a registry in use.
    fn elsewhere(&self) -> Result<Option<(url::Url, String)>, Failure> {
        if self.remote.names_a_registry() {
            let (url, key) = self.remote.named()?;
            return Ok(Some((parse_base_url(&url)?, key.reveal().to_owned())));
        }
        let useless = self.remote.key_flag().or(self.load.keep.then_some("--keep"));
        match useless {
            None => Ok(None),
            Some(flag) => Err(Failure::usage(format!(
                "{flag} goes with --url or --profile; without them a temporary server is loaded"
            ))),
        }
    }

    /// Prints the last line on stderr; returns an error if the run was not ok.
    fn verdict(&self, report: &Report) -> Result<(), Failure> {
        let text = format!("{}; report in {}", summary(report), self.files.out.display());
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
    server: Option<&Arc<Mutex<OwnServer>>>,
) -> Result<Outcome, Failure> {
    let server = server.map(Arc::clone);
    let stop: Stop = Arc::new(move || {
        if interrupt.requested() {
            return Some(Halt::Interrupted);
        }
        server.as_ref().is_some_and(server::has_ended).then_some(Halt::ServerGone)
    });
    let mut display = Display::new();
    let outcome = registry_loadtest::run(plan, target, &stop, &mut |stage| display.show(stage));
    display.end();
    outcome.map_err(|error| failure(error, target.url()))
}
