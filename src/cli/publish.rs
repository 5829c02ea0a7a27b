//! `registry publish`: uploads a model's folder, or a checkpoint, and registers it.
//!
//! This module has the flags and the output; `publishing/mod.rs` does the work.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::{
    details::{Details, Output, Training},
    exit::{self, Failure, FileErrors},
    interrupt::Interrupt,
    model_files::{ModelFiles, expect_model},
    print,
    publishing::{Candidate, Destination, FilesPublisher, InterruptibleClient, Publisher, UploadFlags},
    remote::Remote,
};
use crate::{
    artifact::{CHECKPOINT_NAMES, CheckpointName, OpenFile, UriTemplate, list_checkpoints, step_in_name},
    domain::Draft,
};

const EXAMPLES: &str = "\
Examples:
  A model's folder with all its files, into the registry's own store:
    registry publish tiny-gpt ./tiny-gpt --version v1
  The same into a bucket:
    registry publish tiny-gpt ./tiny-gpt --version v1 \\
      --upload --artifact-uri s3://models/tiny-gpt/v1
  The latest checkpoint of a training run, to S3 and into the registry:
    registry publish --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{version}/{basename}'
  A file with any name, to your own S3 server (MinIO, Ceph, ...):
    registry publish --name tiny-gpt --version v1 --checkpoint-path model.safetensors \\
      --upload --artifact-uri s3://models/tiny-gpt/v1/model.safetensors \\
      --s3-endpoint-url http://localhost:9000
  Show what would be done, without a registry or a store:
    registry publish --name tiny-gpt --checkpoint-dir runs/7 --dry-run

Running it again finishes an interrupted publish and does nothing if all is done: an object is
uploaded only if it is missing, and a version registered only if it is not registered yet.
Each file is read twice: once for its digest, and once to upload it.

Caches and temporary files in a folder are kept out, and so is what its .registryignore names (as in
a .gitignore). Without a store of the registry and without --upload, the files stay where they are.";

/// Publish a model's folder or a checkpoint: upload it, verify it, register it.
///
/// NAME PATH registers all files of a folder, or one file. --name with --checkpoint-path or --checkpoint-dir registers a checkpoint, as
/// 0.2.0 did. The registered version goes to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP),
    group = ArgGroup::new("checkpoint").required(true).args(["path", "checkpoint_path", "checkpoint_dir"]),
)]
pub(super) struct Publish {
    /// The model's name
    #[arg(value_name = "NAME", required_unless_present = "name", requires = "path")]
    model: Option<String>,
    /// The folder of its files, or its file
    #[arg(value_name = "PATH", requires = "model", conflicts_with = "name")]
    path: Option<PathBuf>,
    /// The model's name, for a checkpoint
    #[arg(long, conflicts_with = "model")]
    name: Option<String>,
    /// The version [default: step-N by --training-step or the name of PATH, else its number; for a checkpoint step-N or
    /// final-step-N from the file's name, else the name without its extension]
    #[arg(long)]
    version: Option<String>,
    /// Keep out files that only resume a training, such as the state of the optimizer
    #[arg(long, conflicts_with = "name")]
    without_optimizer: bool,
    /// Look for the files at the artifact's URI before they are registered, and compare their sizes
    #[arg(long, conflicts_with_all = ["upload", "name"])]
    check: bool,
    /// The checkpoint
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    checkpoint_path: Option<PathBuf>,
    /// A folder with checkpoints, of which the latest is used: the highest step, final before plain, then the newest.
    /// They are named checkpoint_step_N or checkpoint_final_step_N, with .pt, .pth, .ckpt, .bin or .safetensors
    #[arg(long, value_name = "DIR", help_heading = "Artifact")]
    checkpoint_dir: Option<PathBuf>,
    /// URI of the artifact, and of its upload; without it `sha256:` and the checkpoint's digest
    #[arg(long, value_name = "URI", help_heading = "Artifact", conflicts_with = "artifact_uri_template")]
    artifact_uri: Option<String>,
    /// The same with the fields {name}, {version}, {step}, {basename} and {sha256}; write a brace as {{ or }}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Artifact")]
    artifact_uri_template: Option<UriTemplate>,

    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    upload: UploadFlags,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

impl Publish {
    /// Uploads, registers and reports.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        if let (Some(name), Some(path)) = (self.model.take(), self.path.take()) {
            return self.run_files(name, &path, interrupt);
        }
        let name = self.name.take().unwrap_or_default();
        let candidate = self.candidate(&name)?;
        self.output.check(
            [
                Some(candidate.file.path()),
                self.details.config_path.as_deref(),
                self.training.metrics_path.as_deref(),
            ]
            .into_iter()
            .flatten(),
        )?;
        let mut file_errors = FileErrors::default();
        let metrics = self.training.metrics(&mut file_errors);
        if let Some(path) = &self.details.config_path {
            file_errors.record(OpenFile::open(path));
        }
        self.output.check_writable(&mut file_errors);
        file_errors.check()?;

