//! `registry production`: the versions in production, of one name or of all.

use clap::Args;

use super::{
    exit::{self, Failure},
    list::{Filter, List},
    output::{OutputFlags, Printer, VERSIONS},
    remote::Remote,
    show,
    version_arg::VersionArg,
};
use crate::domain::Status;

const EXAMPLES: &str = "\
Examples:
  All versions in production:
    registry production
  The production version of one name, and where its artifact is:
    registry production tiny-gpt
    registry production tiny-gpt --json | jq -r .artifact_uri
  Other commands accept NAME@production:
    registry metrics tiny-gpt@production";

/// Show the versions in production.
#[derive(Debug, Args)]
#[command(visible_alias = "prod", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Production {
    /// Only the production version of this name
    name: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Production {
    /// Shows them.
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = self.name else {
            let filter = Filter { status: Some(Status::Production), ..Filter::default() };
            return List::of_all(filter, self.output, self.remote).run();
        };
        let printer = Printer::new(&self.output, &VERSIONS)?;
        if name.trim().is_empty() {
            return Err(Failure::usage("the name is blank; give one, or leave it out for all of them"));
        }
        let client = self.remote.client()?;
        let model = VersionArg::production_of(&name).fetch(&client)?;
        show::print_version(printer, &client, &model, 0)
    }
}
