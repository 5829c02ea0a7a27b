//! The flags that describe a version, shared by the commands that register one.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{
    exit::{Failure, FileErrors},
    print,
    values::{finite, object, status_parser, tag},
};
use crate::{
    artifact::{OpenFile, check_writable, read_object_file, write_atomically},
    domain::{Status, json::Object},
};

/// Flags that apply to every checkpoint of a training.
#[derive(Debug, Args)]
pub(super) struct Details {
    /// Status
    #[arg(long, default_value = "experimental", value_parser = status_parser())]
    pub(super) status: Status,
    /// Description
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// A tag; repeatable
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub(super) tags: Vec<String>,
    /// Configuration, a JSON object; it is digested, and read for d_model, n_layers, n_heads and vocab_size, or what
    /// transformers calls them
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    pub(super) config_path: Option<PathBuf>,
    /// Training dataset
    #[arg(long, help_heading = "Training")]
    pub(super) dataset: Option<String>,
    #[command(flatten)]
    pub(super) provenance: Provenance,
}

/// Provenance flags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Provenance")]
pub(super) struct Provenance {
    /// Training run
    #[arg(long, value_name = "ID")]
    pub(super) run_id: Option<String>,
    /// Commit of the training code
    #[arg(long, value_name = "COMMIT")]
    pub(super) git_commit: Option<String>,
    /// Creator [default: the variable USER]
    #[arg(long, value_name = "WHO")]
    pub(super) created_by: Option<String>,
    /// Host that registers it [default: this host's name]
    #[arg(long, value_name = "HOST")]
    pub(super) source_host: Option<String>,
}

/// Flags that apply to one checkpoint of a training.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Training")]
pub(super) struct Training {
    /// Training step of the checkpoint
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub(super) training_step: Option<i64>,
    /// Loss at that step
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = finite)]
    pub(super) training_loss: Option<f64>,
    /// Metrics, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "metrics_path")]
    metrics_json: Option<Object>,
    /// File with metrics as a JSON object
    #[arg(long, value_name = "FILE")]
    pub(super) metrics_path: Option<PathBuf>,
}

impl Training {
    /// Returns the metrics of the flag or the file; an unreadable file is recorded in `file_errors`.
    pub(super) fn metrics(&self, file_errors: &mut FileErrors) -> Option<Object> {
        let read = self.metrics_path.as_deref().map(read_object_file);
        read.and_then(|read| file_errors.record(read)).or_else(|| self.metrics_json.clone())
    }
}

/// Output besides the registry.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// Also write the request body to this file, after registration or in a dry run
    #[arg(long, value_name = "FILE")]
    write_metadata: Option<PathBuf>,
    /// Print the request body to stdout and send nothing; needs no key
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Output {
    /// # Errors
    /// If the metadata file would overwrite one of `inputs`.
    pub(super) fn check<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
        match &self.write_metadata {
            Some(path) if inputs.into_iter().any(|input| same_file(input, path)) => {
                let path = path.display();
                Err(Failure::usage(format!(
                    "--write-metadata {path} would overwrite an input file; choose another path"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Checks, before long work, that the metadata file can be written; an error is recorded in `file_errors`.
    pub(super) fn check_writable(&self, file_errors: &mut FileErrors) {
        if let Some(path) = &self.write_metadata {
            file_errors.record(check_writable(path));
        }
    }

    /// Writes the metadata file, if the flag is set.
    ///
    /// # Errors
    /// If it can't be written; the message says if the version is registered.
    pub(super) fn write_metadata(&self, body: &Value) -> Result<(), Failure> {
        let Some(path) = &self.write_metadata else { return Ok(()) };
        let sent = if self.dry_run { "" } else { "the version is registered, but " };
        write_atomically(path, print::pretty(body).as_bytes())
            .map_err(|error| Failure::failed(format!("{sent}{error}")))
    }
}

/// Returns true if both paths lead to one readable file.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| OpenFile::open(path).ok().map(|opened| opened.identity());
    identity(one).is_some_and(|found| identity(other) == Some(found))
}
