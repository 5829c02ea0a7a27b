//! Prints results to stdout: whole answers, or rows page by page, so that a long list needs little memory.

use serde_json::Value;

use super::{
    flags::{Format, OutputFlags},
    path::Paths,
    table::{Cell, Table},
    terminal::Terminal,
    value::plain,
    view::{Column, View},
    yaml::yaml,
};
use crate::{
    cli::{
        exit::Failure,
        print::{self, Pipe},
    },
    domain::is_unsafe_to_display,
};

/// Prints the result of one command.
pub(in crate::cli) struct Printer {
    format: Format,
    is_for_people: bool,
    columns: Vec<Column>,
    table: Table,
    has_header: bool,
    name: Option<fn(&Value) -> String>,
    /// The number of rows so far.
    shown: u64,
}

impl Printer {
    /// Creates a printer of rows of `view`. It writes nothing yet.
    ///
    /// # Errors
    /// A usage error if the flags don't fit these rows.
    pub(in crate::cli) fn new(flags: &OutputFlags, view: &View) -> Result<Self, Failure> {
        let (format, chosen) = flags.resolve().map_err(Failure::usage)?;
        if format == Format::Name && view.name.is_none() {
            return Err(Failure::usage("-o name is for versions and models; choose another format here"));
        }
        let fields: Vec<&str> = view.fields.split(',').collect();
        let unknown = chosen.iter().flat_map(|paths| &paths.0).find(|path| !fields.contains(&path.field()));
        if let Some(path) = unknown {
            return Err(Failure::usage(format!(
                "there is no field {:?}; the fields are {}",
                path.field(),
                fields.join(", ")
            )));
        }
        let is_for_people = matches!(format, Format::Table | Format::Wide) && chosen.is_none();
        let plain = |paths: Paths| paths.0.into_iter().map(Column::plain).collect();
        let columns = match chosen {
            Some(paths) => Ok(plain(paths)),
            None if format == Format::Csv => view.fields.parse().map(plain),
            None => view.columns(format == Format::Wide),
        };
        let columns = columns.map_err(Failure::usage)?;
        let titles = || columns.iter().map(|column| print::one_line(&column.path.title())).collect();
        let mut terminal = Terminal::of_stdout();
        if format == Format::Wide {
            terminal.width = None;
        }
        let table = Table::new((!flags.no_header).then(titles), terminal);
        Ok(Self {
            format,
            is_for_people,
            columns,
            table,
            has_header: !flags.no_header,
            name: view.name,
            shown: 0,
        })
    }

    /// Returns the printer of a list that has no end: one line of JSON each, in place of a list in JSON.
    pub(in crate::cli) fn of_lines(mut self) -> Self {
        if self.format == Format::Json {
            self.format = Format::JsonLines;
        }
        self
    }

    /// Returns true if the output is for people, not for programs.
    pub(in crate::cli) fn is_for_people(&self) -> bool {
        self.is_for_people
    }

    /// Returns true for `-o wide`.
    pub(in crate::cli) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Prints an answer that is not a list: in JSON and YAML as it is, in other formats as these rows.
    pub(in crate::cli) fn answer(mut self, answer: &Value, rows: &[Value]) -> Result<(), Failure> {
        match self.format {
            Format::Json => print::text(&print::pretty(answer)),
            Format::JsonLines => print::text(&print::compact(answer)),
            Format::Yaml => print::text(&yaml(answer)?),
            _ => {
                self.page(rows)?;
                self.end()
            }
        }
    }

    /// Prints one row.
    pub(in crate::cli) fn one(self, row: &Value) -> Result<(), Failure> {
        self.answer(row, std::slice::from_ref(row))
    }

    /// Prints what a change did: to people `message`, to programs the changed row, with the message on stderr.
    pub(in crate::cli) fn changed(self, row: &Value, message: &str) -> Result<(), Failure> {
        if self.is_for_people {
            return print::text(message);
        }
        self.one(row)?;
        message.lines().for_each(print::line);
        Ok(())
    }

    /// Returns the number of rows so far.
    pub(in crate::cli) fn shown(&self) -> u64 {
        self.shown
    }

