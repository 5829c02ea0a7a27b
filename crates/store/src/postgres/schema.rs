//! The tables, and their migrations.
//!
//! The tables and columns that SQLite has too have the same names. Texts compare byte for byte (`COLLATE "C"`), and times
//! are texts, as SQLite has them.

use std::time::Duration;

use crate::maintenance::MARK;

use super::{
    connection::Connection,
    error::{Failure, OpenError},
    options::Options,
};

/// Each migration brings the schema to the next version; the first creates version 1.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];
/// The newest schema that this server knows.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;
const OLDEST_SERVER: i32 = 130_000;

/// A migration may rewrite large tables, and servers that start during it wait.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3_600);
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
/// One server migrates at a time. The number is arbitrary, and the same in all versions.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7243392, 0)";
/// Waits for the transactions that have called `check_schema`, and lets no other one call it until this one ends.
pub(super) const LOCK_WRITERS: &str = "LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE";
const CREATE_VERSION: &str = "CREATE TABLE schema_version (version integer NOT NULL)";

/// Brings the database to [`SCHEMA_VERSION`] in one transaction, or leaves it as it was.
///
/// # Errors
/// [`OpenError`] says what to do.
pub(super) fn migrate(connection: &mut Connection, options: &Options) -> Result<(), OpenError> {
    let failed = |error: Failure| OpenError::preparing(options, &error);
    expect_server(connection, options)?;
    connection.answer_timeout = MIGRATION_TIMEOUT;
    connection.batch(BEGIN).map_err(failed)?;
    connection.batch(LOCK).map_err(failed)?;
    let found = match version(connection).map_err(failed)? {
        Some(found) => found,
        None if table_exists(connection, "models").map_err(failed)? => {
            return Err(OpenError::Foreign { database: options.database().to_owned() });
        }
        None => {
            let created = connection.batch("CREATE EXTENSION IF NOT EXISTS pg_trgm");
            created.map_err(|error| OpenError::Extension {
                database: options.database().to_owned(),
                why: error.to_string(),
            })?;
            connection.batch(CREATE_VERSION).map_err(failed)?;
            connection.batch("INSERT INTO schema_version VALUES (0)").map_err(failed)?;
            0
        }
    };
    expect_known(found, options)?;
    if found < SCHEMA_VERSION {
        connection.batch(LOCK_WRITERS).map_err(failed)?;
    }
    for (step, migration) in (1..).zip(MIGRATIONS) {
        if step > found {
            connection.batch(migration).map_err(failed)?;
            tracing::info!(schema = step, "the database was migrated");
        }
    }
    if found < SCHEMA_VERSION {
        let set = format!("UPDATE schema_version SET version = {SCHEMA_VERSION}");
        connection.batch(&set).map_err(failed)?;
    }
    connection.batch("COMMIT").map_err(failed)
}

/// Returns true if the database is a copy of a registry that is not complete.
pub(super) fn is_unfinished_copy(connection: &mut Connection) -> Result<bool, Failure> {
    table_exists(connection, MARK)
}

/// Refuses a server that is too old, and a database whose encoding can't store every name.
pub(super) fn expect_server(connection: &mut Connection, options: &Options) -> Result<(), OpenError> {
    let failed = |error: Failure| OpenError::preparing(options, &error);
    let number = connection.server_version().map_err(failed)?;
    if number < OLDEST_SERVER {
        return Err(OpenError::OldServer { found: format!("{}.{}", number / 10_000, number % 10_000) });
    }
    let encoding = text(connection, "SELECT current_setting('server_encoding')").map_err(failed)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { database: options.database().to_owned(), found: encoding });
    }
    Ok(())
}

/// Refuses a schema that a newer registry has made.
pub(super) fn expect_known(found: i32, options: &Options) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        let database = options.database().to_owned();
        return Err(OpenError::Newer { database, found, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Returns the names that follow these words in the migrations, at the start of a line.
pub(super) fn created(words: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = MIGRATIONS.iter().flat_map(|migration| migration.lines());
    lines.filter_map(move |line| line.strip_prefix(words)?.split_whitespace().next())
}

/// Returns the version of the schema, if there is a registry.
pub(super) fn version(connection: &mut Connection) -> Result<Option<i32>, Failure> {
    if !table_exists(connection, "schema_version")? {
        return Ok(None);
    }
    let rows = connection.one("SELECT version FROM schema_version", &[])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

fn table_exists(connection: &mut Connection, table: &str) -> Result<bool, Failure> {
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    let rows = connection.one(sql, &[(&table, tokio_postgres::types::Type::TEXT)])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

fn text(connection: &mut Connection, sql: &str) -> Result<String, Failure> {
    let rows = connection.one(sql, &[])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}
