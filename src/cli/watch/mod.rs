//! `registry watch`: publishes checkpoints as they appear in a folder.
//!
//! This module has the flags; `watcher.rs` polls, waits and decides, and `publishing/mod.rs` does the work.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    details::Details,
    exit::{self, Failure},
    interrupt::Interrupt,
    print,
    publishing::{Destination, InterruptibleClient, Publisher, UploadFlags},
    remote::Remote,
};
use crate::{
    artifact::{
        ArtifactError, CheckpointName, CheckpointNames, CheckpointPattern, Field, UriTemplate, Values,
        list_checkpoints,
    },
    domain::Draft,
};

mod retry;
mod state;
mod watcher;

use state::STATE_FILE;
use watcher::{WatchOptions, Watcher};

/// The longest interval that a flag accepts, in seconds.
const MAX_SECONDS: f64 = 86_400.0;

const EXAMPLES: &str = "\
Examples:
  Each new latest checkpoint of a trainer into the registry's own store:
    registry watch --name tiny-gpt --checkpoint-dir runs/7 --without-optimizer
  Beside a training run, each new latest checkpoint to S3 and into the registry:
    registry watch --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{version}/{basename}'
  Every checkpoint, for a script that reads one JSON line for each:
    registry watch --all --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{basename}' | jq -r .id
  The checkpoints that exist now, from cron:
    registry watch --once --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{basename}'

What it does:
  Checkpoints are files named checkpoint_step_N or checkpoint_final_step_N, with .pt, .pth, .ckpt,
  .bin or .safetensors, files or folders named epoch=E-step=N.ckpt (Lightning), and folders named
  checkpoint-N (Hugging Face), iter_N (Megatron) and step_N (DCP, Orbax); --pattern takes others.
  A folder becomes a version with all its files. What is passed over is named once.
  A checkpoint is complete once it has not changed for --stable-seconds, no process has one of its
  files open for writing (Linux), and no file is shorter than its header says (safetensors, GGUF,
  PyTorch) or lacks the shards of its index. Until then it is retried; with --once it is an error.
  If the registry or store is unavailable, the watch retries, at most a minute apart.
  A file that is refused, such as a version that is registered with other bytes, is reported once
  and retried when it changes, or by the next run. A wrong key, secret, bucket or address ends the watch.
  Without --all, a checkpoint older than the last published one is skipped.

Ending:
  Ctrl-C and SIGTERM end it with exit code 0 (130 with --once); an upload in progress is undone.
  When started again, it continues from there.";

/// Publish checkpoints as they appear in a folder.
///
/// Each published model goes to stdout as one line of JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Watch {
    /// The model's name; versions are named step-N or final-step-N after their files
    #[arg(long)]
    name: String,
    /// The folder to watch; it may be created later
    #[arg(long, value_name = "DIR", help_heading = "Artifact")]
    checkpoint_dir: PathBuf,
    /// URI of the artifacts [default: the registry's own store], with the fields {name}, {version}, {step}, {basename} and {sha256}; write a brace as {{
    /// or }}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Artifact")]
    artifact_uri_template: Option<UriTemplate>,

    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    upload: UploadFlags,

    /// The names of checkpoints, instead of those that trainers write: {step} stands for the step, * for anything, like
    /// 'model-{step}.pt'
    #[arg(long, value_name = "PATTERN", help_heading = "Watching")]
    pattern: Option<CheckpointPattern>,
    /// Keep out files that only resume a training, such as the state of the optimizer, of a checkpoint's folder
    #[arg(long, help_heading = "Watching")]
    without_optimizer: bool,
    /// Publish every checkpoint, in the order of steps, not only the latest
    #[arg(long, help_heading = "Watching")]
    all: bool,
    /// Publish the checkpoints that exist, once they are complete, then exit
    #[arg(long, help_heading = "Watching")]
    once: bool,
    /// How often to poll the folder, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, help_heading = "Watching")]
    poll_seconds: Duration,
    /// How long a checkpoint must be unchanged to count as complete, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, help_heading = "Watching")]
    stable_seconds: Duration,
    /// The file that records what was published [default: .publish_state.json in the folder]
    #[arg(long, value_name = "FILE", help_heading = "Watching")]
    state_file: Option<PathBuf>,
    /// Show on stdout what would be sent, and upload, send and record nothing; needs no key
    #[arg(long, help_heading = "Output")]
    dry_run: bool,

    #[command(flatten)]
    remote: Remote,
}

