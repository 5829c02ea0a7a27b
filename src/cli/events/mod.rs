//! `registry events`: the audit trail of a version, even of a deleted one, of a model, or all of it; and its exports.

mod export;
mod follow;
mod verify;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{EVENTS, OutputFlags, Printer, TRAIL, View, WHOLE_TRAIL},
    pages::print_pages,
    print::{self, Pipe},
    remote::Remote,
    values::model_name,
    version_arg::VersionArg,
};
use crate::{
    client::{Client, V1},
    domain::{EventQuery, VersionRef, trail::TrailPosition},
};

/// What works on a registry without `/v1`.
const WITHOUT_V1: &str = "show the events of one version with `registry events`";

const EXAMPLES: &str = "\
Examples:
  The changes of a version, newest first:
    registry events tiny-gpt:v1
  All events, with their payloads:
    registry events tiny-gpt:v1 --all -o jsonl
  Events of a deleted version, by its id:
    registry events 7
  Events of a model and its versions, with reasons:
    registry events tiny-gpt --model
  All that ann has promoted, of any model:
    registry events --type promote --actor ann
  What happens from now on, as lines of JSON, until Ctrl-C:
    registry events --follow -o json
  The same for a model, after the event 41:
    registry events tiny-gpt --model --follow --after 41
  Keep a copy that proves later changes, and verify it:
    registry events export --to trail-2026-11-29.jsonl
    registry events verify trail-2026-11-29.jsonl";

/// Show, follow or export the audit trail.
///
/// Without a version or a model it is the trail of the whole registry.
#[derive(Debug, Args)]
#[command(
    visible_alias = "log",
    args_conflicts_with_subcommands = true,
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP)
)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Option<EventsCommand>,
    /// The version: name:label, name@alias, name#number, or its id; with --model the name of a model
    #[arg(value_name = "VERSION")]
    text: Option<String>,
    /// Show the events of a model and its versions, with values before and after and the reason
    #[arg(long, conflicts_with = "offset", requires = "text")]
    model: bool,
    /// Only events of this type, like promote
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "offset")]
    event_type: Option<String>,
    /// Only events of this actor
    #[arg(long, value_name = "NAME", conflicts_with = "offset")]
    actor: Option<String>,
    /// Go on with what happens, until Ctrl-C; a lost connection is opened again without a gap
    #[arg(long, short = 'f', conflicts_with_all = ["limit", "all", "offset"])]
    follow: bool,
    /// Follow what came after this event: its id, or 0 for the beginning
    #[arg(long, value_name = "ID", requires = "follow", value_parser = position)]
    after: Option<String>,
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

#[derive(Debug, Subcommand)]
enum EventsCommand {
    Export(export::Export),
    Verify(verify::Verify),
}

/// Parses a position in the trail.
fn position(text: &str) -> Result<String, &'static str> {
    text.parse::<TrailPosition>().map(|position| position.to_string())
}

/// What the events that are shown have in common, as parameters of `GET /v1/events`.
type Filters = Vec<(&'static str, String)>;

fn borrowed(filters: &Filters) -> Vec<(&str, &str)> {
    filters.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl Events {
    /// Shows the events.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(EventsCommand::Export(export)) => export.run(),
            Some(EventsCommand::Verify(verify)) => verify.run(),
            None => self.show(),
        }
    }

    fn show(self) -> Result<(), Failure> {
        let limit = if self.all { u64::MAX } else { self.limit };
        if self.follow {
            let printer = Printer::new(&self.output, self.view())?.of_lines();
            let client = self.remote.clone().client()?;
            let v1 = client.v1(WITHOUT_V1);
            let filters = self.filters(&client, &v1)?;
            return follow::run(&v1, printer, &borrowed(&filters), self.after);
        }
        let is_filtered = self.event_type.is_some() || self.actor.is_some();
        match &self.text {
            Some(text) if !self.model && !is_filtered => {
                let version = version(text)?;
                self.of_version(version, limit)
            }
            _ => self.of_trail(limit),
        }
    }

    /// Returns the columns: those of the whole trail name the model.
    fn view(&self) -> &'static View {
        if self.text.is_some() { &TRAIL } else { &WHOLE_TRAIL }
    }

    fn filters(&self, client: &Client, v1: &V1<'_>) -> Result<Filters, Failure> {
        let mut filters = Filters::new();
        match &self.text {
            None => {}
            Some(text) if self.model => filters.push(("model", model_name(text).map_err(Failure::usage)?)),
            Some(text) => {
                let found = v1.version(&VersionRef::Id(version(text)?.resolve(client)?))?;
                let model = found.get("model").and_then(Value::as_str).unwrap_or_default();
                let number = found.get("number").map(Value::to_string).unwrap_or_default();
                filters.extend([("model", model.to_owned()), ("version", number)]);
            }
        }
        filters.extend(self.event_type.clone().map(|event_type| ("type", event_type)));
        filters.extend(self.actor.clone().map(|actor| ("actor", actor)));
        Ok(filters)
    }

    fn of_version(self, version: VersionArg, limit: u64) -> Result<(), Failure> {
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

    /// Shows events as `/v1` has them.
    fn of_trail(self, limit: u64) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, self.view())?;
        if let (Some(text), true) = (&self.text, self.model) {
            model_name(text).map_err(Failure::usage)?;
        }
        let client = self.remote.clone().client()?;
        let v1 = client.v1(WITHOUT_V1);
        let filters = self.filters(&client, &v1)?;
        let none = match (&self.text, self.model) {
            (Some(text), true) => format!("no events of a model {text}"),
            _ => "no such events".to_owned(),
        };
        let query = borrowed(&filters);
        print_pages(printer, limit, &none, |page| v1.events(&[&query[..], page].concat()))
    }
}

/// Reads the version of the command line.
fn version(text: &str) -> Result<VersionArg, Failure> {
    text.parse().map_err(|why| {
        Failure::usage(format!("{text:?} is no version: {why}; --model shows the events of a model"))
    })
}
