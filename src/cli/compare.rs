//! `registry compare`: versions side by side, or a chart of one metric.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    list::{Filter, Pages},
    model_ref::{ModelRef, label, missing},
    output::{
        OutputFlags, View,
        chart::{self, Entry},
        column::{Kind, Path, plain, style_of_status, text_as},
        models,
        table::{Cell, Table},
        terminal::{DIFFERENT, GOOD, Terminal},
    },
    print,
    remote::Remote,
    show::is_filler,
};
use crate::{client::Client, domain::ModelId};

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

const FIELDS: View = View { table: Vec::new, wide: Vec::new, fields: &models::FIELDS, name: Some(label) };

/// Compare versions, field by field and score by score.
///
/// A row is a field or a score, a column is a version. Rows that differ are marked with ≠ (* on terminals without
/// Unicode). --metric draws a chart instead, in the order of registration.
#[derive(Debug, Args)]
#[command(visible_alias = "diff", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Compare {
    /// 2 to 20 versions: name:version, ids, or name@production
    #[arg(value_name = "MODEL", required_unless_present = "name", conflicts_with = "name")]
    models: Vec<ModelRef>,
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
    ///
    /// # Errors
    /// If there are fewer than two versions, or no numbers to draw; or as any call.
    pub fn run(self) -> Result<(), Failure> {
        FIELDS.check(&self.output)?;
        if !self.metric.is_empty() && !self.output.is_for_people() {
            return Err(Failure::usage("--metric draws a chart for people; omit it or the output format"));
        }
        let client = self.remote.client()?;
        let ids = self.ids(&client)?;
        let answer = client.compare(&ids)?;
        let found: Vec<Value> = answer.get("models").and_then(Value::as_array).cloned().unwrap_or_default();
        let id_of = |model: &Value| model.get("id").and_then(Value::as_i64);
        let find = |id: &ModelId| found.iter().find(|model| id_of(model) == Some(*id)).cloned();
        // In the order of the command line; the registry answers in the order of ids.
        let versions = ids.iter().map(|id| find(id).ok_or_else(|| missing(id)));
        let mut versions: Vec<Value> = versions.collect::<Result<_, _>>()?;
        let terminal = Terminal::of_stdout();
        if self.metric.is_empty() {
            if !self.output.is_for_people() {
                return self.output.answer(&FIELDS, &answer, &versions).map(|_| ());
            }
            let wide = self.output.format() == super::output::Format::Wide;
            let terminal = Terminal { width: terminal.width.filter(|_| !wide), ..terminal };
            let marks = Marks::of(answer.get("comparison"));
            let text = side_by_side(&versions, &marks, self.diff_only, wide, terminal);
            return print::styled(&text).map(|_| ());
        }
        versions.sort_by_key(|model| {
            (model.get("created_at").and_then(Value::as_str).unwrap_or_default().to_owned(), id_of(model))
        });
        let charts = self.metric.iter().map(|metric| drawn(&versions, metric, terminal));
        let charts: Vec<String> = charts.collect::<Result<_, _>>()?;
        print::styled(&charts.join("\n")).map(|_| ())
    }

    fn ids(&self, client: &Client) -> Result<Vec<ModelId>, Failure> {
        let Some(name) = &self.name else {
            let mut ids = Vec::new();
            for model in &self.models {
                let id = model.resolve(client)?;
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
        let filter = Filter { name: Some(name.clone()), ..Filter::default() };
        let Some(page) = Pages::of(client, &filter).next(MAX_VERSIONS as u64)? else { return Ok(Vec::new()) };
        // The list has the newest first; the comparison shows the oldest first.
        let mut ids: Vec<_> =
            page.models.iter().filter_map(|model| model.get("id").and_then(Value::as_i64)).collect();
        ids.reverse();
        if ids.len() < 2 {
            let (name, count) = (print::one_line(name), ids.len());
            return Err(Failure::failed(format!(
                "{name} has {count} version{}, and a comparison needs two; `registry list` shows all versions",
                if count == 1 { "" } else { "s" }
            )));
        }
        if let Some(total) = page.total.filter(|total| *total > ids.len() as u64) {
            print::line(&format!("the newest {} of {} versions", ids.len(), print::count(total)));
        }
        Ok(ids)
    }
}

/// The versions that the registry ranks first, by field.
struct Marks(Vec<(&'static str, &'static str, Vec<Value>)>);

impl Marks {
    fn of(comparison: Option<&Value>) -> Self {
        let orders = [
            ("params", "by_params", "highest"),
            ("training_loss", "by_loss", "lowest"),
            ("training_step", "by_step", "highest"),
        ];
        Self(
            orders
                .into_iter()
                .filter_map(|(field, order, word)| {
                    let ordered = comparison?.get(order)?.as_array()?;
                    // Several versions may share the best value.
                    let best = ordered.first()?.get(field)?;
                    let first = ordered.iter().take_while(|model| model.get(field) == Some(best));
                    Some((field, word, first.filter_map(|model| model.get("id").cloned()).collect()))
                })
                .collect(),
        )
    }

    fn word(&self, field: &str, model: &Value) -> Option<&'static str> {
        let id = model.get("id")?;
        self.0.iter().find(|(marked, _, ids)| *marked == field && ids.contains(id)).map(|(_, word, _)| *word)
    }
}