impl Watch {
    /// Watches until a signal, or with `--once` until all existing checkpoints are published.
    pub(super) fn run(self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        // Any version shows what kind of URIs the template makes.
        let sample = CheckpointName { step: 1, is_final: false };
        let version = sample.to_string();
        Draft::named(&self.name, &version).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        match &self.artifact_uri_template {
            None if self.upload.is_set() => {
                return Err(Failure::usage(
                    "--upload needs a destination; give --artifact-uri-template, or leave out --upload to publish into \
                     the registry's own store",
                ));
            }
            Some(template) if self.upload.is_set() && !is_unique_per_checkpoint(template) => {
                return Err(Failure::usage(format!(
                    "{template} is the same URI for all checkpoints, so each would replace the one before; add \
                     {{version}}, {{step}}, {{basename}} or {{sha256}}"
                )));
            }
            _ => {}
        }
        let names = CheckpointNames::from(self.pattern);
        match list_checkpoints(&self.checkpoint_dir, &names) {
            Ok(_) => {}
            Err(ArtifactError::Missing { .. }) if !self.once => {}
            Err(error) => return Err(error.into()),
        }
        let connection = self.remote.connection()?;
        let registry_url = connection.url.value.clone();
        let upload = self.upload.upload(&connection.config.profile, &interrupt);
        let registry = match self.dry_run {
            true => None,
            false => Some(InterruptibleClient::new(connection.client()?, interrupt.clone())),
        };
        let publisher = Publisher {
            upload,
            registry,
            check: None,
            destination: self.artifact_uri_template.map_or(Destination::Unnamed, Destination::Template),
            name: self.name,
            details: self.details,
            training_loss: None,
            metrics: None,
            retry_advice: if self.once { "run the same command again to continue" } else { "retrying" },
            interrupt,
            printed: print::OncePrinter::default(),
        };
        let values = Values {
            name: &publisher.name,
            version: &version,
            step: Some(sample.step),
            basename: Some("checkpoint_step_1.pt"),
            sha256: None,
        };
        publisher.check(&values).map_err(|error| error.failure)?;
        let options = WatchOptions {
            all: self.all,
            once: self.once,
            poll_interval: self.poll_seconds,
            quiet_period: self.stable_seconds,
            state_file: self.state_file.unwrap_or_else(|| self.checkpoint_dir.join(STATE_FILE)),
            registry_url,
            names,
            with_training_state: !self.without_optimizer,
            files_have_manifests: matches!(publisher.destination, Destination::Unnamed),
        };
        Watcher::new(publisher, self.checkpoint_dir, options).run()
    }
}

/// Returns true if each checkpoint gets its own URI.
fn is_unique_per_checkpoint(template: &UriTemplate) -> bool {
    [Field::Version, Field::Step, Field::Basename, Field::Sha256].into_iter().any(|field| template.has(field))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if (0.0..=MAX_SECONDS).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err(format!("expected a number of seconds up to {MAX_SECONDS}, like 2 or 0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_no_sign() {
        for (text, millis) in [("5", 5000), ("0.1", 100), (" 2.5 ", 2500), ("0", 0)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["-1", "", "NaN", "inf", "1e9", "soon", "5s"] {
            assert!(seconds(text).unwrap_err().contains("like 2 or 0.5"), "{text}");
        }
    }
}
