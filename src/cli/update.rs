//! `registry update`: changes what the registry knows of a version.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::{
    exit::{self, Failure},
    model_ref::{ModelRef, label_with_id},
    output::{OutputFlags, models::MODELS},
    print,
    registration::Body,
    remote::Remote,
    values::{finite, object, status_parser},
};
use crate::{
    artifact::read_object_file,
    client::{Client, ClientError, Condition},
    domain::{ModelId, Status, json::Object},
};

/// How often tags are read again because somebody else changed the version in between.
const MAX_ATTEMPTS: u32 = 3;

/// The fields that `PATCH` takes.
const FIELDS: [&str; 24] = [
    "status",
    "artifact_uri",
    "checkpoint_path",
    "checkpoint_sha256",
    "checkpoint_size_bytes",
    "config_path",
    "config_sha256",
    "config_size_bytes",
    "run_id",
    "git_commit",
    "created_by",
    "source_host",
    "frozen",
    "d_model",
    "n_layers",
    "n_heads",
    "vocab_size",
    "params",
    "training_step",
    "training_loss",
    "dataset",
    "description",
    "tags",
    "metrics",
];

const EXAMPLES: &str = "\
Examples:
  Words and tags:
    registry update tiny-gpt:v1 --description 'the first that talks' --add-tag nightly --remove-tag draft
  No more changes to what it is, for good:
    registry update tiny-gpt:v1 --freeze
  The artifact has moved:
    registry update tiny-gpt:v1 --artifact-uri s3://archive/tiny-gpt/v1/model.pt
  Any field, with its value as JSON:
    registry update tiny-gpt:v1 --set d_model=768 --set 'tags=[]'";

/// Change what is known of a version.
///
/// On a version in production, or a frozen one, the artifact, where it comes from and its shape are settled;
/// status, words, tags, metrics and training may still change. Scores are recorded with `registry metrics`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("change").required(true).multiple(true),
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP)
)]
pub struct Update {
    /// The version: name:version, its id, or name@production
    model: ModelRef,
    /// What it is, in words
    #[arg(long, value_name = "TEXT", group = "change")]
    description: Option<String>,
    /// All its tags from now on; give it again for more
    #[arg(long = "tag", value_name = "TAG", group = "change", conflicts_with_all = ["add_tag", "remove_tag"])]
    tags: Vec<String>,
    /// One more tag; give it again for more
    #[arg(long, value_name = "TAG", group = "change")]
    add_tag: Vec<String>,
    /// A tag less; give it again for more
    #[arg(long, value_name = "TAG", group = "change")]
    remove_tag: Vec<String>,
    /// Where the version stands
    #[arg(long, value_parser = status_parser(), group = "change")]
    status: Option<Status>,
    /// Settle what it is for good; this can't be undone
    #[arg(long, group = "change")]
    freeze: bool,
    /// Any field, with its value as JSON; what is no JSON counts as text. Give it again for more
    #[arg(long, value_name = "FIELD=JSON", value_parser = field, group = "change")]
    set: Vec<(String, Value)>,
    /// Only if the version is still in the state with this ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,

    /// Where the artifact is kept
    #[arg(long, value_name = "URI", group = "change", help_heading = "Artifact")]
    artifact_uri: Option<String>,
    /// The checkpoint's digest
    #[arg(long, value_name = "DIGEST", group = "change", help_heading = "Artifact")]
    checkpoint_sha256: Option<String>,
    /// The checkpoint's size
    #[arg(long, value_name = "BYTES", group = "change", help_heading = "Artifact")]
    checkpoint_size_bytes: Option<u64>,
    /// The configuration's digest
    #[arg(long, value_name = "DIGEST", group = "change", help_heading = "Artifact")]
    config_sha256: Option<String>,
    /// The configuration's size
    #[arg(long, value_name = "BYTES", group = "change", help_heading = "Artifact")]
    config_size_bytes: Option<u64>,

    /// The training run it came from
    #[arg(long, value_name = "ID", group = "change", help_heading = "Provenance")]
    run_id: Option<String>,
    /// The commit it was trained at
    #[arg(long, value_name = "COMMIT", group = "change", help_heading = "Provenance")]
    git_commit: Option<String>,
    /// Who made it
    #[arg(long, value_name = "WHO", group = "change", help_heading = "Provenance")]
    created_by: Option<String>,
    /// Where it was registered from
    #[arg(long, value_name = "HOST", group = "change", help_heading = "Provenance")]
    source_host: Option<String>,

