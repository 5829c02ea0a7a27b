//! Runs of `registry loadtest` for tests: in a folder of their own, on its own server or another, with their report.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{KEY, Ran, registry};

/// `registry loadtest` in `folder`, which also holds its temporary files.
pub(crate) fn loadtest<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = registry(["loadtest"]);
    command.args(arguments).current_dir(folder).env("TMPDIR", temporary);
    command
}

/// Returns the same against the registry at `url`.
pub(crate) fn loadtest_of<'a>(
    folder: &Path,
    url: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Command {
    let mut command = loadtest(folder, ["--url", url]);
    command.args(arguments).env("CAIA_REGISTRY_API_KEY", KEY);
    command
}

/// Returns the printed report, which equals the written one.
#[track_caller]
pub(crate) fn report(ran: &Ran, folder: &Path) -> Value {
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let written = fs::read_to_string(folder.join("qa_artifacts/concurrency.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), report);
    report
}

pub(crate) fn expect_no_files_left(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
