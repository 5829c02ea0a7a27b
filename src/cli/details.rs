//! The flags that describe a version, shared by whatever registers one, and what becomes of its metadata.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{
    exit::{Failure, Faults},
    print,
    registration::Provenance,
    values::{finite, object, status_parser, tag},
};
use crate::{
    artifact::{Opened, check_writable, read_object_file, write_atomically},
    domain::{Status, json::Object},
};

/// What is said of a version, whatever its checkpoint.
#[derive(Debug, Args)]
pub struct Details {
    /// Where the version stands
    #[arg(long, default_value = "experimental", value_parser = status_parser())]
    pub(super) status: Status,
    /// What it is, in words
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// A tag; give it again for more
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub(super) tags: Vec<String>,
    /// The configuration, a JSON object: to be digested, and read for the shape of the model (d_model,
    /// n_layers, n_heads, vocab_size, or what transformers calls them)
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    pub(super) config_path: Option<PathBuf>,
    /// What it was trained on
    #[arg(long, help_heading = "Training")]
    pub(super) dataset: Option<String>,
    #[command(flatten)]
    pub(super) provenance: Provenance,
}

/// What is said of one state of the training.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Training")]
pub struct Training {
    /// The step of the checkpoint
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub(super) training_step: Option<i64>,
    /// The loss at that step
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = finite)]
    pub(super) training_loss: Option<f64>,
    /// Metrics as the text of a JSON object
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "metrics_path")]
    metrics_json: Option<Object>,
    /// A file that holds metrics as a JSON object
    #[arg(long, value_name = "FILE")]
    pub(super) metrics_path: Option<PathBuf>,
}

impl Training {
    /// The metrics, wherever they stand; a file that can't be read is noted among `faults`.
    pub(super) fn metrics(&self, faults: &mut Faults) -> Option<Object> {
        let read = self.metrics_path.as_deref().map(read_object_file);
        read.and_then(|read| faults.note(read)).or_else(|| self.metrics_json.clone())
    }
}

/// Where what is sent goes besides the registry.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Also write what is sent to this file, once the registry has accepted it or the run is dry
    #[arg(long, value_name = "FILE")]
    write_metadata: Option<PathBuf>,
    /// Show on stdout what would be sent, and send nothing; needs no key
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Output {
    /// # Errors
    /// Where the metadata would take the place of one of `inputs`.
    pub(super) fn check<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
        match &self.write_metadata {
            Some(path) if inputs.into_iter().any(|input| same_file(input, path)) => {
                let path = path.display();
                Err(Failure::usage(format!(
                    "--write-metadata {path} would overwrite a file that this reads; choose another path"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Finds out before long work whether the metadata can be written; what is wrong goes to `faults`.
    pub(super) fn check_writable(&self, faults: &mut Faults) {
        if let Some(path) = &self.write_metadata {
            faults.note(check_writable(path));
        }
    }

    /// Writes the metadata, where they are wanted.
    ///
    /// # Errors
    /// Where that can't be done, saying what has been.
    pub(super) fn write_metadata(&self, body: &Value) -> Result<(), Failure> {
        let Some(path) = &self.write_metadata else { return Ok(()) };
        let sent = if self.dry_run { "" } else { "the version is registered, but " };
        write_atomically(path, print::pretty(body).as_bytes())
            .map_err(|error| Failure::failed(format!("{sent}{error}")))
    }
}

/// Whether both paths lead to one file that is there and can be read.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| Opened::open(path).ok().map(|opened| opened.identity());
    identity(one).is_some_and(|found| identity(other) == Some(found))
}
