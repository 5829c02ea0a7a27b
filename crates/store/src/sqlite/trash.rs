//! The trash: deleted versions, in a table of their own, so that no list needs a condition.

use rusqlite::{Connection, OptionalExtension as _};

use registry_domain::{DeletedVersion, ModelKey, Page, Version, VersionId, query::DeletedQuery};

use crate::VisitDeleted;

use super::{
    lookup, registered,
    rows::{COLUMNS, columns, read, text},
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
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    ", deleted_at, deleted_by FROM deleted_models \
     WHERE model_key = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"
);
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

/// Visits a page of a model's versions in the trash.
pub(super) fn page(
    connection: &Connection,
    query: &DeletedQuery,
    visit: VisitDeleted<'_>,
) -> rusqlite::Result<Page> {
    let mut page = Page { total: None, next: None };
    let Some(model) = registered::key(connection, &query.model)? else { return Ok(page) };
    let mut statement = connection.prepare_cached(PAGE)?;
    let before = query.before.unwrap_or(i64::MAX);
    let mut rows = statement.query((model, before, i64::from(query.limit) + 1))?;
    let (mut visited, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if let Some(number) = last.filter(|_| visited == query.limit) {
            page.next = Some(DeletedQuery::cursor(number));
            break;
        }
        let deleted = DeletedVersion {
            version: read(row)?,
            deleted_at: text(row, COLUMNS)?.unwrap_or_default(),
            deleted_by: text(row, COLUMNS + 1)?,
        };
        (visited, last) = (visited + 1, Some(deleted.version.number));
        if visit(deleted).is_break() {
            // The next row, if there is one, begins the next page.
            visited = query.limit;
        }
    }
    Ok(page)
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
