//! `registry rollback`: returns a model to an earlier production version.

use clap::Args;

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, V1_VERSIONS},
    promote::demotion,
    remote::Remote,
    values::model_name,
    version_arg::{VersionArg, label_with_id},
};
use crate::client::ClientError;

const EXAMPLES: &str = "\
Examples:
  To the version that was in production before:
    registry rollback tiny-gpt --reason 'answers in capitals'
  To an earlier one:
    registry rollback tiny-gpt --to tiny-gpt:v1 --reason 'answers in capitals'
  Which versions were in production:
    registry history tiny-gpt --alias production";

/// Return to an earlier production version.
///
/// That version has passed the gate and the policies before, so it need not pass them again. The current production version goes to staging in
/// the same transaction, and the reason into the audit trail.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Rollback {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// The version: name:label, name@alias, name#number, or its id [default: the one in production before]
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionArg>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Rollback {
    /// Rolls back and prints the changes of status.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &V1_VERSIONS)?;
        if self.reason.trim().is_empty() {
            return Err(Failure::usage("--reason is blank; say why the model goes back"));
        }
        let client = self.remote.client()?;
        let v1 = client.v1("promote the earlier version with `registry promote`");
        let to = match &self.to {
            None => None,
            Some(version) => Some(version.number_in(&version.fetch_v1(&v1)?, &self.name)?),
        };
        let before = demotion(&client, &self.name)?;
        let after = v1.rollback(&self.name, to, &self.reason).map_err(|error| self.refusal(error))?;
        let mut message = format!("{} is in production again\n", label_with_id(&after));
        message.extend(before.and_then(|before| before.message(&client, &after)));
        printer.changed(&after, &message)
    }

    fn refusal(&self, error: ClientError) -> Failure {
        let hint = match error {
            ClientError::Conflict { .. } => format!(
                "; nothing was changed; `registry history {} --alias production` shows what was there",
                self.name
            ),
            _ => String::new(),
        };
        Failure::from(error).followed_by(&hint)
    }
}
