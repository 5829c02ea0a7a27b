//! Work that needs exclusive access: vacuum, statistics, salvaging the WAL, and moving it into the database.
//!
//! The caller owns the [`DatabaseLock`], which keeps servers out; SQLite's own locks keep out other programs.

use rusqlite::{Connection, OpenFlags};

use super::{
    MaintenanceError, Source, Stage, Watch, connect, drift, expect_file, expect_registry, leave_wal,
    retry_while_locked,
};
use crate::sqlite::{
    lock::DatabaseLock,
    lookup,
    options::Options,
    schema::{SCHEMA_VERSION, user_version},
    wal::{self, Salvaged},
};

/// Rows of an index that `ANALYZE` looks at: enough for a query plan, and bounded.
const ANALYSIS_LIMIT: i64 = 1000;
/// `PRAGMA optimize` for all tables, also those that this connection has not queried.
const OPTIMIZE_ALL: i64 = 0x10002;
/// The same as a dry run that returns the statements.
const OPTIMIZE_DRY_RUN: i64 = 0x10003;

/// The sizes before and after a vacuum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vacuumed {
    /// Bytes of the database before.
    pub before_bytes: u64,
    /// Bytes of the database after.
    pub after_bytes: u64,
}

/// The result of [`optimize`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optimized {
    /// The statements that SQLite found worth running.
    pub ran: Vec<String>,
    /// The counters and indexes that did not match the versions and were rebuilt.
    pub rebuilt: Vec<String>,
}

/// Rewrites the database without the free pages that deleted rows have left. It needs about as much free disk space as
/// the database takes.
///
/// # Errors
/// [`MaintenanceError`]; the database is then unchanged.
pub fn vacuum(options: &Options, watch: &Watch) -> Result<Vacuumed, MaintenanceError> {
    with_exclusive(options, watch, |connection| {
        let before_bytes = size(connection)?;
        connection.execute_batch("VACUUM")?;
        Ok(Vacuumed { before_bytes, after_bytes: size(connection)? })
    })
}

/// Refreshes the statistics for SQLite's query planner if they are stale, and rebuilds counters and indexes that do not
/// match the versions. A database with an older schema has no such counters.
///
/// # Errors
/// [`MaintenanceError`].
pub fn optimize(options: &Options, watch: &Watch) -> Result<Optimized, MaintenanceError> {
    with_exclusive(options, watch, |connection| {
        let rebuilt = if user_version(connection)? == SCHEMA_VERSION {
            rebuild_drifted(connection)?
        } else {
            Vec::new()
        };
        connection.pragma_update(None, "analysis_limit", ANALYSIS_LIMIT)?;
        let mut dry_run = connection.prepare(&format!("PRAGMA optimize({OPTIMIZE_DRY_RUN})"))?;
        let ran = dry_run.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        connection.execute_batch(&format!("PRAGMA optimize({OPTIMIZE_ALL})"))?;
        Ok(Optimized { ran, rebuilt })
    })
}

/// Copies a damaged WAL aside, truncates it after its last sound transaction, and verifies the database with the rest.
///
/// # Errors
/// [`MaintenanceError::Wal`] if the WAL is not damaged but belongs to another database; [`MaintenanceError::Damaged`]
/// if the database does not match the rest.
pub fn salvage_wal(options: &Options, watch: &Watch) -> Result<Salvaged, MaintenanceError> {
    expect_file(&options.path)?;
    let _lock = DatabaseLock::acquire(options)?;
    let salvaged = wal::salvage(options)?;
    if salvaged.kept_as.is_some() {
        Source::of_owner(options, watch)?.verify(watch)?;
    }
    Ok(salvaged)
}

/// Moves the WAL into the database, so that it is one file that can be replaced.
///
/// # Errors
/// [`MaintenanceError`], also if another program has the database open.
pub fn merge_wal(options: &Options, watch: &Watch, lock: &DatabaseLock) -> Result<(), MaintenanceError> {
    let connection = connect_exclusively(options, watch, lock)?;
    connection.close().map_err(|(_, error)| watch.failed(&options.path, &error))
}

pub(super) fn with_exclusive<T>(
    options: &Options,
    watch: &Watch,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, MaintenanceError> {
    let path = &options.path;
    expect_file(path)?;
    let lock = DatabaseLock::acquire(options)?;
    let connection = connect_exclusively(options, watch, &lock)?;
    expect_registry(&connection, path)?;
    watch.report(Stage::Compacting, 0, 0);
    let failed = |error: rusqlite::Error| watch.failed(path, &error);
    let done = work(&connection).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(done)
}

/// Opens a connection with exclusive access and without a WAL.
fn connect_exclusively(
    options: &Options,
    watch: &Watch,
    _lock: &DatabaseLock,
) -> Result<Connection, MaintenanceError> {
    wal::inspect(options)?;
    // A new connection for each attempt: a failed one may keep some of its locks.
    retry_while_locked(options, watch, || {
        let connection = connect(&options.path, OpenFlags::SQLITE_OPEN_READ_WRITE, watch)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // Deleting the journal is what commits, so that has to be synced too.
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        leave_wal(&connection)?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        Ok(connection)
    })
}

fn rebuild_drifted(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let drifts = drift::find(connection)?;
    if !drifts.is_empty() {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        lookup::rebuild(connection)?;
        connection.execute_batch("COMMIT")?;
    }
    Ok(drifts.into_iter().map(|drift| format!("{}: {}", drift.table, drift.problem)).collect())
}

fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let ask = |sql| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    Ok(ask("PRAGMA page_count")? * ask("PRAGMA page_size")?)
}
