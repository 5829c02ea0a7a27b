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

/// The last moment of a history: who holds an alias then, holds it now.
pub(super) const END_OF_TIME: &str = "9999-12-31T23:59:59.999Z";

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
/// production is such an alias. Deleted versions are shown, too.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct History {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// Only this alias
    #[arg(long, value_parser = alias)]
    alias: Option<String>,
    /// Only what was so at this time, like 2026-11-24T12:00:00Z; a date is its midnight in UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<String>,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=500))]
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
            let what = self.alias.as_deref().unwrap_or("an alias");
            let when = self.at.map(|at| format!(" at {at}")).unwrap_or_default();
            print::line(&format!("no version of {} was {what}{when}", self.name));
        } else if shown == self.limit {
            print::line(&format!("{} shown; --limit shows more", print::count(shown)));
        }
        Ok(())
    }
}

/// Checks a time, and returns it as it was written.
fn time(text: &str) -> Result<String, String> {
    match Timestamp::parse_rfc3339(text) {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err("expected a time like 2026-11-24T12:00:00Z or 2026-11-24T13:00:00+01:00, or a date"
                .to_owned())
        }
    }
}