    /// Prints more rows.
    pub(in crate::cli) fn page(&mut self, rows: &[Value]) -> Result<Pipe, Failure> {
        if rows.is_empty() {
            return Ok(Pipe::Open);
        }
        let first = self.shown == 0;
        self.shown += rows.len() as u64;
        let text = match (self.format, self.name) {
            (Format::Table | Format::Wide, _) => {
                let row = |row| self.columns.iter().map(|column| column.cell(row)).collect();
                self.table.lines(&rows.iter().map(row).collect::<Vec<Vec<Cell>>>())
            }
            (Format::Csv, _) => csv(&self.columns, self.has_header && first, rows)?,
            (Format::Json, _) => items(rows, first),
            (Format::JsonLines, _) => rows.iter().map(print::compact).collect(),
            (Format::Yaml, _) => yaml(&Value::from(rows))?,
            (Format::Name, name) => {
                rows.iter().map(|row| name.map(|name| name(row) + "\n").unwrap_or_default()).collect()
            }
        };
        print::page(&text)
    }

    /// Ends the list. For programs, an empty one is a list too.
    pub(in crate::cli) fn end(self) -> Result<(), Failure> {
        match (self.format, self.shown) {
            (Format::Json | Format::Yaml, 0) => print::text("[]\n"),
            (Format::Json, _) => print::text("\n]\n"),
            (Format::Csv, 0) if self.has_header => print::text(&csv(&self.columns, true, &[])?),
            _ => Ok(()),
        }
    }
}

/// Returns a page of an indented JSON list; all pages together are one list.
fn items(rows: &[Value], first: bool) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text.push_str(if first && at == 0 { "[\n  " } else { ",\n  " });
        // Strings in JSON have no line breaks.
        text.push_str(&print::pretty(row).trim_end().replace('\n', "\n  "));
    }
    text
}

fn csv(columns: &[Column], header: bool, rows: &[Value]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("csv can't be written: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    if header {
        let titles = columns.iter().map(|column| column.path.to_string());
        writer.write_record(titles).map_err(|error| failed(&error))?;
    }
    for row in rows {
        let fields = columns.iter().map(|column| column.path.find(row).map(csv_field).unwrap_or_default());
        writer.write_record(fields).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// Formats a field: numbers unchanged, lists and objects as JSON. A text must not become a formula in a spreadsheet or
/// control a terminal.
fn csv_field(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text: String = text
                .chars()
                .map(|c| if is_unsafe_to_display(c) && c != '\n' && c != '\t' { ' ' } else { c })
                .collect();
            let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\n']);
            if is_formula { format!("'{text}") } else { text }
        }
        Value::Array(_) | Value::Object(_) => print::compact(value).trim_end().to_owned(),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_of_json_make_one_list() {
        let rows = [json!({"a": [1, {"b": "x\ny"}]}), json!({"a": []}), json!(1)];
        let text = items(&rows[..1], true) + &items(&rows[1..], false) + "\n]\n";
        assert_eq!(text, format!("{:#}\n", Value::from(rows.to_vec())));
    }

    #[test]
    fn csv_is_quoted_and_has_no_formulas() {
        let columns = ["a", "b"].map(|field| Column::plain(field.parse().unwrap()));
        for (a, b, line) in [
            (json!("x"), json!(null), "x,\n"),
            (json!("x,y"), json!("say \"a\"\nb"), "\"x,y\",\"say \"\"a\"\"\nb\"\n"),
            (json!("=1+1"), json!("@x"), "'=1+1,'@x\n"),
            (json!(-5), json!("-5"), "-5,'-5\n"),
            (json!(["=1", "b"]), json!({"k": 1.50}), "\"[\"\"=1\"\",\"\"b\"\"]\",\"{\"\"k\"\":1.5}\"\n"),
            (json!("a\u{1b}[2J\u{202e}"), json!(true), "a [2J ,true\n"),
        ] {
            let text = csv(&columns, true, &[json!({"a": a, "b": b})]).unwrap();
            assert_eq!(text, format!("a,b\n{line}"));
        }
    }
}
