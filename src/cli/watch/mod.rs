//! `registry watch`: publishes checkpoints as they appear in a folder.
//!
//! Here are the flags; `watcher.rs` looks, waits and decides, `publishing/mod.rs` does the work.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    details::Details,
    exit::{self, Failure},
    interrupt::Interrupt,
    print,
    publishing::{Contact, Destination, Naming, Publisher, UploadFlags},
    remote::Remote,
};
use crate::{
    artifact::{ArtifactError, CheckpointName, Field, UriTemplate, list_checkpoints},
    domain::Draft,
};

mod ledger;
mod notices;
mod retry;
mod watcher;

use ledger::STATE_FILE;
use watcher::{Manner, Watcher};

/// A longer one is a slip of the pen.
const MAX_SECONDS: f64 = 86_400.0;

const EXAMPLES: &str = "\
Examples:
  Beside a training run, each new latest checkpoint to S3 and into the registry:
    registry watch --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{version}/{basename}'
  Every checkpoint, for a script that reads one JSON line for each:
    registry watch --all --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{basename}' | jq -r .id
  What is there now, from cron:
    registry watch --once --name tiny-gpt --checkpoint-dir runs/7 --upload \\
      --artifact-uri-template 's3://models/{name}/{basename}'

What it does:
  Files called checkpoint_step_N or checkpoint_final_step_N, with .pt, .pth, .ckpt, .bin or
  .safetensors, are published once they have been the same for --stable-seconds. Empty, hidden
  and differently named files are passed over, so write elsewhere and rename where you can.
  A registry or store that is away is tried again, at most a minute apart, until it is back.
  A file that is refused, such as a version that is registered with other bytes, is told of once
  and tried again when it changes, or by the next run. A wrong key, secret, bucket or address ends the watch.
  Without --all a checkpoint older than the last published one is passed over.

Ending:
  Ctrl-C and SIGTERM end it with exit code 0 (130 with --once); an upload under way is undone.
  Started again, it goes on where it was.";

/// Publish checkpoints as they appear in a folder.
///
/// Each published model goes to stdout as one line of JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Watch {
    /// The model's name; versions are called step-N or final-step-N by their files
    #[arg(long)]
    name: String,
    /// The folder to watch; it may come into being later
    #[arg(long, value_name = "DIR", help_heading = "Artifact")]
    checkpoint_dir: PathBuf,
    /// Where the artifacts are kept, or go, with {name}, {version}, {step}, {basename} and {sha256} in it; a
    /// brace itself is {{ or }}
    #[arg(long, value_name = "TEMPLATE", help_heading = "Artifact")]
    artifact_uri_template: UriTemplate,

    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    upload: UploadFlags,

    /// Publish every checkpoint, in the order of steps, and not only the latest
    #[arg(long, help_heading = "Watching")]
    all: bool,
    /// Publish what is there, once it is complete, and end
    #[arg(long, help_heading = "Watching")]
    once: bool,
    /// How often to look where the system sends no news of the folder, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Watching")]
    poll_seconds: Duration,
    /// How long a file must have been the same to count as complete, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, help_heading = "Watching")]
    stable_seconds: Duration,
    /// Where to keep what was done [default: .publish_state.json in the folder]
    #[arg(long, value_name = "FILE", help_heading = "Watching")]
    state_file: Option<PathBuf>,
    /// Show on stdout what would be sent, and upload, send and note nothing; needs no key
    #[arg(long, help_heading = "Output")]
    dry_run: bool,

    #[command(flatten)]
    remote: Remote,
}

impl Watch {
    /// Watches until it is told to end, or with `--once` until all that is there is published.
    ///
    /// # Errors
    /// Why it could not begin or go on; with `--once` also what was not published.
    pub fn run(self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        // Any version will do to see what kind of URIs the template makes.
        let sample = CheckpointName { step: 1, is_final: false };
        let version = sample.to_string();
        Draft::named(&self.name, &version).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        if self.upload.is_wanted() && !is_of_its_own(&self.artifact_uri_template) {
            return Err(Failure::usage(format!(
                "{} is one place for all checkpoints, and each would replace the one before; put {{version}}, \
                 {{step}}, {{basename}} or {{sha256}} into it",
                self.artifact_uri_template
            )));
        }
        match list_checkpoints(&self.checkpoint_dir) {
            Ok(_) => {}
            Err(ArtifactError::Missing { .. }) if !self.once => {}
            Err(error) => return Err(error.into()),
        }
        let connection = self.remote.connection()?;
        let registry_url = connection.url.value.clone();
        let upload = self.upload.upload(&connection.config.profile);
        let registry =
            if self.dry_run { None } else { Some(Contact::new(connection.client()?, interrupt.clone())) };
        let publisher = Publisher {
            upload,
            destination: Destination::Made(self.artifact_uri_template),
            name: self.name,
            details: self.details,
            training_loss: None,
            metrics: None,
            goes_on: if self.once {
                "the same command again goes on from there"
            } else {
                "that is tried again"
            },
            interrupt,
            printed: print::OncePrinter::default(),
        };
        let naming =
            Naming { version: &version, step: Some(sample.step), basename: Some("checkpoint_step_1.pt") };
        publisher.check(&naming).map_err(|error| error.failure)?;
        if registry.is_some() {
            publisher.check_store(&naming).map_err(|error| error.failure)?;
        }
        let manner = Manner {
            all: self.all,
            once: self.once,
            poll: self.poll_seconds,
            stable: self.stable_seconds,
            state_file: self.state_file.unwrap_or_else(|| self.checkpoint_dir.join(STATE_FILE)),
            registry_url,
        };
        Watcher::new(publisher, registry, self.checkpoint_dir, manner).run()
    }
}

/// Whether each checkpoint gets a place of its own.
fn is_of_its_own(template: &UriTemplate) -> bool {
    [Field::Version, Field::Step, Field::Basename, Field::Sha256].into_iter().any(|field| template.has(field))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if (0.0..=MAX_SECONDS).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err(format!("a number of seconds up to {MAX_SECONDS} is wanted, like 2 or 0.5")),
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
