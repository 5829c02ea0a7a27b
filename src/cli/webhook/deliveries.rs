//! `registry webhook deliveries` and `replay`.

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use super::{INSTEAD, find, label, text};
use crate::{
    cli::{
        exit::{self, Failure},
        history::time,
        output::{OutputFlags, Printer, View},
        pages::{Limit, print_pages},
        print,
        remote::Remote,
    },
    domain::webhook::delivery::DeliveryState,
};

const DELIVERIES: View = View {
    fields: "id,event,type,model,message_id,state,attempts,created_at,next_attempt_at,attempted_at,status,latency_ms,error",
    table: "CREATED:created_at,event,type,model,state,attempts,ANSWER:status,MS:latency_ms,NEXT:next_attempt_at,error",
    wide: "id,CREATED:created_at,event,type,model,MESSAGE:message_id,state,attempts,LAST:attempted_at,ANSWER:status,\
           MS:latency_ms,NEXT:next_attempt_at,error",
    precise_times: true,
    name: None,
};

const EXAMPLES: &str = "\
Examples:
  The newest deliveries, with the last answer and how long it took:
    registry webhook deliveries deploy
  What is not delivered:
    registry webhook deliveries deploy --state pending --all
    registry webhook deliveries deploy --state parked --all

A delivery that fails is repeated for a day, with longer and longer pauses, and then parked. Deliveries stay in the
log for 7 days, parked ones for 30.";

/// Show the deliveries of a webhook, the newest first.
#[derive(Debug, Args)]
#[command(visible_alias = "log", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Deliveries {
    /// The webhook: its name or its id
    webhook: String,
    /// Only deliveries in this state
    #[arg(long, value_parser = PossibleValuesParser::new(DeliveryState::NAMES))]
    state: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Deliveries {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &DELIVERIES)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let webhook = find(&v1, &self.webhook)?;
        let state: Vec<_> = self.state.iter().map(|state| ("state", state.as_str())).collect();
        let none = format!("no deliveries of {} match", label(&webhook));
        print_pages(printer, self.limit.count(), &none, |page| {
            v1.deliveries(text(&webhook, "id"), &[&state[..], page].concat())
        })
    }
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  All events since a time, delivered or not, in their order:
    registry webhook replay deploy --since 2026-11-24T12:00:00Z
  One event:
    registry webhook replay deploy --event 4711

The receiver gets each with the same webhook-id as before, so it can leave out what it has.";

const REPLAYED: View =
    View { fields: "replayed", table: "replayed", wide: "replayed", precise_times: false, name: None };

/// Send deliveries of a webhook again.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{REPLAY_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Replay {
    /// The webhook: its name or its id
    webhook: String,
    /// Events since this time, like 2026-11-24T12:00:00Z; a date is its midnight in UTC
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "event", conflicts_with = "event")]
    since: Option<String>,
    /// The event with this id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    event: Option<i64>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Replay {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &REPLAYED)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let webhook = find(&v1, &self.webhook)?;
        let body = match self.event {
            Some(event) => json!({ "event": event }),
            None => json!({ "since": self.since }),
        };
        let answer = v1.replay(text(&webhook, "id"), &body)?;
        let count = answer.get("replayed").and_then(Value::as_u64).unwrap_or_default();
        let events = print::counted(count, "event");
        printer.changed(&answer, &format!("{} gets {events} again\n", label(&webhook)))
    }
}
