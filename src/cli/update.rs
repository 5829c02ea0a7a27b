//! `registry update`: changes the fields of a version.

use std::{ops::Not, path::PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use serde::Serialize;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, VERSIONS},
    remote::Remote,
    values::{finite, object, request_body, tag},
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    artifact::read_object_file,
    client::{Client, ClientError, Condition},
    domain::{Status, VersionId, json::Object},
};

/// The maximum number of attempts to edit tags while other clients change the version.
const MAX_ATTEMPTS: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  Description and tags:
    registry update tiny-gpt:v1 --description 'the first one that talks' \\
      --add-tag nightly --remove-tag draft
  Freeze artifact, provenance and architecture for good:
    registry update tiny-gpt:v1 --freeze
  The artifact has moved:
    registry update tiny-gpt:v1 --artifact-uri s3://archive/tiny-gpt/v1/model.pt
  Any field, with its value as JSON:
    registry update tiny-gpt:v1 --set d_model=768 --set 'tags=[]'";

/// Change the fields of a version.
///
/// On a version in production, or a frozen one, artifact, provenance and architecture can't change; status,
/// description, tags, metrics and training fields can. `registry metrics` records scores.
#[derive(Debug, Args)]
#[command(
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP)
)]
pub(super) struct Update {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    #[command(flatten)]
    fields: Fields,
    /// Add a tag; repeatable
    #[arg(long, value_name = "TAG", value_parser = tag)]
    add_tag: Vec<String>,
    /// Remove a tag; repeatable
    #[arg(long, value_name = "TAG")]
    remove_tag: Vec<String>,
    /// Set any field to a JSON value; other text is taken as a string; repeatable
    #[arg(long, value_name = "FIELD=JSON", value_parser = field)]
    set: Vec<(String, Value)>,
    /// Only if the version still has this ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Replace all metrics except suites by the JSON object in this file
    #[arg(long, value_name = "FILE", conflicts_with = "metrics", help_heading = "Training")]
    metrics_path: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

/// The fields with a flag of their own. They have the names and the order of the request.
#[derive(Debug, Args, Serialize)]
struct Fields {
    /// Status
    #[arg(long, value_parser = PossibleValuesParser::new(Status::NAMES))]
    status: Option<String>,
    /// Location of the artifact
    #[arg(long, value_name = "URI", help_heading = "Artifact")]
    artifact_uri: Option<String>,
    /// SHA-256 of the checkpoint
    #[arg(long, value_name = "DIGEST", help_heading = "Artifact")]
    checkpoint_sha256: Option<String>,
    /// Size of the checkpoint
    #[arg(long, value_name = "BYTES", help_heading = "Artifact")]
    checkpoint_size_bytes: Option<u64>,
    /// SHA-256 of the configuration
    #[arg(long, value_name = "DIGEST", help_heading = "Artifact")]
    config_sha256: Option<String>,
    /// Size of the configuration
    #[arg(long, value_name = "BYTES", help_heading = "Artifact")]
    config_size_bytes: Option<u64>,
    /// Training run
    #[arg(long, value_name = "ID", help_heading = "Provenance")]
    run_id: Option<String>,
    /// Commit of the training code
    #[arg(long, value_name = "COMMIT", help_heading = "Provenance")]
    git_commit: Option<String>,
    /// Creator
    #[arg(long, value_name = "WHO", help_heading = "Provenance")]
    created_by: Option<String>,
    /// Host that registered it
    #[arg(long, value_name = "HOST", help_heading = "Provenance")]
    source_host: Option<String>,
    /// Freeze artifact, provenance and architecture; this can't be undone
    #[arg(long = "freeze")]
    #[serde(skip_serializing_if = "Not::not")]
    frozen: bool,
    /// Number of parameters
    #[arg(long, value_name = "N", help_heading = "Training")]
    params: Option<i64>,
    /// Training step of the checkpoint
    #[arg(long, value_name = "STEP", allow_negative_numbers = true, help_heading = "Training")]
    training_step: Option<i64>,
    /// Loss at that step
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = finite,
          help_heading = "Training")]
    training_loss: Option<f64>,
    /// Training dataset
    #[arg(long, help_heading = "Training")]
    dataset: Option<String>,
    /// Description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Replace all tags by this one; repeatable
    #[arg(long = "tag", value_name = "TAG", value_parser = tag, conflicts_with_all = ["add_tag", "remove_tag"])]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// Replace all metrics except suites by this JSON object
    #[arg(long = "metrics-json", value_name = "JSON", value_parser = object, help_heading = "Training")]
    metrics: Option<Object>,
}

