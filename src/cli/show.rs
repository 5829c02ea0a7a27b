//! `registry show`: all fields of one version, for a person to read.

use anstyle::Style;
use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{
        EVENTS, OutputFlags, Printer, VERSIONS,
        table::{Cell, INDENT, indented},
        terminal::{FAINT, HEADER, Terminal, in_style},
        value::{ValueFormat, plain, style_of_status, text_as},
    },
    print,
    remote::Remote,
    version_arg::{self, VersionArg},
};
use crate::{client::Client, domain::VersionRef};

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
pub(super) struct Show {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Show {
    /// Shows the version.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &VERSIONS)?;
        let client = self.remote.client()?;
        let model = self.version.fetch(&client)?;
        print_version(printer, &client, &model, EVENTS_SHOWN)
    }
}

/// Prints a version: for people in groups of lines, with its newest `events`.
pub(super) fn print_version(
    printer: Printer,
    client: &Client,
    model: &Value,
    events: u32,
) -> Result<(), Failure> {
    if !printer.is_for_people() {
        return printer.one(model);
    }
    let mut groups = vec![group(&version_arg::label(model), &fields(model, IDENTITY), UNCUT)];
    groups.push(group("Artifact", &fields(model, ARTIFACT), UNCUT));
    groups.push(files(client, model));
    for (title, lines) in [("Provenance", PROVENANCE), ("Training", TRAINING)] {
        groups.push(group(title, &fields(model, lines), UNCUT));
    }
    groups.extend(metrics(model));
    if let (Some(id), 1..) = (model.get("id").and_then(Value::as_i64), events) {
        let trail = client.events(id, events, 0)?;
        let columns = EVENTS.columns(false).map_err(Failure::failed)?;
        let row = |event| columns.iter().map(|column| column.cell(event)).collect();
        let rows: Vec<_> = trail.iter().map(row).collect();
        groups.push(group("Newest events", &rows, Terminal::of_stdout()));
    }
    groups.retain(|group| !group.is_empty());
    print::text(&groups.join("\n"))
}

/// Returns what `/v1` says of the files of a version that has several, or whose files the registry stores.
fn files(client: &Client, model: &Value) -> String {
    let id = model.get("id").and_then(Value::as_i64).unwrap_or_default();
    // A registry without `/v1` knows no more than the artifact.
    let Ok(version) = client.v1("").version(&VersionRef::Id(id)) else { return String::new() };
    let (count, is_stored) = (version["file_count"].as_u64(), version["stored"] == true);
    let has_many = count.is_some_and(|count| count > 1);
    if has_many || is_stored { group("Files", &fields(&version, FILES), UNCUT) } else { String::new() }
}

/// The lines of each group: fields, with a label before the colon if it is another. A line about the one above it is
/// indented.
const IDENTITY: &str = "id,status,frozen,description,tags,created:created_at,updated:updated_at";
const ARTIFACT: &str = "uri:artifact_uri,\
    checkpoint:checkpoint_size_bytes,  sha256:checkpoint_sha256,  path:local_checkpoint_path,\
    config:config_size_bytes,  sha256:config_sha256,  path:local_config_path";
const FILES: &str = "files:file_count,size:total_bytes,digest,in the registry's store:stored";
const PROVENANCE: &str = "run:run_id,commit:git_commit,created by:created_by,on host:source_host";
const TRAINING: &str =
    "dataset,step:training_step,loss:training_loss,params,d_model,n_layers,n_heads,vocab_size";

/// Returns the lines of those fields that have a value.
pub(super) fn fields(model: &Value, lines: &str) -> Vec<Vec<Cell>> {
    let line = |line| {
        let (label, field) = str::split_once(line, ':').unwrap_or((line, line));
        let value = model.get(field).filter(|value| !value.is_null())?;
        // Most versions are not frozen.
        if field == "frozen" && *value == Value::Bool(false) || is_filler(model, field) {
            return None;
        }
        let kind = ValueFormat::of(field, true);
        let mut text = text_as(kind, value);
        if kind == ValueFormat::Size
            && let Some(bytes) = value.as_u64().filter(|bytes| *bytes >= 1000)
        {
            text.push_str(&format!(" ({} bytes)", print::count(bytes)));
        }
        let style = if kind == ValueFormat::Status { style_of_status(&text) } else { Style::new() };
        (text != "-").then(|| vec![Cell::new(label), Cell::new(print::one_line(&text)).styled(style)])
    };
    lines.split(',').filter_map(line).collect()
}

/// Returns true if the field is a path that only repeats the URI, as the registry answers for an artifact without one.
pub(super) fn is_filler(model: &Value, field: &str) -> bool {
    field == "local_checkpoint_path" && model.get(field) == model.get("artifact_uri")
}

/// `show` cuts no value of a version.
pub(super) const UNCUT: Terminal = Terminal { width: None, unicode: true };

/// Returns a title with its lines; empty if there are no lines.
pub(super) fn group(title: &str, lines: &[Vec<Cell>], terminal: Terminal) -> String {
    if lines.is_empty() { String::new() } else { heading(title) + &indented(lines, terminal) }
}

fn heading(title: &str) -> String {
    in_style(HEADER, &print::one_line(title)) + "\n"
}

/// Suites with their scores and, faint, how each was recorded; then all other metrics.
fn metrics(model: &Value) -> Vec<String> {
    let Some(metrics) = model.get("metrics").and_then(Value::as_object) else { return Vec::new() };
    let line = |(key, value): (&String, &Value)| {
        vec![Cell::new(print::one_line(key)), Cell::new(print::one_line(&plain(value)))]
    };
    let mut groups = Vec::new();
    for (suite, scores) in metrics.get("suites").and_then(Value::as_object).into_iter().flatten() {
        let mut text = heading(&format!("Suite {suite}"));
        let no_name = String::new();
        let lines: Vec<_> = match scores.as_object() {
            Some(scores) => scores.iter().filter(|(key, _)| *key != "_meta").map(line).collect(),
            None => vec![line((&no_name, scores))],
        };
        text.push_str(&indented(&lines, UNCUT));
        if let Some(meta) = scores.get("_meta").and_then(Value::as_object) {
            let mut meta: Vec<_> = meta.iter().collect();
            meta.sort_by_key(|(key, _)| match key.as_str() {
                "recorded_at" => 0,
                "actor" => 1,
                _ => 2,
            });
            let note = |(key, value): (&String, &Value)| match key.as_str() {
                "recorded_at" => format!("recorded {}", text_as(ValueFormat::Second, value)),
                "actor" => format!("by {}", plain(value)),
                _ => format!("{key} {}", plain(value)),
            };
            let notes: Vec<_> = meta.into_iter().map(note).collect();
            let notes = in_style(FAINT, &print::one_line(&notes.join(", ")));
            text.push_str(&format!("{INDENT}{notes}\n"));
        }
        groups.push(text);
    }
    let others = metrics.iter().filter(|(key, value)| *key != "suites" || !value.is_object());
    groups.push(group("Other metrics", &others.map(line).collect::<Vec<_>>(), UNCUT));
    groups
}