        let connection = self.remote.connection()?;
        let upload = self.upload.upload(&connection.config.profile, &interrupt);
        let registry = match self.output.dry_run {
            true => None,
            false => Some(InterruptibleClient::new(connection.client()?, interrupt.clone())),
        };
        let publisher = Publisher {
            upload,
            registry,
            destination: destination(self.artifact_uri, self.artifact_uri_template),
            name,
            details: self.details,
            training_loss: self.training.training_loss,
            metrics,
            retry_advice: "run the same command again to continue",
            interrupt,
            printed: print::OncePrinter::default(),
        };
        let publication = publisher
            .check(&candidate.values(&publisher.name))
            .and_then(|()| publisher.publish(&candidate))
            .map_err(|error| error.failure)?;
        let printed = print::result(&publication.model);
        self.output.write_metadata(&publication.body)?;
        printed
    }

    /// Publishes a folder with all its files, or a file.
    fn run_files(self, name: String, path: &Path, interrupt: Interrupt) -> Result<(), Failure> {
        let file_name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let step = self.training.training_step.or_else(|| step_in_name(&file_name));
        let checkpoint = CheckpointName::parse(&file_name).filter(|_| self.training.training_step.is_none());
        let by_step =
            || checkpoint.map(|name| name.to_string()).or_else(|| step.map(|step| format!("step-{step}")));
        let label = self.version.or_else(by_step);
        Draft::named(&name, label.as_deref().unwrap_or("from the number"))
            .map_err(|refusal| Failure::usage(refusal.to_string()))?;
        let inputs = [self.details.config_path.as_deref(), self.training.metrics_path.as_deref()];
        self.output.check(inputs.into_iter().flatten())?;
        let files = ModelFiles::find(path, !self.without_optimizer)?;
        let mut file_errors = FileErrors::default();
        let metrics = self.training.metrics(&mut file_errors);
        self.output.check_writable(&mut file_errors);
        file_errors.check()?;
        files.check_complete()?;
        let connection = self.remote.connection()?;
        let profile = &connection.config.profile;
        let publisher = FilesPublisher {
            upload: self.upload.upload(profile, &interrupt),
            check: self.check.then(|| self.upload.objects(profile)),
            destination: destination(self.artifact_uri, self.artifact_uri_template),
            training_loss: self.training.training_loss,
            details: self.details,
            name,
            label,
            step,
            metrics,
            interrupt,
        };
        if self.output.dry_run {
            let body = publisher.dry_run(&files)?;
            self.output.write_metadata(&body)?;
            return print::result(&body);
        }
        let (version, body) = publisher.publish(&connection.client()?, &files)?;
        let printed = print::result(&version);
        self.output.write_metadata(&body)?;
        printed
    }

    /// Finds the checkpoint, and its version and step.
    fn candidate(&self, name: &str) -> Result<Candidate, Failure> {
        // Invalid flags are reported before invalid files.
        Draft::named(name, self.version.as_deref().unwrap_or("from the file"))
            .map_err(|refusal| Failure::usage(refusal.to_string()))?;
        let path = match (&self.checkpoint_path, &self.checkpoint_dir) {
            (Some(path), _) => path.clone(),
            (None, folder) => latest(folder.as_deref().unwrap_or(Path::new(".")))?,
        };
        let file = OpenFile::open(&path)?;
        expect_model(&file)?;
        if file.size_bytes() == 0 {
            let path = path.display();
            return Err(Failure::failed(format!("{path} is empty; publish it once it has been written")));
        }
        let file_name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name = CheckpointName::parse(&file_name);
        let stem = || path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let version = self.version.clone().or_else(|| name.map(|name| name.to_string())).or_else(stem);
        let Some(version) = version.filter(|version| !version.trim().is_empty()) else {
            return Err(Failure::usage(format!(
                "{} gives no version; set one with --version",
                path.display()
            )));
        };
        let step = self.training.training_step.or(name.map(|name| name.step));
        Ok(Candidate { file, version, step })
    }
}

fn destination(uri: Option<String>, template: Option<UriTemplate>) -> Destination {
    match (uri, template) {
        (Some(uri), _) if !uri.trim().is_empty() => Destination::Fixed(uri),
        (_, Some(template)) => Destination::Template(template),
        _ => Destination::Unnamed,
    }
}

/// Returns the latest checkpoint in the folder.
fn latest(folder: &Path) -> Result<PathBuf, Failure> {
    let found = list_checkpoints(folder)?;
    found.into_iter().next_back().map(|latest| latest.path).ok_or_else(|| {
        Failure::failed(format!(
            "{} holds no checkpoint; checkpoints are named {CHECKPOINT_NAMES}, and are not empty; --checkpoint-path \
             takes any other name",
            folder.display()
        ))
    })
}
