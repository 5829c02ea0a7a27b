//! `registry model delete` and `restore`: a model into the trash, and back.

use clap::Args;
use serde_json::Value;

use crate::{
    cli::{
        confirm::confirm,
        delete::naming_force,
        exit::{self, Failure},
        output::{MODELS, OutputFlags, Printer},
        print,
        remote::Remote,
        values::model_name,
    },
    client::ClientError,
};

const DELETE_EXAMPLES: &str = "\
Examples:
  With confirmation:
    registry model delete tiny-gpt
  Without, also if a version is in production or frozen:
    registry model delete tiny-gpt --yes --force
  Back again:
    registry model restore tiny-gpt

The model and its versions go to the trash; their events and artifacts stay.";

/// Delete a model and all its versions. They can be restored.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{DELETE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Delete {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// Also if a version is in production or frozen
    #[arg(long)]
    force: bool,
    /// Don't ask for confirmation
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Delete {
    /// Asks, and deletes the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("delete its versions with `registry delete`");
        let model = v1.model(&self.name)?;
        let what = format!("model {} with {}", self.name, versions(&model));
        if !self.yes {
            confirm(&what)?;
        }
        v1.delete_model(&self.name, self.force).map_err(|error| naming_force(error, self.force))?;
        printer.changed(&model, &format!("deleted {}\n", print::one_line(&what)))?;
        print::line(&format!("`registry model restore {}` restores it", self.name));
        Ok(())
    }
}

/// `3 versions`
fn versions(model: &Value) -> String {
    print::counted(model.get("versions").and_then(Value::as_u64).unwrap_or_default(), "version")
}

const RESTORE_EXAMPLES: &str = "\
Examples:
  A model and the versions that were deleted with it:
    registry model restore tiny-gpt
  Which models are in the trash:
    registry model list --deleted

`registry restore` restores versions that were deleted on their own.";

/// Restore a deleted model with its versions.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{RESTORE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Restore {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Restore {
    /// Restores the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("register the versions again");
        let restored = v1.restore_model(&self.name).map_err(|error| {
            let hint = match error {
                ClientError::NotFound { .. } => {
                    "; `registry model list --deleted` shows the models in the trash"
                }
                _ => "",
            };
            Failure::from(error).followed_by(hint)
        })?;
        let message =
            format!("restored model {} with {}\n", print::one_line(&self.name), versions(&restored));
        printer.changed(&restored, &message)
    }
}
