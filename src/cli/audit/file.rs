//! Reads and writes exports, record by record.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek as _},
    path::{Path, PathBuf},
};

use csv::StringRecord;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{EndRecord, FORM, Record};
use crate::cli::exit::Failure;
#[cfg(feature = "cli")]
use {super::ExportFormat, std::io::Write};

/// The columns of CSV. A record has what its kind has.
const COLUMNS: [&str; 13] = [
    "record",
    "id",
    "model",
    "model_key",
    "version",
    "version_id",
    "type",
    "payload",
    "details",
    "actor",
    "created_at",
    "previous",
    "hash",
];
/// The longest line that is read, in bytes: an event has a payload and details of limited size.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Why an export can't be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ExportError {
    #[error("{}: {why}", .path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("{}, record {record}: {why}; this is no export of an audit trail, or it was changed", .path.display())]
    Record { path: PathBuf, record: u64, why: String },
    #[error(
        "{} has form {form}, made by a newer registry; this one knows form {FORM}: use the newer one", .path.display())]
    TooNew { path: PathBuf, form: u32 },
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::failed(error)
    }
}

/// Reads an export.
pub(in crate::cli) struct ExportReader {
    path: PathBuf,
    source: Source,
    /// Records read so far.
    read: u64,
}

enum Source {
    Lines(BufReader<File>),
    Csv(Box<csv::Reader<BufReader<File>>>),
}

impl ExportReader {
    /// Opens an export of either format.
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, ExportError> {
        let failed = |why| ExportError::Io { path: path.to_owned(), why };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let is_json = file.fill_buf().map_err(failed)?.first() == Some(&b'{');
        file.rewind().map_err(failed)?;
        let source =
            if is_json { Source::Lines(file) } else { Source::Csv(Box::new(csv::Reader::from_reader(file))) };
        let mut reader = Self { path: path.to_owned(), source, read: 0 };
        if let Source::Csv(csv) = &mut reader.source {
            let has_columns = csv.headers().is_ok_and(|headers| headers == COLUMNS.as_slice());
            if !has_columns {
                return Err(reader.wrong("its first line does not name the columns of an export"));
            }
        }
        Ok(reader)
    }

    fn wrong(&self, why: impl ToString) -> ExportError {
        ExportError::Record { path: self.path.clone(), record: self.read, why: why.to_string() }
    }

    /// Reads the next record.
    pub(in crate::cli) fn next(&mut self) -> Result<Option<Record>, ExportError> {
        self.read += 1;
        let value = match &mut self.source {
            Source::Lines(lines) => {
                let mut line = String::new();
                let read = lines.by_ref().take(MAX_LINE_BYTES).read_line(&mut line);
                match read {
                    Ok(0) => return Ok(None),
                    Ok(_) => serde_json::from_str(&line).map_err(|error| self.wrong(error))?,
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.wrong(error)),
                    Err(why) => return Err(ExportError::Io { path: self.path.clone(), why }),
                }
            }
            Source::Csv(csv) => {
                let mut row = StringRecord::new();
                match csv.read_record(&mut row) {
                    Ok(false) => return Ok(None),
                    Ok(true) => of_csv(&row).map_err(|why| self.wrong(why))?,
                    Err(error) => return Err(self.wrong(error)),
                }
            }
        };
        let record = record_of(value).map_err(|why| self.wrong(why))?;
        if let Record::End(EndRecord { form, .. }) = record
            && form > FORM
        {
            return Err(ExportError::TooNew { path: self.path.clone(), form });
        }
        Ok(Some(record))
    }
}

fn record_of(mut value: Value) -> Result<Record, String> {
    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
    let kind = value.as_object_mut().and_then(|fields| fields.shift_remove("record"));
    match kind.as_ref().and_then(Value::as_str) {
        Some("event") => read(value).map(Record::Event),
        Some("head") => read(value).map(Record::Head),
        Some("end") => read(value).map(Record::End),
        _ => Err("it does not say what it is".to_owned()),
    }
}

/// Returns a row of CSV as a record of JSON. The end has its numbers in the columns of others.
fn of_csv(row: &StringRecord) -> Result<Value, String> {
    let cell = |column: &str| {
        let at = COLUMNS.iter().position(|name| *name == column);
        at.and_then(|at| row.get(at)).unwrap_or_default()
    };
    let text = |column| match cell(column) {
        "" => Value::Null,
        text => text.strip_prefix('\'').unwrap_or(text).into(),
    };
    let number = |column| match cell(column) {
        "" => Ok(Value::Null),
        text => text.parse::<i64>().map(Value::from).map_err(|_| format!("{column} is no number")),
    };
    let hash = cell("hash");
    Ok(match cell("record") {
        "head" => json!({
            "record": "head", "id": number("id")?, "model": text("model"), "model_key": number("model_key")?,
            "hash": hash,
        }),
        "end" => json!({
            "record": "end", "form": number("version")?, "events": number("id")?, "heads": number("model_key")?,
            "digest": hash,
        }),
        kind => json!({
            "record": kind, "id": number("id")?, "model": text("model"), "model_key": number("model_key")?,
            "version": number("version")?, "version_id": number("version_id")?, "type": text("type"),
            "payload": text("payload"), "details": text("details"), "actor": text("actor"),
            "created_at": text("created_at"), "previous": number("previous")?, "hash": hash,
        }),
    })
}

/// Returns a text that no spreadsheet reads as a formula. The apostrophe before it is removed when it is read.
fn cell(text: Option<&str>) -> String {
    match text {
        None => String::new(),
        Some(text) if text.is_empty() || text.starts_with(['=', '+', '-', '@', '\t', '\n', '\r', '\'']) => {
            format!("'{text}")
        }
        Some(text) => text.to_owned(),
    }
}

