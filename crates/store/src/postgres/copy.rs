//! A database that is copied into a SQLite file, or that a SQLite file is copied into.

use std::{collections::HashMap, ops::ControlFlow, time::Duration};

use tokio_postgres::{Row as PostgresRow, error::SqlState, types::Type};

use crate::{
    copy::{
        side::{CopyError, Side},
        tables::{
            ColumnType, EVENTS, NUMBERED, PAGE_BYTES, PageLimit, Row, TABLES, Table, VERSION_HEADS, Value,
        },
    },
    maintenance::{MARK, Watch},
};

use super::{
    connection::{Connection, Connector, Purpose, Request},
    derive,
    error::{Failure, OpenError},
    lists::{BEGIN_SNAPSHOT, number},
    maintenance::expect_current,
    options::Options,
    rows::{Value as Stored, optional_text},
    schema::{LOCK_WRITERS, is_unfinished_copy, migrate},
};

/// Work on all rows takes minutes; other programs may lock a table for long only by mistake.
const SETTINGS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET lock_timeout = '10s'";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Keeps a second copy out until this session ends. The number is arbitrary.
const LOCK: &str = "SELECT pg_advisory_lock(7243394, hashtext(current_schema()))";

const HEADS: &str = "(SELECT DISTINCT ON (model_id) model_id AS version_id, id AS last_event_id, ordinal AS events \
    FROM model_events WHERE model_id <> 0 ORDER BY model_id, id DESC) AS heads";
const ORDINALS: &str = "SELECT id, ordinal FROM model_events WHERE id = ANY($1)";
/// The columns of an event that name its version and the event before it.
const VERSION_OF_EVENT: usize = 1;
const PREVIOUS_OF_VERSION: usize = 9;
const COUNT: &str = "BEGIN; TRUNCATE model_counts; \
    INSERT INTO model_counts SELECT 'name', name, 0, count(*) FROM models GROUP BY name; \
    INSERT INTO model_counts SELECT 'status', status, 0, count(*) FROM models GROUP BY status; \
    INSERT INTO model_counts SELECT 'tag', key, 0, count(*) FROM model_tags WHERE value = '' GROUP BY key; \
    COMMIT";
/// Without statistics, the first searches would have bad plans.
const ANALYZE: &str = "ANALYZE models, deleted_models, registered_models, registered_model_tags, aliases, holdings, \
    model_events, model_heads, model_tags, model_texts, model_counts, score_keys, scores, version_files, \
    manifest_files, api_keys, policies, approvals, webhooks, webhook_deliveries";

/// A connection to the database.
pub(crate) struct PostgresSide {
    connection: Connection,
    limit: PageLimit,
    options: Options,
    watch: Watch,
}

impl From<Failure> for CopyError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.code() {
            // A value or a constraint, or a text that is too long for an index.
            Some(code) if ["22", "23", "54"].iter().any(|class| code.code().starts_with(class)) => {
                Self::Refused(text)
            }
            _ => Self::Postgres(text),
        }
    }
}

impl PostgresSide {
    /// Opens a registry to be copied, as of this moment. Servers may go on.
    pub(crate) fn source(options: &Options, watch: &Watch) -> Result<Self, CopyError> {
        let mut side = Self::open(options, watch)?;
        side.connection.batch(BEGIN_SNAPSHOT)?;
        expect_current(&mut side.connection, options)?;
        Ok(side)
    }

