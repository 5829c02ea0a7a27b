//! Writes rows to stdout page by page, so that a long list needs little memory.

use serde_json::Value;

use super::{
    Format, OutputFlags, View,
    column::{Column, plain},
    table::{Cell, Table},
    terminal::Terminal,
    yaml,
};
use crate::{
    cli::{
        exit::Failure,
        print::{self, Reader},
    },
    domain::is_unsafe_to_display,
};

/// A list that is being printed.
pub(in crate::cli) struct Rows {
    how: How,
    shown: u64,
}

enum How {
    Table { columns: Vec<Column>, table: Table },
    Csv { columns: Vec<Column>, header: bool },
    Json,
    JsonLines,
    Yaml,
    Name(fn(&Value) -> String),
}

impl Rows {
    /// Begins a list of rows of `view`. It writes nothing yet.
    ///
    /// # Errors
    /// A usage error if the flags don't fit it.
    pub(in crate::cli) fn begin(flags: &OutputFlags, view: &View) -> Result<Self, Failure> {
        let mut format = flags.format();
        let wanted = match (&mut format, &flags.columns) {
            (Format::Columns(_), Some(_)) => {
                return Err(Failure::usage("-o columns=… and --columns mean the same; give one of them"));
            }
            (Format::Columns(paths), None) => Some(std::mem::take(&mut paths.0)),
            (Format::Table | Format::Wide | Format::Csv, Some(paths)) => Some(paths.0.clone()),
            (_, Some(_)) => {
                return Err(Failure::usage("--columns goes with tables and csv; remove it, or give -o csv"));
            }
            (_, None) => None,
        };
        if let Some(unknown) = wanted.iter().flatten().find(|path| !view.fields.contains(&path.field())) {
            return Err(Failure::usage(format!(
                "there is no field {:?}; the fields are {}",
                unknown.field(),
                view.fields.join(", ")
            )));
        }
        // A wide table, and one with chosen columns, is never cut.
        let uncut = wanted.is_some() || format == Format::Wide;
        let wanted = wanted.map(|paths| paths.into_iter().map(Column::wanted).collect::<Vec<_>>());
        let how = match format {
            Format::Json => How::Json,
            Format::JsonLines => How::JsonLines,
            Format::Yaml => How::Yaml,
            Format::Csv => {
                let all =
                    || view.fields.iter().map(|field| Column::of(field, field, super::column::Kind::Plain));
                How::Csv { columns: wanted.unwrap_or_else(|| all().collect()), header: !flags.no_header }
            }
            Format::Name => match view.name {
                Some(name) => How::Name(name),
                None => return Err(Failure::usage("-o name is for models; choose another format here")),
            },
            Format::Table | Format::Wide | Format::Columns(_) => {
                let columns =
                    wanted.unwrap_or_else(if format == Format::Wide { view.wide } else { view.table });
                let terminal = Terminal::of_stdout();
                let terminal = Terminal { width: terminal.width.filter(|_| !uncut), ..terminal };
                let titles = || columns.iter().map(|column| column.title.clone()).collect();
                let table = Table::new((!flags.no_header).then(titles), terminal);
                How::Table { columns, table }
            }
        };
        Ok(Self { how, shown: 0 })
    }

    /// The number of rows so far.
    pub(in crate::cli) fn shown(&self) -> u64 {
        self.shown
    }

    /// Prints more rows.
    ///
    /// # Errors
    /// If stdout can't be written.
    pub(in crate::cli) fn page(&mut self, rows: &[Value]) -> Result<Reader, Failure> {
        if rows.is_empty() {
            return Ok(Reader::Listens);
        }
        let first = self.shown == 0;
        self.shown += rows.len() as u64;
        match &mut self.how {
            How::Table { columns, table } => {
                let row = |row| columns.iter().map(|column| column.cell(row)).collect();
                let cells: Vec<Vec<Cell>> = rows.iter().map(row).collect();
                print::styled(&table.lines(&cells))
            }
            How::Csv { columns, header } => print::text(&csv(columns, *header && first, rows)?),
            How::Json => print::text(&items(rows, first)),
            How::JsonLines => print::text(&rows.iter().map(print::compact).collect::<String>()),
            How::Yaml => {
                let text = yaml::yaml(&Value::Array(rows.to_vec())).map_err(Failure::failed)?;
                print::text(&text)
            }
            How::Name(name) => {
                print::text(&rows.iter().map(|row| format!("{}\n", name(row))).collect::<String>())
            }
        }
    }

    /// Ends the list. For programs, an empty one is a list too.
    ///
    /// # Errors
    /// If stdout can't be written.
    pub(in crate::cli) fn end(self) -> Result<(), Failure> {
        let end = match (&self.how, self.shown) {
            (How::Json, 0) | (How::Yaml, 0) => "[]\n".to_owned(),
            (How::Json, _) => "\n]\n".to_owned(),
            (How::Csv { columns, header: true }, 0) => csv(columns, true, &[])?,
            _ => return Ok(()),
        };
        print::text(&end).map(|_| ())
    }
}

/// A page of an indented JSON list; all pages together are one list.
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

/// Numbers as they are, lists and objects as JSON. A text must not become a formula in a spreadsheet or control a
/// terminal.
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
    use crate::cli::output::column::Kind;

    #[test]
    fn pages_of_json_make_one_list() {
        let rows = [json!({"a": [1, {"b": "x\ny"}]}), json!({"a": []}), json!(1)];
        let text = items(&rows[..1], true) + &items(&rows[1..], false) + "\n]\n";
        assert_eq!(text, format!("{:#}\n", Value::from(rows.to_vec())));
    }

    #[test]
    fn csv_is_quoted_and_has_no_formulas() {
        let columns = ["a", "b"].map(|field| Column::of(field, field, Kind::Plain));
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
