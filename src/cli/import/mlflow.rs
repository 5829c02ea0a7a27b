//! `registry import mlflow`: from a running MLflow server, over its REST API.
//!
//! This module has the flags; `source.rs` reads MLflow, `target.rs` what the registry has already, and `transfer.rs` writes.

use std::env;

use clap::Args;

use super::{
    files::Files,
    places::Places,
    report::{Heading, REPORT},
    source::Catalog,
    transfer::Import,
};
use crate::{
    cli::{
        exit::{self, Failure},
        interrupt::Interrupt,
        object_flags::ObjectFlags,
        output::{OutputFlags, Printer},
        print,
        remote::Remote,
    },
    client::mlflow::{MlflowCredentials, MlflowServer},
};

const EXAMPLES: &str = "\
Examples:
  What would be taken over, and what not; nothing is written:
    registry import mlflow http://mlflow.example.org:5000 --dry-run
  The import, with a key for MLflow; run it again to go on after an interruption:
    MLFLOW_TRACKING_TOKEN=… registry import mlflow https://mlflow.example.org
  The same with files; the variables of object stores count, too:
    registry import mlflow http://mlflow.example.org:5000 --with-artifacts
  The report for a script:
    registry import mlflow http://mlflow.example.org:5000 -o json > report.json

What it does:
  Models and prompts come with descriptions, tags, aliases and times; versions with their numbers,
  sources, runs, stages, descriptions, tags and times. Numbers of deleted versions stay unused,
  except after the newest one, which MLflow does not show.
  Files stay where they are. With --with-artifacts they are copied into the registry's artifact
  store, from where MLflow's client and all others get them with the registry's key: what the server
  passes on, what is in a run or a bucket, and for a server on this machine folders of models. A
  version whose files can't be copied is imported without them, and can't get them later.
  What is here already stays as it is: a second run takes over what is missing. It never moves an
  alias or the production version that was set here before, and never brings back what was deleted
  here.
  The version in stage Production goes into production if it passes the gate, else it is reported
  and stays in staging. If there are several, the one with the alias production, else the newest,
  goes there, and the others go to staging. A dry run can't say what the gate will refuse.

The credentials for MLflow are the settings of its client: MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or user and password in the URL, which other
users of this machine can see.

The report lists what was left out, what was taken over differently, and what was kept as it is
here. If anything was left out, the exit code is 1.";

/// Take over models, versions, aliases and prompts from a running MLflow server.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Mlflow {
    /// URL of the MLflow server
    #[arg(value_name = "URL", value_parser = |text: &str| Ok::<_, String>(UrlText(text.to_owned())))]
    url: UrlText,
    /// Write nothing; say what would be taken over
    #[arg(long)]
    dry_run: bool,
    /// Copy the files of the versions into the registry's artifact store
    #[arg(long)]
    with_artifacts: bool,
    #[command(flatten)]
    objects: ObjectFlags,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

/// A URL as typed, which may contain a password. It is checked after parsing, because the parser repeats a value that it
/// refuses.
#[derive(Clone)]
struct UrlText(String);

impl std::fmt::Debug for UrlText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlText(redacted)")
    }
}

impl Mlflow {
    /// Imports.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &REPORT)?;
        let variable = |name| env::var(name).ok();
        let credentials = MlflowCredentials::choose(
            variable("MLFLOW_TRACKING_TOKEN"),
            variable("MLFLOW_TRACKING_USERNAME"),
            variable("MLFLOW_TRACKING_PASSWORD"),
        );
        let server = MlflowServer::new(&self.url.0, credentials)?;
        let connection = self.remote.connection()?;
        let objects = self.objects.or(&connection.config.profile);
        let client = connection.client()?;
        let interrupt = Interrupt::listen()?;
        let files = match self.with_artifacts {
            true => {
                let places = Places::new(&server, &objects, &interrupt);
                Some(Files::new(&client, places, &interrupt, self.dry_run)?)
            }
            false => None,
        };
        let catalog = Catalog::read(&server, &interrupt)?;
        let import = Import {
            client: &client,
            server: &server,
            files,
            is_dry_run: self.dry_run,
            interrupt: &interrupt,
        };
        let report = import.run(&catalog)?;
        let heading =
            Heading { server: server.url(), is_dry_run: self.dry_run, with_artifacts: self.with_artifacts };
        printer.answer(&report.to_json(heading), &report.rows())?;
        print::line(&report.summary(heading));
        match report.left_out() {
            0 => Ok(()),
            count => Err(Failure::failed(format!(
                "{} could not be taken over; the report says why",
                print::counted(count, "thing")
            ))),
        }
    }
}
