//! `registry show`: all fields of one version, for a person to read.

use anstyle::Style;
use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    model_ref::{self, ModelRef},
    output::{
        OutputFlags,
        column::{Kind, plain, style_of_status, text_as},
        models::{EVENTS, MODELS},
        table::{Cell, Table},
        terminal::{FAINT, HEADER, Terminal, in_style},
    },
    print,
    remote::Remote,
};
use crate::client::Client;

/// Events below a version.
const EVENTS_SHOWN: u32 = 5;

const EXAMPLES: &str = "\
Examples:
  Everything about a version:
    registry show tiny-gpt:v1
  The same by its id, or of the version in production:
    registry show 7
    registry show tiny-gpt@production
  Its digest, for a script:
    registry show tiny-gpt:v1 --json | jq -r .checkpoint_sha256";

/// Show one version.
#[derive(Debug, Args)]
#[command(visible_alias = "get", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Show {
    /// The version: name:version, its id, or name@production
    model: ModelRef,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Show {
    /// Shows the version.
    ///
    /// # Errors
    /// If there is no such version; or as any call.
    pub fn run(self) -> Result<(), Failure> {
        MODELS.check(&self.output)?;
        let client = self.remote.client()?;
        let model = self.model.fetch(&client)?;
        self.output.one(&MODELS, &model, || describe(&client, &model, EVENTS_SHOWN))
    }
}

/// A version in groups of lines, with its newest `events`.
pub(super) fn describe(client: &Client, model: &Value, events: u32) -> Result<String, Failure> {
    let mut page = Page::default();
    page.group(&model_ref::label(model), &fields(model, &IDENTITY));
    for (title, lines) in [("Artifact", &ARTIFACT[..]), ("Provenance", &PROVENANCE), ("Training", &TRAINING)]
    {
        page.group(title, &fields(model, lines));
    }
    page.metrics(model.get("metrics"));
    let id = model.get("id").and_then(Value::as_i64);
    if let (Some(id), 1..) = (id, events) {
        let trail = client.events(id, events, 0)?;
        let columns = (EVENTS.table)();
        let rows: Vec<Vec<Cell>> =
            trail.iter().map(|event| columns.iter().map(|column| column.cell(event)).collect()).collect();
        if !rows.is_empty() {
            page.title("Newest events");
            // The lines are indented, which leaves them less width.
            let terminal = Terminal::of_stdout();
            let width = terminal.width.map(|width| width.saturating_sub(INDENT.len()));
            let lines = Table::new(None, Terminal { width, ..terminal }).lines(&rows);
            page.text.extend(lines.lines().map(|line| format!("{INDENT}{line}\n")));
        }
    }
    Ok(page.text)
}

type Line = (&'static str, &'static str, Kind);

const INDENT: &str = "  ";

const IDENTITY: [Line; 7] = [
    ("id", "id", Kind::Plain),
    ("status", "status", Kind::Status),
    ("frozen", "frozen", Kind::Plain),
    ("description", "description", Kind::Plain),
    ("tags", "tags", Kind::Plain),
    ("created", "created_at", Kind::Second),
    ("updated", "updated_at", Kind::Second),
];
const ARTIFACT: [Line; 7] = [
    ("uri", "artifact_uri", Kind::Plain),
    ("checkpoint", "checkpoint_size_bytes", Kind::Size),
    ("  sha256", "checkpoint_sha256", Kind::Plain),
    ("  path", "local_checkpoint_path", Kind::Plain),
    ("config", "config_size_bytes", Kind::Size),
    ("  sha256", "config_sha256", Kind::Plain),
    ("  path", "local_config_path", Kind::Plain),
];
const PROVENANCE: [Line; 4] = [
    ("run", "run_id", Kind::Plain),
    ("commit", "git_commit", Kind::Plain),
    ("created by", "created_by", Kind::Plain),
    ("on host", "source_host", Kind::Plain),
];
const TRAINING: [Line; 8] = [
    ("dataset", "dataset", Kind::Plain),
    ("step", "training_step", Kind::Plain),
    ("loss", "training_loss", Kind::Plain),
    ("params", "params", Kind::Plain),
    ("d_model", "d_model", Kind::Plain),
    ("n_layers", "n_layers", Kind::Plain),
    ("n_heads", "n_heads", Kind::Plain),
    ("vocab_size", "vocab_size", Kind::Plain),
];

