//! Files that must not be tracked, and whether the packages can be built.

use anyhow::Result;
use serde_json::Value;

use super::{agreement, finding::Finding};
use crate::repository::{Repository, Tracked, last_lines, run};

const TRACKED: &str = "tracked files";
const PACKAGE: &str = "package";

/// Built or private folders, and files by their whole name.
const NAMES: [&str; 15] = [
    "qa_artifacts",
    "target",
    "__pycache__",
    ".aws",
    ".ssh",
    ".gnupg",
    ".DS_Store",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
];
/// Databases and SQLite's files beside them, keys, and output of instrumented programs and crashes. Copies have a
/// suffix after that: `registry.db.before-restore`.
const EXTENSIONS: [&str; 14] = [
    "db", "sqlite", "sqlite3", "pem", "key", "p12", "pfx", "jks", "keystore", "ppk", "kdbx", "profraw",
    "profdata", "core",
];

/// Returns true if a file must not be tracked.
fn is_stray(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let is_example = name.ends_with(".example") || name.ends_with(".sample");
    if path.split('/').any(|part| NAMES.contains(&part))
        || name == ".env"
        || name.starts_with(".env.") && !is_example
    {
        return true;
    }
    EXTENSIONS.iter().any(|extension| {
        let suffix = name.split_once(&format!(".{extension}")).map(|(_, suffix)| suffix);
        let is_copy =
            |suffix: &str| suffix.starts_with(['.', '-']) && name.contains(".db") | name.contains(".sqlite");
        suffix.is_some_and(|suffix| suffix.is_empty() || is_copy(suffix))
    })
}

/// Finds tracked files that should not be.
pub(super) fn stray(tracked: &[Tracked]) -> Vec<Finding> {
    let stray = tracked.iter().filter(|file| is_stray(&file.path));
    let faults = stray.map(|file| format!("{0} is tracked; remove it: git rm --cached '{0}'", file.path));
    Finding::of_faults(TRACKED, faults.collect(), format!("{} files", tracked.len()))
}

/// Builds all packages that would be published, together, since they depend on each other.
pub(super) fn packages(repository: &Repository, metadata: &Value, compile: bool) -> Result<Finding> {
    let published = agreement::packages(metadata)
        .filter(|package| package["publish"].as_array().is_none_or(|registries| !registries.is_empty()));
    let mut make = repository.cargo(["package", "--allow-dirty", "--locked"]);
    make.args(published.filter_map(|package| package["name"].as_str()).flat_map(|name| ["-p", name]));
    let output = run(if compile { &mut make } else { make.arg("--no-verify") })?;
    Ok(match (output.status.success(), compile) {
        (true, true) => Finding::pass(PACKAGE, "it can be packaged and compiled"),
        (true, false) => Finding::pass(PACKAGE, "it can be packaged (--compile-package also compiles it)"),
        (false, _) => Finding::fail(PACKAGE, last_lines(&String::from_utf8_lossy(&output.stderr), 4)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Level;

    #[test]
    fn stray_files_are_known_by_their_folder_and_name() {
        for path in [
            ".env",
            "deploy/.env",
            ".env.production",
            "registry.db",
            "data/x.db-wal",
            "x.SQLITE3",
            "x.sqlite3-journal",
            "registry.db.before-restore-2026-11-23T015904.721Z",
            "registry.db-wal.torn-1",
            "backup.db.gz",
            "qa_artifacts/qa_report.json",
            "sub/target/debug/x",
            "server.pem",
            "tls/server.key",
            "home/.ssh/config",
            "id_ed25519",
            "default.profraw",
        ] {
            assert!(is_stray(path), "{path}");
        }
        for path in [
            ".env.example",
            "src/db.rs",
            "src/target.rs",
            "docs/keys.md",
            "src/key.rs",
            "src/environment.rs",
            "db",
            "key",
        ] {
            assert!(!is_stray(path), "{path}");
        }
        let file = |path: &str| Tracked { path: path.to_owned(), text: None };
        let findings = stray(&[file(".env"), file("src/main.rs")]);
        assert_eq!((findings.len(), findings[0].level), (1, Level::Fail));
        assert!(findings[0].text.ends_with("git rm --cached '.env'"), "{}", findings[0]);
    }
}
