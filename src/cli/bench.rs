//! `registry bench`: the smoke suites. They ask of a version what every real evaluation takes for granted:
//! that its artifact is there, and that its configuration can be read.

use std::path::{Path, PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};
use url::Url;

use super::{
    exit::{self, Failure},
    model_ref::ModelRef,
    print,
    remote::Remote,
};
use crate::{
    artifact::{ArtifactError, Opened, read_config},
    client::Condition,
    domain::{Digest, ModelId},
};

const EXAMPLES: &str = "\
Examples:
  The files of a version, on this machine:
    registry bench --name tiny-gpt --version v1 --suite smoke-v1 \\
      --checkpoint-path model.pt --config-path config.json
  What would be recorded:
    registry bench --model-id 7 --suite smoke-v1 --config-path config.json --dry-run
  The scores alone, for a script:
    registry bench --model-id 7 --suite smoke-v1 --config-path config.json | jq .metrics.score";

/// Run a smoke suite on a version and record its scores.
///
/// The suite finds out whether the artifact is accessible and how large it is, and whether the configuration
/// is a JSON object. The score is 1.0 where the configuration can be read, else 0.0. Without a path the suite
/// looks where the registry says that the files are. The scores go to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Bench {
    /// The version, by its id
    #[arg(long, value_name = "ID", required_unless_present = "name", conflicts_with_all = ["name", "version"])]
    model_id: Option<ModelId>,
    /// The version, by its name and version
    #[arg(long, requires = "version")]
    name: Option<String>,
    /// See --name
    #[arg(long, requires = "name")]
    version: Option<String>,
    /// The suite
    #[arg(long, value_parser = PossibleValuesParser::new(["smoke-v1", "core-v1"]))]
    suite: String,
    /// What it was evaluated on, to be kept with the scores
    #[arg(long)]
    dataset: Option<String>,
    /// The commit of the evaluation, to be kept with the scores
    #[arg(long, value_name = "COMMIT")]
    eval_commit: Option<String>,
    /// Words to be kept with the scores
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// The checkpoint, where the registry does not know its place on this machine
    #[arg(long, value_name = "FILE")]
    checkpoint_path: Option<PathBuf>,
    /// The configuration, likewise
    #[arg(long, value_name = "FILE")]
    config_path: Option<PathBuf>,
    /// Show on stdout what would be recorded, and record nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What a smoke suite finds.
#[derive(Debug, PartialEq)]
struct Smoke {
    checkpoint_size_bytes: Option<u64>,
    config_parse_ok: bool,
}

impl Smoke {
    fn score(&self) -> f64 {
        if self.config_parse_ok { 1.0 } else { 0.0 }
    }

    fn metrics(&self) -> Value {
        json!({
            "artifact_accessible": self.checkpoint_size_bytes.is_some(),
            "checkpoint_size_bytes": self.checkpoint_size_bytes,
            "config_parse_ok": self.config_parse_ok,
            "score": self.score(),
        })
    }
}

impl Bench {
    /// Looks, records, and tells of it.
    ///
    /// # Errors
    /// Where the version or a file that was named is not there, a file is another than the registered one, or
    /// the registry refuses; its exit code is one of [`exit`].
    pub fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let model = match (&self.model_id, &self.name, &self.version) {
            (Some(id), _, _) => client.model(*id)?,
            (None, Some(name), Some(version)) => ModelRef::named(name, version).fetch(&client)?,
            _ => return Err(Failure::usage("give --model-id, or --name and --version")),
        };
        let (Some(id), name, version) = (model["id"].as_i64(), text(&model, "name"), text(&model, "version"))
        else {
            return Err(Failure::failed("the registry's answer names no model; check --registry-url"));
        };
        let label = format!("{}:{} (model {id})", name.unwrap_or("?"), version.unwrap_or("?"));
        let smoke = Smoke {
            checkpoint_size_bytes: self.look_at_checkpoint(&model, &label)?,
            config_parse_ok: self.read_config(&model, &label)?,
        };

