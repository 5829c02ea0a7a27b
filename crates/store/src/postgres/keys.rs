//! The statements of stored API keys.
//!
//! Changes of keys wait for each other, in all servers: each first takes the lock of the registry's own chain of events.

use tokio_postgres::{Row, types::Type};

use registry_domain::{ApiKey, KeyFilter, KeyQuery, KeyRef, REGISTRY_KEY};

use crate::keys::{KeyRow, condition, key_columns};

use super::{
    connection::{Connection, Request},
    error::Failure,
    rows::{Value, Values, optional_text, owned_text},
    writer::{PostgresWriter, Write},
};

const INSERT: &str = "INSERT INTO api_keys (name, digest, scopes, models, expires_at, created_by, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
const UPDATE: &str = "UPDATE api_keys SET digest = $2, expires_at = $3, rotated_at = $4, revoked_at = $5, \
    revoked_by = $6 WHERE id = $1";
/// Skips keys that another transaction changes: their use is recorded the next time.
const USE: &str = "UPDATE api_keys SET last_used_at = greatest(used.at, last_used_at) \
    FROM (SELECT id, at FROM unnest($1::bigint[], $2::text[]) AS given (id, at) \
        WHERE id IN (SELECT id FROM api_keys WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)) AS used \
    WHERE api_keys.id = used.id";
const LAST_EVENT: &str = "SELECT coalesce((SELECT last_event_id FROM model_heads WHERE model_key = $1), 0)";
/// All keys, for a check.
pub(super) const ALL: &str = concat!("SELECT ", key_columns!(), " FROM api_keys ORDER BY id");

fn statement<'q>(query: &'q KeyQuery) -> (String, Values<'q>) {
    let (condition, name, id) = condition(query);
    let mut values = Values::default();
    values.bind(Value::integer(query.after));
    values.bind(name.map_or(Value::Text(None), Value::text));
    values.bind(Value::Integer(id));
    values.bind(Value::integer(query.limit.into()));
    let sql =
        format!("SELECT {} FROM api_keys WHERE id > $1 AND {condition} ORDER BY id LIMIT $4", key_columns!());
    (sql, values)
}

pub(super) fn page(connection: &mut Connection, query: &KeyQuery) -> Result<Vec<ApiKey>, Failure> {
    let (sql, values) = statement(query);
    let rows = connection.one(&sql, &values.parameters())?;
    rows.iter().map(|row| read(row).map(ApiKey::from)).collect()
}

/// Returns the last event of the registry itself, or 0.
pub(super) fn last_registry_event(connection: &mut Connection) -> Result<i64, Failure> {
    let rows = connection.one(LAST_EVENT, &[(&REGISTRY_KEY, Type::INT8)])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

impl PostgresWriter {
    pub(super) fn locked_key(&mut self, key: &KeyRef) -> Result<Option<ApiKey>, Failure> {
        self.lock_registry()?;
        let query = KeyQuery { filter: KeyFilter::One(key.clone()), after: 0, limit: 1 };
        let (sql, values) = statement(&query);
        let answers = self.run(&[Request::prepared(&sql, &values.parameters())])?;
        answers.iter().flatten().next().map(|row| read(row).map(ApiKey::from)).transpose()
    }

    pub(super) fn add_key(&mut self, key: &ApiKey) -> Result<i64, Failure> {
        let row = KeyRow::of(key);
        let values = [
            Value::owned(&row.name),
            Value::Bytes(row.digest),
            Value::owned(&row.scopes),
            Value::owned(&row.models),
            Value::optional(row.expires_at.as_deref()),
            Value::owned(&row.created_by),
            Value::owned(&row.created_at),
        ];
        let rows = self.write(Write::new(INSERT, values))?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    pub(super) fn change_key(&mut self, key: &ApiKey) {
        let row = KeyRow::of(key);
        let values = [
            Value::integer(row.id),
            Value::Bytes(row.digest),
            Value::optional(row.expires_at.as_deref()),
            Value::optional(row.rotated_at.as_deref()),
            Value::optional(row.revoked_at.as_deref()),
            Value::optional(row.revoked_by.as_deref()),
        ];
        self.defer([Write::new(UPDATE, values)]);
    }

    pub(super) fn use_keys(&mut self, uses: &[(i64, String)]) {
        let ids = Value::Integers(uses.iter().map(|(id, _)| Some(*id)).collect());
        let times = Value::texts(uses.iter().map(|(_, at)| at.clone()));
        self.defer([Write::new(USE, [ids, times])]);
    }
}

pub(super) fn read(row: &Row) -> Result<KeyRow, Failure> {
    Ok(KeyRow {
        id: row.try_get(0)?,
        name: owned_text(row, 1)?,
        digest: row.try_get(2)?,
        scopes: owned_text(row, 3)?,
        models: owned_text(row, 4)?,
        expires_at: optional_text(row, 5)?,
        created_by: owned_text(row, 6)?,
        created_at: owned_text(row, 7)?,
        rotated_at: optional_text(row, 8)?,
        last_used_at: optional_text(row, 9)?,
        revoked_at: optional_text(row, 10)?,
        revoked_by: optional_text(row, 11)?,
    })
}