/// The fields in the order of the comparison, with their formats.
const ROWS: [(&str, Kind); 23] = [
    ("status", Kind::Status),
    ("frozen", Kind::Plain),
    ("params", Kind::Plain),
    ("training_step", Kind::Plain),
    ("training_loss", Kind::Plain),
    ("dataset", Kind::Plain),
    ("d_model", Kind::Plain),
    ("n_layers", Kind::Plain),
    ("n_heads", Kind::Plain),
    ("vocab_size", Kind::Plain),
    ("checkpoint_size_bytes", Kind::Size),
    ("checkpoint_sha256", Kind::Digest),
    ("config_sha256", Kind::Digest),
    ("artifact_uri", Kind::Plain),
    ("run_id", Kind::Plain),
    ("git_commit", Kind::Digest),
    ("created_by", Kind::Plain),
    ("source_host", Kind::Plain),
    ("tags", Kind::Plain),
    ("description", Kind::Plain),
    ("local_checkpoint_path", Kind::Plain),
    ("created_at", Kind::Minute),
    ("updated_at", Kind::Minute),
];

/// Fields that differ between any two versions.
const ALWAYS_DIFFERENT: [&str; 2] = ["created_at", "updated_at"];

fn side_by_side(
    versions: &[Value],
    marks: &Marks,
    diff_only: bool,
    wide: bool,
    terminal: Terminal,
) -> String {
    let sign = if terminal.unicode { "≠" } else { "*" };
    let mut rows = Vec::new();
    let mut row = |title: &str, values: Vec<Option<&Value>>, kind: Kind, field: &str| {
        let is_informative =
            |value: &&Value| !value.is_null() && **value != json!(false) && plain(value) != "-";
        if !values.iter().flatten().any(is_informative) {
            return;
        }
        let differs = values.iter().any(|value| value != &values[0]);
        let marked = differs && !ALWAYS_DIFFERENT.contains(&field);
        if diff_only && !marked {
            return;
        }
        let title = Cell { rigid: true, ..Cell::new(print::one_line(title)) };
        let mut cells = vec![Cell::new(if marked { sign } else { "" }), title];
        for (model, value) in versions.iter().zip(values) {
            let kind = if wide && matches!(kind, Kind::Digest) { Kind::Plain } else { kind };
            let mut text =
                value.map_or_else(|| "-".to_owned(), |value| print::one_line(&text_as(kind, value)));
            let word = marks.word(field, model).filter(|_| marked && value.is_some());
            let mut style = match kind {
                Kind::Status => style_of_status(&text),
                _ if marked => DIFFERENT,
                _ => anstyle::Style::new(),
            };
            if let Some(word) = word {
                text.push_str(&format!(" {word}"));
                style = GOOD;
            }
            cells.push(Cell::new(text).styled(style));
        }
        rows.push(cells);
    };
    let at = |field: &str| {
        let value =
            |model| Value::get(model, field).filter(|value| !value.is_null() && !is_filler(model, field));
        versions.iter().map(value).collect()
    };
    for (field, kind) in &ROWS[..5] {
        row(field, at(field), *kind, field);
    }
    for metric in metrics_of(versions) {
        row(&metric.title, versions.iter().map(|model| metric.find(model)).collect(), Kind::Plain, "");
    }
    for (field, kind) in &ROWS[5..] {
        row(field, at(field), *kind, field);
    }
    let titles = ["".to_owned(), "FIELD".to_owned()].into_iter().chain(versions.iter().map(label)).collect();
    if rows.is_empty() {
        return "no field differs\n".to_owned();
    }
    Table::new(Some(titles), terminal).lines(&rows)
}

