//! `registry ingest`: digests the files of a version here and registers it there.
//!
//! The files stay where they are; only what was found out about them travels.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{
    digesting::{self, Digested},
    exit::{self, Failure, Faults},
    print,
    registration::{Body, Provenance},
    remote::Remote,
    values::{finite, object, status_parser},
};
use crate::{
    artifact::{Opened, check_writable, read_object_file, write_atomically},
    client::Registered,
    domain::{Architecture, Draft, Measurement, Status, json::Object},
};

const EXAMPLES: &str = "\
Examples:
  A checkpoint and its configuration, with a score:
    registry ingest --name tiny-gpt --version v1 \\
      --checkpoint-path model.pt --config-path config.json \\
      --artifact-uri s3://models/tiny-gpt/v1/model.pt \\
      --metrics-json '{\"val_loss\": 2.31}'
  What would be registered, without a registry:
    registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt --dry-run
  What lies elsewhere, where it can't be digested:
    registry ingest --name tiny-gpt --version v1 --artifact-uri s3://models/tiny.pt
  The id of the new model, for a script:
    registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt | jq .id";

/// Register a version: digest its files here, send what they are.
///
/// The model as the registry took it goes to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Ingest {
    /// The model's name
    #[arg(long)]
    name: String,
    /// The version; a name has each version once
    #[arg(long)]
    version: String,
    /// Where the version stands
    #[arg(long, default_value = "experimental", value_parser = status_parser())]
    status: Status,
    /// What it is, in words
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A tag; give it again for more
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Where the artifact is kept; without it `sha256:` and the checkpoint's digest
    #[arg(long, value_name = "URI", help_heading = "Artifact")]
    artifact_uri: Option<String>,
    /// The checkpoint, to be digested
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    checkpoint_path: Option<PathBuf>,
    /// The configuration, a JSON object: to be digested, and read for the shape of the model (d_model,
    /// n_layers, n_heads, vocab_size, or what transformers calls them)
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    config_path: Option<PathBuf>,
    /// Send the files' absolute paths too, for a registry that is allowed to read them itself
    #[arg(long, help_heading = "Artifact")]
    include_local_paths: bool,

    #[command(flatten)]
    provenance: Provenance,

    /// The step of the checkpoint
    #[arg(long, value_name = "STEP", allow_negative_numbers = true, help_heading = "Training")]
    training_step: Option<i64>,
    /// The loss at that step
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = finite, help_heading = "Training")]
    training_loss: Option<f64>,
    /// What it was trained on
    #[arg(long, help_heading = "Training")]
    dataset: Option<String>,
    /// Metrics as the text of a JSON object
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "metrics_path", help_heading = "Training")]
    metrics_json: Option<Object>,
    /// A file that holds metrics as a JSON object
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    metrics_path: Option<PathBuf>,

    /// Also write what is sent to this file, once the registry has accepted it or the run is dry
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    write_metadata: Option<PathBuf>,
    /// Show on stdout what would be sent, and send nothing; needs no key
    #[arg(long, help_heading = "Output")]
    dry_run: bool,

    #[command(flatten)]
    remote: Remote,
}

impl Ingest {
    /// Digests, registers, and tells of it.
    ///
    /// # Errors
    /// One failure with all that is known to be wrong; its exit code is one of [`exit`].
    pub fn run(self) -> Result<(), Failure> {
        self.check()?;
        // What can be found out without the files comes before them: digesting may take minutes.
        let client = if self.dry_run { None } else { Some(self.remote.client()?) };
        let (body, checkpoint) = self.body()?;
        let Some(client) = client else {
            self.write_metadata(&body)?;
            print::result(&body)?;
            print::line("dry run: nothing was sent");
            return Ok(());
        };
        let registered = client.register(&body)?;
        let printed = print::result(&registered.body);
        print::line(&self.summary(&registered, checkpoint.as_ref()));
        self.write_metadata(&body)?;
        printed
    }

