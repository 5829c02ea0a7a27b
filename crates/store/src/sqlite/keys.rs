//! The statements of stored API keys.

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{ApiKey, KeyFilter, KeyQuery, KeyRef, REGISTRY_KEY};

use crate::keys::{KeyRow, condition, key_columns};

const INSERT: &str = "INSERT INTO api_keys (name, digest, scopes, models, expires_at, created_by, created_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const UPDATE: &str = "UPDATE api_keys SET digest = ?2, expires_at = ?3, rotated_at = ?4, revoked_at = ?5, \
    revoked_by = ?6 WHERE id = ?1";
const USE: &str = "UPDATE api_keys SET last_used_at = max(?2, ifnull(last_used_at, '')) WHERE id = ?1";
const LAST_EVENT: &str = "SELECT last_event_id FROM model_heads WHERE model_key = ?1";
/// All keys, for a check.
pub(super) const ALL: &str = concat!("SELECT ", key_columns!(), " FROM api_keys ORDER BY id");

pub(super) fn page(connection: &Connection, query: &KeyQuery) -> rusqlite::Result<Vec<ApiKey>> {
    let (condition, name, id) = condition(query);
    let sql =
        format!("SELECT {} FROM api_keys WHERE id > $1 AND {condition} ORDER BY id LIMIT $4", key_columns!());
    let mut keys = connection.prepare_cached(&sql)?;
    let keys = keys.query_map((query.after, name, id, query.limit), |row| read(row).map(ApiKey::from))?;
    keys.collect()
}

pub(super) fn find(connection: &Connection, key: &KeyRef) -> rusqlite::Result<Option<ApiKey>> {
    let query = KeyQuery { filter: KeyFilter::One(key.clone()), after: 0, limit: 1 };
    Ok(page(connection, &query)?.pop())
}

/// Returns the last event of the registry itself, or 0.
pub(super) fn last_registry_event(connection: &Connection) -> rusqlite::Result<i64> {
    let last =
        connection.prepare_cached(LAST_EVENT)?.query_row([REGISTRY_KEY], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

pub(super) fn insert(connection: &Connection, key: &ApiKey) -> rusqlite::Result<i64> {
    let row = KeyRow::of(key);
    connection.prepare_cached(INSERT)?.execute((
        row.name,
        row.digest,
        row.scopes,
        row.models,
        row.expires_at,
        row.created_by,
        row.created_at,
    ))?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn update(connection: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    let row = KeyRow::of(key);
    let values = (row.id, row.digest, row.expires_at, row.rotated_at, row.revoked_at, row.revoked_by);
    connection.prepare_cached(UPDATE)?.execute(values)?;
    Ok(())
}

pub(super) fn record_uses(connection: &Connection, uses: &[(i64, String)]) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(USE)?;
    for (id, at) in uses {
        update.execute((id, at))?;
    }
    Ok(())
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get(0)?,
        name: row.get(1)?,
        digest: row.get_ref(2)?.as_bytes().unwrap_or_default().to_vec(),
        scopes: row.get(3)?,
        models: row.get(4)?,
        expires_at: row.get(5)?,
        created_by: row.get(6)?,
        created_at: row.get(7)?,
        rotated_at: row.get(8)?,
        last_used_at: row.get(9)?,
        revoked_at: row.get(10)?,
        revoked_by: row.get(11)?,
    })
}
