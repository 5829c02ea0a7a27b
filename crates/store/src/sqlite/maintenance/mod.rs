//! Maintains the file: copies it while a server writes it, checks it, shrinks it, and salvages its WAL.
//!
//! Nothing here creates or upgrades a database, so a file of 0.2.0 keeps its schema. Long work reports its progress and
//! can be cancelled, through a [`Watch`]. The caller decides where copies go and when they replace another file.

mod check;
pub(crate) mod copy;
mod drift;
mod exclusive;
mod purge;
mod source;
mod trail;
mod upgrade;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, backup::Backup, backup::StepResult};

pub use exclusive::{Optimized, Vacuumed, merge_wal, optimize, salvage_wal, vacuum};
pub use purge::purge;
pub use source::{Source, is_registry_at_rest};
pub(super) use upgrade::back_up_before_upgrade;

pub use super::wal::Salvaged;
pub use crate::maintenance::{Audit, Finding, Findings, Progress, Purged, Report, Stage, Watch};

use super::{
    lock::{LockError, RETRY_PAUSE},
    options::Options,
    schema::{self, SCHEMA_VERSION},
    wal::WalError,
};

/// 16 MB of pages of the usual size: often enough for a progress bar and for Ctrl-C.
const PAGES_PER_STEP: i32 = 4096;
/// Instructions that SQLite runs between two checks for a cancellation: some milliseconds.
const INSTRUCTIONS_PER_CHECK: i32 = 100_000;
/// In KiB, since it is negative.
const CACHE_KIB: i32 = -32 * 1024;
/// The maximum number of findings of SQLite's own check; a file with that many is lost.
const MAX_INTEGRITY_FINDINGS: usize = 100;

/// Why work on a database failed. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum MaintenanceError {
    #[error("{} does not exist; check the path", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is not a regular file; check the path", .path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is not a SQLite file; check the path", .path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} is a SQLite file, but not a registry's; check the path", .path.display())]
    NotARegistry { path: PathBuf },
    #[error(
        "{} has schema version {found}, made by a newer registry; this one knows up to {SCHEMA_VERSION}: use the newer one", .path.display())]
    TooNew { path: PathBuf, found: i64 },
    #[error(
        "{}: its schema is {found}, not {SCHEMA_VERSION}; start `registry serve` on it once, which upgrades it", .path.display())]
    Old { path: PathBuf, found: i64 },
    #[error(
        "{} is an unfinished copy of a registry; run the same `registry maintenance --copy-to` again, or delete it", .path.display())]
    Unfinished { path: PathBuf },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("{} is locked by another program; stop it, then try again", .path.display())]
    Busy { path: PathBuf },
    #[error("{} is damaged ({finding}); use a backup that `registry maintenance --check` finds sound", .path.display())]
    Damaged { path: PathBuf, finding: String },
    #[error(
        "{} was left in the middle of a change by a process that died; `registry maintenance --optimize` undoes that change", .path.display())]
    HalfChanged { path: PathBuf },
    #[error("the disk is full, so work on {} was undone; free space there, or choose another disk", .path.display())]
    DiskFull { path: PathBuf },
    #[error("{} has {free} free bytes, and {needed} are needed; free space there", .folder.display())]
    NoSpace { folder: PathBuf, free: u64, needed: u64 },
    #[error(
        "{} can't be opened ({why}); give this user access to the file, its folder, and the -wal or -journal beside it", .path.display())]
    NotAccessible { path: PathBuf, why: String },
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("it was cancelled, and its changes were undone")]
    Interrupted,
    #[error("{}: {why}; check its disk and its permissions", .path.display())]
    Failed { path: PathBuf, why: String },
}

impl MaintenanceError {
    fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, finding: why },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotAccessible { path, why }
            }
            _ => Self::Failed { path, why },
        }
    }
}

impl Watch {
    /// Converts an error. After a cancellation, every error means that it was cancelled.
    fn failed(&self, path: &Path, error: &rusqlite::Error) -> MaintenanceError {
        if self.cancelled() { MaintenanceError::Interrupted } else { MaintenanceError::of(path, error) }
    }
}

/// The result of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Pages of the database.
    pub pages: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
}

/// Opens a connection for one piece of work. It does not wait for locks: [`retry_while_locked`] does, and can be cancelled.
fn connect(path: &Path, flags: OpenFlags, watch: &Watch) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    let watch = watch.clone();
    connection.progress_handler(INSTRUCTIONS_PER_CHECK, Some(move || watch.cancelled()))?;
    Ok(connection)
}

