//! `registry compare`: versions side by side, or a chart of one metric.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{
        OutputFlags, Path, Printer, VERSIONS,
        chart::{self, Entry},
        table::{Cell, Table},
        terminal::{DIFFERENT, GOOD, Terminal},
        value::{ValueFormat, plain, style_of_status, text_as},
    },
    print,
    remote::Remote,
    show::is_filler,
    version_arg::{VersionArg, label, missing},
};
use crate::{client::Client, domain::VersionId};

/// More columns don't fit a terminal.
const MAX_VERSIONS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  Two versions, with differences marked by ≠:
    registry compare tiny-gpt:v1 tiny-gpt:v2
  A candidate and the version in production, only differences:
    registry compare tiny-gpt@production tiny-gpt:v7 --diff-only
  A score over the versions of a name:
    registry compare --name tiny-gpt --metric smoke-v1/score
  For a script:
    registry compare 1 2 3 --json | jq '.comparison.by_loss[0].id'";

/// Compare versions, field by field and score by score.
///
/// A row is a field or a score, a column is a version. Rows that differ are marked with ≠ (* on terminals without
/// Unicode). --metric draws a chart instead, in the order of registration.
#[derive(Debug, Args)]
#[command(visible_alias = "diff", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Compare {
    /// 2 to 20 versions: name:label, name@alias, name#number, or ids
    #[arg(value_name = "VERSION", required_unless_present = "name", conflicts_with = "name")]
    versions: Vec<VersionArg>,
    /// The newest versions of this name, at most 20
    #[arg(long)]
    name: Option<String>,
    /// Show only rows that differ
    #[arg(long, conflicts_with = "metric")]
    diff_only: bool,
    /// Draw a chart of SUITE/METRIC, training_loss, params or another field; repeatable
    #[arg(long, value_name = "METRIC")]
    metric: Vec<Path>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Compare {
    /// Compares.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &VERSIONS)?;
        if !self.metric.is_empty() && !printer.is_for_people() {
            return Err(Failure::usage("--metric draws a chart for people; omit it or the output format"));
        }
        let client = self.remote.client()?;
        let ids = self.ids(&client)?;
        let answer = client.compare(&ids)?;
        let found = answer.get("models").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let id_of = |model: &Value| model.get("id").and_then(Value::as_i64);
        let find = |id: &VersionId| found.iter().find(|model| id_of(model) == Some(*id)).cloned();
        // In the order of the command line; the registry answers in the order of ids.
        let versions = ids.iter().map(|id| find(id).ok_or_else(|| missing(id)));
        let mut versions: Vec<Value> = versions.collect::<Result<_, _>>()?;
        if !printer.is_for_people() {
            return printer.answer(&answer, &versions);
        }
        let terminal = Terminal::of_stdout();
        if self.metric.is_empty() {
            let comparison = answer.get("comparison").unwrap_or(&Value::Null);
            let wide = printer.is_wide();
            return print::text(&side_by_side(&versions, comparison, self.diff_only, wide, terminal));
        }
        versions.sort_by_key(|model| {
            (model.get("created_at").and_then(Value::as_str).unwrap_or_default().to_owned(), id_of(model))
        });
        let charts = self.metric.iter().map(|metric| drawn(&versions, metric, terminal));
        print::text(&charts.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }

    fn ids(&self, client: &Client) -> Result<Vec<VersionId>, Failure> {
        let Some(name) = &self.name else {
            let mut ids = Vec::new();
            for version in &self.versions {
                let id = version.resolve(client)?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            return match ids.len() {
                2..=MAX_VERSIONS => Ok(ids),
                count => Err(Failure::usage(format!(
                    "expected 2 to {MAX_VERSIONS} different versions, got {count}"
                ))),
            };
        };
        let page = client.models(&[("name", name), ("limit", &MAX_VERSIONS.to_string())])?;
        // The list has the newest first; the comparison shows the oldest first.
        let mut ids: Vec<_> =
            page.models.iter().filter_map(|model| model.get("id").and_then(Value::as_i64)).collect();
        ids.reverse();
        if ids.len() < 2 {
            let (name, versions) = (print::one_line(name), print::counted(ids.len() as u64, "version"));
            return Err(Failure::failed(format!(
                "{name} has {versions}, and a comparison needs two; `registry list` shows all versions"
            )));
        }
        if let Some(total) = page.total.filter(|total| *total > ids.len() as u64) {
            print::line(&format!("the newest {} of {} versions", ids.len(), print::count(total)));
        }
        Ok(ids)
    }
}

/// Returns the word for a version that the registry ranks first by this field, perhaps together with others.
fn rank(comparison: &Value, field: &str, model: &Value) -> Option<&'static str> {
    let (order, word) = match field {
        "params" => ("by_params", "highest"),
        "training_loss" => ("by_loss", "lowest"),
        "training_step" => ("by_step", "highest"),
        _ => return None,
    };
    let best = comparison.get(order)?.get(0)?.get(field)?;
    (model.get(field) == Some(best)).then_some(word)
}