    fn check(&self) -> Result<(), Failure> {
        Draft::named(&self.name, &self.version).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        let has_uri = self.artifact_uri.as_deref().is_some_and(|uri| !uri.trim().is_empty());
        if !has_uri && self.checkpoint_path.is_none() {
            return Err(Failure::usage(
                "nothing says what the artifact is; give --artifact-uri, --checkpoint-path or both",
            ));
        }
        let inputs = [&self.checkpoint_path, &self.config_path, &self.metrics_path];
        if let Some(path) = &self.write_metadata
            && inputs.into_iter().flatten().any(|input| same_file(input, path))
        {
            let path = path.display();
            return Err(Failure::usage(format!(
                "--write-metadata {path} would overwrite a file that this reads; choose another path"
            )));
        }
        Ok(())
    }

    /// Finds out about the files and puts together what is to be sent.
    fn body(&self) -> Result<(Value, Option<Measurement>), Failure> {
        let mut faults = Faults::default();
        let given_metrics = self.metrics_path.as_deref().map(read_object_file);
        let metrics = given_metrics.and_then(|read| faults.note(read)).or_else(|| self.metrics_json.clone());
        let mut open = |path: &Option<PathBuf>| faults.note(Opened::open(path.as_ref()?));
        let (checkpoint, config) = (open(&self.checkpoint_path), open(&self.config_path));
        if let Some(path) = &self.write_metadata {
            faults.note(check_writable(path));
        }
        let Digested { checkpoint, config } = digesting::digest(checkpoint, config, faults)?;

        let mut body = Body::default();
        body.set("name", Some(self.name.as_str()));
        body.set("version", Some(self.version.as_str()));
        body.set("status", Some(self.status.as_str()));
        body.set("artifact_uri", self.artifact_uri.as_deref());
        body.set_file("checkpoint", checkpoint.as_ref());
        body.set_file("config", config.as_ref().map(|(file, _)| file));
        body.set_provenance(&self.provenance);
        if self.include_local_paths {
            body.set("checkpoint_path", self.checkpoint_path.as_deref().map(absolute).transpose()?);
            body.set("config_path", self.config_path.as_deref().map(absolute).transpose()?);
        }
        if let Some((_, config)) = &config {
            let transformers = Architecture::from_transformers_config(config);
            body.set_architecture(Architecture::from_config(config).or(transformers));
        }
        body.set("training_step", self.training_step);
        body.set("training_loss", self.training_loss);
        body.set("dataset", self.dataset.as_deref());
        body.set("description", self.description.as_deref());
        body.set("tags", (!self.tags.is_empty()).then(|| self.tags.clone()));
        body.set("metrics", metrics);
        Ok((body.into_value(), checkpoint))
    }

    fn write_metadata(&self, body: &Value) -> Result<(), Failure> {
        let Some(path) = &self.write_metadata else { return Ok(()) };
        let sent = if self.dry_run { "" } else { "the version is registered, but " };
        write_atomically(path, print::pretty(body).as_bytes())
            .map_err(|error| Failure::failed(format!("{sent}{error}")))
    }

    /// `registered m:v1 as model 7 (90.9 MB, sha256 7056f18469ad…)`
    fn summary(&self, registered: &Registered, checkpoint: Option<&Measurement>) -> String {
        let what = match checkpoint {
            Some(Measurement { sha256: Some(digest), size_bytes }) => {
                format!("{}, sha256 {:.12}…", print::size(*size_bytes), digest.to_string())
            }
            Some(Measurement { sha256: None, size_bytes }) => print::size(*size_bytes),
            None => self.artifact_uri.clone().unwrap_or_default(),
        };
        format!("registered {}:{} as model {} ({what})", self.name, self.version, registered.id)
    }
}

/// Whether both paths lead to one file that is there and can be read.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| Opened::open(path).ok().map(|opened| opened.identity());
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// The absolute path as text. It is not resolved further: a link may be the lasting name of a file.
fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Failure::failed(format!("{} has no absolute path: {error}", path.display())))?;
    absolute.into_os_string().into_string().map_err(|_| {
        Failure::failed(format!(
            "the path {} is not UTF-8 and can't be sent; rename it or leave out --include-local-paths",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::Cli;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
