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
    publishing::{Candidate, Destination, FilesCandidate, InterruptibleClient, Publisher, UploadFlags},
    remote::Remote,
};
use crate::{
    artifact::{
        CHECKPOINT_NAMES, Checkpoint, CheckpointName, CheckpointNames, CheckpointPattern, Checkpoints,
        OpenFile, UriTemplate, expect_no_writer, list_checkpoints, step_in_name,
    },
    domain::Draft,
};

const RETRY_ADVICE: &str = "run the same command again to continue";

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
  The latest checkpoint folder of a training run, as it is, into the registry's own store:
    registry publish --name tiny-gpt --checkpoint-dir runs/7 --without-optimizer
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
    #[arg(long, conflicts_with = "checkpoint_path")]
    without_optimizer: bool,
    /// Look for the files at the artifact's URI before they are registered, and compare their sizes
    #[arg(long, conflicts_with_all = ["upload", "name"])]
    check: bool,
    /// The checkpoint
    #[arg(long, value_name = "FILE", help_heading = "Artifact")]
    checkpoint_path: Option<PathBuf>,
    /// A folder with checkpoints, of which the latest complete one is used: the highest step, final before plain, then the
    /// newest. They are named checkpoint_step_N or checkpoint_final_step_N, with .pt, .pth, .ckpt, .bin or .safetensors, or
    /// epoch=E-step=N.ckpt, or are folders checkpoint-N, iter_N and step_N, which are registered with all their files
    #[arg(long, value_name = "DIR", help_heading = "Artifact")]
    checkpoint_dir: Option<PathBuf>,
    /// The names of checkpoints in the folder instead: {step} stands for the step, * for anything, like 'model-{step}.pt'
    #[arg(long, value_name = "PATTERN", help_heading = "Artifact", requires = "checkpoint_dir")]
    pattern: Option<CheckpointPattern>,
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
            let candidate = self.files_candidate(&name, &path)?;
            return self.run_files(name, candidate, interrupt);
        }
        let name = self.name.take().unwrap_or_default();
        // Invalid flags are reported before invalid files.
        check_names(&name, self.version.as_deref())?;
        let (path, found) = match (self.checkpoint_path.take(), self.checkpoint_dir.take()) {
            (Some(path), _) => (path, None),
            (None, folder) => {
                let names = CheckpointNames::from(self.pattern.take());
                let folder = folder.unwrap_or_else(|| PathBuf::from("."));
                let (checkpoint, files) = latest(&folder, &names, !self.without_optimizer)?;
                if checkpoint.is_folder {
                    let label = self.version.take().or_else(|| Some(checkpoint.name.to_string()));
                    let step = self.training.training_step.or(Some(checkpoint.name.step));
                    return self.run_files(name, FilesCandidate { files, label, step }, interrupt);
                }
                (checkpoint.path, Some(checkpoint.name))
            }
        };
        let candidate = self.candidate(&path, found)?;
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
            check: None,
            retry_advice: RETRY_ADVICE,
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

    /// Finds the files of a folder, or a file, with their label and step.
    fn files_candidate(&mut self, name: &str, path: &Path) -> Result<FilesCandidate, Failure> {
        let file_name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let step = self.training.training_step.or_else(|| step_in_name(&file_name));
        let checkpoint = CheckpointName::parse(&file_name).filter(|_| self.training.training_step.is_none());
        let by_step =
            || checkpoint.map(|name| name.to_string()).or_else(|| step.map(|step| format!("step-{step}")));
        let label = self.version.take().or_else(by_step);
        check_names(name, label.as_deref())?;
        let files = ModelFiles::find(path, !self.without_optimizer)?;
        files.check_complete()?;
        Ok(FilesCandidate { files, label, step })
    }

    /// Publishes a folder with all its files, or a file.
    fn run_files(self, name: String, candidate: FilesCandidate, interrupt: Interrupt) -> Result<(), Failure> {
        candidate.files.print_ignored();
        let inputs = [self.details.config_path.as_deref(), self.training.metrics_path.as_deref()];
        self.output.check(inputs.into_iter().flatten())?;
        let mut file_errors = FileErrors::default();
        let metrics = self.training.metrics(&mut file_errors);
        self.output.check_writable(&mut file_errors);
        file_errors.check()?;
        let connection = self.remote.connection()?;
        let profile = &connection.config.profile;
        let upload = self.upload.upload(profile, &interrupt);
        let check = self.check.then(|| self.upload.objects(profile));
        let registry = match self.output.dry_run {
            true => None,
            false => Some(InterruptibleClient::new(connection.client()?, interrupt.clone())),
        };
        let publisher = Publisher {
            upload,
            check,
            registry,
            destination: destination(self.artifact_uri, self.artifact_uri_template),
            training_loss: self.training.training_loss,
            details: self.details,
            name,
            metrics,
            retry_advice: RETRY_ADVICE,
            interrupt,
            printed: print::OncePrinter::default(),
        };
        let publication = publisher.publish_files(&candidate).map_err(|error| error.failure)?;
        let printed = print::result(&publication.model);
        self.output.write_metadata(&publication.body)?;
        printed
    }

    /// Opens the checkpoint, and finds its version and step; `found` is its name in a folder of checkpoints.
    fn candidate(&self, path: &Path, found: Option<CheckpointName>) -> Result<Candidate, Failure> {
        let file = OpenFile::open(path)?;
        expect_model(&file)?;
        if file.size_bytes() == 0 {
            let path = path.display();
            return Err(Failure::failed(format!("{path} is empty; publish it once it has been written")));
        }
        expect_no_writer([path])?;
        file.check_complete()?;
        let file_name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name = found.or_else(|| CheckpointName::parse(&file_name));
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

fn check_names(name: &str, version: Option<&str>) -> Result<(), Failure> {
    let checked = Draft::named(name, version.unwrap_or("from the file"));
    checked.map(drop).map_err(|refusal| Failure::usage(refusal.to_string()))
}

/// Returns the latest complete checkpoint in the folder, and prints which later ones are not.
fn latest(
    folder: &Path,
    names: &CheckpointNames,
    with_training_state: bool,
) -> Result<(Checkpoint, ModelFiles), Failure> {
    let Checkpoints { found, .. } = list_checkpoints(folder, names)?;
    let mut problems: Vec<Failure> = Vec::new();
    for checkpoint in found.into_iter().rev() {
        let files = ModelFiles::find(&checkpoint.path, with_training_state);
        match files.and_then(|files| files.check_complete().map(|()| files)) {
            Ok(files) => {
                for problem in &problems {
                    print::line(&format!("passed over: {}", problem.text()));
                }
                if !problems.is_empty() {
                    print::line(&format!("the latest complete checkpoint is {}", checkpoint.path.display()));
                }
                return Ok((checkpoint, files));
            }
            Err(problem) => problems.push(problem),
        }
    }
    let none = || {
        Failure::failed(format!(
            "{} holds no checkpoint; checkpoints are named {CHECKPOINT_NAMES}, and are not empty; --pattern and \
             --checkpoint-path take other names",
            folder.display()
        ))
    };
    Err(problems.into_iter().reduce(Failure::and).unwrap_or_else(none))
}
