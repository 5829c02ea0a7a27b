//! `registry promote`: a version gets a status; who was in production steps down.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    model_ref::{ModelRef, label, label_with_id},
    output::{OutputFlags, models::MODELS},
    print,
    remote::Remote,
    values::status_parser,
};
use crate::{
    client::{Client, ClientError, Condition},
    domain::Status,
};

/// Among the newest events of the version before is the one that says why it stepped down.
const EVENTS_LOOKED_AT: u32 = 10;

const EXAMPLES: &str = "\
Examples:
  Into production; the version that is there steps down to staging:
    registry promote tiny-gpt:v2
  To another status:
    registry promote tiny-gpt:v2 --to staging
    registry promote tiny-gpt:v1 --to archived
  Back to the version before:
    registry promote tiny-gpt:v1";

/// Give a version a status, by default production.
///
/// A name has one version in production: the one before steps down to staging in the same instant. The
/// registry may be set to let only versions with certain scores pass; what it refuses changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Promote {
    /// The version: name:version or its id
    model: ModelRef,
    /// The status to give it
    #[arg(long, value_name = "STATUS", default_value = "production", value_parser = status_parser())]
    to: Status,
    /// Only if the version is still in the state with this ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Promote {
    /// Promotes, and says what happened.
    ///
    /// # Errors
    /// Where the gate refuses it; or as any call.
    pub fn run(self) -> Result<(), Failure> {
        MODELS.check(&self.output)?;
        let client = self.remote.client()?;
        let before = self.model.fetch(&client)?;
        let id = self.model.id_in(&before)?;
        let incumbent = if self.to == Status::Production { incumbent(&client, &before)? } else { None };
        let condition = Condition { if_match: self.if_match.clone(), ..Condition::default() };
        let after = client.promote(id, self.to, &condition).map_err(|error| self.refusal(error, &before))?;
        let from = before.get("status").and_then(Value::as_str).unwrap_or("?");
        let to = after.get("status").and_then(Value::as_str).unwrap_or(self.to.as_str());
        let mut told = if from == to {
            format!("{} was in {to} already\n", label_with_id(&after))
        } else {
            format!("{}: {from} → {to}\n", label_with_id(&after))
        };
        if let Some(incumbent) = incumbent.filter(|incumbent| incumbent.get("id") != after.get("id"))
            && stepped_down(&client, &incumbent, id)
        {
            told.push_str(&format!("{}: production → staging\n", label_with_id(&incumbent)));
        }
        self.output.one(&MODELS, &after, || Ok(told.clone()))?;
        if !self.output.is_for_people() {
            told.lines().for_each(print::line);
        }
        Ok(())
    }

    fn refusal(&self, error: ClientError, before: &Value) -> Failure {
        let next = match &error {
            ClientError::Conflict { .. } if self.to == Status::Production && self.if_match.is_none() => {
                format!(
                    "; nothing was changed; `registry metrics {}` shows its scores, with --suite and --set it records some",
                    label(before)
                )
            }
            ClientError::Conflict { .. } => "; nothing was changed".to_owned(),
            _ => String::new(),
        };
        self.model.or_missing(error).followed_by(&next)
    }
}

/// The version of the same name that is in production now.
fn incumbent(client: &Client, model: &Value) -> Result<Option<Value>, Failure> {
    let Some(name) = model.get("name").and_then(Value::as_str) else { return Ok(None) };
    match client.production(name) {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether its audit trail says that it made room for `successor`. Somebody else may have promoted yet another
/// version meanwhile; and what is done is done, so not knowing is no failure.
fn stepped_down(client: &Client, incumbent: &Value, successor: i64) -> bool {
    let reason = format!("new production: {successor}");
    let trail = incumbent
        .get("id")
        .and_then(Value::as_i64)
        .and_then(|id| client.events(id, EVENTS_LOOKED_AT, 0).ok())
        .unwrap_or_default();
    trail.iter().any(|event| {
        event.get("event_type").is_some_and(|kind| kind == "auto_demote")
            && event.pointer("/payload/reason").is_some_and(|given| *given == reason.as_str())
    })
}
