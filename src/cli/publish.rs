//! `registry publish`: finds a checkpoint, uploads it and registers it.
//!
//! This module has the flags and the output; `publishing/mod.rs` does the work.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::{
    details::{Details, Output, Training},
    exit::{self, Failure, FileErrors},
    interrupt::Interrupt,
    print,
    publishing::{Candidate, Destination, InterruptibleClient, Publisher, UploadFlags},
    remote::Remote,
};
use crate::{
    artifact::{CHECKPOINT_NAMES, CheckpointName, OpenFile, UriTemplate, list_checkpoints},
    domain::Draft,
};

const EXAMPLES: &str = "\
Examples:
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
The file is read twice: once for its digest, and once to upload it.";

/// Publish a checkpoint: upload it, verify it, register it.
///
/// The registered version goes to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP),
    group = ArgGroup::new("checkpoint").required(true).args(["checkpoint_path", "checkpoint_dir"]),
)]
pub(super) struct Publish {
    /// The model's name
    #[arg(long)]
    name: String,
    /// The version [default: step-N or final-step-N from the file's name, else the name without its extension]
    #[arg(long)]
    version: Option<String>,
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
    pub(super) fn run(self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let candidate = self.candidate()?;
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
            destination: match (self.artifact_uri, self.artifact_uri_template) {
                (Some(uri), _) if !uri.trim().is_empty() => Destination::Fixed(uri),
                (_, Some(template)) => Destination::Template(template),
                _ => Destination::Unnamed,
            },
            name: self.name,
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

    /// Finds the checkpoint, and its version and step.
    fn candidate(&self) -> Result<Candidate, Failure> {
        // Invalid flags are reported before invalid files.
        Draft::named(&self.name, self.version.as_deref().unwrap_or("from the file"))
            .map_err(|refusal| Failure::usage(refusal.to_string()))?;
        let path = match (&self.checkpoint_path, &self.checkpoint_dir) {
            (Some(path), _) => path.clone(),
            (None, folder) => latest(folder.as_deref().unwrap_or(Path::new(".")))?,
        };
        let file = OpenFile::open(&path)?;
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