/// The fields above the metrics.
const FIRST_FIELDS: &str = "status,frozen,params,training_step,training_loss";
/// The fields below the metrics.
const OTHER_FIELDS: &str = "dataset,d_model,n_layers,n_heads,vocab_size,checkpoint_size_bytes,checkpoint_sha256,\
    config_sha256,artifact_uri,run_id,git_commit,created_by,source_host,tags,description,local_checkpoint_path,\
    created_at,updated_at";

/// Fields that differ between any two versions.
const ALWAYS_DIFFERENT: [&str; 2] = ["created_at", "updated_at"];

fn side_by_side(
    versions: &[Value],
    comparison: &Value,
    diff_only: bool,
    wide: bool,
    terminal: Terminal,
) -> String {
    let field_of = |field| {
        let value =
            |model| Value::get(model, field).filter(|value| !value.is_null() && !is_filler(model, field));
        (field.to_owned(), field, versions.iter().map(value).collect())
    };
    let metrics = metrics_of(versions);
    let metric_of = |metric: &Path| {
        (metric.to_string(), "", versions.iter().map(|model| metric.find(model)).collect::<Vec<_>>())
    };
    let all = FIRST_FIELDS.split(',').map(field_of);
    let all = all.chain(metrics.iter().map(metric_of)).chain(OTHER_FIELDS.split(',').map(field_of));
    let mut rows = Vec::new();
    for (title, field, values) in all {
        let is_informative =
            |value: &&Value| !value.is_null() && **value != json!(false) && plain(value) != "-";
        let differs = values.iter().any(|value| value != &values[0]);
        let marked = differs && !ALWAYS_DIFFERENT.contains(&field);
        if !values.iter().flatten().any(is_informative) || diff_only && !marked {
            continue;
        }
        let sign = if terminal.unicode { "≠" } else { "*" };
        let title = Cell { rigid: true, ..Cell::new(print::one_line(&title)) };
        let mut cells = vec![Cell::new(if marked { sign } else { "" }), title];
        let kind = ValueFormat::of(field, wide);
        for (model, value) in versions.iter().zip(values) {
            let mut text =
                value.map_or_else(|| "-".to_owned(), |value| print::one_line(&text_as(kind, value)));
            let word = rank(comparison, field, model).filter(|_| marked && value.is_some());
            let style = match kind {
                _ if word.is_some() => GOOD,
                ValueFormat::Status => style_of_status(&text),
                _ if marked => DIFFERENT,
                _ => anstyle::Style::new(),
            };
            if let Some(word) = word {
                text.push_str(&format!(" {word}"));
            }
            cells.push(Cell::new(text).styled(style));
        }
        rows.push(cells);
    }
    if rows.is_empty() {
        return "no field differs\n".to_owned();
    }
    let titles = ["".to_owned(), "FIELD".to_owned()].into_iter().chain(versions.iter().map(label)).collect();
    let width = terminal.width.filter(|_| !wide);
    Table::new(Some(titles), Terminal { width, ..terminal }).lines(&rows)
}

/// Returns the metrics of all versions, sorted by name: `metrics.KEY` outside of suites, and `SUITE/KEY`.
fn metrics_of(versions: &[Value]) -> Vec<Path> {
    let mut metrics = BTreeMap::new();
    let mut add = |suite: Option<&str>, key: &str| {
        let path = Path::of_metric(suite, key);
        metrics.insert(path.to_string(), path);
    };
    for (key, value) in versions.iter().filter_map(|model| model.get("metrics")?.as_object()).flatten() {
        let Some(suites) = value.as_object().filter(|_| key == "suites") else {
            add(None, key);
            continue;
        };
        for (suite, scores) in suites {
            let scores = scores.as_object().into_iter().flat_map(|scores| scores.keys());
            scores.filter(|key| *key != "_meta").for_each(|key| add(Some(suite), key));
        }
    }
    metrics.into_values().collect()
}

/// Returns a chart of `metric`.
fn drawn(versions: &[Value], metric: &Path, terminal: Terminal) -> Result<String, Failure> {
    let entry = |model: &Value| Entry { label: label(model), value: metric.find(model).and_then(number) };
    let entries: Vec<Entry> = versions.iter().map(entry).collect();
    if entries.iter().all(|entry| entry.value.is_none()) {
        let has_number = |metric: &Path| versions.iter().any(|m| metric.find(m).and_then(number).is_some());
        let known = metrics_of(versions).into_iter().filter(has_number);
        let known: Vec<_> = known.map(|metric| metric.spelled()).collect();
        let known = if known.is_empty() { "no scores that are numbers".to_owned() } else { known.join(", ") };
        return Err(Failure::failed(format!("no version has a number {metric}; there are {known}")));
    }
    Ok(chart::bars(&print::one_line(&metric.to_string()), &entries, terminal))
}

/// Returns a number that can be drawn, and its text.
fn number(value: &Value) -> Option<(f64, String)> {
    let text = value.as_number()?.to_string();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, text))
}
