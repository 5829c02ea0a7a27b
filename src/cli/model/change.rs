//! `registry model create`, `update` and `rename`.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        exit::{self, Failure},
        output::{MODELS, OutputFlags, Printer},
        print,
        remote::Remote,
        values::{model_name, tag_key, tag_pair},
    },
    domain::json::Object,
};

const CREATE_EXAMPLES: &str = "\
Examples:
  A model without versions:
    registry model create tiny-gpt
  With a description and tags:
    registry model create tiny-gpt --description 'a small one' --tag team=nlp --tag nightly

The first version of a name creates its model, too.";

/// Create a model without versions.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{CREATE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Create {
    /// Its name
    #[arg(value_parser = model_name)]
    name: String,
    /// Description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A tag; without =VALUE it has an empty value; repeatable
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = tag_pair)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Create {
    /// Creates the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let mut body = json!({ "name": self.name, "tags": tags_body(&self.tags, &[])? });
        if let Some(description) = &self.description {
            body["description"] = json!(description);
        }
        let client = self.remote.client()?;
        let created = client.v1("register its first version").create_model(&body)?;
        printer.changed(&created, &format!("created model {}\n", print::one_line(&self.name)))
    }
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  Another description:
    registry model update tiny-gpt --description 'a small one that talks'
  Tags; other tags stay:
    registry model update tiny-gpt --tag team=nlp --remove-tag draft";

/// Change the description and the tags of a model.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{UPDATE_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Update {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// Description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Set a tag; without =VALUE it has an empty value; repeatable
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = tag_pair)]
    tags: Vec<(String, String)>,
    /// Remove the tag with this key; repeatable
    #[arg(long, value_name = "KEY", value_parser = tag_key)]
    remove_tag: Vec<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Update {
    /// Changes the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let mut body = Object::new();
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        let tags = tags_body(&self.tags, &self.remove_tag)?;
        if !tags.is_empty() {
            body.insert("tags".to_owned(), tags.into());
        }
        if body.is_empty() {
            return Err(Failure::usage(
                "nothing to change; give --description, --tag or --remove-tag \
                 (`registry model rename` changes the name)",
            ));
        }
        let fields = body.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let client = self.remote.client()?;
        let v1 = client.v1("change its versions with `registry update`");
        let updated = v1.update_model(&self.name, &Value::Object(body))?;
        printer.changed(&updated, &format!("updated model {}: {fields}\n", print::one_line(&self.name)))
    }
}

/// Returns the tags to set with their values, and those to remove with null.
fn tags_body(set: &[(String, String)], remove: &[String]) -> Result<Object, Failure> {
    let mut tags = Object::new();
    let set = set.iter().map(|(key, value)| (key, Value::from(value.as_str())));
    for (key, value) in set.chain(remove.iter().map(|key| (key, Value::Null))) {
        if tags.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("the tag {key:?} is given twice; give it once")));
        }
    }
    Ok(tags)
}

const RENAME_EXAMPLES: &str = "\
Examples:
  Another name for a model and all its versions:
    registry model rename tiny-gpt small-gpt";

/// Rename a model and all its versions. Ids, numbers and events stay.
///
/// A new model of the old name starts at number 1. The name of a deleted model that had versions can't be given to another.
#[derive(Debug, Args)]
#[command(visible_alias = "mv", after_long_help = format!("{RENAME_EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Rename {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    /// Its new name
    #[arg(value_name = "NEW", value_parser = model_name)]
    new: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Rename {
    /// Renames the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("register the versions under the new name");
        let renamed = v1.update_model(&self.name, &json!({ "name": self.new }))?;
        let message = print::one_line(&format!("renamed model {} to {}", self.name, self.new));
        printer.changed(&renamed, &format!("{message}\n"))
    }
}