impl Update {
    /// Changes the version and prints the changed fields.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &VERSIONS)?;
        let body = self.body()?;
        if body.is_empty() && self.add_tag.is_empty() && self.remove_tag.is_empty() {
            return Err(Failure::usage(
                "nothing to change; give a change, like --description or --add-tag (`registry update -h` lists all)",
            ));
        }
        let client = self.remote.client()?;
        let id = self.version.resolve(&client)?;
        let (model, message) = self.change(&client, id, body)?;
        printer.changed(&model, &message)
    }

    /// Returns the version after the change, and what to say about it.
    fn change(&self, client: &Client, id: VersionId, body: Object) -> Result<(Value, String), Failure> {
        let mut attempt = 1;
        loop {
            let mut body = body.clone();
            let mut condition = Condition { if_match: self.if_match.clone(), ..Condition::default() };
            let edits_tags = !self.add_tag.is_empty() || !self.remove_tag.is_empty();
            if edits_tags {
                let (model, etag) =
                    client.model_with_etag(id).map_err(|error| self.version.or_missing(error))?;
                let tags = self.edited(&tags_of(&model));
                if tags != tags_of(&model) {
                    body.insert("tags".to_owned(), tags.into());
                } else if body.is_empty() {
                    let label = label_with_id(&model);
                    return Ok((model, format!("{label} has these tags already; nothing was changed\n")));
                }
                // Otherwise tags that another client sets in between would be lost.
                condition.if_match = condition.if_match.or(etag);
            }
            let fields = body.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            match client.update(id, &Value::Object(body), &condition) {
                Ok(after) => {
                    let message = format!("updated {}: {fields}\n", label_with_id(&after));
                    return Ok((after, message));
                }
                Err(ClientError::Conflict { .. })
                    if edits_tags
                        && self.if_match.is_none()
                        && attempt < MAX_ATTEMPTS
                        && client.model_with_etag(id).is_ok_and(|(_, etag)| etag != condition.if_match) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(self.version.or_missing(error)),
            }
        }
    }

    /// Returns `tags` without those to remove, and with those to add at the end.
    fn edited(&self, tags: &[String]) -> Vec<String> {
        let mut edited: Vec<String> =
            tags.iter().filter(|tag| !self.remove_tag.contains(tag)).cloned().collect();
        for tag in &self.add_tag {
            if !edited.contains(tag) {
                edited.push(tag.clone());
            }
        }
        edited
    }

    /// Returns the fields that don't depend on the current state of the version.
    fn body(&self) -> Result<Object, Failure> {
        if let Some(both) = self.add_tag.iter().find(|tag| self.remove_tag.contains(tag)) {
            return Err(Failure::usage(format!("the tag {both:?} is both added and removed; give it once")));
        }
        let mut body = request_body(&self.fields)?;
        if let Some(path) = &self.metrics_path {
            body.insert("metrics".to_owned(), read_object_file(path)?.into());
        }
        for (name, value) in &self.set {
            let edits_tags = name == "tags" && (!self.add_tag.is_empty() || !self.remove_tag.is_empty());
            if edits_tags || body.insert(name.clone(), value.clone()).is_some() {
                return Err(Failure::usage(format!("{name} is given twice; give it once")));
            }
        }
        Ok(body)
    }
}

fn tags_of(model: &Value) -> Vec<String> {
    let tags = model.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `params=124000000`
fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected FIELD=JSON, like params=124000000")?;
    let name = name.trim();
    if matches!(name, "name" | "version") {
        return Err(format!("the {name} of a version never changes; register another version"));
    }
    match serde_json::from_str(value) {
        Ok(Value::Null) => Err("null would change nothing; give a value".to_owned()),
        Ok(value) => Ok((name.to_owned(), value)),
        Err(_) => Ok((name.to_owned(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_or_else_text() {
        for (text, expected) in [
            ("params=124000000", Some("124000000")),
            (r#"tags=["a"]"#, Some(r#"["a"]"#)),
            ("description=a = b", Some(r#""a = b""#)),
            ("training_loss=2.50", Some("2.50")),
            ("frozen=true", Some("true")),
            ("name=other", None),
            ("version=2", None),
            ("params", None),
            ("params=null", None),
        ] {
            assert_eq!(field(text).ok().map(|(_, value)| value.to_string()).as_deref(), expected, "{text}");
        }
    }
}
