//! `registry metrics`: shows and records the scores of a version by suite.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args};
use serde_json::{Number, Value, json};

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, View},
    print,
    remote::Remote,
    values::request_body,
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    artifact::{MAX_JSON_BYTES, parse_object, read_object_file},
    client::{Client, ClientError, Condition},
    domain::{Evaluation, VersionId, json::Object},
};

const EXAMPLES: &str = "\
Examples:
  The scores of a version:
    registry metrics tiny-gpt:v1
    registry metrics tiny-gpt:v1 --suite smoke-v1 --json
  Record scores; other scores of the suite stay:
    registry metrics tiny-gpt:v1 --suite smoke-v1 --set score=0.82 --set recall@10=0.91
    registry metrics tiny-gpt:v1 --suite core-v1 --from-json scores.json \\
      --dataset c4 --eval-commit \"$(git rev-parse HEAD)\"
    evaluate model.pt | registry metrics tiny-gpt:v1 --suite core-v1 --from-json -";

const SCORES: View = View {
    fields: "suite,metric,value,recorded_at,actor,dataset,eval_commit,notes",
    table: "suite,metric,value,RECORDED:recorded_at,actor",
    wide: "suite,metric,value,RECORDED:recorded_at,actor,dataset,COMMIT:eval_commit,notes",
    precise_times: false,
    name: None,
};

/// Show the scores of a version, or record some.
///
/// --set and --from-json record scores: they are merged into the suite, key by key. The output is the suite after
/// the change.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("scores").multiple(true),
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP)
)]
pub(super) struct Metrics {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// Suite to show, or to record into
    #[arg(long)]
    suite: Option<String>,

    /// A score, like score=0.82; the value is JSON or else text; repeatable
    #[arg(long, value_name = "METRIC=VALUE", value_parser = score, group = "scores", requires = "suite",
          help_heading = "Recording")]
    set: Vec<(String, Value)>,
    /// File with scores as a JSON object; - for stdin
    #[arg(long, value_name = "FILE", group = "scores", requires = "suite", help_heading = "Recording")]
    from_json: Option<PathBuf>,
    /// Dataset of the evaluation
    #[arg(long, requires = "scores", help_heading = "Recording")]
    dataset: Option<String>,
    /// Commit of the evaluation's code
    #[arg(long, value_name = "COMMIT", requires = "scores", help_heading = "Recording")]
    eval_commit: Option<String>,
    /// File with the evaluation's configuration as a JSON object
    #[arg(long, value_name = "FILE", requires = "scores", help_heading = "Recording")]
    eval_config: Option<PathBuf>,
    /// Notes
    #[arg(long, value_name = "TEXT", requires = "scores", help_heading = "Recording")]
    notes: Option<String>,
    /// Record only if the version still has this updated_at
    #[arg(long, value_name = "TIME", requires = "scores", help_heading = "Recording")]
    if_updated_at: Option<String>,

    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Metrics {
    /// Records the given scores, if any, and shows scores.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &SCORES)?;
        if self.set.is_empty() && self.from_json.is_none() {
            return self.show(printer);
        }
        let body = self.body()?;
        let client = self.remote.client()?;
        let id = self.version.resolve(&client)?;
        let condition = Condition { if_updated_at: self.if_updated_at.clone(), ..Condition::default() };
        let changed =
            client.record_metrics(id, &body, &condition).map_err(|error| self.version.or_missing(error))?;
        // The registry trims the name of a suite.
        let suite = self.suite.as_deref().unwrap_or_default().trim();
        let scores = changed.pointer("/metrics/suites").and_then(|suites| suites.get(suite));
        let recorded = json!({ suite: scores.unwrap_or(&Value::Null) });
        printer.answer(&recorded, &rows(&recorded))?;
        print::line(&format!("recorded {suite} of {}", label_with_id(&changed)));
        Ok(())
    }

    fn show(&self, printer: Printer) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let id = self.version.resolve(&client)?;
        let answer =
            client.metrics(id, self.suite.as_deref()).map_err(|error| self.missing(&client, id, error))?;
        let rows = rows(&answer);
        if rows.is_empty() && printer.is_for_people() {
            print::line(&format!("no scores of {}; --suite and --set record some", self.version));
            return Ok(());
        }
        printer.answer(&answer, &rows)
    }

    /// Returns the failure for a missing version, or for a missing suite with the names of the others.
    fn missing(&self, client: &Client, id: VersionId, error: ClientError) -> Failure {
        let (ClientError::NotFound { .. }, Some(suite)) = (&error, &self.suite) else {
            return self.version.or_missing(error);
        };
        match client.metrics(id, None) {
            Ok(all) => {
                let suites: Vec<_> =
                    all.as_object().into_iter().flatten().map(|(suite, _)| suite.as_str()).collect();
                let known = match suites.as_slice() {
                    [] => "it has no scores at all".to_owned(),
                    _ => format!("it has the suites {}", suites.join(", ")),
                };
                Failure::failed(format!("no scores of {} in the suite {suite}; {known}", self.version))
            }
            Err(error) => self.version.or_missing(error),
        }
    }

    /// Returns the body of the request.
    fn body(&self) -> Result<Value, Failure> {
        let mut scores = match self.from_json.as_deref() {
            None => Object::new(),
            Some(path) if path == Path::new("-") => from_stdin()?,
            Some(path) => read_object_file(path)?,
        };
        for (at, (metric, value)) in self.set.iter().enumerate() {
            if self.set[..at].iter().any(|(earlier, _)| earlier == metric) {
                return Err(Failure::usage(format!("--set gives {metric:?} twice; give it once")));
            }
            scores.insert(metric.clone(), value.clone());
        }
        let suite = self.suite.as_deref().unwrap_or_default();
        // Refuses before the request what the registry would refuse.
        Evaluation::new(suite, scores.clone()).map_err(Failure::usage)?;
        let body = json!({
            "suite": suite, "metrics": scores, "dataset": self.dataset, "eval_commit": self.eval_commit,
            "eval_config": self.eval_config.as_deref().map(read_object_file).transpose()?, "notes": self.notes,
        });
        request_body(&body).map(Value::Object)
    }
}

