//! `registry model`: shows and changes models, the names that versions share.

mod change;
mod list;
mod removal;
mod show;

use clap::{Args, Subcommand};

use super::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  All models, and one of them:
    registry model list
    registry model show tiny-gpt
  A model with a description and tags, before its first version:
    registry model create tiny-gpt --description 'a small one' --tag team=nlp
    registry model update tiny-gpt --tag stage=beta --remove-tag team
  Another name for it and all its versions:
    registry model rename tiny-gpt small-gpt
  Into the trash, and back:
    registry model delete tiny-gpt
    registry model restore tiny-gpt

A model is created by its first version, or by `registry model create`.";

/// Show and change models, the names that versions share.
#[derive(Debug, Args)]
#[command(visible_alias = "models", after_long_help = EXAMPLES)]
pub(super) struct Model {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    List(Box<list::List>),
    Show(Box<show::Show>),
    Create(Box<change::Create>),
    Update(Box<change::Update>),
    Rename(Box<change::Rename>),
    Delete(Box<removal::Delete>),
    Restore(Box<removal::Restore>),
}

impl Model {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            ModelCommand::List(command) => command.run(),
            ModelCommand::Show(command) => command.run(),
            ModelCommand::Create(command) => command.run(),
            ModelCommand::Update(command) => command.run(),
            ModelCommand::Rename(command) => command.run(),
            ModelCommand::Delete(command) => command.run(),
            ModelCommand::Restore(command) => command.run(),
        }
    }
}
