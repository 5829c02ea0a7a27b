//! The flags that choose the format of results.

use std::ffi::OsStr;

use clap::{
    Arg, Args, Command,
    builder::{PossibleValue, TypedValueParser},
    error::ErrorKind,
};

use super::path::{PATH_HELP, Paths};
use crate::cli::print;

/// A format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Wide,
    Json,
    JsonLines,
    Yaml,
    Csv,
    Name,
}

/// The value of `-o`.
#[derive(Debug, Clone)]
enum Output {
    Format(Format),
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
pub(in crate::cli) struct OutputFlags {
    /// The format: table, wide, json, jsonl, yaml, csv, name, or columns=PATH,…
    ///
    /// table is for people: it is cut to the terminal, but not in a pipe. wide has more columns and whole digests. json is
    /// the registry's answer with its order and digits; yaml is for reading, and writes 2.50 as 2.5. In csv a text that a
    /// spreadsheet would read as a formula (it begins with =, +, -, @) gets an apostrophe before it.
    #[arg(short = 'o', long, value_name = "FORMAT", value_parser = FormatParser, hide_possible_values = true)]
    output: Option<Output>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// The columns of a table or of csv, such as id,name,smoke-v1/score
    #[arg(long, value_name = "PATH,…", conflicts_with = "json", long_help = PATH_HELP)]
    columns: Option<Paths>,
    /// Print no column titles
    #[arg(long)]
    pub(super) no_header: bool,
}

impl OutputFlags {
    /// Returns the format, and the columns that the user chose, if any. A table with chosen columns is wide.
    pub(super) fn resolve(&self) -> Result<(Format, Option<Paths>), &'static str> {
        let format = match (&self.output, &self.columns) {
            _ if self.json => Format::Json,
            (Some(Output::Columns(_)), Some(_)) => {
                return Err("-o columns=… and --columns mean the same; give one of them");
            }
            (Some(Output::Columns(paths)), None) => return Ok((Format::Wide, Some(paths.clone()))),
            (Some(Output::Format(format)), _) => *format,
            (None, _) => Format::Table,
        };
        match (format, self.columns.clone()) {
            (Format::Table | Format::Wide, Some(paths)) => Ok((Format::Wide, Some(paths))),
            (Format::Csv, paths) | (_, paths @ None) => Ok((format, paths)),
            _ => Err("--columns goes with tables and csv; remove it, or give -o csv"),
        }
    }
}

/// Parses a format, and lists all for help and completions.
#[derive(Clone)]
struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Output;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Output, clap::Error> {
        let text = value.to_str().unwrap_or("\u{fffd}");
        let invalid = |why: String| {
            let message = format!("invalid format {:?}: {why}\n", print::one_line(text));
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        };
        if let Some(paths) = text.strip_prefix(COLUMNS) {
            return paths.parse().map(Output::Columns).map_err(invalid);
        }
        if let Some(columns) = text.strip_prefix(TITLED_COLUMNS) {
            return Paths::titled(columns).map(Output::Columns).map_err(invalid);
        }
        FORMATS
            .into_iter()
            .find(|(name, ..)| *name == text)
            .map(|(_, format, _)| Output::Format(format))
            .ok_or_else(|| {
                let names = FORMATS.map(|(name, ..)| name).join(", ");
                invalid(format!("the formats are {names} and columns=PATH,…"))
            })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(FORMATS.into_iter().map(|(name, _, help)| PossibleValue::new(name).help(help))))
    }
}