fn from_stdin() -> Result<Object, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("stdin can't be read: {error}")))?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(Failure::failed(format!("stdin holds more than {} MiB of JSON", MAX_JSON_BYTES >> 20)));
    }
    Ok(parse_object(&bytes, Path::new("stdin"))?)
}

/// `recall@10=0.91`
fn score(text: &str) -> Result<(String, Value), String> {
    let (metric, value) = text.split_once('=').ok_or("expected METRIC=VALUE, like score=0.82")?;
    let metric = metric.trim();
    if metric.is_empty() {
        return Err("there is no metric before the =; expected METRIC=VALUE, like score=0.82".to_owned());
    }
    score_value(value.trim()).map(|value| (metric.to_owned(), value))
}

/// Reads JSON, or a number in another notation, or else text.
fn score_value(text: &str) -> Result<Value, String> {
    let not_finite = || format!("{text} is not a JSON number; omit the metric, or give it as text in quotes");
    match serde_json::from_str(text) {
        Ok(Value::Null) => Err("null is not a score; omit the metric".to_owned()),
        Ok(Value::Number(number)) if number.as_f64().is_none_or(f64::is_infinite) => Err(not_finite()),
        Ok(value) => Ok(value),
        // `.5`, `+1`, `05`: as text, a score would not be compared.
        Err(_) => match text.parse::<f64>() {
            Ok(number) => Number::from_f64(number).map(Value::Number).ok_or_else(not_finite),
            Err(_) => Ok(Value::from(text)),
        },
    }
}

/// Returns one row per score, with the metadata of its suite.
fn rows(suites: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for (suite, scores) in suites.as_object().into_iter().flatten() {
        let meta = scores.get("_meta").unwrap_or(&Value::Null);
        let noted = |field: &str| meta.get(field).cloned().unwrap_or_default();
        for (metric, value) in scores.as_object().into_iter().flatten().filter(|(key, _)| *key != "_meta") {
            rows.push(json!({
                "suite": suite, "metric": metric, "value": value,
                "recorded_at": noted("recorded_at"), "actor": noted("actor"), "dataset": noted("dataset"),
                "eval_commit": noted("eval_commit"), "notes": noted("notes"),
            }));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_distinguished_from_text() {
        for (text, expected) in [
            ("score=0.820", Some(("score", "0.820"))),
            ("recall@10=1", Some(("recall@10", "1"))),
            ("a = -1e-3 ", Some(("a", "-1e-3"))),
            ("a=.5", Some(("a", "0.5"))),
            ("a=+05", Some(("a", "5.0"))),
            ("a=true", Some(("a", "true"))),
            ("a=b=c", Some(("a", r#""b=c""#))),
            ("a=", Some(("a", r#""""#))),
            ("a=0.5x", Some(("a", r#""0.5x""#))),
            (r#"a="0.5""#, Some(("a", r#""0.5""#))),
            ("a=[1, 2]", Some(("a", "[1,2]"))),
            ("a=NaN", None),
            ("a=nan", None),
            ("a=-inf", None),
            ("a=Infinity", None),
            ("a=1e999", None),
            ("a=null", None),
            ("a", None),
            ("=1", None),
        ] {
            let read = score(text).ok().map(|(metric, value)| (metric, value.to_string()));
            let expected = expected.map(|(metric, value)| (metric.to_owned(), value.to_owned()));
            assert_eq!(read, expected, "{text}");
        }
    }
}
