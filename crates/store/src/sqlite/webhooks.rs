//! Runs the statements about webhooks, and remembers the subscriptions, which only this process changes.

use std::sync::Arc;

use rusqlite::{Connection, params_from_iter, types::ValueRef};

use registry_domain::webhook::Subscription;

use crate::{
    StoreError,
    copy::tables::{Row, Value},
    webhooks::{Changes, Statements},
};

use super::connection::{SqliteReader, SqliteWriter};

/// What the writer knows of the webhooks.
#[derive(Debug, Default)]
pub(super) struct WebhookState {
    subscriptions: Option<Arc<[Subscription]>>,
    /// True if the transaction, which may be undone, has changed them.
    is_changed: bool,
    has_added: bool,
}

impl WebhookState {
    pub(super) fn begin(&mut self) {
        if std::mem::take(&mut self.is_changed) {
            self.subscriptions = None;
        }
    }

    pub(super) fn take_added(&mut self) -> bool {
        std::mem::take(&mut self.has_added)
    }
}

fn run(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let value = |column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
            })
        };
        rows.push((0..columns).map(value).collect::<rusqlite::Result<_>>()?);
    }
    Ok(rows)
}

impl Statements for SqliteReader {
    const LOCK: &'static str = "";

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        run(&self.connection, sql, values)
    }
}

impl Statements for SqliteWriter {
    const LOCK: &'static str = "";

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        run(&self.connection, sql, values)
    }
}

impl Changes for SqliteWriter {
    fn change(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        run(&self.connection, sql, values)
    }

    fn change_later(&mut self, sql: &'static str, values: &[Value]) -> Result<(), StoreError> {
        self.change(sql, values).map(drop)
    }

    fn cached_subscriptions(&mut self) -> Result<Option<Arc<[Subscription]>>, StoreError> {
        Ok(self.webhooks.subscriptions.clone().filter(|_| !self.webhooks.is_changed))
    }

    fn cache_subscriptions(&mut self, subscriptions: &Arc<[Subscription]>) {
        self.webhooks.subscriptions = Some(Arc::clone(subscriptions));
    }

    fn subscriptions_changed(&mut self) -> Result<(), StoreError> {
        self.webhooks.is_changed = true;
        Ok(())
    }

    fn delivery_added(&mut self) {
        self.webhooks.has_added = true;
    }
}
