//! A file that is copied into PostgreSQL, or that PostgreSQL is copied into.

use std::path::PathBuf;

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row as SqliteRow, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use registry_domain::Timestamp;

use super::{
    MaintenanceError, Source, Watch, connect, expect_file, purge::expect_current, retry_while_locked,
};
use crate::{
    copy::{
        side::{CopyError, Side, shown},
        tables::{ColumnType, EVENTS, NUMBERED, PAGE_BYTES, PAGE_ROWS, Row, Table, Value},
    },
    maintenance::MARK,
    sqlite::{
        lock::DatabaseLock,
        lookup,
        options::Options,
        schema::{holds_nothing, is_unfinished_copy, migrate},
        wal,
    },
};

const LINKED_EVENTS: &str = "model_events LEFT JOIN event_chain ON event_id = id";
/// The columns of an event that are in `model_events`; the others are in `event_chain`.
const EVENT_COLUMNS: usize = 7;
const LINK: &str = "INSERT INTO event_chain (event_id, version_id, model_key, previous_of_model, previous_of_version, hash) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// A file that this process owns.
pub(crate) struct SqliteSide {
    connection: Connection,
    path: PathBuf,
    watch: Watch,
    /// Released last, once the connection is closed.
    _lock: DatabaseLock,
}

impl SqliteSide {
    /// Opens a registry to be copied, which no server may own: what it writes later would not be in the copy.
    pub(crate) fn source(options: &Options, watch: &Watch) -> Result<Self, CopyError> {
        expect_file(&options.path)?;
        let lock = DatabaseLock::acquire(options).map_err(MaintenanceError::from)?;
        wal::inspect(options).map_err(MaintenanceError::from)?;
        let Source { connection, path } = Source::of_owner(options, watch)?;
        expect_current(&connection, &path)?;
        Ok(Self { connection, path, watch: watch.clone(), _lock: lock })
    }

