//! `registry metrics`: shows and records the scores of a version by suite.

use std::{
    collections::HashSet,
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
    registry metrics tiny-gpt:v1 --suite eval-v1 --json
  Record scores; other scores of the suite stay:
    registry metrics tiny-gpt:v1 --suite eval-v1 --set score=0.82 --set recall@10=0.91
    registry metrics tiny-gpt:v1 --suite eval-v1 --from-json scores.json \\
      --dataset c4 --eval-commit \"$(git rev-parse HEAD)\"
    evaluate model.pt | registry metrics tiny-gpt:v1 --suite eval-v1 --from-json -";

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

    /// A score, like score=0.82: a number, or other JSON; repeatable
    #[arg(long, value_name = "METRIC=VALUE", value_parser = score, group = "scores", requires = "suite",
          help_heading = "Recording")]
    set: Vec<(String, Value)>,
    /// A value that is text, like grade=high; the gate compares no text; repeatable
    #[arg(long, value_name = "METRIC=TEXT", value_parser = text_value, group = "scores", requires = "suite",
          help_heading = "Recording")]
    set_text: Vec<(String, Value)>,
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
        if self.set.is_empty() && self.set_text.is_empty() && self.from_json.is_none() {
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
        let mut given = HashSet::new();
        for (metric, value) in self.set.iter().chain(&self.set_text) {
            if !given.insert(metric) {
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
    let (metric, value) = split(text)?;
    let value = score_value(value.trim()).map_err(|why| match why {
        NotAScore::Meant(meant) => format!("{value:?} is not a number; write {metric}={meant}"),
        NotAScore::Text => format!("{value:?} is not a number; for a value that is text, use --set-text"),
        NotAScore::Because(why) => why,
    })?;
    Ok((metric.to_owned(), value))
}

/// `grade=high`
fn text_value(text: &str) -> Result<(String, Value), String> {
    split(text).map(|(metric, value)| (metric.to_owned(), value.into()))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let (metric, value) = text.split_once('=').ok_or("expected METRIC=VALUE, like score=0.82")?;
    let metric = metric.trim();
    if metric.is_empty() {
        return Err("there is no metric before the =; expected METRIC=VALUE, like score=0.82".to_owned());
    }
    Ok((metric, value))
}

/// Why a value is no score.
enum NotAScore {
    /// It is a number in another notation than this.
    Meant(String),
    Text,
    Because(String),
}

/// Reads JSON, or a number in another notation. As text, a score would not be compared.
fn score_value(text: &str) -> Result<Value, NotAScore> {
    let because = |why: &str| NotAScore::Because(why.to_owned());
    if text.is_empty() {
        return Err(because("there is no value after the =; expected METRIC=VALUE, like score=0.82"));
    }
    let not_finite =
        || NotAScore::Because(format!("{text} is not a JSON number; omit the metric, or use --set-text"));
    match serde_json::from_str(text) {
        Ok(Value::Null) => Err(because("null is not a score; omit the metric")),
        Ok(Value::Number(number)) if number.as_f64().is_none_or(f64::is_infinite) => Err(not_finite()),
        Ok(value) => Ok(value),
        // `.5`, `+1`, `05`
        Err(_) => match text.parse::<f64>() {
            Ok(number) => Number::from_f64(number).map(Value::Number).ok_or_else(not_finite),
            Err(_) => Err(meant(text).map_or(NotAScore::Text, NotAScore::Meant)),
        },
    }
}

/// Returns the number that a text probably means: `0,5`, `50%`, `1_000` or `1 000`.
fn meant(text: &str) -> Option<String> {
    let (plain, is_percent) = match text.strip_suffix('%') {
        Some(plain) => (plain.trim_end(), true),
        None => (text, false),
    };
    let plain = plain.replace(['_', ' ', '\u{a0}', '\''], "");
    let is_number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let candidates = match (plain.matches(',').count(), plain.contains('.')) {
        (0, _) => vec![plain],
        // A decimal comma, or one between thousands.
        (1, false) => {
            let is_thousands = plain.rsplit(',').next().is_some_and(|end| end.len() == 3);
            let thousands = is_thousands.then(|| plain.replace(',', ""));
            [plain.replace(',', ".")].into_iter().chain(thousands).collect()
        }
        _ => vec![plain.replace(',', "")],
    };
    let shown = |text: String| {
        let number = is_number(&text)?;
        // Not 0.5700000000000001, as a division would give.
        Some(if is_percent { format!("{}", (number * 1e10).round() / 1e12) } else { text })
    };
    let shown: Option<Vec<_>> = candidates.into_iter().map(shown).collect();
    shown.map(|shown| shown.join(" or "))
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
    fn what_is_no_number_is_refused_with_what_was_meant() {
        for (text, words) in [
            ("score=0,5", "\"0,5\" is not a number; write score=0.5"),
            ("score=50%", "write score=0.5"),
            ("score=57 %", "write score=0.57"),
            ("score=93,1%", "write score=0.931"),
            ("score=1_0", "write score=10"),
            ("score=1 000", "write score=1000"),
            ("score=1,234", "write score=1.234 or 1234"),
            ("score=1,234.5", "write score=1234.5"),
            ("score=", "there is no value after the ="),
            ("score= ", "there is no value after the ="),
            ("score=high", "\"high\" is not a number; for a value that is text, use --set-text"),
            ("score=0.5x", "use --set-text"),
            ("score=b=c", "use --set-text"),
            ("score=1,2,x", "use --set-text"),
            ("score=%", "use --set-text"),
        ] {
            let error = score(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert_eq!(text_value("grade= high "), Ok(("grade".to_owned(), " high ".into())));
        assert_eq!(text_value("grade="), Ok(("grade".to_owned(), "".into())));
        assert!(text_value("=x").is_err() && text_value("x").is_err());
    }

    #[test]
    fn scores_are_distinguished_from_text() {
        for (text, expected) in [
            ("score=0.820", Some(("score", "0.820"))),
            ("recall@10=1", Some(("recall@10", "1"))),
            ("a = -1e-3 ", Some(("a", "-1e-3"))),
            ("a=.5", Some(("a", "0.5"))),
            ("a=+05", Some(("a", "5.0"))),
            ("a=true", Some(("a", "true"))),
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
