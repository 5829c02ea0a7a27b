//! `registry approve`: approves a version, asks for an approval, or takes it back; `registry approvals` lists them.

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{APPROVALS, OutputFlags, Printer},
    pages::{Limit, print_pages},
    print,
    remote::Remote,
    version_arg::{VersionArg, label, label_with_id},
};

const EXAMPLES: &str = "\
Examples:
  Approve that a version goes to production:
    registry approve tiny-gpt:v2 --target production --comment 'read 50 answers'
  Ask others to:
    registry approve tiny-gpt:v2 --target production --request
  What waits for an approval:
    registry approvals
  Take back what you said:
    registry approve tiny-gpt:v2 --target production --withdraw

An approval is about the artifact and the scores that the version has now, and lapses when they change. The author of a
version can't approve it. A policy says how many approvals a version needs.";

/// Approve a version for a status or an alias.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Approve {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// The status or the alias that it may get
    #[arg(long, value_name = "TARGET")]
    target: String,
    /// What to say, for the others and the audit trail
    #[arg(long, value_name = "TEXT", conflicts_with = "withdraw")]
    comment: Option<String>,
    /// Ask others to approve it
    #[arg(long)]
    request: bool,
    /// Take back your approval, and your request
    #[arg(long, conflicts_with = "request")]
    withdraw: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Approve {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &APPROVALS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("");
        let version = self.version.fetch_v1(&v1)?;
        let (name, number) = name_and_number(&version);
        let (label, target) = (label_with_id(&version), print::one_line(&self.target));
        if self.withdraw {
            v1.withdraw_approval(name, number, &self.target)?;
            let row = json!({
                "model": name, "version": number, "label": version.get("label"), "target": self.target, "state": "withdrawn",
            });
            return printer.changed(&row, &format!("withdrew what you said of {label} for {target}\n"));
        }
        let mut body = json!({ "target": self.target, "request": self.request });
        if let Some(comment) = &self.comment {
            body["comment"] = comment.as_str().into();
        }
        let given = v1.approve(name, number, &body)?;
        let done = if self.request { "asked for approval of" } else { "approved" };
        printer.changed(&given, &format!("{done} {label} for {target}\n"))
    }
}

fn name_and_number(version: &Value) -> (&str, i64) {
    let name = version.get("model").and_then(Value::as_str).unwrap_or_default();
    (name, version.get("number").and_then(Value::as_i64).unwrap_or_default())
}

const LIST_EXAMPLES: &str = "\
Examples:
  What waits: approvals and requests that count, of versions that do not have the target yet:
    registry approvals
  All that was said of a version, with what has lapsed:
    registry approvals tiny-gpt:v2
  Everything, newest first:
    registry approvals --state all --all -o csv";

/// List approvals, and requests for them: what waits, or those of a version.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LIST_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Approvals {
    /// Only of this version: name:label, name@alias, name#number, or its id
    version: Option<VersionArg>,
    /// open: what waits; all: everything [default: open]
    #[arg(long, value_name = "STATE", value_parser = ["open", "all"], conflicts_with = "version", hide_possible_values = true)]
    state: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Approvals {
    /// Shows the approvals.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &APPROVALS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("");
        if let Some(version) = &self.version {
            let version = version.fetch_v1(&v1)?;
            let (name, number) = name_and_number(&version);
            let approvals = v1.approvals_of(name, number)?;
            printer.page(&approvals)?;
            printer.end()?;
            if approvals.is_empty() {
                print::line(&format!("{} has no approvals", label(&version)));
            }
            return Ok(());
        }
        let state = self.state.as_deref().unwrap_or("open");
        let none = if state == "open" { "nothing waits for an approval" } else { "there are no approvals" };
        print_pages(printer, self.limit.count(), none, |page| {
            v1.approvals(&[&[("state", state)], page].concat())
        })
    }
}
