//! `registry restore`: takes a deleted version out of the trash.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, V1_VERSIONS},
    remote::Remote,
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    client::{Client, ClientError, V1},
    domain::{EventKind, VersionRef},
};

/// Events on a page at most.
const MAX_PAGE: &str = "500";
/// The newest events of a version; its deletion is one of the last.
const EVENTS_OF_VERSION: u32 = 100;

const EXAMPLES: &str = "\
Examples:
  By its label:
    registry restore tiny-gpt:v1
  By the id that `registry delete` printed, or by its number:
    registry restore 7
    registry restore tiny-gpt#2
  A deleted model with its versions:
    registry model restore tiny-gpt

A version that was in production comes back in staging. Its aliases don't come back.";

/// Restore a deleted version.
#[derive(Debug, Args)]
#[command(visible_alias = "undelete", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Restore {
    /// The version: name:label, name#number, or its id
    version: VersionArg,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

/// A deleted version, as the audit trail knows it.
#[derive(Debug, PartialEq, Eq)]
struct Deleted {
    id: i64,
    name: String,
    number: i64,
}

impl Restore {
    /// Restores the version.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &V1_VERSIONS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("register the version again");
        let mut candidates = Vec::new();
        for reading in self.version.readings() {
            for deleted in deleted_versions(&client, &v1, reading)? {
                if !candidates.contains(&deleted) {
                    candidates.push(deleted);
                }
            }
        }
        let Deleted { name, number, .. } = match &candidates[..] {
            [one] => one,
            [] if self.version.fetch(&client).is_ok() => {
                return Err(Failure::failed(format!("{} is not deleted", self.version)));
            }
            [] => {
                return Err(Failure::failed(format!(
                    "no deleted version is {}; `registry model restore` restores models",
                    self.version
                )));
            }
            several => {
                let ids: Vec<_> = several.iter().map(|deleted| deleted.id.to_string()).collect();
                return Err(Failure::failed(format!(
                    "{} may be one of the deleted versions {}; use the id",
                    self.version,
                    ids.join(", ")
                )));
            }
        };
        let restored = v1.restore_version(name, *number).map_err(|error| refusal(error, name))?;
        let status = restored.get("status").and_then(Value::as_str).unwrap_or("?");
        printer.changed(&restored, &format!("restored {} in {status}\n", label_with_id(&restored)))
    }
}

fn refusal(error: ClientError, name: &str) -> Failure {
    let hint = match error {
        ClientError::NotFound { .. } => {
            format!(
                "; if the model is deleted, `registry model restore {name}` restores it with its versions"
            )
        }
        _ => String::new(),
    };
    Failure::from(error).followed_by(&hint)
}

/// Returns the versions that were once deleted under this name. The trash has no list, but the audit trail names them.
fn deleted_versions(client: &Client, v1: &V1<'_>, reading: &VersionRef) -> Result<Vec<Deleted>, Failure> {
    let number = |event: &Value, field: &str| event.get(field).and_then(Value::as_i64);
    match reading {
        VersionRef::Label(name, label) => deleted_from(v1, name, |event| {
            event.pointer("/payload/version").is_some_and(|deleted| deleted == label)
        }),
        VersionRef::Number(name, wanted) => {
            deleted_from(v1, name, |event| number(event, "version") == Some(*wanted))
        }
        VersionRef::Id(id) => {
            let trail = client.events(*id, EVENTS_OF_VERSION, 0)?;
            let is_delete = |event: &&Value| {
                event.get("event_type").is_some_and(|kind| kind == EventKind::Delete.as_str())
            };
            let payload = trail.iter().find(is_delete).and_then(|event| event.get("payload"));
            let text = |field: &str| payload?.get(field)?.as_str();
            let (Some(name), Some(label)) = (text("name"), text("version")) else { return Ok(Vec::new()) };
            let deleted = deleted_from(v1, name, |event| number(event, "version_id") == Some(*id))?;
            if deleted.is_empty() {
                return Err(Failure::failed(format!(
                    "{id} was deleted as {name}:{label}, and is not in the trash of {name} now; if the model was \
                     renamed, restore the version under the new name, as NEW:{label}"
                )));
            }
            Ok(deleted)
        }
        // A deleted version has no aliases.
        VersionRef::Alias(..) => Ok(Vec::new()),
    }
}

/// Returns the versions of a model whose deletion `is_meant`.
fn deleted_from(v1: &V1<'_>, name: &str, is_meant: impl Fn(&Value) -> bool) -> Result<Vec<Deleted>, Failure> {
    let query = [("model", name), ("type", EventKind::Delete.as_str()), ("limit", MAX_PAGE)];
    let mut deleted = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let cursor = next.iter().map(|cursor| ("cursor", cursor.as_str()));
        let page = v1.events(&query.into_iter().chain(cursor).collect::<Vec<_>>())?;
        for event in page.items.iter().filter(|event| is_meant(event)) {
            let name = event.get("model").and_then(Value::as_str).map(str::to_owned);
            let number = |field: &str| event.get(field).and_then(Value::as_i64);
            // Once a version is purged, its events don't name all three.
            if let (Some(id), Some(name), Some(number)) = (number("version_id"), name, number("version")) {
                deleted.push(Deleted { id, name, number });
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(deleted);
        }
    }
}
