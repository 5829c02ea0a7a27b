//! `registry ingest`: digests local files of a version and registers it.
//!
//! The files stay in place; only their digests and metadata are sent.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{
    details::{Details, Output, Training},
    exit::{self, Failure, FileErrors},
    model_files::{ModelFiles, expect_model},
    print, progress,
    registration::{self, Subject},
    remote::Remote,
    version_arg::VersionArg,
};
use crate::{
    artifact::{OpenFile, read_config},
    domain::{Draft, Measurement},
};

const EXAMPLES: &str = "\
Examples:
  A checkpoint and its configuration, with a score:
    registry ingest --name tiny-gpt --version v1 \\
      --checkpoint-path model.pt --config-path config.json \\
      --artifact-uri s3://models/tiny-gpt/v1/model.pt \\
      --metrics-json '{\"val_loss\": 2.31}'
  Show what would be registered, without a registry:
    registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt --dry-run
  An artifact elsewhere, which can't be digested here:
    registry ingest --name tiny-gpt --version v1 --artifact-uri s3://models/tiny.pt
  The id of the new model, for a script:
    registry ingest --name tiny-gpt --version v1 --checkpoint-path model.pt | jq .id";

/// Register a version: digest its local files and send their metadata.
///
/// The registered model goes to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Ingest {
    /// The model's name
    #[arg(long)]
    name: String,
    /// The version; a name has each version once
    #[arg(long)]
    version: String,
    /// URI of the artifact; without it `sha256:` and the checkpoint's digest
    #[arg(long, value_name = "URI", help_heading = "Artifact")]
    artifact_uri: Option<String>,
    /// The checkpoint to digest, or a folder with all files of the model
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    checkpoint_path: Option<PathBuf>,
    #[command(flatten)]
    details: Details,
    /// Also send the files' absolute paths, for a registry that may read them itself
    #[arg(long, help_heading = "Artifact")]
    include_local_paths: bool,

    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

impl Ingest {
    /// Digests, registers and reports.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.check()?;
        if let Some(folder) = self.checkpoint_path.as_deref().filter(|path| path.is_dir()) {
            return self.run_folder(folder);
        }
        // Checks that need no files come first, since digesting may take minutes.
        let client = if self.output.dry_run { None } else { Some(self.remote.client()?) };
        let (body, checkpoint) = self.body()?;
        let Some(client) = client else {
            self.output.write_metadata(&body)?;
            print::result(&body)?;
            print::line("dry run: nothing was sent");
            return Ok(());
        };
        let model = client.register(&body)?;
        let printed = print::result(&model);
        let version = VersionArg::named(&self.name, &self.version);
        let uri = self.artifact_uri.as_deref();
        print::line(&registration::summary(&version, &model, checkpoint.as_ref(), uri));
        self.output.write_metadata(&body)?;
        printed
    }

    /// Registers a folder with all its files, by `/v1`.
    fn run_folder(&self, folder: &Path) -> Result<(), Failure> {
        let client = if self.output.dry_run { None } else { Some(self.remote.client()?) };
        let files = ModelFiles::find(folder, true)?;
        files.print_ignored();
        let mut file_errors = FileErrors::default();
        let metrics = self.training.metrics(&mut file_errors);
        self.output.check_writable(&mut file_errors);
        let config =
            self.details.config_path.as_ref().and_then(|path| file_errors.record(OpenFile::open(path)));
        let config = config.and_then(|opened| file_errors.record(read_config(&opened, |_| true)));
        file_errors.check()?;
        files.check_complete()?;
        let manifest = files.digest(|| true)?;
        let mut body = Value::from(Subject {
            name: &self.name,
            version: &self.version,
            artifact_uri: self.artifact_uri.as_deref(),
            checkpoint: None,
            config: config.as_ref(),
            local_paths: [None, None],
            details: &self.details,
            training_step: self.training.training_step,
            training_loss: self.training.training_loss,
            metrics: metrics.as_ref(),
        });
        registration::make_v1(&mut body, Some(&self.version));
        body["files"] = registration::files(&manifest);
        let Some(client) = client else {
            self.output.write_metadata(&body)?;
            print::result(&body)?;
            print::line("dry run: nothing was sent");
            return Ok(());
        };
        let version = client.v1("or ingest one file").register(&self.name, &body)?;
        let printed = print::result(&version);
        let count = print::counted(manifest.files().len() as u64, "file");
        let named = VersionArg::named(&self.name, &self.version);
        print::line(&format!(
            "registered {named} with id {} ({count}, {})",
            version["id"],
            print::size(files.total_bytes())
        ));
        self.output.write_metadata(&body)?;
        printed
    }

    fn check(&self) -> Result<(), Failure> {
        Draft::named(&self.name, &self.version).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        let has_uri = self.artifact_uri.as_deref().is_some_and(|uri| !uri.trim().is_empty());
        if !has_uri && self.checkpoint_path.is_none() {
            return Err(Failure::usage(
                "no artifact is named; give --artifact-uri, --checkpoint-path or both",
            ));
        }
        let inputs = [&self.checkpoint_path, &self.details.config_path, &self.training.metrics_path];
        self.output.check(inputs.into_iter().flatten().map(PathBuf::as_path))
    }

    /// Digests the files and builds the request.
    fn body(&self) -> Result<(Value, Option<Measurement>), Failure> {
        let mut file_errors = FileErrors::default();
        let metrics = self.training.metrics(&mut file_errors);
        let mut open = |path: &Option<PathBuf>| file_errors.record(OpenFile::open(path.as_ref()?));
        let (checkpoint, config) = (open(&self.checkpoint_path), open(&self.details.config_path));
        self.output.check_writable(&mut file_errors);
        let config = config.and_then(|opened| file_errors.record(read_config(&opened, |_| true)));
        // A checkpoint takes minutes, so all other errors are reported first.
        file_errors.check()?;
        checkpoint.as_ref().map_or(Ok(()), expect_model)?;
        let checkpoint = checkpoint.map(|opened| progress::digest(&opened, || true)).transpose()?;

        let local_path = |path: &Option<PathBuf>| {
            let path = path.as_deref().filter(|_| self.include_local_paths);
            path.map(absolute).transpose()
        };
        let body = Value::from(Subject {
            name: &self.name,
            version: &self.version,
            artifact_uri: self.artifact_uri.as_deref(),
            checkpoint: checkpoint.as_ref(),
            config: config.as_ref(),
            local_paths: [local_path(&self.checkpoint_path)?, local_path(&self.details.config_path)?],
            details: &self.details,
            training_step: self.training.training_step,
            training_loss: self.training.training_loss,
            metrics: metrics.as_ref(),
        });
        Ok((body, checkpoint))
    }
}

/// Returns the absolute path as text. Links are not resolved, since a link may be the stable name of a file.
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
