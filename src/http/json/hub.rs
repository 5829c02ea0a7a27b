//! Models, versions and files in the JSON of the Hugging Face Hub.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{
    ModelSummary, VersionFile,
    files::Entry,
    hub::{Commit, MAIN},
    manifest::revision_of,
};

use super::{ObjectWriter, v1::time};

/// About how long an entry is in a list.
const ENTRY_BYTES: usize = 280;
/// Bytes of a Git LFS pointer without the digits of the size.
const POINTER_BYTES: usize = 125;

/// What Git LFS says of a file. Clients take its digest for the file's.
#[derive(Serialize)]
struct Lfs<'f> {
    #[serde(skip_serializing_if = "Option::is_none")]
    oid: Option<&'f str>,
    /// The same in the list of a version's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'f str>,
    size: Option<i64>,
    #[serde(rename = "pointerSize")]
    pointer_size: usize,
}

impl<'f> Lfs<'f> {
    fn of(file: &'f VersionFile) -> Self {
        let digits = file.size_bytes.unwrap_or_default().to_string().len();
        let pointer_size = POINTER_BYTES + digits;
        Self { oid: file.sha256.as_deref(), sha256: None, size: file.size_bytes, pointer_size }
    }

    fn of_sibling(file: &'f VersionFile) -> Self {
        let lfs = Self::of(file);
        Self { oid: None, sha256: lfs.oid, ..lfs }
    }
}

/// Returns a list of files and folders.
pub(in crate::http) fn write_entries(commit: &Commit, entries: &[Entry], with_commit: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + entries.len() * ENTRY_BYTES);
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut object = ObjectWriter::begin(&mut out);
        match entry {
            Entry::File(file) => {
                object.field("type", "file");
                object.field("oid", file.sha256.as_deref().map(revision_of));
                object.field("size", file.size_bytes);
                object.field("path", &file.path);
                object.field("lfs", Lfs::of(file));
            }
            Entry::Folder(path) => {
                object.field("type", "directory");
                object.field("oid", &commit.revision);
                object.field("size", 0);
                object.field("path", path.trim_end_matches('/'));
            }
        }
        if with_commit {
            let (title, date) = (title(commit), time(&commit.created_at));
            object.field("lastCommit", json!({ "id": commit.revision, "title": title, "date": date }));
        }
        object.end();
    }
    out.push(b']');
    out
}

/// Writes a file in the list of a version's files.
pub(in crate::http) fn write_sibling(out: &mut Vec<u8>, entry: &Entry, with_blob: bool) {
    let mut object = ObjectWriter::begin(out);
    object.field("rfilename", entry.path());
    if let (Entry::File(file), true) = (entry, with_blob) {
        object.field("size", file.size_bytes);
        object.field("blobId", file.sha256.as_deref().map(revision_of));
        object.field("lfs", Lfs::of_sibling(file));
    }
    object.end();
}

/// Returns a model, and one of its versions if that is known.
pub(in crate::http) fn model(summary: &ModelSummary, commit: Option<&Commit>) -> Value {
    let model = &summary.model;
    let mut tags = model.tags.clone();
    if let Some(commit) = commit {
        tags.extend(commit.tags.by_key().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let mut json = json!({
        "_id": model.key.to_string(),
        "id": model.name,
        "modelId": model.name,
        "private": true,
        "gated": false,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": tags.iter().map(|(key, value)| tag(key, value)).collect::<Vec<_>>(),
        "createdAt": time(&model.created_at),
    });
    if let Some((author, _)) = model.name.split_once('/') {
        json["author"] = author.into();
    }
    for key in ["pipeline_tag", "library_name"] {
        if let Some(value) = tags.get(key).filter(|value| !value.is_empty()) {
            json[key] = value.as_str().into();
        }
    }
    if let Some(commit) = commit {
        json["sha"] = commit.revision.as_str().into();
        json["lastModified"] = time(&commit.created_at).into();
        json["usedStorage"] = commit.total_bytes.into();
    }
    json
}

/// Returns a tag as these clients write it.
fn tag(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}:{value}") }
}

/// Returns an entry of the history of a model.
pub(in crate::http) fn commit(commit: &Commit) -> Value {
    json!({
        "id": commit.revision,
        "title": title(commit),
        "message": commit.description.as_deref().unwrap_or_default(),
        "authors": [{ "user": commit.created_by.as_deref().unwrap_or("unknown") }],
        "date": time(&commit.created_at),
    })
}

fn title(commit: &Commit) -> String {
    format!("version {}", commit.label)
}

/// Returns the branches, which move, and the tags, which do not.
pub(in crate::http) fn refs(
    main: Option<&Commit>,
    aliases: &[(String, Commit)],
    versions: &[Commit],
    with_pull_requests: bool,
) -> Value {
    let reference = |kind: &str, name: &str, commit: &Commit| json!({ "name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": commit.revision });
    let main = main.map(|commit| reference("heads", MAIN, commit));
    let aliases = aliases.iter().filter(|(name, _)| name != MAIN);
    let branches: Vec<_> =
        main.into_iter().chain(aliases.map(|(name, commit)| reference("heads", name, commit))).collect();
    let tags: Vec<_> = versions.iter().map(|commit| reference("tags", &commit.label, commit)).collect();
    let mut json = json!({ "branches": branches, "converts": [], "tags": tags });
    if with_pull_requests {
        json["pullRequests"] = json!([]);
    }
    json
}