    /// Opens a database to copy into, and creates the tables if it has none.
    pub(crate) fn target(options: &Options, watch: &Watch) -> Result<Self, CopyError> {
        let mut side = Self::open(options, watch)?;
        migrate(&mut side.connection, options)?;
        side.connection.answer_timeout = ANSWER_TIMEOUT;
        match side.connection.batch(LOCK) {
            // The session of a copy that was killed may take a moment to end.
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(CopyError::Busy { target: side.name() })
            }
            locked => Ok(locked.map(|()| side)?),
        }
    }

    fn open(options: &Options, watch: &Watch) -> Result<Self, CopyError> {
        if options.is_pooled {
            return Err(CopyError::Pooled);
        }
        let connector = Connector::new(options)?;
        let connected = Connection::open(&connector, Purpose::Read);
        let mut connection = connected.map_err(|error| OpenError::connecting(options, &error))?;
        connection.batch(SETTINGS)?;
        connection.answer_timeout = ANSWER_TIMEOUT;
        let (options, watch) = (options.clone(), watch.clone());
        Ok(Self { connection, limit: PageLimit::default(), options, watch })
    }

    /// Returns rows, and about how many bytes they have.
    fn select(
        &mut self,
        table: &'static Table,
        sql: &str,
        key: &[Value],
    ) -> Result<(Vec<Row>, usize), CopyError> {
        let key: Vec<_> = key
            .iter()
            .zip(table.columns)
            .map(|(value, (_, column_type))| stored(value, *column_type))
            .collect();
        let parameters: Vec<_> = key.iter().map(Stored::parameter).collect();
        let (mut rows, mut size) = (Vec::new(), 0);
        self.connection.each(&Request::prepared(sql, &parameters), &mut |row| {
            let row = read(table, row)?;
            size += row.iter().map(Value::size).sum::<usize>();
            rows.push(row);
            Ok(if size > PAGE_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((rows, size))
    }

    /// Returns the place of each event among those of its version, counted from 1.
    fn ordinals(&mut self, events: &[Row]) -> Result<Vec<Stored<'static>>, CopyError> {
        let before = events.iter().filter_map(|row| integer(row, PREVIOUS_OF_VERSION));
        let before = Stored::Integers(before.map(Some).collect());
        let mut ordinals: HashMap<i64, i64> = HashMap::new();
        for row in self.connection.one(ORDINALS, &[before.parameter()])? {
            let ordinal: Option<i64> = row.try_get(1).map_err(Failure::from)?;
            ordinals.insert(row.try_get(0).map_err(Failure::from)?, ordinal.unwrap_or_default());
        }
        let mut of_events = Vec::with_capacity(events.len());
        for row in events {
            let previous = integer(row, PREVIOUS_OF_VERSION).and_then(|id| ordinals.get(&id));
            let is_of_version = integer(row, VERSION_OF_EVENT).is_some_and(|version| version != 0);
            let ordinal = is_of_version.then(|| previous.copied().unwrap_or_default() + 1);
            ordinals.extend(integer(row, 0).zip(ordinal));
            of_events.push(Stored::Integer(ordinal));
        }
        Ok(of_events)
    }
}

impl Side for PostgresSide {
    const REMOVE: &'static str = "drop the database and create it again";

    fn page(&mut self, table: &'static Table, after: Option<&[Value]>) -> Result<Vec<Row>, CopyError> {
        let sql = table.page_sql(from(table), after.is_some(), self.limit.rows());
        let (rows, bytes) = self.select(table, &sql, after.unwrap_or_default())?;
        self.limit.adapt(rows.len(), bytes);
        Ok(rows)
    }

    fn last(&mut self, table: &'static Table) -> Result<Option<Row>, CopyError> {
        Ok(self.select(table, &table.last_sql(from(table)), &[])?.0.pop())
    }

    fn count(&mut self, table: &'static Table) -> Result<u64, CopyError> {
        let count = number(&mut self.connection, &format!("SELECT count(*) FROM {}", from(table)), &[])?;
        Ok(count)
    }

    fn last_ids(&mut self) -> Result<[i64; NUMBERED.len()], CopyError> {
        let mut ids = [0; NUMBERED.len()];
        for (id, table) in ids.iter_mut().zip(NUMBERED) {
            let sql = format!(
                "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass), 0)"
            );
            let rows = self.connection.one(&sql, &[])?;
            if let Some(row) = rows.first() {
                *id = row.try_get(0).map_err(Failure::from)?;
            }
        }
        Ok(ids)
    }

    fn begin(&mut self, state: &str) -> Result<Option<String>, CopyError> {
        if is_unfinished_copy(&mut self.connection)? {
            let rows = self.connection.one(&format!("SELECT state FROM {MARK}"), &[])?;
            let then = rows.first().map(|row| optional_text(row, 0)).transpose()?.flatten();
            return Ok(Some(then.unwrap_or_default()));
        }
        // Servers may have opened the empty database: their writes end before the lock, so that the rows are found below, or
        // `check_schema` finds the mark.
        self.connection
            .batch(&format!("BEGIN; {LOCK_WRITERS}; CREATE TABLE {MARK} (state text NOT NULL)"))?;
        for table in TABLES.iter().filter(|table| table.name != VERSION_HEADS) {
            let rows = self.connection.one(&format!("SELECT FROM {} LIMIT 1", table.name), &[])?;
            if !rows.is_empty() {
                let instead = "a database without tables, or whose tables have no rows";
                return Err(CopyError::NotEmpty { target: self.name(), instead });
            }
        }
        let state = Stored::text(state);
        self.connection.one(&format!("INSERT INTO {MARK} VALUES ($1)"), &[state.parameter()])?;
        self.connection.batch("COMMIT")?;
        Ok(None)
    }

    fn write(&mut self, table: &'static Table, rows: Vec<Row>) -> Result<(), CopyError> {
        let convert = |row: &Row| -> Vec<Stored<'static>> {
            row.iter()
                .zip(table.columns)
                .map(|(value, (_, column_type))| stored(value, *column_type))
                .collect()
        };
        let mut columns = Table::names(table.columns);
        let mut types: Vec<_> = table.columns.iter().map(|(_, column_type)| type_of(*column_type)).collect();
        let mut stored: Vec<_> = rows.iter().map(convert).collect();
        match table.name {
            EVENTS => {
                columns.push_str(", ordinal");
                types.push(Type::INT8);
                for (row, ordinal) in stored.iter_mut().zip(self.ordinals(&rows)?) {
                    row.push(ordinal);
                }
            }
            // The events have these values.
            VERSION_HEADS => return Ok(()),
            _ => {}
        }
        let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", table.name);
        Ok(self.connection.copy_in(&sql, &types, &stored)?)
    }

    fn derive(&mut self, last_ids: &[i64; NUMBERED.len()]) -> Result<(), CopyError> {
        for (table, id) in NUMBERED.into_iter().zip(last_ids).filter(|(_, id)| **id > 0) {
            let sql = format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), {id})");
            self.connection.one(&sql, &[])?;
        }
        let mut limit = PageLimit::default();
        while derive::fill(&mut self.connection, &mut limit)? {
            if self.watch.cancelled() {
                return Err(CopyError::Interrupted);
            }
        }
        self.connection.batch(COUNT)?;
        Ok(self.connection.batch(ANALYZE)?)
    }

    fn finish(mut self) -> Result<(), CopyError> {
        // A server that opened the database before the copy may know none of the webhooks.
        let finish =
            format!("BEGIN; DROP TABLE {MARK}; UPDATE schema_version SET webhooks = webhooks + 1; COMMIT");
        Ok(self.connection.batch(&finish)?)
    }

    fn name(&self) -> String {
        format!("database {:?} at {}", self.options.database(), self.options.hosts())
    }
}

