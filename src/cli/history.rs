//! `registry history`: which version held which alias of a model, from when to when.

use clap::Args;

use super::{
    exit::{self, Failure},
    output::{HOLDINGS, OutputFlags, Printer},
    print,
    remote::Remote,
    values::{alias, model_name},
};
use crate::domain::Timestamp;

/// The last moment of a history: an alias held then is held now.
pub(super) const END_OF_TIME: &str = "9999-12-31T23:59:59.999Z";

/// The most holdings that the registry returns.
const MAX_LIMIT: u64 = 500;

const EXAMPLES: &str = "\
Examples:
  All of it, newest first:
    registry history tiny-gpt
  Which versions were in production:
    registry history tiny-gpt --alias production
  What was in production at that time:
    registry history tiny-gpt --alias production --at 2026-11-24T12:00:00Z
  The same, with the offset of your time zone:
    registry history tiny-gpt --alias production --at 2026-11-24T13:00:00+01:00";

/// Show which version held which alias from when to when, newest first.
///
/// The status production is an alias, too. Deleted versions are shown as well.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct History {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// Only this alias
    #[arg(long, value_parser = alias)]
    alias: Option<String>,
    /// Only holdings at this time, like 2026-11-24T12:00:00Z; a date is its midnight in UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<String>,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl History {
    /// Shows the history.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &HOLDINGS)?;
        let client = self.remote.client()?;
        let limit = self.limit.to_string();
        let filters = [("alias", self.alias.as_deref()), ("at", self.at.as_deref()), ("limit", Some(&limit))];
        let query: Vec<_> = filters.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        let history = client
            .v1("show the audit trail of one version with `registry events`")
            .history(&self.name, &query)?;
        printer.page(&history)?;
        let shown = printer.shown();
        printer.end()?;
        if shown == 0 {
            let name = &self.name;
            print::line(&match (self.alias, self.at) {
                (None, None) => format!("no alias of {name} has a history yet"),
                (None, Some(at)) => format!("no version of {name} had an alias at {at}"),
                (Some(alias), None) => format!("no version of {name} ever had the alias {alias}"),
                (Some(alias), Some(at)) => format!("no version of {name} had the alias {alias} at {at}"),
            });
        } else if shown == MAX_LIMIT {
            print::line(&format!("{shown} shown, the most; --alias and --at narrow the history"));
        } else if shown == self.limit {
            print::line(&format!("{shown} shown; a larger --limit may show more"));
        }
        Ok(())
    }
}

/// Checks a time, and returns it as it was written.
pub(super) fn time(text: &str) -> Result<String, String> {
    match Timestamp::parse_rfc3339(text) {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err("expected a time like 2026-11-24T12:00:00Z or 2026-11-24T13:00:00+01:00, or a date"
                .to_owned())
        }
    }
}