/// Writes an export.
#[cfg(feature = "cli")]
pub(in crate::cli) struct ExportWriter<W: Write> {
    sink: Sink<W>,
}

#[cfg(feature = "cli")]
enum Sink<W: Write> {
    Lines(W),
    Csv(Box<csv::Writer<W>>),
}

#[cfg(feature = "cli")]
impl<W: Write> ExportWriter<W> {
    pub(in crate::cli) fn new(format: ExportFormat, out: W) -> io::Result<Self> {
        let sink = match format {
            ExportFormat::Jsonl => Sink::Lines(out),
            ExportFormat::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(COLUMNS)?;
                Sink::Csv(Box::new(writer))
            }
        };
        Ok(Self { sink })
    }

    pub(in crate::cli) fn write(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.sink {
            Sink::Lines(out) => out.write_all(crate::cli::print::compact(&json_of(record)).as_bytes()),
            Sink::Csv(writer) => Ok(writer.write_record(row_of(record))?),
        }
    }

    /// Writes what is buffered, and returns where it went.
    pub(in crate::cli) fn end(self) -> io::Result<W> {
        match self.sink {
            Sink::Lines(mut out) => out.flush().map(|()| out),
            Sink::Csv(writer) => writer.into_inner().map_err(|error| error.into_error()),
        }
    }
}

#[cfg(feature = "cli")]
fn json_of(record: &Record) -> Value {
    let (kind, fields) = match record {
        Record::Event(event) => ("event", serde_json::to_value(event)),
        Record::Head(head) => ("head", serde_json::to_value(head)),
        Record::End(end) => ("end", serde_json::to_value(end)),
    };
    let mut object = json!({ "record": kind });
    // Structures of texts and numbers are always JSON.
    if let (Some(object), Ok(Value::Object(fields))) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

#[cfg(feature = "cli")]
fn row_of(record: &Record) -> [String; 13] {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let none = String::new;
    match record {
        Record::Event(event) => [
            "event".to_owned(),
            event.id.to_string(),
            cell(event.model.as_deref()),
            event.model_key.to_string(),
            number(event.version),
            event.version_id.to_string(),
            cell(Some(&event.r#type)),
            cell(event.payload.as_deref()),
            cell(event.details.as_deref()),
            cell(event.actor.as_deref()),
            cell(Some(&event.created_at)),
            number(event.previous),
            hex::encode(&event.hash),
        ],
        Record::Head(head) => {
            let mut row = [(); 13].map(|()| none());
            row[0] = "head".to_owned();
            row[1] = head.id.to_string();
            row[2] = cell(head.model.as_deref());
            row[3] = head.model_key.to_string();
            row[12] = hex::encode(&head.hash);
            row
        }
        Record::End(end) => {
            let mut row = [(); 13].map(|()| none());
            row[0] = "end".to_owned();
            row[1] = end.events.to_string();
            row[3] = end.heads.to_string();
            row[4] = end.form.to_string();
            row[12].clone_from(&end.digest);
            row
        }
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;
    use crate::cli::audit::{EventRecord, HeadRecord};

    fn records() -> Vec<Record> {
        let event = |actor: Option<&str>, payload: Option<&str>| {
            Record::Event(EventRecord {
                id: 7,
                model: Some("=1+1".to_owned()),
                model_key: 1,
                version: None,
                version_id: 0,
                r#type: "eval".to_owned(),
                payload: payload.map(str::to_owned),
                details: Some("{\"reason\":\"a, \\\"b\\\"\"}".to_owned()),
                actor: actor.map(str::to_owned),
                created_at: "2026-01-31 13:05:09.250".to_owned(),
                previous: Some(6),
                hash: vec![0xab; 32],
            })
        };
        vec![
            event(None, None),
            event(Some(""), Some("")),
            event(Some("'=x"), Some("@x\r\n\"y\"")),
            event(Some("-5"), Some("\u{202e}\u{9b}\t")),
            Record::Head(HeadRecord { model: None, model_key: 0, id: 7, hash: vec![1; 32] }),
            Record::End(EndRecord { form: FORM, events: 4, heads: 1, digest: "ab".to_owned() }),
        ]
    }

    #[test]
    fn an_export_of_either_format_reads_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        for format in [ExportFormat::Jsonl, ExportFormat::Csv] {
            let path = folder.path().join("export");
            let mut writer = ExportWriter::new(format, File::create(&path).unwrap()).unwrap();
            for record in records() {
                writer.write(&record).unwrap();
            }
            writer.end().unwrap();
            let mut reader = ExportReader::open(&path).unwrap();
            for record in records() {
                assert_eq!(reader.next().unwrap(), Some(record));
            }
            assert_eq!(reader.next().unwrap(), None);
        }
    }

    #[test]
    fn no_cell_of_csv_begins_a_formula() {
        for text in ["=1", "+1", "-1", "@x", "\tx", "\nx", "\rx", "'=x", ""] {
            assert!(cell(Some(text)).starts_with('\''), "{text:?}");
        }
        assert_eq!((cell(Some("{}")), cell(None)), ("{}".to_owned(), String::new()));
    }

    #[test]
    fn what_is_no_export_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        for (text, place) in [
            ("{\"record\":\"event\"}\n", "record 1: "),
            ("{}\n", "does not say what it is"),
            ("{\"record\":\n", "record 1: "),
            ("a,b\n1,2\n", "does not name the columns"),
            ("", "does not name the columns"),
            ("{\"record\":\"end\",\"form\":9,\"events\":0,\"heads\":0,\"digest\":\"\"}\n", "has form 9"),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = ExportReader::open(&path).and_then(|mut reader| reader.next());
            let error = read.unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
}
