//! `registry bench`: the smoke suites, which check what every real evaluation needs: that the artifact is there, and that
//! the configuration can be read.

use std::path::PathBuf;

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    location::Location,
    object_flags::ObjectFlags,
    print,
    remote::Remote,
    version_arg::VersionArg,
};
use crate::{
    artifact::{ArtifactError, OpenFile, objects::ObjectError, read_config},
    client::Condition,
    domain::{Digest, VersionId},
};

const EXAMPLES: &str = "\
Examples:
  The local files of a version:
    registry bench --name tiny-gpt --version v1 --suite smoke-v1 \\
      --checkpoint-path model.pt --config-path config.json
  Show what would be recorded:
    registry bench --model-id 7 --suite smoke-v1 --config-path config.json --dry-run
  The scores alone, for a script:
    registry bench --model-id 7 --suite smoke-v1 --config-path config.json | jq .metrics.score

A suite of this name that someone else recorded stays, unless --overwrite is given: a gate needs a suite of its own.";

/// Run a smoke suite on a version and record its scores.
///
/// The suite checks that the artifact is accessible, records its size, and checks that the configuration is a JSON
/// object. The score is 1.0 if the configuration can be read, else 0.0. Without a path the suite uses the locations
/// that the registry names. The scores go to stdout as JSON, everything else to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Bench {
    /// The version, by its id
    #[arg(long, value_name = "ID", required_unless_present = "name", conflicts_with_all = ["name", "version"])]
    model_id: Option<VersionId>,
    /// The version, by its name and version
    #[arg(long, requires = "version")]
    name: Option<String>,
    /// See --name
    #[arg(long, requires = "name")]
    version: Option<String>,
    /// The suite
    #[arg(long, value_parser = PossibleValuesParser::new(["smoke-v1", "core-v1"]))]
    suite: String,
    /// The dataset of the evaluation, stored with the scores
    #[arg(long)]
    dataset: Option<String>,
    /// The commit of the evaluation, stored with the scores
    #[arg(long, value_name = "COMMIT")]
    eval_commit: Option<String>,
    /// Notes, stored with the scores
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// The checkpoint, if the registry does not know its path on this machine
    #[arg(long, value_name = "FILE")]
    checkpoint_path: Option<PathBuf>,
    /// The configuration, if the registry does not know its path on this machine
    #[arg(long, value_name = "FILE")]
    config_path: Option<PathBuf>,
    /// Replace scores of the suite that this command has not written
    #[arg(long)]
    overwrite: bool,
    /// Show on stdout what would be recorded, and record nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    objects: ObjectFlags,
    #[command(flatten)]
    remote: Remote,
}

/// Returns the scores of a smoke suite, as 0.2.0 records them.
fn scores(checkpoint_size_bytes: Option<u64>, config_parse_ok: bool) -> Value {
    json!({
        "artifact_accessible": checkpoint_size_bytes.is_some(),
        "checkpoint_size_bytes": checkpoint_size_bytes,
        "config_parse_ok": config_parse_ok,
        "score": if config_parse_ok { 1.0 } else { 0.0 },
    })
}

/// Returns true if scores of a suite are as [`scores`] gives them.
fn is_own(found: &Value) -> bool {
    let mut found = found.as_object().cloned().unwrap_or_default();
    found.remove("_meta");
    let size_bytes = found.get("checkpoint_size_bytes").and_then(Value::as_u64);
    let is_parsed = found.get("config_parse_ok").and_then(Value::as_bool);
    is_parsed.is_some_and(|is_parsed| scores(size_bytes, is_parsed) == Value::Object(found))
}

