//! `registry tag`: sets and deletes tags of versions and models.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{MODELS, OutputFlags, Printer, V1_VERSIONS},
    print,
    remote::Remote,
    values::{model_name, tag_key},
    version_arg::{VersionArg, label_with_id},
};
use crate::client::{ClientError, TagOwner, V1};

const WITHOUT_V1: &str = "use tags without values: `registry update --add-tag` and `--remove-tag`";

const EXAMPLES: &str = "\
Examples:
  A tag of a version:
    registry tag set tiny-gpt:v1 team nlp
  A tag without a value, which the list of plain tags shows:
    registry tag set tiny-gpt:v1 nightly
  A tag of a model:
    registry tag set tiny-gpt team nlp --model
  Delete it:
    registry tag delete tiny-gpt:v1 team

`registry update --add-tag` adds plain tags, and `registry model update --tag` sets several of a
model at once.";

/// Set and delete tags of versions and models.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Tag {
    #[command(subcommand)]
    command: TagCommand,
}

#[derive(Debug, Subcommand)]
enum TagCommand {
    Set(Box<Set>),
    Delete(Box<Delete>),
}

impl Tag {
    /// Runs the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            TagCommand::Set(command) => command.run(),
            TagCommand::Delete(command) => command.run(),
        }
    }
}

/// What has the tag.
#[derive(Debug, Args)]
struct Subject {
    /// The version: name:label, name@alias, name#number, or its id; with --model the name of a model
    #[arg(value_name = "VERSION")]
    text: String,
    /// The tag is on a model
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

const SET_EXAMPLES: &str = "\
Examples:
  A tag with a value, and one without:
    registry tag set tiny-gpt:v1 team nlp
    registry tag set tiny-gpt:v1 nightly
  A tag of a model:
    registry tag set tiny-gpt team nlp --model";

/// Set a tag of a version or a model.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{SET_EXAMPLES}\n\n{}", exit::HELP))]
struct Set {
    #[command(flatten)]
    subject: Subject,
    /// The key
    #[arg(value_parser = tag_key)]
    key: String,
    /// The value [default: an empty one]
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        if let (None, Some((key, value))) = (&self.value, self.key.split_once('=')) {
            return Err(Failure::usage(format!(
                "the key {:?} contains =; give key and value apart, like {key} {value:?}, or an empty value after it",
                self.key
            )));
        }
        let value = self.value.as_deref().unwrap_or_default();
        let shown = if value.is_empty() { self.key.clone() } else { format!("{}={value}", self.key) };
        self.subject.change(&format!("tag {shown} set"), |v1, owner, _| v1.set_tag(owner, &self.key, value))
    }
}

const DELETE_EXAMPLES: &str = "\
Examples:
  A tag of a version:
    registry tag delete tiny-gpt:v1 team
  A tag of a model:
    registry tag delete tiny-gpt team --model";

/// Delete a tag of a version or a model.
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_long_help = format!("{DELETE_EXAMPLES}\n\n{}", exit::HELP))]
struct Delete {
    #[command(flatten)]
    subject: Subject,
    /// The key
    #[arg(value_parser = tag_key)]
    key: String,
}

impl Delete {
    fn run(self) -> Result<(), Failure> {
        self.subject.change(&format!("tag {} deleted", self.key), |v1, owner, version| {
            let has_tag = |owner: &Value| owner["tags"].get(&self.key).is_some();
            let is_there = match owner {
                TagOwner::Model(name) => has_tag(&v1.model(name)?),
                TagOwner::Version(..) => has_tag(version),
            };
            if !is_there {
                let detail = format!("there is no tag {}; nothing was changed", self.key);
                return Err(ClientError::NotFound { detail });
            }
            v1.delete_tag(owner, &self.key)
        })
    }
}

impl Subject {
    /// Changes the tag, and prints what has it. `change` also gets the version, which was fetched for its number; null for a
    /// model.
    fn change(
        &self,
        done: &str,
        change: impl Fn(&V1<'_>, TagOwner<'_>, &Value) -> Result<Value, ClientError>,
    ) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, if self.model { &MODELS } else { &V1_VERSIONS })?;
        if self.model {
            let name = model_name(&self.text).map_err(Failure::usage)?;
            let client = self.remote.client()?;
            let v1 = client.v1(WITHOUT_V1);
            let model = change(&v1, TagOwner::Model(&name), &Value::Null)?;
            return printer.changed(&model, &format!("{}\n", print::one_line(&format!("{name}: {done}"))));
        }
        let version: VersionArg = self.text.parse().map_err(|why| {
            Failure::usage(format!("{:?} is no version: {why}; --model sets a tag of a model", self.text))
        })?;
        let client = self.remote.client()?;
        let v1 = client.v1(WITHOUT_V1);
        let found = version.fetch_v1(&v1)?;
        let (Some(name), Some(number)) = (found["model"].as_str(), found["number"].as_i64()) else {
            return Err(Failure::failed("the registry's answer contains no version; check --registry-url"));
        };
        let after = change(&v1, TagOwner::Version(name, number), &found)?;
        printer.changed(&after, &format!("{}: {}\n", label_with_id(&after), print::one_line(done)))
    }
}
