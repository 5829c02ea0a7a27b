//! The trash: deleted versions, in a table of their own, so that no list needs a condition.

use rusqlite::{Connection, OptionalExtension as _};

use registry_domain::{Cursor, DeletedVersion, ModelKey, Page, Version, VersionId, query::DeletedQuery};

use crate::VisitDeleted;

use super::{
    lookup, registered,
    rows::{self, columns, read, text},
    schema::{LATER_COLUMNS, add_columns},
};

/// The columns of `models`, without its constraints.
const CREATE: &str =
    concat!("CREATE TABLE deleted_models AS SELECT ", columns!(), " FROM models WHERE false");
/// When and by whom a version was deleted, and whether together with its model.
const COLUMNS: [(&str, &str); 3] =
    [("deleted_at", "TEXT"), ("deleted_by", "TEXT"), ("with_model", "INTEGER NOT NULL DEFAULT 0")];
const MOVE: &str = concat!(
    "INSERT INTO deleted_models (",
    columns!(),
    ", deleted_at, deleted_by, with_model) SELECT ",
    columns!(),
    ", ?2, ?3, ?4 FROM models WHERE id = ?1"
);
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
const WITH_MODEL: &str = "SELECT id FROM deleted_models WHERE model_key = ?1 AND with_model ORDER BY id";
/// The digest of a manifest, or of a checkpoint without one. A purged version leaves its digest, and of several with one label the one that was purged last.
const SPENT: &str = "SELECT CASE WHEN file_count IS NULL THEN checkpoint_sha256 ELSE digest END FROM deleted_models \
    WHERE name = ?1 AND version = ?2 \
    UNION SELECT sha256 FROM registered_models JOIN spent_labels ON model_key = id WHERE name = ?1 AND label = ?2";

/// Creates the table, or adds the columns that it lacks. Runs inside a transaction.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    if !connection.table_exists(None, "deleted_models")? {
        connection.execute_batch(CREATE)?;
    }
    add_columns(connection, "deleted_models", &LATER_COLUMNS)?;
    add_columns(connection, "deleted_models", &COLUMNS)
}

/// Moves a version to the trash.
pub(super) fn add(
    connection: &Connection,
    version: &Version,
    with_model: bool,
    actor: &str,
    now: &str,
) -> rusqlite::Result<()> {
    connection.prepare_cached(MOVE)?.execute((version.id, now, actor, with_model))?;
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
            page.next = Some(Cursor::at(DeletedQuery::LIST_NAME, number));
            break;
        }
        let deleted = DeletedVersion {
            version: read(row)?,
            deleted_at: text(row, rows::COLUMNS)?.unwrap_or_default(),
            deleted_by: text(row, rows::COLUMNS + 1)?,
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

/// Returns the different digests of the deleted versions with this name and label; `None` for one without a digest.
pub(super) fn spent_digests(
    connection: &Connection,
    name: &str,
    label: &str,
) -> rusqlite::Result<Vec<Option<String>>> {
    connection.prepare_cached(SPENT)?.query_map([name, label], |row| row.get(0))?.collect()
}