/// A metric of some version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    /// `smoke-v1/score`, or `metrics.KEY` outside of suites.
    title: String,
    suite: Option<String>,
    key: String,
}

impl Metric {
    fn find<'v>(&self, model: &'v Value) -> Option<&'v Value> {
        let metrics = model.get("metrics")?;
        let scores = match &self.suite {
            Some(suite) => metrics.get("suites")?.get(suite)?,
            None => metrics,
        };
        scores.get(&self.key).filter(|value| !value.is_null())
    }
}

/// The metrics of all versions, by name.
fn metrics_of(versions: &[Value]) -> BTreeSet<Metric> {
    let mut metrics = BTreeSet::new();
    for model in versions {
        let Some(all) = model.get("metrics").and_then(Value::as_object) else { continue };
        for (key, value) in all {
            match value.as_object().filter(|_| key == "suites") {
                None => {
                    metrics.insert(Metric { title: format!("metrics.{key}"), suite: None, key: key.clone() });
                }
                Some(suites) => {
                    for (suite, scores) in suites {
                        let keys = scores.as_object().into_iter().flat_map(|scores| scores.keys());
                        metrics.extend(keys.filter(|key| *key != "_meta").map(|key| Metric {
                            title: format!("{suite}/{key}"),
                            suite: Some(suite.clone()),
                            key: key.clone(),
                        }));
                    }
                }
            }
        }
    }
    metrics
}

/// A chart of `metric`.
fn drawn(versions: &[Value], metric: &Path, terminal: Terminal) -> Result<String, Failure> {
    let entry = |model: &Value| Entry { label: label(model), value: metric.find(model).and_then(number) };
    let entries: Vec<Entry> = versions.iter().map(entry).collect();
    if entries.iter().all(|entry| entry.value.is_none()) {
        let has_number = |metric: &Metric| versions.iter().any(|m| metric.find(m).and_then(number).is_some());
        let known = metrics_of(versions).into_iter().filter(has_number);
        let known: Vec<_> = known.map(|metric| Path::spelt(metric.suite.as_deref(), &metric.key)).collect();
        let known = if known.is_empty() { "no scores that are numbers".to_owned() } else { known.join(", ") };
        return Err(Failure::failed(format!("no version has a number {metric}; there are {known}")));
    }
    Ok(chart::bars(&print::one_line(&metric.to_string()), &entries, terminal))
}

/// A number that can be drawn, and its text.
fn number(value: &Value) -> Option<(f64, String)> {
    let text = value.as_number()?.to_string();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions() -> Vec<Value> {
        vec![
            json!({"id": 1, "name": "m", "version": "v1", "status": "staging", "frozen": false, "training_loss": 2.5,
                   "dataset": "c4", "metrics": {"suites": {"s": {"score": 0.5, "_meta": {"actor": "a"}}}, "x": 1}}),
            json!({"id": 2, "name": "m", "version": "v2", "status": "staging", "frozen": false, "training_loss": 2.0,
                   "dataset": "c4", "metrics": null}),
        ]
    }

    fn table(diff_only: bool) -> String {
        let order: Vec<Value> = versions().into_iter().rev().collect();
        let marks = Marks::of(Some(&json!({"by_loss": order, "by_params": versions()})));
        let terminal = Terminal { width: None, unicode: true };
        let text = side_by_side(&versions(), &marks, diff_only, false, terminal);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn differences_are_marked_and_empty_rows_are_left_out() {
        assert_eq!(
            table(false),
            "   FIELD          m:v1     m:v2\n\
             \x20  status         staging  staging\n\
             ≠  training_loss  2.5      2.0 lowest\n\
             ≠  metrics.x      1        -\n\
             ≠  s/score        0.5      -\n\
             \x20  dataset        c4       c4\n"
        );
        assert!(!table(true).contains("dataset") && table(true).contains("s/score"));
    }

    #[test]
    fn the_message_for_an_unknown_metric_lists_the_known_ones() {
        let terminal = Terminal { width: None, unicode: false };
        let draw = |metric: &str| drawn(&versions(), &metric.parse().unwrap(), terminal);
        assert!(draw("s/score").is_ok() && draw("training_loss").is_ok() && draw("metrics.x").is_ok());
        for metric in ["s/other", "dataset", "nothing"] {
            let failure = format!("{:?}", draw(metric).unwrap_err());
            assert!(failure.contains("there are metrics.x, s/score"), "{failure}");
        }
    }
}
