//! Runs the statements about webhooks, and remembers the subscriptions until their number in `schema_version` changes.

use std::{cell::Cell, sync::Arc};

use tokio_postgres::{Row as PostgresRow, types::Type};

use registry_domain::webhook::Subscription;

use crate::{
    StoreError,
    copy::tables::{Row, Value},
    webhooks::{Changes, Statements},
};

use super::{
    connection::Request,
    error::Failure,
    reader::PostgresReader,
    rows::{Value as Stored, optional_text},
    writer::{PostgresWriter, Write},
};

const CHANGED: &str = "UPDATE schema_version SET webhooks = webhooks + 1";

/// What a writer knows of the webhooks.
#[derive(Debug, Default)]
pub(super) struct WebhookState {
    /// The number in this transaction, once it has run a statement.
    pub(super) version: Option<i64>,
    known: Option<(i64, Arc<[Subscription]>)>,
    is_changed: bool,
    has_added: bool,
}

impl WebhookState {
    pub(super) fn begin(&mut self) {
        (self.version, self.is_changed) = (None, false);
    }

    pub(super) fn take_added(&mut self) -> bool {
        std::mem::take(&mut self.has_added)
    }
}

fn stored(values: &[Value]) -> Vec<Stored<'static>> {
    let value = |value: &Value| match value {
        Value::Integer(number) => Stored::integer(*number),
        Value::Real(number) => Stored::Real(Some(*number)),
        Value::Text(text) => Stored::owned(text),
        Value::Bytes(bytes) => Stored::Bytes(bytes.clone()),
        Value::Null => Stored::Text(None),
    };
    values.iter().map(value).collect()
}

fn read(rows: &[PostgresRow]) -> Result<Vec<Row>, Failure> {
    let value = |row: &PostgresRow, column: usize, kind: &Type| {
        Ok(if *kind == Type::INT8 {
            row.try_get::<_, Option<i64>>(column)?.map_or(Value::Null, Value::Integer)
        } else {
            optional_text(row, column)?.map_or(Value::Null, Value::Text)
        })
    };
    let read = |row: &PostgresRow| {
        let columns = row.columns().iter().enumerate();
        columns.map(|(column, described)| value(row, column, described.type_())).collect()
    };
    rows.iter().map(read).collect()
}

impl Statements for PostgresReader {
    const LOCK: &'static str = "";

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let values = stored(values);
        let parameters: Vec<_> = values.iter().map(Stored::parameter).collect();
        self.read(&Cell::new(false), |connection| read(&connection.one(sql, &parameters)?))
    }
}

impl Statements for PostgresWriter {
    const LOCK: &'static str = " FOR UPDATE";

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let values = stored(values);
        let parameters: Vec<_> = values.iter().map(Stored::parameter).collect();
        let answers = self.run(&[Request::prepared(sql, &parameters)])?;
        Ok(read(answers.last().map(Vec::as_slice).unwrap_or_default())?)
    }
}

impl Changes for PostgresWriter {
    fn change(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        Ok(read(&self.write(Write::new(sql, stored(values)))?)?)
    }

    fn change_later(&mut self, sql: &'static str, values: &[Value]) -> Result<(), StoreError> {
        self.defer([Write::new(sql, stored(values))]);
        Ok(())
    }

    fn cached_subscriptions(&mut self) -> Result<Option<Arc<[Subscription]>>, StoreError> {
        let state = &self.webhooks;
        let known = state.known.as_ref().filter(|(version, _)| state.version == Some(*version));
        Ok(known.filter(|_| !state.is_changed).map(|(_, subscriptions)| Arc::clone(subscriptions)))
    }

    fn cache_subscriptions(&mut self, subscriptions: &Arc<[Subscription]>) {
        let state = &mut self.webhooks;
        // They may be newer than the number, which was read before: then another change of it comes.
        state.known =
            state.version.filter(|_| !state.is_changed).map(|version| (version, Arc::clone(subscriptions)));
    }

    fn subscriptions_changed(&mut self) -> Result<(), StoreError> {
        self.webhooks.is_changed = true;
        self.change_later(CHANGED, &[])
    }

    fn delivery_added(&mut self) {
        self.webhooks.has_added = true;
    }
}
