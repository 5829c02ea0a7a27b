//! `registry events export`: the whole audit trail with the ends of its chains, so that a copy proves later changes.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::WITHOUT_V1;
use crate::{
    cli::{
        audit::{
            EndRecord, EventRecord, ExportFormat, ExportWriter, FORM, HeadRecord, Record, model_text,
            verify::Problems,
        },
        exit::{self, Failure},
        print,
        remote::Remote,
    },
    client::V1,
    domain::chain::{Walk, digest_of_heads},
};

/// Events of one request.
const PAGE: &str = "500";
/// Problems that are shown.
const MAX_SHOWN: usize = 20;

const EXAMPLES: &str = "\
Examples:
  Keep a copy that those who write the database can't change, and note the digest that it prints:
    registry events export --to trail-2026-11-29.jsonl
  For a spreadsheet:
    registry events export --format csv --to trail.csv
  Compare the registry with it later, on the machine of the database:
    registry maintenance --verify-audit --against trail-2026-11-29.jsonl";

/// Export the whole audit trail, with the ends of its chains.
///
/// Each event has what its hash covers, byte for byte. The chains are verified on the way.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Export {
    /// The format
    #[arg(long, value_enum, default_value = "jsonl")]
    format: ExportFormat,
    /// Write to this new file, which appears once it is complete; else to stdout
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// What was exported.
struct Exported {
    events: u64,
    models: usize,
    digest: String,
    problems: Problems,
}

impl Export {
    /// Writes the export.
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(path) = self.to.as_deref().filter(|path| path.exists()) {
            return Err(taken(path));
        }
        if self.to.is_none() && self.format == ExportFormat::Csv && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "csv has texts as they are, which could control this terminal; give --to FILE",
            ));
        }
        let client = self.remote.client()?;
        let v1 = client.v1(WITHOUT_V1);
        let exported = match &self.to {
            None => match export(&v1, self.format, BufWriter::new(io::stdout().lock())) {
                // A reader that closes the pipe early, like `head`, is not an error.
                Err(Stopped::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                exported => {
                    exported.map(|(exported, _)| exported).map_err(|why| why.into_failure("stdout"))?
                }
            },
            Some(path) => to_file(&v1, self.format, path)?,
        };
        let Exported { events, models, digest, problems } = exported;
        let counts =
            format!("{} of {}", print::counted(events, "event"), print::counted(models as u64, "model"));
        print::line(&format!("exported {counts}; the digest of the chains' ends is {digest}"));
        if problems.total == 0 {
            return Ok(());
        }
        for problem in problems.listed.iter().take(MAX_SHOWN) {
            print::line(&format!("  {problem}"));
        }
        Err(Failure::failed(format!(
            "the audit trail is broken in {}, and so is this export; `registry maintenance --verify-audit` on the machine of the database shows more",
            print::counted(problems.total, "place")
        )))
    }
}

fn taken(path: &Path) -> Failure {
    Failure::failed(format!(
        "{} exists, and an older export may prove more; choose another name",
        path.display()
    ))
}

/// Writes a file that is complete or absent.
fn to_file(v1: &V1<'_>, format: ExportFormat, path: &Path) -> Result<Exported, Failure> {
    let shown = path.display().to_string();
    let failed = |error: io::Error| Stopped::Write(error).into_failure(&shown);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".registry-").tempfile_in(folder).map_err(failed)?;
    let (file, temporary) = file.into_parts();
    let (exported, out) = export(v1, format, BufWriter::new(file)).map_err(|why| why.into_failure(&shown))?;
    let file: File = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    temporary.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => failed(error.error),
    })?;
    Ok(exported)
}

/// Why an export ended early.
enum Stopped {
    Write(io::Error),
    Read(Failure),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl Stopped {
    fn into_failure(self, to: &str) -> Failure {
        match self {
            Self::Write(error) => Failure::failed(format!("{to} can't be written: {error}")),
            Self::Read(failure) => failure,
        }
    }
}

/// Reads all events page by page, verifies and writes them, and then the ends of the chains.
fn export<W: Write>(v1: &V1<'_>, format: ExportFormat, out: W) -> Result<(Exported, W), Stopped> {
    let mut writer = ExportWriter::new(format, out)?;
    let (mut walk, mut events, mut problems) = (Walk::default(), 0, Problems::default());
    let mut names: HashMap<i64, Option<String>> = HashMap::new();
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(next.iter().map(|cursor| ("cursor", cursor.as_str())));
        let page = v1.event_records(&query).map_err(|error| Stopped::Read(error.into()))?;
        for event in page.items {
            let event: EventRecord = serde_json::from_value(event).map_err(|error| {
                Stopped::Read(Failure::failed(format!("the registry sent no event of a trail: {error}")))
            })?;
            if let Err(problem) = walk.follow(&event.chained()) {
                let model = model_text(event.model.as_deref(), event.model_key);
                problems.add(format!("event {} of {model}: {problem}", event.id));
            }
            names.insert(event.model_key, event.model.clone());
            events += 1;
            writer.write(&Record::Event(event))?;
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let mut heads: Vec<_> = walk.heads().iter().collect();
    heads.sort_unstable_by_key(|(model, _)| **model);
    for (model, head) in &heads {
        let name = names.get(*model).cloned().flatten();
        let (model_key, id, hash) = (**model, head.id, head.hash.clone());
        writer.write(&Record::Head(HeadRecord { model: name, model_key, id, hash }))?;
    }
    let models = heads.len();
    let ends = heads.iter().map(|(model, head)| (**model, head.id, head.hash.as_slice()));
    let digest = hex::encode(digest_of_heads(ends));
    let end = EndRecord { form: FORM, events, heads: models as u64, digest: digest.clone() };
    writer.write(&Record::End(end))?;
    Ok((Exported { events, models, digest, problems }, writer.end()?))
}
