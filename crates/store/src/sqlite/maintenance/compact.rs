//! Making the file smaller and its queries better planned, beside a server or without one.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::{MaintenanceError, Stage, Watch, connect_to_write, expect_file, expect_registry, patiently};
use crate::StoreError;
use crate::sqlite::{
    connection::checkpoint,
    log::{
        self,
        mark::{self, Mark},
    },
    lookup,
    opening::Options,
    schema::{SCHEMA_VERSION, user_version},
};

/// Rows of an index that are looked at to learn how its values are spread; enough for a plan, and bounded.
const ANALYSIS_LIMIT: i64 = 1000;
/// `PRAGMA optimize` for every table, also those that this connection has not asked for.
const OPTIMIZE_ALL: i64 = 0x10002;
/// The same, to be told what it would do.
const OPTIMIZE_TELL: i64 = 0x10003;

/// What rewriting the file brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vacuumed {
    /// Bytes of the database before.
    pub before_bytes: u64,
    /// Bytes of the database after.
    pub after_bytes: u64,
    /// Whether the file itself has that size already; otherwise it will have once no reader needs the log.
    pub settled: bool,
}

/// What was done for the queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optimized {
    /// The statements that SQLite found worth running.
    pub ran: Vec<String>,
    /// How the lookup tables disagreed with the versions; empty if they did not. They were rebuilt.
    pub mended: Vec<String>,
    /// Whether the write-ahead log was emptied into the database; not where others are reading it.
    pub log_emptied: bool,
}

/// Rewrites the database without the room that deleted rows have left. It needs about its size again on the
/// disk, and whoever wants to write meanwhile waits.
///
/// # Errors
/// [`MaintenanceError::Held`] where another process writes longer than the busy timeout; the database is as it was.
pub fn vacuum(options: &Options, watch: &Watch) -> Result<Vacuumed, MaintenanceError> {
    let (connection, path) = (open(options, watch)?, &options.path);
    let before_bytes = size(&connection, path)?;
    watch.tell(Stage::Compacting, 0, 0);
    patiently(options, watch, || connection.execute_batch("VACUUM"))?;
    // Done is done: what follows only moves pages.
    let settled = empty_log(&connection, path)?;
    Ok(Vacuumed { before_bytes, after_bytes: size(&connection, path)?, settled })
}

/// Has SQLite analyse how values are spread if it finds that useful, rebuilds the lookup tables if they disagree with
/// the versions, and empties the WAL. A database of an older schema has no lookup tables.
///
/// # Errors
/// [`MaintenanceError::Held`] as for [`vacuum`].
pub fn optimize(options: &Options, watch: &Watch) -> Result<Optimized, MaintenanceError> {
    let (connection, path) = (open(options, watch)?, &options.path);
    let failed = |error: rusqlite::Error| watch.failed(path, &error);
    watch.tell(Stage::Compacting, 0, 0);
    connection.pragma_update(None, "analysis_limit", ANALYSIS_LIMIT).map_err(failed)?;
    let ran = patiently(options, watch, || {
        let mut tell = connection.prepare(&format!("PRAGMA optimize({OPTIMIZE_TELL})"))?;
        tell.query_map([], |row| row.get(0))?.collect()
    })?;
    patiently(options, watch, || connection.execute_batch(&format!("PRAGMA optimize({OPTIMIZE_ALL})")))?;
    let mut mended = Vec::new();
    if user_version(&connection).map_err(failed)? == SCHEMA_VERSION {
        mended = patiently(options, watch, || rebuild_lookup(&connection))?;
    }
    Ok(Optimized { ran, mended, log_emptied: empty_log(&connection, path)? })
}

/// Rebuilds the lookup tables if they disagree with the versions.
fn rebuild_lookup(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if lookup::drifts(connection)?.is_empty() {
        return Ok(Vec::new());
    }
    // Compared again inside a transaction: a server may have been in the middle of a change.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let drifts = lookup::drifts(&transaction)?;
    if !drifts.is_empty() {
        lookup::rebuild(&transaction)?;
    }
    transaction.commit()?;
    Ok(drifts.into_iter().map(|drift| format!("{}: {}", drift.table, drift.problem)).collect())
}

fn open(options: &Options, watch: &Watch) -> Result<Connection, MaintenanceError> {
    expect_file(&options.path)?;
    let found = log::inspect(options)?;
    let connection = connect_to_write(options, watch, found)?;
    expect_registry(&connection, &options.path).map(|()| connection)
}

/// What the database holds as of now, wherever its pages lie.
fn size(connection: &Connection, path: &Path) -> Result<u64, MaintenanceError> {
    let ask = |sql| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let size = ask("PRAGMA page_count").and_then(|pages| Ok(pages * ask("PRAGMA page_size")?));
    size.map_err(|error| MaintenanceError::of(path, &error))
}

fn empty_log(connection: &Connection, path: &Path) -> Result<bool, MaintenanceError> {
    let mark = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        if mark::is_of_many(&transaction)? {
            Mark::Last.set(&transaction)?;
        }
        transaction.commit()
    };
    // Where a server is writing, it sets its own.
    match mark() {
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
            return Err(MaintenanceError::of(path, &error));
        }
        _ => {}
    }
    match checkpoint(connection, "TRUNCATE") {
        Ok(_) => Ok(true),
        Err(StoreError::Busy) => Ok(false),
        Err(error) => Err(MaintenanceError::Failed { path: path.to_owned(), why: error.to_string() }),
    }
}