        let mut body = json!({"suite": self.suite, "metrics": smoke.metrics()});
        for (field, given) in
            [("dataset", &self.dataset), ("eval_commit", &self.eval_commit), ("notes", &self.notes)]
        {
            if let Some(given) = given {
                body[field] = json!(given);
            }
        }
        if !self.dry_run {
            client.record_metrics(id, &body, &Condition::default())?;
        }
        let printed = print::result(&body);
        let (suite, score) = (&self.suite, smoke.score());
        print::line(&match self.dry_run {
            true => {
                format!("dry run: {suite} would give {label} a score of {score:.1}; nothing was recorded")
            }
            false => format!("recorded {suite} for {label}: score {score:.1}"),
        });
        printed
    }

    /// The checkpoint's size; `None` where it can't be reached.
    fn look_at_checkpoint(&self, model: &Value, label: &str) -> Result<Option<u64>, Failure> {
        let opened = match &self.checkpoint_path {
            Some(path) => Opened::open(path).map_err(|error| Failure::failed(error.to_string()))?,
            None => match place(model, "local_checkpoint_path", "artifact_uri").map(Opened::open) {
                Some(Ok(opened)) => opened,
                Some(Err(error)) => return Ok(unreachable("artifact", &error.to_string())),
                None => {
                    return Ok(unreachable(
                        "artifact",
                        "its place on this machine is not known; --checkpoint-path says it",
                    ));
                }
            },
        };
        let size_bytes = opened.size_bytes();
        match model["checkpoint_size_bytes"].as_u64() {
            Some(registered) if registered != size_bytes => Err(Failure::conflict(format!(
                "{} is not the checkpoint of {label}: it holds {size_bytes} bytes, and {registered} are registered",
                opened.path().display()
            ))),
            _ => Ok(Some(size_bytes)),
        }
    }

    fn read_config(&self, model: &Value, label: &str) -> Result<bool, Failure> {
        let place = match &self.config_path {
            Some(path) => Some(path.clone()),
            None => place(model, "local_config_path", ""),
        };
        let Some(path) = place else {
            unreachable("configuration", "its place on this machine is not known; --config-path says it");
            return Ok(false);
        };
        let read = Opened::open(&path).and_then(|opened| read_config(&opened, |_| {}));
        match read {
            Ok((found, _)) => {
                let registered = text(model, "config_sha256")
                    .and_then(|digest| Digest::parse("config_sha256", digest).ok().flatten());
                if registered.is_some() && registered != found.sha256 {
                    return Err(Failure::conflict(format!(
                        "{} is not the configuration of {label}: its digest is another than the registered one",
                        path.display()
                    )));
                }
                Ok(true)
            }
            // This is what the suite is there to find.
            Err(
                error @ (ArtifactError::NotJson { .. }
                | ArtifactError::NotAnObject { .. }
                | ArtifactError::TooLarge { .. }),
            ) => {
                print::line(&format!("the configuration can't be read: {error}"));
                Ok(false)
            }
            Err(error) if self.config_path.is_some() => Err(Failure::failed(error.to_string())),
            Err(error) => {
                unreachable("configuration", &error.to_string());
                Ok(false)
            }
        }
    }
}

fn unreachable(what: &str, why: &str) -> Option<u64> {
    print::line(&format!("the {what} is not accessible from here: {why}"));
    None
}

fn text<'a>(model: &'a Value, field: &str) -> Option<&'a str> {
    model.get(field).and_then(Value::as_str)
}

/// Where the registry says that a file is on this machine: its path, or a URI of a file.
fn place(model: &Value, path_field: &str, uri_field: &str) -> Option<PathBuf> {
    let path = text(model, path_field).map(Path::new).filter(|path| path.is_absolute());
    path.map(Path::to_owned).or_else(|| Url::parse(text(model, uri_field)?).ok()?.to_file_path().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_this_machine_is_a_path_or_the_uri_of_a_file() {
        for (model, expected) in [
            (json!({"local_checkpoint_path": "/a/m.pt", "artifact_uri": "s3://b/m"}), Some("/a/m.pt")),
            (json!({"local_checkpoint_path": null, "artifact_uri": "file:///a/m%20x.pt"}), Some("/a/m x.pt")),
            (json!({"local_checkpoint_path": "s3://b/m", "artifact_uri": "s3://b/m"}), None),
            (json!({"artifact_uri": "sha256:aa"}), None),
            (json!({"artifact_uri": "file://elsewhere/m.pt"}), None),
            (json!({}), None),
        ] {
            let found = place(&model, "local_checkpoint_path", "artifact_uri");
            assert_eq!(found.as_deref(), expected.map(Path::new), "{model}");
        }
    }

    #[test]
    fn the_metrics_are_those_of_0_2_0() {
        let smoke = Smoke { checkpoint_size_bytes: Some(7), config_parse_ok: true };
        let expected =
            r#"{"artifact_accessible":true,"checkpoint_size_bytes":7,"config_parse_ok":true,"score":1.0}"#;
        assert_eq!(smoke.metrics().to_string(), expected);
        let smoke = Smoke { checkpoint_size_bytes: None, config_parse_ok: false };
        let expected = r#"{"artifact_accessible":false,"checkpoint_size_bytes":null,"config_parse_ok":false,"score":0.0}"#;
        assert_eq!(smoke.metrics().to_string(), expected);
    }
}
