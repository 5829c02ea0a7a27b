//! `registry verify VERSION FOLDER`: compares each file of a folder with the registered ones.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{
    exit::Failure,
    model_files::{ModelFiles, some_of},
    print,
    version_arg::{self, VersionArg},
};
use crate::client::{Client, V1};

/// Size and digest of each registered file, by name.
type Expected = BTreeMap<String, (Option<u64>, Option<String>)>;

/// What differs, by name.
#[derive(Default)]
struct Differences {
    missing: Vec<String>,
    other: Vec<String>,
    extra: Vec<String>,
}

/// Compares, and reports a match as one line on stdout, a difference as one line on stderr.
pub(super) fn run(client: &Client, version: &VersionArg, folder: &Path, json: bool) -> Result<(), Failure> {
    let v1 = client.v1("");
    let registered = version.fetch_v1(&v1)?;
    let expected = expected(&v1, &registered)?;
    let files = ModelFiles::find(folder, true)?;
    files.print_ignored();
    let differences = compare(&files, &expected)?;
    let label = version_arg::label(&registered);
    let parts = [
        ("missing", &differences.missing),
        ("not the registered ones", &differences.other),
        ("not registered", &differences.extra),
    ];
    let found: Vec<_> = parts.iter().filter(|(_, names)| !names.is_empty()).collect();
    if json {
        print::result(&json!({
            "version": label, "source": folder.to_string_lossy(), "matches": found.is_empty(),
            "missing": differences.missing, "different": differences.other, "not_registered": differences.extra,
        }))?;
    }
    if found.is_empty() {
        let count = print::counted(expected.len() as u64, "file");
        let (size, folder) = (print::size(files.total_bytes()), folder.display());
        return if json {
            Ok(())
        } else {
            print::result_line(&format!("{label} is {folder}: {count}, {size}"))
        };
    }
    let found: Vec<_> = found.iter().map(|(what, names)| format!("{what}: {}", some_of(names))).collect();
    Err(Failure::failed(format!("{} is not {label}: {}", folder.display(), found.join("; "))))
}

/// Returns size and digest of each registered file.
fn expected(v1: &V1<'_>, version: &Value) -> Result<Expected, Failure> {
    let name = version["model"].as_str().unwrap_or_default();
    let number = version["number"].as_i64().unwrap_or_default();
    let (mut files, mut cursor) = (BTreeMap::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "10000")];
        query.extend(cursor.iter().map(|cursor| ("cursor", cursor.as_str())));
        let page = v1.files(name, number, &query)?;
        for file in &page.items {
            let path = file["path"].as_str().unwrap_or_default().to_owned();
            let sha256 = file["sha256"].as_str().map(str::to_owned);
            files.insert(path, (file["size_bytes"].as_u64(), sha256));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(files);
        }
    }
}

/// Compares sizes, then digests of those files whose sizes agree.
fn compare(files: &ModelFiles, expected: &Expected) -> Result<Differences, Failure> {
    let mut differences = Differences::default();
    let mut to_read = Vec::new();
    for (name, (size_bytes, _)) in expected {
        match files.named(name) {
            None => differences.missing.push(name.clone()),
            Some(file) if size_bytes.is_some_and(|size_bytes| size_bytes != file.size_bytes) => {
                differences.other.push(name.clone());
            }
            Some(file) => to_read.push(file.clone()),
        }
    }
    for file in files.files.iter().filter(|file| !expected.contains_key(&file.name)) {
        differences.extra.push(file.name.clone());
    }
    let read = ModelFiles { path: files.path.clone(), files: to_read, ignored: Vec::new(), ..*files };
    for file in read.digest(|| true)?.files() {
        let registered = expected.get(&file.path).and_then(|(_, sha256)| sha256.as_deref());
        if registered != Some(file.sha256.to_string().as_str()) {
            differences.other.push(file.path.clone());
        }
    }
    Ok(differences)
}