/// The lines of those fields that have a value.
fn fields(model: &Value, lines: &[Line]) -> Vec<(String, String, Style)> {
    let line = |(label, field, kind): &Line| {
        let value = model.get(*field).filter(|value| !value.is_null())?;
        // Most versions are not frozen.
        if *field == "frozen" && *value == Value::Bool(false) {
            return None;
        }
        if is_filler(model, field) {
            return None;
        }
        let mut text = text_as(*kind, value);
        if matches!(kind, Kind::Size)
            && let Some(bytes) = value.as_u64().filter(|bytes| *bytes >= 1000)
        {
            text.push_str(&format!(" ({} bytes)", print::count(bytes)));
        }
        let style = if matches!(kind, Kind::Status) { style_of_status(&text) } else { Style::new() };
        Some(((*label).to_owned(), text, style)).filter(|(_, text, _)| text != "-")
    };
    lines.iter().filter_map(line).collect()
}

/// Returns true if the field is a path that only repeats the URI, as the registry answers for an artifact without one.
pub(super) fn is_filler(model: &Value, field: &str) -> bool {
    field == "local_checkpoint_path" && model.get(field) == model.get("artifact_uri")
}

/// The text in progress.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&in_style(HEADER, &print::one_line(title)));
        self.text.push('\n');
    }

    /// A title with its lines; nothing if there are no lines.
    fn group(&mut self, title: &str, lines: &[(String, String, Style)]) {
        if lines.is_empty() {
            return;
        }
        self.title(title);
        self.lines(INDENT, lines);
    }

    fn lines(&mut self, indent: &str, lines: &[(String, String, Style)]) {
        // `show` never cuts a value.
        let terminal = Terminal { width: None, unicode: true };
        let rows: Vec<Vec<Cell>> = lines
            .iter()
            .map(|(label, text, style)| {
                vec![Cell::new(print::one_line(label)), Cell::new(print::one_line(text)).styled(*style)]
            })
            .collect();
        let lines = Table::new(None, terminal).lines(&rows);
        self.text.extend(lines.lines().map(|line| format!("{indent}{line}\n")));
    }

    /// Suites with their scores and, faint, how each was recorded; then all other metrics.
    fn metrics(&mut self, metrics: Option<&Value>) {
        let Some(metrics) = metrics.and_then(Value::as_object) else { return };
        let plain_line = |(key, value): (&String, &Value)| (key.clone(), plain(value), Style::new());
        let suites = metrics.get("suites").and_then(Value::as_object);
        for (suite, scores) in suites.into_iter().flatten() {
            self.title(&format!("Suite {suite}"));
            let Some(scores) = scores.as_object() else {
                self.lines(INDENT, &[(String::new(), plain(scores), Style::new())]);
                continue;
            };
            let lines: Vec<_> = scores.iter().filter(|(key, _)| *key != "_meta").map(plain_line).collect();
            self.lines(INDENT, &lines);
            if let Some(meta) = scores.get("_meta").and_then(Value::as_object) {
                let recorded =
                    meta.get("recorded_at").map(|at| format!("recorded {}", text_as(Kind::Second, at)));
                let by = meta.get("actor").map(|actor| format!("by {}", plain(actor)));
                let others = meta.iter().filter(|(key, _)| !matches!(key.as_str(), "recorded_at" | "actor"));
                let others = others.map(|(key, value)| format!("{key} {}", plain(value)));
                let notes: Vec<_> = recorded.into_iter().chain(by).chain(others).collect();
                let line = in_style(FAINT, &print::one_line(&notes.join(", ")));
                self.text.push_str(&format!("{INDENT}{line}\n"));
            }
        }
        let others: Vec<_> = metrics
            .iter()
            .filter(|(key, value)| *key != "suites" || !value.is_object())
            .map(plain_line)
            .collect();
        self.group("Other metrics", &others);
    }
}
