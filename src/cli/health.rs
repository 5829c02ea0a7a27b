//! `registry health`: the health check of a registry, for container engines, supervisors and scripts.
//!
//! It needs no key, no shell and no other program, because a container may contain only `registry`.

use std::{env, time::Duration};

use clap::Args;

use super::{config::set, exit::Failure, print, remote::URL_VARIABLE};
use crate::{
    client::{Client, ClientError},
    settings,
};

const HELP: &str = "\
Examples:
  The server that this environment's variables configure, by default the one on this machine:
    registry health
  Check that it accepts writes now:
    registry health --ready
  Another server, with a short timeout:
    registry health --registry-url https://registry.example.org --timeout-ms 500
  In a Dockerfile:
    HEALTHCHECK CMD [\"registry\", \"health\"]

It needs and sends no key, and ignores the configuration file.

Exit codes:
  0  healthy; with --ready: ready
  1  not healthy, not a registry, or no answer in time
  2  invalid command line";

/// Check that a registry is up, or ready; needs no key.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct Health {
    /// URL of the registry; else CAIA_REGISTRY_URL, or the address of CAIA_REGISTRY_HOST and CAIA_REGISTRY_PORT, by
    /// default http://127.0.0.1:8001
    #[arg(long, visible_alias = "url", value_name = "URL")]
    registry_url: Option<String>,
    /// Check that it accepts writes, not only that it is up
    #[arg(long)]
    ready: bool,
    /// Time to wait for the answer
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
}

impl Health {
    /// Checks once.
    pub(super) fn run(self) -> Result<(), Failure> {
        let variable = |name: &str| env::var(name).ok();
        let url = self.registry_url.or_else(|| set(variable, URL_VARIABLE));
        let url = url.unwrap_or_else(|| settings::own_url(variable));
        let client = Client::without_key(&url, Duration::from_millis(self.timeout_ms))?;
        client.health(self.ready).map_err(unhealthy)?;
        let word = if self.ready { "ready" } else { "healthy" };
        print::text(&format!("{url} is {word}\n"))
    }
}

/// Health checks only distinguish 0 from 1, so every error has the same code.
fn unhealthy(error: ClientError) -> Failure {
    Failure::failed(match error {
        // A health check changes nothing, so its message does not warn about that.
        ClientError::AnswerLost { url, reason, .. } => format!("{url} did not answer: {reason}"),
        ClientError::Unavailable { url, detail, .. } => format!("{url} is not ready: {detail}"),
        other => other.to_string(),
    })
}
