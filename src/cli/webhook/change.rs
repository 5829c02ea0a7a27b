//! `registry webhook create`, `update` and `delete`.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{INSTEAD, WEBHOOKS, find, label, text};
use crate::{
    cli::{
        confirm::confirm,
        exit::{self, Failure},
        output::{OutputFlags, Printer},
        print,
        remote::Remote,
    },
    domain::json::Object,
};

const CREATE_EXAMPLES: &str = "\
Examples:
  All events of all models:
    registry webhook create audit https://log.example.org/hook
  Versions of some models that enter or leave production:
    registry webhook create deploy https://ci.example.org/hook --model 'tiny-*' \\
      --event promote --event auto_demote
  Only versions of a team:
    registry webhook create nlp https://nlp.example.org/hook --filter \"tags.team = 'nlp'\"
  For a script:
    registry webhook create ci https://ci.example.org/hook -o json | jq -r .secret

The secret, by which the receiver recognizes calls, is shown once.";

/// What a webhook subscribes to.
#[derive(Debug, Args)]
struct Subscription {
    /// Only events of this type (such as promote; `registry events` shows types); repeatable
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Only models whose name matches this pattern, in which * stands for any characters
    #[arg(long, value_name = "PATTERN")]
    model: Option<String>,
    /// Only versions that pass this filter, as of the event; it is written as for `registry list --filter`
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Sign calls with the secret in this file, in place of one that the registry makes
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Subscription {
    /// Returns the fields that are given.
    fn body(&self) -> Result<Object, Failure> {
        let mut body = Object::new();
        if !self.events.is_empty() {
            body.insert("events".to_owned(), json!(self.events));
        }
        let texts = [("model", &self.model), ("filter", &self.filter), ("description", &self.description)];
        for (field, value) in texts {
            body.extend(value.as_ref().map(|value| (field.to_owned(), json!(value))));
        }
        if let Some(path) = &self.secret_file {
            let secret = fs::read_to_string(path)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            body.insert("secret".to_owned(), json!(secret.trim()));
        }
        Ok(body)
    }
}

/// Create a webhook.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{CREATE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Create {
    /// A name for it
    name: String,
    /// Where to call; an address that is not public needs --webhook-allow of the server
    url: String,
    #[command(flatten)]
    subscription: Subscription,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Create {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &WEBHOOKS)?;
        let mut body = self.subscription.body()?;
        body.insert("name".to_owned(), json!(self.name));
        body.insert("url".to_owned(), json!(self.url));
        let client = self.remote.client()?;
        let created = client.v1(INSTEAD).create_webhook(&Value::Object(body))?;
        show_secret(printer, &created, &format!("created webhook {}\n", label(&created)))
    }
}

/// Prints what was done and, to people, a secret that is new.
fn show_secret(printer: Printer, webhook: &Value, done: &str) -> Result<(), Failure> {
    let secret = webhook.get("secret").and_then(Value::as_str).filter(|_| printer.is_for_people());
    let secret =
        secret.map(|secret| format!("its secret, which is not shown again: {}\n", print::one_line(secret)));
    printer.changed(webhook, &format!("{done}{}", secret.unwrap_or_default()))
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  Another address:
    registry webhook update deploy --to https://ci2.example.org/hook
  A new secret; for a day, calls are signed with the former one too:
    registry webhook update deploy --rotate-secret
  Off and on; events in between are not kept for it:
    registry webhook update deploy --disable
    registry webhook update deploy --enable
  Events of all types and models again:
    registry webhook update deploy --all-events --any-model";

/// Change a webhook. What is not given stays.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{UPDATE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Update {
    /// The webhook: its name or its id
    webhook: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// Another URL to call
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    subscription: Subscription,
    /// Events of all types
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
    /// Events of all models
    #[arg(long, conflicts_with = "model")]
    any_model: bool,
    /// Events of all versions, and of models themselves
    #[arg(long, conflicts_with = "filter")]
    no_filter: bool,
    /// Make a new secret
    #[arg(long, conflicts_with = "secret_file")]
    rotate_secret: bool,
    /// Deliver events
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Deliver nothing, and keep no events for it
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Update {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &WEBHOOKS)?;
        let mut body = self.subscription.body()?;
        let given = [
            ("name", self.name.map(Value::from)),
            ("url", self.to.map(Value::from)),
            ("events", self.all_events.then(|| json!([]))),
            ("model", self.any_model.then_some(Value::Null)),
            ("filter", self.no_filter.then_some(Value::Null)),
            ("rotate_secret", self.rotate_secret.then(|| json!(true))),
            ("status", self.enable.then(|| json!("active"))),
            ("status", self.disable.then(|| json!("disabled"))),
        ];
        body.extend(given.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
        if body.is_empty() {
            return Err(Failure::usage(
                "nothing to change; `registry webhook update --help` shows what can be",
            ));
        }
        let fields = body.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let webhook = find(&v1, &self.webhook)?;
        let changed = v1.update_webhook(text(&webhook, "id"), &Value::Object(body))?;
        show_secret(printer, &changed, &format!("updated webhook {}: {fields}\n", label(&changed)))
    }
}

const DELETE_EXAMPLES: &str = "\
Examples:
  With confirmation:
    registry webhook delete deploy
  Without:
    registry webhook delete deploy --yes

Its deliveries go with it, those that are pending too.";

/// Delete a webhook and its deliveries.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{DELETE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Delete {
    /// The webhook: its name or its id
    webhook: String,
    /// Don't ask for confirmation
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Delete {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &WEBHOOKS)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let webhook = find(&v1, &self.webhook)?;
        let what = format!("webhook {}", label(&webhook));
        if !self.yes {
            confirm(&what)?;
        }
        v1.delete_webhook(text(&webhook, "id"))?;
        printer.changed(&webhook, &format!("deleted {what}\n"))
    }
}
