//! `registry promote`: sets the status of a version; the one in production before is demoted.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, VERSIONS},
    remote::Remote,
    values::status_parser,
    version_arg::{VersionArg, label, label_with_id},
};
use crate::{
    client::{Client, ClientError, Condition},
    domain::Status,
};

const EXAMPLES: &str = "\
Examples:
  Into production; the current production version goes to staging:
    registry promote tiny-gpt:v2
  To another status:
    registry promote tiny-gpt:v2 --to staging
    registry promote tiny-gpt:v1 --to archived
  If a policy would refuse it:
    registry policy test --version tiny-gpt:v2
  Back to the version that was in production before, even if it does not pass the gate now:
    registry rollback tiny-gpt --reason 'answers in capitals'";

/// Set the status of a version, by default production.
///
/// A name has at most one version in production: the one before goes to staging in the same transaction. A registry
/// may require scores of a suite, and have policies; if it refuses a promotion, nothing changes.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Promote {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// New status
    #[arg(long, value_name = "STATUS", default_value = "production", value_parser = status_parser())]
    to: Status,
    /// Only if the version still has this ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Promote {
    /// Promotes the version and prints the changes of status.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &VERSIONS)?;
        let client = self.remote.client()?;
        let before = self.version.fetch(&client)?;
        let id = self.version.id_in(&before)?;
        let incumbent = match before.get("name").and_then(Value::as_str) {
            Some(name) if self.to == Status::Production => demotion(&client, name)?,
            _ => None,
        };
        let condition = Condition { if_match: self.if_match.clone(), ..Condition::default() };
        let after = client.promote(id, self.to, &condition).map_err(|error| self.refusal(error, &before))?;
        let from = before.get("status").and_then(Value::as_str).unwrap_or("?");
        let to = after.get("status").and_then(Value::as_str).unwrap_or(self.to.as_str());
        let mut message = if from == to {
            format!("{} was in {to} already\n", label_with_id(&after))
        } else {
            format!("{}: {from} → {to}\n", label_with_id(&after))
        };
        message.extend(incumbent.and_then(|incumbent| incumbent.message(&client, &after)));
        printer.changed(&after, &message)
    }

    fn refusal(&self, error: ClientError, before: &Value) -> Failure {
        let next = match &error {
            ClientError::Conflict { .. } if error.to_string().contains("policy \"") => {
                format!(
                    "; nothing was changed; `registry policy test --version {} --target {}` tries the policies",
                    label(before),
                    self.to
                )
            }
            ClientError::Conflict { .. } if self.to == Status::Production && self.if_match.is_none() => {
                format!(
                    "; nothing was changed; `registry metrics {}` shows its scores, and records some with --suite and --set",
                    label(before)
                )
            }
            ClientError::Conflict { .. } => "; nothing was changed".to_owned(),
            _ => String::new(),
        };
        self.version.or_missing(error).followed_by(&next)
    }
}

/// The version that a change of the production version moves to staging.
pub(super) struct Demotion(Value);

/// Returns the version of this name that is in production now, if there is one.
pub(super) fn demotion(client: &Client, name: &str) -> Result<Option<Demotion>, Failure> {
    match client.production(name) {
        Ok(found) => Ok(Some(Demotion(found))),
        Err(ClientError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Demotion {
    /// Returns the line about it once `after` is in production. The change is done, so an error here is not a failure.
    pub(super) fn message(&self, client: &Client, after: &Value) -> Option<String> {
        let Self(incumbent) = self;
        if incumbent.get("id") == after.get("id") {
            return None;
        }
        let now = client.model(incumbent.get("id")?.as_i64()?).ok()?;
        let is_staging = now.get("status").is_some_and(|status| *status == Status::Staging.as_str());
        is_staging.then(|| format!("{}: production → staging\n", label_with_id(incumbent)))
    }
}