fn from(table: &Table) -> &'static str {
    if table.name == VERSION_HEADS { HEADS } else { table.name }
}

fn integer(row: &[Value], column: usize) -> Option<i64> {
    if let Some(Value::Integer(number)) = row.get(column) { Some(*number) } else { None }
}

fn type_of(column_type: ColumnType) -> Type {
    match column_type {
        ColumnType::Integer => Type::INT8,
        ColumnType::Flag => Type::BOOL,
        ColumnType::Real => Type::FLOAT8,
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
    }
}

/// Converts a value of a column. A null of a column that has none becomes an empty value, which the comparison finds.
fn stored(value: &Value, column_type: ColumnType) -> Stored<'static> {
    match (column_type, value) {
        (ColumnType::Integer, Value::Integer(number)) => Stored::integer(*number),
        (ColumnType::Integer, _) => Stored::Integer(None),
        (ColumnType::Flag, flag) => Stored::Boolean(*flag == Value::Integer(1)),
        (ColumnType::Real, Value::Real(number)) => Stored::Real(Some(*number)),
        (ColumnType::Real, _) => Stored::Real(None),
        (ColumnType::Text, Value::Text(text)) => Stored::owned(text),
        (ColumnType::Text, _) => Stored::Text(None),
        (ColumnType::Bytes, Value::Bytes(bytes)) => Stored::Bytes(bytes.clone()),
        (ColumnType::Bytes, _) => Stored::Bytes(Vec::new()),
    }
}

fn read(table: &Table, row: &PostgresRow) -> Result<Row, Failure> {
    let columns = table.columns.iter().enumerate();
    let value = |(position, (_, column_type)): (usize, &(_, ColumnType))| {
        Ok(match column_type {
            ColumnType::Integer => {
                row.try_get::<_, Option<i64>>(position)?.map_or(Value::Null, Value::Integer)
            }
            ColumnType::Flag => Value::Integer(row.try_get::<_, bool>(position)?.into()),
            ColumnType::Real => row.try_get::<_, Option<f64>>(position)?.map_or(Value::Null, Value::Real),
            ColumnType::Text => optional_text(row, position)?.map_or(Value::Null, Value::Text),
            ColumnType::Bytes => {
                row.try_get::<_, Option<Vec<u8>>>(position)?.map_or(Value::Null, Value::Bytes)
            }
        })
    };
    columns.map(value).collect()
}
