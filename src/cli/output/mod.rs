//! The output of commands: tables for people, JSON, YAML and CSV for programs.
//!
//! This module writes to stdout and owns the output flags. It must not know which call an answer came from: a command
//! describes its rows by a [`View`].

use std::ffi::OsStr;

use clap::{
    Arg, Args, Command,
    builder::{PossibleValue, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde_json::Value;

pub(super) mod chart;
pub(super) mod column;
pub(super) mod models;
mod rows;
pub(super) mod table;
pub(super) mod terminal;
mod yaml;

use column::{Column, PATH_HELP, Paths};
pub(super) use rows::Rows;

use super::{
    exit::Failure,
    print::{self, Reader},
};

/// How results are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Wide,
    Json,
    JsonLines,
    Yaml,
    Csv,
    Name,
    Columns(Paths),
}

const FORMATS: [(&str, Format, &str); 7] = [
    ("table", Format::Table, "a table for people, cut to the terminal [default]"),
    ("wide", Format::Wide, "the same with more columns, never cut"),
    ("json", Format::Json, "the registry's answer, indented"),
    ("jsonl", Format::JsonLines, "one line of JSON each"),
    ("yaml", Format::Yaml, "the same as YAML"),
    ("csv", Format::Csv, "comma-separated, for spreadsheets"),
    ("name", Format::Name, "name:version, one line each"),
];
const COLUMNS: &str = "columns=";
/// With titles, as `kubectl` has it: `-o custom-columns=NAME:.name,SCORE:.metrics.suites.smoke-v1.score`.
const TITLED_COLUMNS: &str = "custom-columns=";

/// The flags of every command that prints results.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputFlags {
    /// The format: table, wide, json, jsonl, yaml, csv, name, or columns=PATH,…
    ///
    /// table is for people: it is cut to the terminal, but not in a pipe. wide has more columns and whole digests. json is
    /// the registry's answer with its order and digits; yaml is for reading, and writes 2.50 as 2.5. In csv a text that a
    /// spreadsheet would read as a formula (it begins with =, +, -, @) gets an apostrophe before it.
    #[arg(short = 'o', long, value_name = "FORMAT", value_parser = FormatParser, hide_possible_values = true)]
    output: Option<Format>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// The columns of a table or of csv, such as id,name,smoke-v1/score
    #[arg(long, value_name = "PATH,…", conflicts_with = "json", long_help = PATH_HELP)]
    columns: Option<Paths>,
    /// Print no column titles
    #[arg(long)]
    no_header: bool,
}

impl OutputFlags {
    /// The format of the flags; table by default.
    pub(super) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output.clone().unwrap_or(Format::Table) }
    }

    /// Returns true if the output is for people, not for programs.
    pub(super) fn is_for_people(&self) -> bool {
        matches!(self.format(), Format::Table | Format::Wide) && self.columns.is_none()
    }

    /// Prints one thing: for people the text of `describe`, for programs `value`.
    ///
    /// # Errors
    /// If the flags don't fit it, or stdout can't be written.
    pub(super) fn one(
        &self,
        view: &View,
        value: &Value,
        describe: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if self.is_for_people() {
            return print::styled(&describe()?).map(|_| ());
        }
        match self.format() {
            Format::Json => print::result(value),
            Format::Yaml => print::text(&yaml::yaml(value).map_err(Failure::failed)?).map(|_| ()),
            _ => {
                let mut rows = Rows::begin(self, view)?;
                rows.page(std::slice::from_ref(value))?;
                rows.end()
            }
        }
    }

    /// Prints an answer that is not a list: in JSON and YAML as it is, in other formats as these rows.
    ///
    /// # Errors
    /// As [`OutputFlags::one`].
    pub(super) fn answer(&self, view: &View, answer: &Value, rows: &[Value]) -> Result<Reader, Failure> {
        match self.format() {
            Format::Json => print::text(&print::pretty(answer)),
            Format::JsonLines => print::text(&print::compact(answer)),
            Format::Yaml => print::text(&yaml::yaml(answer).map_err(Failure::failed)?),
            _ => {
                let mut shown = Rows::begin(self, view)?;
                let reader = shown.page(rows)?;
                shown.end()?;
                Ok(reader)
            }
        }
    }
}

/// How rows of one kind are shown.
pub(super) struct View {
    /// The columns of a table.
    pub(super) table: fn() -> Vec<Column>,
    /// The columns of a wide table.
    pub(super) wide: fn() -> Vec<Column>,
    /// The fields of a row, in the order of csv.
    pub(super) fields: &'static [&'static str],
    /// The line of `-o name` for a row, for kinds that have names.
    pub(super) name: Option<fn(&Value) -> String>,
}

impl View {
    /// Checks the flags before anything is done.
    ///
    /// # Errors
    /// A usage error if they don't fit these rows.
    pub(super) fn check(&self, flags: &OutputFlags) -> Result<(), Failure> {
        Rows::begin(flags, self).map(|_| ())
    }
}

/// Parses a format, and lists all for help and completions.
#[derive(Clone)]
struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Format, clap::Error> {
        let text = value.to_str().unwrap_or("\u{fffd}");
        let invalid = |why: String| {
            let mut error = clap::Error::new(ErrorKind::ValueValidation).with_cmd(command);
            if let Some(arg) = arg {
                error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
            }
            error.insert(ContextKind::InvalidValue, ContextValue::String(print::one_line(text)));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![why.into()]));
            error
        };
        if let Some(paths) = text.strip_prefix(COLUMNS) {
            return paths.parse().map(Format::Columns).map_err(invalid);
        }
        if let Some(columns) = text.strip_prefix(TITLED_COLUMNS) {
            return Paths::titled(columns).map(Format::Columns).map_err(invalid);
        }
        FORMATS.into_iter().find(|(name, ..)| *name == text).map(|(_, format, _)| format).ok_or_else(|| {
            let names = FORMATS.map(|(name, ..)| name).join(", ");
            invalid(format!("the formats are {names} and columns=PATH,…"))
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(FORMATS.into_iter().map(|(name, _, help)| PossibleValue::new(name).help(help))))
    }
}
