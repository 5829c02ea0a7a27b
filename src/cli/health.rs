//! `registry health`: whether a registry is well, for what watches over one: a container engine, a supervisor, a script.
//!
//! It shows no key, and needs neither a shell nor another program: a container may hold nothing but `registry`.

use std::{env, time::Duration};

use clap::Args;

use super::{config::set, exit::Failure, print, remote::URL_VARIABLE};
use crate::{
    client::{Client, ClientError},
    settings,
};

const HELP: &str = "\
Examples:
  The server that the variables of this environment start, or else the one at its usual address here:
    registry health
  Would that one keep a write now:
    registry health --ready
  Another one, with little patience:
    registry health --registry-url https://registry.example.org --timeout-ms 500
  In a Dockerfile:
    HEALTHCHECK CMD [\"registry\", \"health\"]

No key is needed, none is shown, and the configuration file does not count.

Exit codes:
  0  it is healthy; with --ready: it is ready
  1  it is not, something else answers there, or nothing does in time
  2  the command line makes no sense";

/// Say whether a registry is up, or ready; needs no key.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Health {
    /// Where the registry is; else the variable CAIA_REGISTRY_URL, or where CAIA_REGISTRY_HOST and CAIA_REGISTRY_PORT let a
    /// server listen: http://127.0.0.1:8001
    #[arg(long, visible_alias = "url", value_name = "URL")]
    registry_url: Option<String>,
    /// Ask whether it would keep a write now, not only whether it is up
    #[arg(long)]
    ready: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
}

impl Health {
    /// Asks once.
    ///
    /// # Errors
    /// Where it is not well, in one line and with exit code 1 but for a URL that is none.
    pub fn run(self) -> Result<(), Failure> {
        let variable = |name: &str| env::var(name).ok();
        let url = self.registry_url.or_else(|| set(variable, URL_VARIABLE));
        let url = url.unwrap_or_else(|| settings::own_url(variable));
        let client = Client::without_key(&url, Duration::from_millis(self.timeout_ms))?;
        client.health(self.ready).map_err(unwell)?;
        let word = if self.ready { "ready" } else { "healthy" };
        print::text(&format!("{url} is {word}\n")).map(|_| ())
    }
}

/// Whatever it is, it is not well: what watches tells 1 from 0 and no more.
fn unwell(error: ClientError) -> Failure {
    Failure::failed(match error {
        // Nothing was asked for that may have been done.
        ClientError::AnswerLost { url, reason, .. } => format!("{url} did not answer: {reason}"),
        ClientError::Unavailable { url, detail, .. } => format!("{url} is not ready: {detail}"),
        other => other.to_string(),
    })
}