    /// The step of the checkpoint
    #[arg(
        long,
        value_name = "STEP",
        allow_negative_numbers = true,
        group = "change",
        help_heading = "Training"
    )]
    training_step: Option<i64>,
    /// The loss at that step
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = finite, group = "change",
          help_heading = "Training")]
    training_loss: Option<f64>,
    /// What it was trained on
    #[arg(long, group = "change", help_heading = "Training")]
    dataset: Option<String>,
    /// How many parameters it has
    #[arg(long, value_name = "N", group = "change", help_heading = "Training")]
    params: Option<i64>,
    /// Its metrics, all of them anew, as the text of a JSON object
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "metrics_path", group = "change",
          help_heading = "Training")]
    metrics_json: Option<Object>,
    /// A file that holds its metrics, all of them anew, as a JSON object
    #[arg(long, value_name = "FILE", group = "change", help_heading = "Training")]
    metrics_path: Option<PathBuf>,

    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Update {
    /// Changes, and says what.
    ///
    /// # Errors
    /// Where the change makes no sense or is refused; or as any call.
    pub fn run(self) -> Result<(), Failure> {
        MODELS.check(&self.output)?;
        let body = self.body()?;
        let client = self.remote.client()?;
        let id = self.model.resolve(&client)?;
        let changed = self.change(&client, id, body)?;
        let told = match &changed {
            Changed::Did { after, fields } => format!("updated {}: {fields}\n", label_with_id(after)),
            Changed::Nothing(model) => {
                format!("{} has these tags already; nothing was changed\n", label_with_id(model))
            }
        };
        let (Changed::Did { after: model, .. } | Changed::Nothing(model)) = &changed;
        self.output.one(&MODELS, model, || Ok(told.clone()))?;
        if !self.output.is_for_people() {
            print::line(told.trim_end());
        }
        Ok(())
    }

    fn change(&self, client: &Client, id: ModelId, body: Object) -> Result<Changed, Failure> {
        let mut attempt = 1;
        loop {
            let mut body = body.clone();
            let mut condition = Condition { if_match: self.if_match.clone(), ..Condition::default() };
            let edits_tags = !self.add_tag.is_empty() || !self.remove_tag.is_empty();
            if edits_tags {
                let (model, etag) =
                    client.model_with_etag(id).map_err(|error| self.model.or_missing(error))?;
                let tags = self.edited(&tags_of(&model));
                if tags != tags_of(&model) {
                    body.insert("tags".to_owned(), tags.into());
                } else if body.is_empty() {
                    return Ok(Changed::Nothing(model));
                }
                // So that nobody's tags are lost that were set in between.
                condition.if_match = condition.if_match.or(etag);
            }
            let fields = body.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            match client.update(id, &Value::Object(body), &condition) {
                Ok(after) => return Ok(Changed::Did { after, fields }),
                Err(ClientError::Conflict { .. })
                    if edits_tags
                        && self.if_match.is_none()
                        && attempt < MAX_ATTEMPTS
                        && client.model_with_etag(id).is_ok_and(|(_, etag)| etag != condition.if_match) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(self.model.or_missing(error)),
            }
        }
    }

    /// Its tags with those to add at the end and without those to remove.
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

    /// The fields that do not depend on what they were.
    fn body(&self) -> Result<Object, Failure> {
        if let Some(both) = self.add_tag.iter().find(|tag| self.remove_tag.contains(tag)) {
            return Err(Failure::usage(format!("the tag {both:?} is to be added and removed; give it once")));
        }
        let metrics = match &self.metrics_path {
            Some(path) => Some(read_object_file(path).map_err(|error| Failure::failed(error.to_string()))?),
            None => self.metrics_json.clone(),
        };
        let mut body = Body::default();
        body.set("status", self.status.map(Status::as_str));
        body.set("artifact_uri", self.artifact_uri.as_deref());
        body.set("checkpoint_sha256", self.checkpoint_sha256.as_deref());
        body.set("checkpoint_size_bytes", self.checkpoint_size_bytes);
        body.set("config_sha256", self.config_sha256.as_deref());
        body.set("config_size_bytes", self.config_size_bytes);
        body.set("run_id", self.run_id.as_deref());
        body.set("git_commit", self.git_commit.as_deref());
        body.set("created_by", self.created_by.as_deref());
        body.set("source_host", self.source_host.as_deref());
        body.set("frozen", self.freeze.then_some(true));
        body.set("params", self.params);
        body.set("training_step", self.training_step);
        body.set("training_loss", self.training_loss);
        body.set("dataset", self.dataset.as_deref());
        body.set("description", self.description.as_deref());
        body.set("tags", (!self.tags.is_empty()).then(|| self.tags.clone()));
        body.set("metrics", metrics);
        let mut body = body.into_object();
        for (name, value) in &self.set {
            let edits_tags = name == "tags" && (!self.add_tag.is_empty() || !self.remove_tag.is_empty());
            if edits_tags || body.insert(name.clone(), value.clone()).is_some() {
                return Err(Failure::usage(format!("{name} is given twice; give it once")));
            }
        }
        Ok(body)
    }
}

/// What came of it.
enum Changed {
    Did { after: Value, fields: String },
    Nothing(Value),
}

fn tags_of(model: &Value) -> Vec<String> {
    let tags = model.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `params=124000000`
fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("FIELD=JSON is wanted, like params=124000000")?;
    let name = name.trim();
    if matches!(name, "name" | "version") {
        return Err(format!("the {name} of a version never changes; register another version"));
    }
    if !FIELDS.contains(&name) {
        return Err(format!("{name:?} is no field that can change; there are {}", FIELDS.join(", ")));
    }
    match serde_json::from_str(value) {
        Ok(Value::Null) => Err("null means not given to a registry, and changes nothing".to_owned()),
        Ok(value) => Ok((name.to_owned(), value)),
        Err(_) => Ok((name.to_owned(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_take_json_or_else_text() {
        for (text, expected) in [
            ("params=124000000", Some("124000000")),
            (r#"tags=["a"]"#, Some(r#"["a"]"#)),
            ("description=a = b", Some(r#""a = b""#)),
            ("training_loss=2.50", Some("2.50")),
            ("frozen=true", Some("true")),
            ("name=other", None),
            ("nonsense=1", None),
            ("params", None),
            ("params=null", None),
        ] {
            assert_eq!(field(text).ok().map(|(_, value)| value.to_string()).as_deref(), expected, "{text}");
        }
    }
}
