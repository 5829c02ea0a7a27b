//! The trash: deleted versions, in a table of their own, so that no list needs a condition.

use rusqlite::{Connection, OptionalExtension as _};

use registry_domain::{ModelKey, Version, VersionId};

use super::{
    lookup,
    rows::{columns, read},
};

/// The columns of `models`, without its constraints, and when and by whom a version was deleted.
pub(super) const CREATE: &str = concat!(
    "CREATE TABLE deleted_models AS SELECT ",
    columns!(),
    " FROM models WHERE false; \
     ALTER TABLE deleted_models ADD COLUMN deleted_at TEXT; \
     ALTER TABLE deleted_models ADD COLUMN deleted_by TEXT"
);
const MOVE: &str =
    concat!("INSERT INTO deleted_models SELECT ", columns!(), ", ?2, ?3 FROM models WHERE id = ?1");
const DELETE: &str = "DELETE FROM models WHERE id = ?1";
const FIND: &str = concat!("SELECT ", columns!(), " FROM deleted_models WHERE id = ?1");
const FIND_NUMBER: &str = "SELECT id FROM deleted_models WHERE model_key = ?1 AND number = ?2";
const REMOVE: &str = "DELETE FROM deleted_models WHERE id = ?1";
const WITH_MODEL: &str = "SELECT id FROM deleted_models WHERE model_key = ?1 \
    AND deleted_at = (SELECT deleted_at FROM registered_models WHERE id = ?1) ORDER BY id";
const SPENT: &str = "SELECT checkpoint_sha256 FROM deleted_models WHERE name = ?1 AND version = ?2 \
    ORDER BY deleted_at DESC, id DESC LIMIT 1";
const SPENT_BY_PURGED: &str = "SELECT sha256 FROM spent_labels JOIN registered_models ON id = model_key \
    WHERE name = ?1 AND label = ?2 ORDER BY model_key DESC LIMIT 1";

/// Moves a version to the trash.
pub(super) fn add(
    connection: &Connection,
    version: &Version,
    actor: &str,
    now: &str,
) -> rusqlite::Result<()> {
    connection.prepare_cached(MOVE)?.execute((version.id, now, actor))?;
    connection.prepare_cached(DELETE)?.execute([version.id])?;
    lookup::remove(connection, version)
}

/// Returns a version in the trash.
pub(super) fn find(connection: &Connection, id: VersionId) -> rusqlite::Result<Option<Version>> {
    connection.prepare_cached(FIND)?.query_row([id], |row| Ok(read(row)?.into_owned())).optional()
}

/// Returns the id of the version of a model with this number in the trash.
pub(super) fn find_number(
    connection: &Connection,
    model: ModelKey,
    number: i64,
) -> rusqlite::Result<Option<VersionId>> {
    connection.prepare_cached(FIND_NUMBER)?.query_row((model, number), |row| row.get(0)).optional()
}

/// Removes a version from the trash.
pub(super) fn remove(connection: &Connection, id: VersionId) -> rusqlite::Result<()> {
    connection.prepare_cached(REMOVE)?.execute([id])?;
    Ok(())
}

/// Returns the versions that were deleted together with their model.
pub(super) fn with_model(connection: &Connection, model: ModelKey) -> rusqlite::Result<Vec<VersionId>> {
    connection.prepare_cached(WITH_MODEL)?.query_map([model], |row| row.get(0))?.collect()
}

/// Returns the digest of the version that was deleted last of those with this name and label.
pub(super) fn spent_label(
    connection: &Connection,
    name: &str,
    label: &str,
) -> rusqlite::Result<Option<Option<String>>> {
    for sql in [SPENT, SPENT_BY_PURGED] {
        let digest = connection.prepare_cached(sql)?.query_row([name, label], |row| row.get(0)).optional()?;
        if digest.is_some() {
            return Ok(digest);
        }
    }
    Ok(None)
}
