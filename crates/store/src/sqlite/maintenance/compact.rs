//! Making the file smaller and its queries better planned, beside a server or without one.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::{MaintenanceError, Stage, Watch, connect_to_write, expect_file, expect_registry, patiently};
use crate::StoreError;
use crate::sqlite::{
    connection::checkpoint,
    derived::{audit, settle, tables},
    log::{
        self,
        mark::{self, Mark},
    },
    opening::Options,
    schema::{SCHEMA_VERSION, user_version},
};

/// Rows of an index that are looked at to learn how its values are spread; enough for a plan, and bounded.
const ANALYSIS_LIMIT: i64 = 1000;
/// `PRAGMA optimize` for every table, also those that this connection has not asked for.
const OPTIMIZE_ALL: i64 = 0x10002;
/// The same, to be told what it would do.
const OPTIMIZE_TELL: i64 = 0x10003;

/// Versions that are indexed in one transaction, for which a server beside this may have to wait.
const INDEXED_AT_ONCE: usize = 1_000;
/// After this none more is begun in that transaction, as texts may be long.
const INDEXING_TIME: Duration = Duration::from_millis(100);

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
    /// What of the counters and the index was not as the versions say, and was made anew.
    pub mended: Vec<String>,
    /// Versions whose tags and texts were indexed.
    pub indexed: u64,
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

/// Has SQLite look at how values are spread, where it finds that worth while; makes counters and the index of tags
/// and texts anew, where they are not as the versions say; and empties the log. A database of an older server has
/// none of those.
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
    let (mut mended, mut indexed) = (Vec::new(), 0);
    if user_version(&connection).map_err(failed)? == SCHEMA_VERSION {
        mended = patiently(options, watch, || mend(&connection))?;
        indexed = index(&connection, options, watch)?;
    }
    Ok(Optimized { ran, mended, indexed, log_emptied: empty_log(&connection, path)? })
}

/// Makes what is derived from the versions anew, where it has drifted from them.
fn mend(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if audit::drifts(connection)?.is_empty() {
        return order_anew(connection);
    }
    // Judged again where nobody writes: what another process is in the middle of is no drift.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let drifts = audit::drifts(&transaction)?;
    if !drifts.is_empty() {
        tables::rebuild(&transaction)?;
    }
    transaction.commit()?;
    Ok(drifts.into_iter().map(|drift| format!("{}: {}", drift.table, drift.problem)).collect())
}

/// Once another process has changed `created_at`, lists no longer go by ids; perhaps they can again.
fn order_anew(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if tables::steps(connection)?.is_some() {
        return Ok(Vec::new());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let found = tables::find_steps(&transaction)?;
    transaction.commit()?;
    let told = "creation_steps: lists of all versions can go by their ids again";
    Ok(found.then(|| told.to_owned()).into_iter().collect())
}

/// Indexes what is pending, a share at a time, so that a server beside this goes on.
fn index(connection: &Connection, options: &Options, watch: &Watch) -> Result<u64, MaintenanceError> {
    let failed = |error: rusqlite::Error| watch.failed(&options.path, &error);
    let total: u64 =
        connection.query_row("SELECT count(*) FROM index_pending", [], |row| row.get(0)).map_err(failed)?;
    let mut indexed = 0;
    while settle::are_pending(connection, 1).map_err(failed)? {
        indexed += patiently(options, watch, || {
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let settled = settle::settle(&transaction, INDEXED_AT_ONCE, INDEXING_TIME)?;
            transaction.commit().map(|()| settled as u64)
        })?;
        watch.tell(Stage::Indexing, indexed, total.max(indexed));
    }
    Ok(indexed)
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
