//! `registry webhook`: calls of other systems about events, and what became of them.

mod change;
mod deliveries;
mod look;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{exit::Failure, output::View, print};
use crate::client::V1;

const EXAMPLES: &str = "\
Examples:
  Call a CI server when a version enters production:
    registry webhook create deploy https://ci.example.org/hook \\
      --event promote --filter \"status = 'production'\"
  Does it answer:
    registry webhook test deploy
  What became of the events:
    registry webhook deliveries deploy
    registry webhook replay deploy --since 2026-11-24T12:00:00Z

Each event is delivered at least once, in order for each model, and signed as Standard Webhooks define.";

/// Show and change webhooks, which call other systems about events.
#[derive(Debug, Args)]
#[command(visible_alias = "webhooks", after_long_help = EXAMPLES)]
pub(super) struct Webhook {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    List(Box<look::List>),
    Show(Box<look::Show>),
    Create(Box<change::Create>),
    Update(Box<change::Update>),
    Delete(Box<change::Delete>),
    Test(Box<look::Test>),
    Deliveries(Box<deliveries::Deliveries>),
    Replay(Box<deliveries::Replay>),
}

impl Webhook {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            WebhookCommand::List(command) => command.run(),
            WebhookCommand::Show(command) => command.run(),
            WebhookCommand::Create(command) => command.run(),
            WebhookCommand::Update(command) => command.run(),
            WebhookCommand::Delete(command) => command.run(),
            WebhookCommand::Test(command) => command.run(),
            WebhookCommand::Deliveries(command) => command.run(),
            WebhookCommand::Replay(command) => command.run(),
        }
    }
}

/// Rows of webhooks.
const WEBHOOKS: View = View {
    fields: "id,name,description,url,api,events,model,filter,status,disabled_because,created_by,created_at,updated_at,secret",
    table: "name,status,url,events,model,filter,id",
    wide: "name,status,url,events,model,filter,id,api,CREATED BY:created_by,CREATED:created_at,description",
    precise_times: false,
    name: Some(id_of),
};

/// What works on a registry without webhooks.
const INSTEAD: &str = "poll its audit trail with `registry events`";

fn id_of(webhook: &Value) -> String {
    print::one_line(text(webhook, "id"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or("?")
}

/// Returns the webhook that a text names: its id, or its name if no other one has it.
fn find(v1: &V1<'_>, named: &str) -> Result<Value, Failure> {
    let webhooks = v1.webhooks()?;
    let is = |field: &'static str| move |webhook: &&Value| text(webhook, field) == named;
    if let Some(found) = webhooks.iter().find(is("id")) {
        return Ok(found.clone());
    }
    match webhooks.iter().filter(is("name")).collect::<Vec<_>>().as_slice() {
        [found] => Ok((*found).clone()),
        [] => {
            Err(Failure::failed(format!("there is no webhook {named:?}; `registry webhook list` shows all")))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|webhook| id_of(webhook)).collect();
            Err(Failure::usage(format!(
                "{} webhooks are named {named:?}; give an id: {}",
                several.len(),
                ids.join(", ")
            )))
        }
    }
}

/// `deploy (7f3c1b9e-…)`
fn label(webhook: &Value) -> String {
    print::one_line(&format!("{} ({})", text(webhook, "name"), text(webhook, "id")))
}
