//! `registry events`: the audit trail of a version, even of a deleted one.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{EVENTS, OutputFlags, Printer},
    print::{self, Pipe},
    remote::Remote,
    version_arg::VersionArg,
};
use crate::domain::EventQuery;

const EXAMPLES: &str = "\
Examples:
  The changes of a version, newest first:
    registry events tiny-gpt:v1
  All events, with their payloads:
    registry events tiny-gpt:v1 --all -o jsonl
  Events of a deleted version, by its id:
    registry events 7";

/// Show the audit trail of a version.
#[derive(Debug, Args)]
#[command(visible_alias = "log", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Events {
    /// The version: name:label, name@alias, name#number, or its id
    model: VersionArg,
    /// Show at most this many events
    #[arg(long, value_name = "N", default_value_t = EventQuery::DEFAULT_LIMIT as u64,
          value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all events
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Newest events to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Events {
    /// Shows the events.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &EVENTS)?;
        let client = self.remote.client()?;
        let id = self.model.resolve(&client)?;
        let limit = if self.all { u64::MAX } else { self.limit };
        let (mut offset, mut oldest) = (self.offset, i64::MAX);
        let mut more = true;
        while more && printer.shown() < limit {
            // One extra event shows if there are more.
            let count = (limit - printer.shown()).saturating_add(1).min(EventQuery::MAX_LIMIT as u64);
            let mut page = client.events(id, u32::try_from(count).unwrap_or(u32::MAX), offset)?;
            offset += page.len() as u64;
            more = page.len() as u64 == count;
            // New events push known ones onto the next page.
            let id_of = |event: &Value| event.get("id").and_then(Value::as_i64);
            page.retain(|event| id_of(event).is_none_or(|id| id < oldest));
            oldest = page.last().and_then(id_of).unwrap_or(oldest);
            let remaining = usize::try_from(limit - printer.shown()).unwrap_or(usize::MAX);
            more |= page.len() > remaining;
            page.truncate(remaining);
            if printer.page(&page)? == Pipe::Closed {
                return Ok(());
            }
        }
        let shown = printer.shown();
        printer.end()?;
        if shown == 0 {
            print::line(&format!("no events of {}", self.model));
        } else if more {
            print::line(&format!("{} shown; --all shows the rest", print::count(shown)));
        }
        Ok(())
    }
}
