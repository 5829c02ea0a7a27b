//! The files of versions with a manifest. They stay with a version in the trash, and go when it is purged.

use rusqlite::{Connection, Row};

use registry_domain::{FileRole, Manifest, VersionFile, VersionId};

use crate::{FileRange, VisitFiles};

use super::rows::text;

const ADD: &str = "INSERT INTO manifest_files VALUES (?1, ?2, ?3, ?4, ?5)";
const RANGE: &str = "SELECT path, size_bytes, sha256, role FROM manifest_files \
    WHERE version_id = ?1 AND path >= ?2 AND path < ?3 ORDER BY path LIMIT ?4";
const ALL: &str =
    "SELECT path, size_bytes, sha256, role FROM manifest_files WHERE version_id = ?1 ORDER BY path";
const REMOVE: &str = "DELETE FROM manifest_files WHERE version_id = ?1";

/// The trash is small, so it has no index for this.
const HAS_FILE: &str = "SELECT EXISTS (SELECT 1 FROM manifest_files WHERE sha256 = ?1) \
    OR EXISTS (SELECT 1 FROM version_files WHERE sha256 = ?1) \
    OR EXISTS (SELECT 1 FROM deleted_models WHERE checkpoint_sha256 = ?1 OR config_sha256 = ?1)";

/// Returns true if a version, perhaps one in the trash, has a file with this digest.
pub(super) fn has_file(connection: &Connection, sha256: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(HAS_FILE)?.query_row([sha256], |row| row.get(0))
}

/// Files from which on they are added with [`LARGE_CACHE`].
const MANY: usize = 5_000;
/// Digests have no order, so each goes to another page of the index. With the usual cache a hundred thousand take twice as long.
const LARGE_CACHE: &str = "PRAGMA cache_size = -65536";
/// SQLite's own default.
const USUAL_CACHE: &str = "PRAGMA cache_size = -2000";

/// Adds the files of a version, in its transaction. A hundred thousand take a second, for which other writes wait. If they were added
/// in batches before it, they would belong to no version until then, and would have to be found and removed after a crash.
pub(super) fn add(connection: &Connection, version: VersionId, manifest: &Manifest) -> rusqlite::Result<()> {
    if manifest.files().len() < MANY {
        return add_all(connection, version, manifest);
    }
    connection.execute_batch(LARGE_CACHE)?;
    let added = add_all(connection, version, manifest);
    connection.execute_batch(USUAL_CACHE)?;
    added
}

fn add_all(connection: &Connection, version: VersionId, manifest: &Manifest) -> rusqlite::Result<()> {
    let mut add = connection.prepare_cached(ADD)?;
    for file in manifest.files() {
        let sha256 = file.sha256.to_string();
        add.execute((version, &file.path, file.size_bytes, sha256, file.role.as_str()))?;
    }
    Ok(())
}

/// Visits files in the order of their paths.
pub(super) fn visit(
    connection: &Connection,
    range: &FileRange<'_>,
    visit: VisitFiles<'_>,
) -> rusqlite::Result<()> {
    let mut rows = connection.prepare_cached(RANGE)?;
    let mut rows = rows.query((range.version, range.from, range.before, range.limit))?;
    while let Some(row) = rows.next()? {
        if visit(file(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Returns all files of a version.
pub(super) fn all(connection: &Connection, version: VersionId) -> rusqlite::Result<Vec<VersionFile>> {
    connection.prepare_cached(ALL)?.query_map([version], file)?.collect()
}

fn file(row: &Row<'_>) -> rusqlite::Result<VersionFile> {
    Ok(VersionFile {
        path: row.get(0)?,
        size_bytes: row.get(1)?,
        sha256: row.get(2)?,
        role: text(row, 3)?.and_then(|role| FileRole::parse(&role)).unwrap_or(FileRole::Other),
    })
}

/// Removes the files of a version that is purged.
pub(super) fn remove(connection: &Connection, version: VersionId) -> rusqlite::Result<()> {
    connection.prepare_cached(REMOVE)?.execute([version])?;
    Ok(())
}
