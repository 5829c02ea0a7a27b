//! `registry events`: the audit trail of a version, even of a deleted one, or of a model.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{EVENTS, OutputFlags, Printer, TRAIL},
    pages::print_pages,
    print::{self, Pipe},
    remote::Remote,
    values::model_name,
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
    registry events 7
  Events of a model and its versions, with reasons:
    registry events tiny-gpt --model";

/// Show the audit trail of a version or a model.
#[derive(Debug, Args)]
#[command(visible_alias = "log", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Events {
    /// The version: name:label, name@alias, name#number, or its id; with --model the name of a model
    #[arg(value_name = "VERSION")]
    text: String,
    /// Show the events of a model and its versions, with values before and after and the reason
    #[arg(long, conflicts_with = "offset")]
    model: bool,
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
        let limit = if self.all { u64::MAX } else { self.limit };
        if self.model {
            return self.of_model(limit);
        }
        let version: VersionArg = self.text.parse().map_err(|why| {
            Failure::usage(format!(
                "{:?} is no version: {why}; --model shows the events of a model",
                self.text
            ))
        })?;
        let mut printer = Printer::new(&self.output, &EVENTS)?;
        let client = self.remote.client()?;
        let id = version.resolve(&client)?;
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
            print::line(&format!("no events of {version}"));
        } else if more {
            print::line(&format!("{} shown; --all shows the rest", print::count(shown)));
        }
        Ok(())
    }

    /// Shows the events of a model and its versions, as `/v1` has them.
    fn of_model(&self, limit: u64) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &TRAIL)?;
        let name = model_name(&self.text).map_err(Failure::usage)?;
        let client = self.remote.client()?;
        let v1 = client.v1("show the events of one version with `registry events`");
        let none = format!("no events of a model {name}");
        let query = [("model", name.as_str())];
        print_pages(printer, limit, &none, |page| v1.events(&[&query[..], page].concat()))
    }
}
