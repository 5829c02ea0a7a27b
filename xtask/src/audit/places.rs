//! Files that must not be tracked, by where they are and what they are called.

use super::Finding;
use crate::repository::Tracked;

const CHECK: &str = "tracked files";

/// Folders of what is made, and of what is private.
const FOLDERS: [&str; 6] = ["qa_artifacts", "target", "__pycache__", ".aws", ".ssh", ".gnupg"];
/// Files by their whole name.
const NAMES: [&str; 9] =
    [".DS_Store", ".htpasswd", ".netrc", ".npmrc", ".pypirc", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa"];
/// Databases, and what SQLite leaves beside them.
const DATABASES: [&str; 3] = ["db", "sqlite", "sqlite3"];
const BESIDE_DATABASES: [&str; 3] = ["-wal", "-shm", "-journal"];
const KEYS: [&str; 8] = ["pem", "key", "p12", "pfx", "jks", "keystore", "ppk", "kdbx"];
/// What instrumented programs and crashes leave.
const REMAINS: [&str; 3] = ["profraw", "profdata", "core"];

/// What it is, where it must be neither tracked nor in a package.
pub(super) fn unwanted(path: &str) -> Option<&'static str> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    if folders.split('/').any(|folder| FOLDERS.contains(&folder)) || FOLDERS.contains(&name) {
        return Some("of a folder that is made or private");
    }
    let is_example = name.ends_with(".example") || name.ends_with(".sample");
    if name == ".env" || name.starts_with(".env.") && !is_example {
        return Some("settings with keys");
    }
    if NAMES.contains(&name) {
        return Some("credentials or remains");
    }
    let name = name.to_ascii_lowercase();
    if is_database_copy(&name) {
        return Some("a database");
    }
    let bare = BESIDE_DATABASES.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let (_, extension) = bare.rsplit_once('.')?;
    let kinds = [(&DATABASES[..], "a database"), (&KEYS, "a key"), (&REMAINS, "remains of a run")];
    kinds.into_iter().find(|(extensions, _)| extensions.contains(&extension)).map(|(_, kind)| kind)
}

/// Copies bear a database's name and more behind it: `registry.db.before-restore-…`, `registry.db-wal.torn`, `x.sqlite-copy`.
fn is_database_copy(name: &str) -> bool {
    DATABASES.iter().any(|extension| {
        let ending = format!(".{extension}");
        name.match_indices(&ending).any(|(at, found)| name[at + found.len()..].starts_with(['.', '-']))
    })
}

/// Tracked files that are such.
pub(super) fn stray(tracked: &[Tracked]) -> Vec<Finding> {
    let faults = tracked.iter().filter_map(|file| {
        let kind = unwanted(&file.path)?;
        Some(format!("{} is tracked ({kind}); take it out: git rm --cached '{0}'", file.path))
    });
    Finding::of_faults(CHECK, faults.collect(), format!("{} files, none that should not be", tracked.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;

    #[test]
    fn what_must_not_be_tracked_is_known_by_its_place_and_name() {
        for path in [
            ".env",
            "deploy/.env",
            ".env.production",
            "registry.db",
            "data/x.db-wal",
            "x.sqlite",
            "x.SQLITE3",
            "x.sqlite3-journal",
            "registry.db.before-restore-2026-11-23T015904.721Z",
            "registry.db-wal.torn-1",
            "x.sqlite-copy",
            "backup.db.gz",
            "qa_artifacts/qa_report.json",
            "sub/target/debug/x",
            "server.pem",
            "tls/server.key",
            "home/.ssh/config",
            "id_ed25519",
            "default.profraw",
        ] {
            assert!(unwanted(path).is_some(), "{path}");
        }
        for path in
            [".env.example", "src/db.rs", "src/target.rs", "docs/keys.md", "src/environment.rs", "db", "key"]
        {
            assert_eq!(unwanted(path), None, "{path}");
        }
    }

    #[test]
    fn each_is_a_failure_that_says_what_to_do() {
        let file = |path: &str| Tracked { path: path.to_owned(), text: None };
        let findings = stray(&[file(".env"), file("src/main.rs")]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Fail);
        assert!(findings[0].text.ends_with("git rm --cached '.env'"), "{}", findings[0]);
        assert_eq!(stray(&[file("src/main.rs")])[0].level, Level::Pass);
    }
}
