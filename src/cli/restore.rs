//! `registry restore`: takes a deleted version out of the trash.

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{OutputFlags, Printer, V1_VERSIONS},
    print,
    remote::Remote,
    version_arg::{VersionArg, label_with_id},
};
use crate::{
    client::{Client, ClientError, V1},
    domain::{EventKind, VersionRef},
};

/// Versions on a page at most.
const MAX_PAGE: &str = "200";
/// The newest events of a version; its deletion is one of the last.
const EVENTS_OF_VERSION: u32 = 100;

const EXAMPLES: &str = "\
Examples:
  By its label:
    registry restore tiny-gpt:v1
  By the id that `registry delete` printed, or by its number:
    registry restore 7
    registry restore tiny-gpt#2
  Which versions are in the trash:
    registry list tiny-gpt --deleted
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

/// A deleted version.
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
                let hint = match self.version.readings().first() {
                    Some(VersionRef::Label(name, _) | VersionRef::Number(name, _)) => {
                        if v1.model(name).is_ok() {
                            format!("`registry list {name} --deleted` shows its deleted versions")
                        } else {
                            format!(
                                "if its model is deleted, `registry model restore {name}` restores it with its versions"
                            )
                        }
                    }
                    _ => "`registry list NAME --deleted` shows the deleted versions of a model".to_owned(),
                };
                return Err(Failure::failed(print::one_line(&format!(
                    "no deleted version is {}; {hint}",
                    self.version
                ))));
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
        let restored = v1.restore_version(name, *number)?;
        let status = restored.get("status").and_then(Value::as_str).unwrap_or("?");
        printer.changed(&restored, &format!("restored {} in {status}\n", label_with_id(&restored)))
    }
}

/// Returns the deleted versions that a reading may mean.
fn deleted_versions(client: &Client, v1: &V1<'_>, reading: &VersionRef) -> Result<Vec<Deleted>, Failure> {
    let is = |version: &Value, field: &str, wanted: &Value| version.get(field) == Some(wanted);
    match reading {
        VersionRef::Label(name, label) => deleted_of(v1, name, |version| is(version, "label", &json!(label))),
        VersionRef::Number(name, number) => {
            deleted_of(v1, name, |version| is(version, "number", &json!(number)))
        }
        VersionRef::Id(id) => {
            let trail = client.events(*id, EVENTS_OF_VERSION, 0)?;
            let is_delete = |event: &&Value| is(event, "event_type", &json!(EventKind::Delete.as_str()));
            let payload = trail.iter().find(is_delete).and_then(|event| event.get("payload"));
            let text = |field: &str| payload?.get(field)?.as_str();
            let (Some(name), Some(label)) = (text("name"), text("version")) else { return Ok(Vec::new()) };
            let deleted = deleted_of(v1, name, |version| is(version, "id", &json!(id)))?;
            if deleted.is_empty() && v1.version(reading).is_err() {
                return Err(Failure::failed(format!(
                    "{id} was deleted as {name}:{label}, and is not in the trash of {name} now; if the model was \
                     renamed, restore the version under the new name, as NEW:{label}; if the model was deleted, \
                     `registry model restore {name}` restores it"
                )));
            }
            Ok(deleted)
        }
        // A deleted version has no aliases, and a revision may be several versions.
        VersionRef::Alias(..) | VersionRef::Revision(..) => Ok(Vec::new()),
    }
}

/// Returns the versions in the trash of a model that `is_meant`.
fn deleted_of(v1: &V1<'_>, name: &str, is_meant: impl Fn(&Value) -> bool) -> Result<Vec<Deleted>, Failure> {
    let mut deleted = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let cursor = next.iter().map(|cursor| ("cursor", cursor.as_str()));
        let query: Vec<_> = [("deleted", "true"), ("limit", MAX_PAGE)].into_iter().chain(cursor).collect();
        let page = match v1.versions(name, &query) {
            Err(ClientError::NotFound { .. }) => return Ok(deleted),
            page => page?,
        };
        for version in page.items.iter().filter(|version| is_meant(version)) {
            let number = |field: &str| version.get(field).and_then(Value::as_i64);
            if let (Some(id), Some(number)) = (number("id"), number("number")) {
                deleted.push(Deleted { id, name: name.to_owned(), number });
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(deleted);
        }
    }
}