impl Bench {
    /// Checks, records and reports.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let connection = self.remote.connection()?;
        self.objects = self.objects.or(&connection.config.profile);
        let client = connection.client()?;
        let model = match (&self.model_id, &self.name, &self.version) {
            (Some(id), _, _) => VersionArg::of_id(*id).fetch(&client)?,
            (None, Some(name), Some(version)) => VersionArg::named(name, version).fetch(&client)?,
            _ => return Err(Failure::usage("give --model-id, or --name and --version")),
        };
        let (Some(id), name, version) = (model["id"].as_i64(), text(&model, "name"), text(&model, "version"))
        else {
            return Err(Failure::failed("the registry's answer contains no model; check --registry-url"));
        };
        let label = format!("{}:{} (id {id})", name.unwrap_or("?"), version.unwrap_or("?"));
        let found = model.pointer("/metrics/suites").and_then(|suites| suites.get(&self.suite));
        if !self.overwrite && found.is_some_and(|found| !is_own(found)) {
            return Err(Failure::conflict(format!(
                "{label} has scores of {} that this command has not written; choose another suite, or replace them with --overwrite",
                self.suite
            )));
        }
        let checkpoint_size_bytes = self.checkpoint_size(&model, &label)?;
        let scores = scores(checkpoint_size_bytes, self.read_config(&model, &label)?);
        let mut body = json!({"suite": self.suite, "metrics": scores});
        for (field, given) in
            [("dataset", &self.dataset), ("eval_commit", &self.eval_commit), ("notes", &self.notes)]
        {
            if let Some(given) = given {
                body[field] = json!(given);
            }
        }
        if !self.dry_run {
            // Someone else may have recorded scores since.
            let updated_at = text(&model, "updated_at").filter(|_| !self.overwrite).map(str::to_owned);
            client.record_metrics(
                id,
                &body,
                &Condition { if_updated_at: updated_at, ..Condition::default() },
            )?;
        }
        let printed = print::result(&body);
        let (suite, score) = (&self.suite, &scores["score"]);
        print::line(&match self.dry_run {
            true => format!("dry run: {suite} would give {label} a score of {score}; nothing was recorded"),
            false => format!("recorded {suite} for {label}: score {score}"),
        });
        printed
    }

    /// Returns the size of the checkpoint; `None` if it is not accessible.
    fn checkpoint_size(&self, model: &Value, label: &str) -> Result<Option<u64>, Failure> {
        let (place, size_bytes) = match &self.checkpoint_path {
            Some(path) => (path.display().to_string(), OpenFile::open(path)?.size_bytes()),
            None => {
                let by_path = local_path(model, "local_checkpoint_path").map(Location::File);
                let registered = || Location::registered(text(model, "artifact_uri")?);
                let Some(location) = by_path.or_else(registered) else {
                    return Ok(not_accessible("artifact", "its location is unknown; give --checkpoint-path"));
                };
                match self.size_at(&location) {
                    Ok(found) => found,
                    Err(why) => return Ok(not_accessible("artifact", &why)),
                }
            }
        };
        match model["checkpoint_size_bytes"].as_u64() {
            Some(registered) if registered != size_bytes => Err(Failure::conflict(format!(
                "{place} is not the checkpoint of {label}: it has {size_bytes} bytes, registered are {registered}"
            ))),
            _ => Ok(Some(size_bytes)),
        }
    }

    /// Returns the name of a location and its size in bytes, or why it is not accessible.
    fn size_at(&self, location: &Location) -> Result<(String, u64), String> {
        match location {
            Location::File(path) => {
                let opened = OpenFile::open(path).map_err(|error| error.to_string())?;
                Ok((path.display().to_string(), opened.size_bytes()))
            }
            Location::Object(uri) => {
                let found = self.objects.connect(uri).and_then(|objects| objects.find(uri, &|| false));
                match found.map_err(|error| error.to_string())? {
                    Some(found) => Ok((uri.to_string(), found.size_bytes)),
                    None => Err(ObjectError::Missing { uri: uri.clone() }.to_string()),
                }
            }
        }
    }

    fn read_config(&self, model: &Value, label: &str) -> Result<bool, Failure> {
        let place = match &self.config_path {
            Some(path) => Some(path.clone()),
            None => local_path(model, "local_config_path"),
        };
        let Some(path) = place else {
            not_accessible("configuration", "its location is unknown; give --config-path");
            return Ok(false);
        };
        let read = OpenFile::open(&path).and_then(|opened| read_config(&opened, |_| true));
        match read {
            Ok((found, _)) => {
                let registered = text(model, "config_sha256")
                    .and_then(|digest| Digest::parse("config_sha256", digest).ok().flatten());
                if registered.is_some() && registered != found.sha256 {
                    return Err(Failure::conflict(format!(
                        "{} is not the configuration of {label}: its digest differs from the registered one",
                        path.display()
                    )));
                }
                Ok(true)
            }
            // The suite measures exactly this.
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
                not_accessible("configuration", &error.to_string());
                Ok(false)
            }
        }
    }
}

fn not_accessible(what: &str, why: &str) -> Option<u64> {
    print::line(&format!("the {what} is not accessible: {why}"));
    None
}

fn text<'a>(model: &'a Value, field: &str) -> Option<&'a str> {
    model.get(field).and_then(Value::as_str)
}

/// Returns the local path that the registry names. 0.2.0 stored the URI if there was none.
fn local_path(model: &Value, field: &str) -> Option<PathBuf> {
    text(model, field).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_scores_are_told_from_others() {
        for (size_bytes, is_parsed) in [(Some(7), true), (None, false)] {
            let mut own = scores(size_bytes, is_parsed);
            assert!(is_own(&own));
            own["_meta"] = json!({"actor": "ann"});
            assert!(is_own(&own));
            own["score"] = json!(0.12);
            assert!(!is_own(&own), "another score was set");
        }
        let mut more = scores(Some(7), true);
        more["recall"] = json!(1);
        for other in [more, json!({"score": 0.12}), json!({}), json!(null), json!([1])] {
            assert!(!is_own(&other), "{other}");
        }
    }

    #[test]
    fn the_metrics_are_those_of_0_2_0() {
        let expected =
            r#"{"artifact_accessible":true,"checkpoint_size_bytes":7,"config_parse_ok":true,"score":1.0}"#;
        assert_eq!(scores(Some(7), true).to_string(), expected);
        let expected = r#"{"artifact_accessible":false,"checkpoint_size_bytes":null,"config_parse_ok":false,"score":0.0}"#;
        assert_eq!(scores(None, false).to_string(), expected);
    }
}
