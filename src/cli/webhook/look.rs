//! `registry webhook list`, `show` and `test`.

use clap::Args;
use serde_json::Value;

use super::{INSTEAD, WEBHOOKS, find, label, text};
use crate::cli::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, View},
    print,
    remote::Remote,
    show::{UNCUT, fields, group},
};

const LIST_EXAMPLES: &str = "\
Examples:
  All webhooks:
    registry webhook list
  Where they call, for a script:
    registry webhook list -o csv --columns name,url,status";

/// List the webhooks, the newest first.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{LIST_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct List {
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl List {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &WEBHOOKS)?;
        let webhooks = self.remote.client()?.v1(INSTEAD).webhooks()?;
        printer.page(&webhooks)?;
        printer.end()?;
        if webhooks.is_empty() {
            print::line("there are no webhooks; `registry webhook create` creates one");
        }
        Ok(())
    }
}

const SHOW_EXAMPLES: &str = "\
Examples:
  By its name or by its id:
    registry webhook show deploy
    registry webhook show 7f3c1b9e-8a52-4c11-9d3e-5b0f6a2c4d18 --json";

const LINES: &str = "id,status,reason:disabled_because,url,events,model,filter,api,description,created:created_at,by:created_by,\
                     updated:updated_at";

/// Show one webhook.
#[derive(Debug, Args)]
#[command(visible_alias = "get", after_long_help = format!("{SHOW_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Show {
    /// The webhook: its name or its id
    webhook: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Show {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &WEBHOOKS)?;
        let client = self.remote.client()?;
        let webhook = find(&client.v1(INSTEAD), &self.webhook)?;
        if !printer.is_for_people() {
            return printer.one(&webhook);
        }
        print::text(&group(text(&webhook, "name"), &fields(&webhook, LINES), UNCUT))
    }
}

const TEST_EXAMPLES: &str = "\
Examples:
  Send an event of the type ping now:
    registry webhook test deploy

The exit code is 1 if the receiver does not accept it. The log of deliveries does not show it.";

const TESTS: View = View {
    fields: "delivered,status,latency_ms,error",
    table: "delivered,ANSWER:status,MS:latency_ms,error",
    wide: "delivered,ANSWER:status,MS:latency_ms,error",
    precise_times: false,
    name: None,
};

/// Send a test to a webhook, and show what its receiver answers.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{TEST_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Test {
    /// The webhook: its name or its id
    webhook: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Test {
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &TESTS)?;
        let client = self.remote.client()?;
        let v1 = client.v1(INSTEAD);
        let webhook = find(&v1, &self.webhook)?;
        let answer = v1.test_webhook(text(&webhook, "id"))?;
        let status = answer.get("status").and_then(Value::as_i64);
        let said = match (status, answer.get("error").and_then(Value::as_str)) {
            (Some(status), None) => status.to_string(),
            (Some(status), Some(error)) => format!("{status}: {error}"),
            (None, error) => error.unwrap_or("no answer").to_owned(),
        };
        let latency_ms = answer.get("latency_ms").and_then(Value::as_i64).unwrap_or_default();
        let said = print::one_line(&format!("{said} ({latency_ms} ms)"));
        if answer.get("delivered") == Some(&Value::Bool(true)) {
            return printer.changed(&answer, &format!("{} answers {said}\n", label(&webhook)));
        }
        if !printer.is_for_people() {
            printer.one(&answer)?;
        }
        Err(Failure::failed(format!("{} did not accept the test: {said}", label(&webhook))))
    }
}