/// Retries while another process holds a lock on the database, up to the busy timeout.
fn retry_while_locked<T>(
    options: &Options,
    watch: &Watch,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> Result<T, MaintenanceError> {
    let deadline = Instant::now() + options.busy_timeout;
    loop {
        match attempt() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline
                    && !watch.cancelled() =>
            {
                std::thread::sleep(RETRY_PAUSE);
            }
            tried => return tried.map_err(|error| watch.failed(&options.path, &error)),
        }
    }
}

/// Refuses a path that can't be a database, before SQLite opens it or creates one there.
fn expect_file(path: &Path) -> Result<(), MaintenanceError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(MaintenanceError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(MaintenanceError::Missing { path: path.to_owned() })
        }
        Err(error) => Err(MaintenanceError::Failed { path: path.to_owned(), why: error.to_string() }),
    }
}

/// Refuses a database that is not a registry's.
fn expect_registry(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    if schema::is_unfinished_copy(connection).unwrap_or(false) {
        return Err(MaintenanceError::Unfinished { path: path.to_owned() });
    }
    match schema::is_registry(connection) {
        Ok(true) => Ok(()),
        Ok(false) => Err(MaintenanceError::NotARegistry { path: path.to_owned() }),
        Err(error) => Err(MaintenanceError::of(path, &error)),
    }
}

/// Copies every page. `from` has a transaction open: otherwise SQLite would start again at each write of another process.
fn copy(
    from: &Connection,
    to: &mut Connection,
    path: &Path,
    watch: &Watch,
) -> Result<Copied, MaintenanceError> {
    let failed = |error: rusqlite::Error| watch.failed(path, &error);
    let page_bytes: u64 = from.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)?;
    let backup = Backup::new(from, to).map_err(failed)?;
    loop {
        if watch.cancelled() {
            return Err(MaintenanceError::Interrupted);
        }
        // A cancellation does not interrupt a step, so its error is a real one.
        let stepped = backup.step(PAGES_PER_STEP).map_err(|error| MaintenanceError::of(path, &error))?;
        let progress = backup.progress();
        let count = |pages| u64::try_from(pages).unwrap_or(0);
        let (pages, left) = (count(progress.pagecount), count(progress.remaining));
        watch.report(Stage::Copying, (pages - left.min(pages)) * page_bytes, pages * page_bytes);
        match stepped {
            StepResult::More => {}
            StepResult::Done => return Ok(Copied { pages, size_bytes: pages * page_bytes }),
            _ => return Err(MaintenanceError::Busy { path: path.to_owned() }),
        }
    }
}

/// Copies into an empty file that no other process has open, and leaves one file without a WAL, which can be read on a
/// read-only disk. The caller syncs it.
fn copy_to_new(from: &Connection, path: &Path, watch: &Watch) -> Result<Copied, MaintenanceError> {
    let failed = |error: rusqlite::Error| watch.failed(path, &error);
    let open = || {
        let copy = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, watch)?;
        copy.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        Ok(copy)
    };
    let mut to = open().map_err(failed)?;
    // A failed copy is discarded, not rolled back.
    to.pragma_update(None, "journal_mode", "OFF").map_err(failed)?;
    let copied = copy(from, &mut to, path, watch)?;
    to.close().map_err(|(_, error)| failed(error))?;
    let to = open().map_err(failed)?;
    leave_wal(&to).map_err(failed)?;
    to.close().map_err(|(_, error)| failed(error))?;
    Ok(copied)
}

/// Moves the WAL into the database and turns it off. Fails as busy unless this connection is the only one.
fn leave_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
}

/// Returns what SQLite's own check finds; nothing if the file is sound.
fn integrity(connection: &Connection, watch: &Watch) -> rusqlite::Result<Vec<String>> {
    watch.report(Stage::Verifying, 0, 0);
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_INTEGRITY_FINDINGS})"))?;
    let mut findings = Vec::new();
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let finding: String = row.get(0)?;
        findings.extend(finding.lines().map(str::to_owned));
    }
    if findings == ["ok"] {
        findings.clear();
    }
    Ok(findings)
}

/// Refuses a database if SQLite's own check finds something.
fn expect_integrity(connection: &Connection, path: &Path, watch: &Watch) -> Result<(), MaintenanceError> {
    let findings = integrity(connection, watch).map_err(|error| watch.failed(path, &error))?;
    let Some(finding) = findings.into_iter().next() else { return Ok(()) };
    Err(MaintenanceError::Damaged { path: path.to_owned(), finding })
}