    /// Opens a file to copy into, or creates it.
    pub(crate) fn target(options: &Options, watch: &Watch) -> Result<Self, CopyError> {
        let lock = DatabaseLock::acquire(options).map_err(MaintenanceError::from)?;
        let connection = retry_while_locked(options, watch, || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let connection = connect(&options.path, flags, watch)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            holds_nothing(&connection)?;
            Ok(connection)
        })?;
        Ok(Self { connection, path: options.path.clone(), watch: watch.clone(), _lock: lock })
    }

    fn failed(&self, error: rusqlite::Error) -> CopyError {
        if self.watch.cancelled() {
            return CopyError::Interrupted;
        }
        MaintenanceError::of(&self.path, &error).into()
    }

    fn select(&self, table: &'static Table, sql: &str, key: &[Value]) -> Result<Vec<Row>, CopyError> {
        let failed = |error| self.failed(error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut found = statement.query(params_from_iter(key)).map_err(failed)?;
        let (mut rows, mut size) = (Vec::new(), 0);
        while let Some(row) = found.next().map_err(failed)? {
            let row = read(table, row)?;
            size += row.iter().map(Value::size).sum::<usize>();
            rows.push(row);
            if size > PAGE_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    fn change(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), CopyError> {
        let change = || {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            work(&self.connection)?;
            self.connection.execute_batch("COMMIT")
        };
        // The transaction of a failed change ends with the connection.
        change().map_err(|error| self.failed(error))
    }
}

impl Side for SqliteSide {
    const REMOVE: &'static str = "delete the file";

    fn page(&mut self, table: &'static Table, after: Option<&[Value]>) -> Result<Vec<Row>, CopyError> {
        self.select(
            table,
            &table.page_sql(from(table), after.is_some(), PAGE_ROWS),
            after.unwrap_or_default(),
        )
    }

    fn last(&mut self, table: &'static Table) -> Result<Option<Row>, CopyError> {
        Ok(self.select(table, &table.last_sql(from(table)), &[])?.pop())
    }

    fn count(&mut self, table: &'static Table) -> Result<u64, CopyError> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        self.connection.query_row(&sql, [], |row| row.get(0)).map_err(|error| self.failed(error))
    }

    fn last_ids(&mut self) -> Result<[i64; NUMBERED.len()], CopyError> {
        let mut ids = [0; NUMBERED.len()];
        for (id, table) in ids.iter_mut().zip(NUMBERED) {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
            let found = self.connection.query_row(sql, [table], |row| row.get(0)).optional();
            *id = found.map_err(|error| self.failed(error))?.unwrap_or_default();
        }
        Ok(ids)
    }

    fn begin(&mut self, state: &str) -> Result<Option<String>, CopyError> {
        let then = if is_unfinished_copy(&self.connection).map_err(|error| self.failed(error))? {
            let sql = format!("SELECT state FROM {MARK}");
            Some(self.connection.query_row(&sql, [], |row| row.get(0)).map_err(|error| self.failed(error))?)
        } else if holds_nothing(&self.connection).map_err(|error| self.failed(error))? {
            self.change(|connection| {
                connection.execute_batch(&format!("CREATE TABLE {MARK} (state TEXT NOT NULL)"))?;
                connection.execute(&format!("INSERT INTO {MARK} VALUES (?1)"), [state]).map(drop)
            })?;
            None
        } else {
            let instead = "the name of a file that does not exist";
            return Err(CopyError::NotEmpty { target: self.name(), instead });
        };
        let migrated = migrate(&mut self.connection, Timestamp::from_unix_millis(0));
        migrated.map_err(|error| self.failed(error))?;
        Ok(then)
    }

    fn write(&mut self, table: &'static Table, rows: Vec<Row>) -> Result<(), CopyError> {
        let columns = match table.name {
            EVENTS => table.columns.get(..EVENT_COLUMNS).unwrap_or_default(),
            _ => table.columns,
        };
        let bound: Vec<_> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
        let (name, names, bound) = (table.name, Table::names(columns), bound.join(", "));
        let sql = format!("INSERT INTO {name} ({names}) VALUES ({bound})");
        self.change(|connection| {
            let mut insert = connection.prepare_cached(&sql)?;
            for row in &rows {
                let (own, link) = row.split_at_checked(columns.len()).unwrap_or((row, &[]));
                insert.execute(params_from_iter(own))?;
                if !link.is_empty() {
                    let values = own.iter().take(2).chain(link);
                    connection.prepare_cached(LINK)?.execute(params_from_iter(values))?;
                }
            }
            Ok(())
        })
    }

    fn derive(&mut self, last_ids: &[i64; NUMBERED.len()]) -> Result<(), CopyError> {
        self.change(|connection| {
            for (table, id) in NUMBERED.into_iter().zip(last_ids).filter(|(_, id)| **id > 0) {
                connection.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (table, id))?;
            }
            lookup::rebuild(connection)
        })
    }

    fn finish(self) -> Result<(), CopyError> {
        self.change(|connection| connection.execute_batch(&format!("DROP TABLE {MARK}")))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn from(table: &Table) -> &'static str {
    if table.name == EVENTS { LINKED_EVENTS } else { table.name }
}

fn read(table: &'static Table, row: &SqliteRow<'_>) -> Result<Row, CopyError> {
    let mut values = Row::with_capacity(table.columns.len());
    for (position, (column, column_type)) in table.columns.iter().enumerate() {
        let value = match (column_type, row.get_ref(position)) {
            (_, Ok(ValueRef::Null)) => Some(Value::Null),
            (ColumnType::Integer, Ok(ValueRef::Integer(number))) => Some(Value::Integer(number)),
            (ColumnType::Flag, Ok(ValueRef::Integer(flag))) => Some(Value::Integer(i64::from(flag != 0))),
            (ColumnType::Real, Ok(ValueRef::Real(number))) => Some(Value::Real(number)),
            (ColumnType::Text, Ok(ValueRef::Text(text))) => {
                std::str::from_utf8(text).ok().map(|text| Value::Text(text.to_owned()))
            }
            (ColumnType::Bytes, Ok(ValueRef::Blob(bytes))) => Some(Value::Bytes(bytes.to_vec())),
            _ => None,
        };
        let unfit = || CopyError::Value { table: table.name, column, key: shown(table.key_of(&values)) };
        let value = value.ok_or_else(unfit)?;
        values.push(value);
    }
    Ok(values)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        copy::tables::TABLES,
        sqlite::{lookup, schema::reference},
    };

    /// Columns of `event_chain` that repeat columns of the event.
    const REPEATED: [&str; 2] = ["event_id", "version_id"];

    #[test]
    fn each_column_of_the_schema_is_copied_or_belongs_to_a_lookup_table() {
        let schema = reference().unwrap();
        let names = |sql: &str, table: &str| -> BTreeSet<String> {
            let mut statement = schema.prepare(sql).unwrap();
            let names = statement.query_map([table], |row| row.get(0)).unwrap();
            names.collect::<Result<_, _>>().unwrap()
        };
        // The index of texts has tables of its own.
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE ?1 || '%' \
            AND name NOT LIKE 'model_texts%'";
        let mut tables = names(tables, "sqlite_");
        tables.retain(|name| !lookup::TABLES.contains(&name.as_str()) && name != "event_chain");
        assert_eq!(tables, TABLES.iter().map(|table| table.name.to_owned()).collect());
        for table in &TABLES {
            let columns = "SELECT name FROM pragma_table_info(?1)";
            let mut columns_of_schema = names(columns, table.name);
            if table.name == EVENTS {
                columns_of_schema.extend(names(columns, "event_chain"));
                columns_of_schema.retain(|name| !REPEATED.contains(&name.as_str()));
            }
            let copied = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(columns_of_schema, copied, "{}", table.name);
        }
    }
}
