//! `registry alias`: shows, sets and deletes the aliases of a model.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    exit::{self, Failure},
    history::END_OF_TIME,
    output::{HOLDINGS, OutputFlags, Printer, V1_VERSIONS, View},
    print,
    remote::Remote,
    values::{alias, model_name},
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    client::{ClientError, Expected},
    domain::PRODUCTION_ALIAS,
};

const EXAMPLES: &str = "\
Examples:
  The aliases of a model:
    registry alias list tiny-gpt
  An alias, which any command then accepts:
    registry alias set tiny-gpt champion tiny-gpt:v2
    registry show tiny-gpt@champion
  Delete it:
    registry alias delete tiny-gpt champion

An alias is a name for one version of its model. The alias production is the status: setting
it promotes the version.";

/// Show, set and delete aliases, the names that point to versions.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Alias {
    #[command(subcommand)]
    command: AliasCommand,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    List(Box<List>),
    Set(Box<Set>),
    Delete(Box<Delete>),
}

impl Alias {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            AliasCommand::List(command) => command.run(),
            AliasCommand::Set(command) => command.run(),
            AliasCommand::Delete(command) => command.run(),
        }
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  The aliases of a model, and since when:
    registry alias list tiny-gpt
  Who had them before:
    registry history tiny-gpt
  For a script:
    registry alias list tiny-gpt -o csv --columns alias,label";

const ALIASES: View = View {
    table: "alias,version,label,since,BY:actor,reason",
    wide: "alias,version,label,id,since,BY:actor,reason",
    ..HOLDINGS
};

/// List the aliases of a model, production included.
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_long_help = format!("{LIST_EXAMPLES}\n\n{}", exit::HELP))]
struct List {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.output, &ALIASES)?;
        let client = self.remote.client()?;
        let v1 = client.v1("show the production version with `registry production NAME`");
        // Unlike the aliases alone, the history has labels, times and reasons.
        let mut aliases = v1.history(&self.name, &[("at", END_OF_TIME), ("limit", "500")])?;
        aliases.sort_by_key(|holding| holding.get("alias").map(ToString::to_string));
        printer.page(&aliases)?;
        printer.end()?;
        if aliases.is_empty() {
            print::line(&format!("{} has no aliases; `registry alias set` sets one", self.name));
        }
        Ok(())
    }
}

const SET_EXAMPLES: &str = "\
Examples:
  To a version by its label, or by its number:
    registry alias set tiny-gpt champion tiny-gpt:v2
    registry alias set tiny-gpt champion tiny-gpt#2
  Only if it still points to version number 1:
    registry alias set tiny-gpt champion tiny-gpt#2 --expected 1
  Only if there is no such alias yet:
    registry alias set tiny-gpt challenger tiny-gpt:v3 --expected none
  The same as a promotion, with a reason for the audit trail:
    registry alias set tiny-gpt production tiny-gpt@champion --reason 'better on long inputs'";

/// Point an alias at a version; an alias that exists moves to it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SET_EXAMPLES}\n\n{}", exit::HELP))]
struct Set {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// The alias
    #[arg(value_parser = alias)]
    alias: String,
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// Only if the alias points to this version number now, or, with none, does not exist
    #[arg(long, value_name = "N|none", value_parser = expected)]
    expected: Option<Expected>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &V1_VERSIONS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("promote a version into production with `registry promote`");
        let version = self.version.fetch_v1(&v1)?;
        let number = self.version.number_in(&version, &self.name)?;
        let expected = self.expected.unwrap_or(Expected::Any);
        let after = v1
            .set_alias(&self.name, &self.alias, number, expected, self.reason.as_deref())
            .map_err(|error| unchanged(error, &self.name))?;
        client.take_warnings().iter().for_each(|warning| print::line(&format!("warning: {warning}")));
        let alias = print::one_line(&format!("{}@{}", self.name, self.alias));
        printer.changed(&after, &format!("{alias} is {}\n", label_with_id(&after)))
    }
}

/// `none`, or a version number.
fn expected(text: &str) -> Result<Expected, String> {
    match text.parse() {
        _ if text == "none" => Ok(Expected::None),
        Ok(number @ 1..) => Ok(Expected::Number(number)),
        _ => Err("expected a version number, like 2, or none".to_owned()),
    }
}

const DELETE_EXAMPLES: &str = "\
Examples:
  An alias; its version stays:
    registry alias delete tiny-gpt champion
  Only if it still points to version number 2:
    registry alias delete tiny-gpt champion --expected 2
  With a reason for the audit trail:
    registry alias delete tiny-gpt champion --reason 'the comparison is over'

Deleting the alias production moves its version to staging.";

const DELETED: View = View {
    fields: "status,model,alias",
    table: "model,alias,status",
    wide: "model,alias,status",
    precise_times: false,
    name: None,
};

/// Delete an alias. Its version stays.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{DELETE_EXAMPLES}\n\n{}", exit::HELP))]
struct Delete {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// The alias
    #[arg(value_parser = alias)]
    alias: String,
    /// Only if the alias points to this version number now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    expected: Option<i64>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Delete {
    fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &DELETED)?;
        let client = self.remote.client()?;
        let v1 = client.v1("move the production version to staging with `registry promote --to staging`");
        v1.delete_alias(&self.name, &self.alias, self.expected, self.reason.as_deref())
            .map_err(|error| unchanged(error, &self.name))?;
        let row = json!({ "status": "deleted", "model": self.name, "alias": self.alias });
        let alias = print::one_line(&format!("{}@{}", self.name, self.alias));
        let staging = if self.alias == PRODUCTION_ALIAS { "; its version is in staging now" } else { "" };
        printer.changed(&row, &format!("deleted {alias}{staging}\n"))
    }
}

/// Returns the failure of a change; after a conflict it names the next step.
fn unchanged(error: ClientError, name: &str) -> Failure {
    let hint = match error {
        ClientError::Conflict { .. } | ClientError::NotFound { .. } => {
            format!("; nothing was changed; `registry alias list {name}` shows its aliases")
        }
        _ => String::new(),
    };
    Failure::from(error).followed_by(&hint)
}
