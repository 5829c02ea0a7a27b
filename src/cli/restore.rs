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
    client::{ClientError, V1},
    domain::{EventKind, VersionRef},
};

/// Events on a page at most.
const MAX_PAGE: &str = "500";

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
            for deleted in deleted_versions(&v1, reading)? {
                if !candidates.contains(&deleted) {
                    candidates.push(deleted);
                }
            }
        }
        let deleted = match &candidates[..] {
            [] => return Err(Failure::failed(format!("no deleted version is {}", self.version))),
            [one] => one,
            several => {
                let ids: Vec<_> = several.iter().map(|deleted| deleted.id.to_string()).collect();
                return Err(Failure::failed(format!(
                    "{} may be one of the deleted versions with the ids {}; use the id",
                    self.version,
                    ids.join(", ")
                )));
            }
        };
        let restored = v1.restore_version(&deleted.name, deleted.number)?;
        let status = restored.get("status").and_then(Value::as_str).unwrap_or("?");
        printer.changed(&restored, &format!("restored {} in {status}\n", label_with_id(&restored)))
    }
}

/// Returns the versions that were once deleted under this name. The trash has no list, but the audit trail names them.
fn deleted_versions(v1: &V1<'_>, reading: &VersionRef) -> Result<Vec<Deleted>, ClientError> {
    let mut deleted = Vec::new();
    let mut add = |event: &Value| {
        let number_of = |field: &str| event.get(field).and_then(Value::as_i64);
        // Once a version is purged, its events name neither a model nor a number.
        let name = event.get("model").and_then(Value::as_str).map(str::to_owned);
        if let (Some(id), Some(name), Some(number)) = (number_of("version_id"), name, number_of("version")) {
            deleted.push(Deleted { id, name, number });
        }
    };
    let newest = [("type", EventKind::Delete.as_str()), ("limit", "1")];
    match reading {
        VersionRef::Id(id) => {
            let version = id.to_string();
            v1.events(&[&[("version", version.as_str())], &newest[..]].concat())?.items.iter().for_each(add);
        }
        VersionRef::Number(name, number) => {
            let version = number.to_string();
            let query = [("model", name.as_str()), ("version", version.as_str())];
            v1.events(&[&query, &newest[..]].concat())?.items.iter().for_each(add);
        }
        VersionRef::Label(name, label) => {
            let query = [("model", name.as_str()), ("type", EventKind::Delete.as_str()), ("limit", MAX_PAGE)];
            let mut next: Option<String> = None;
            loop {
                let cursor = next.iter().map(|cursor| ("cursor", cursor.as_str()));
                let page = v1.events(&query.into_iter().chain(cursor).collect::<Vec<_>>())?;
                let has_label = |event: &&Value| {
                    event.pointer("/payload/version").is_some_and(|version| version == label)
                };
                page.items.iter().filter(has_label).for_each(&mut add);
                next = page.next.filter(|_| !page.items.is_empty());
                if next.is_none() {
                    break;
                }
            }
        }
        // A deleted version has no aliases.
        VersionRef::Alias(..) => {}
    }
    Ok(deleted)
}
