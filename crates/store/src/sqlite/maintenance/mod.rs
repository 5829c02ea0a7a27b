//! Looking after the file: copying it while it is written, putting a copy back, judging it, making it smaller.
//!
//! Nothing here makes a database or brings an older one up to date, so a file of 0.2.0 stays one. What takes
//! long tells how far it is and can be given up, through a [`Watch`]. Where copies go, and when they take
//! another file's place, is the caller's business: this room is given paths and writes databases to them.

mod check;
mod compact;
mod report;
mod restore;
mod salvage;
mod source;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, backup::Backup, backup::StepResult};

pub use compact::{Optimized, Vacuumed, optimize, vacuum};
pub use report::{Finding, Findings, Report};
pub use restore::{Abandoned, Exclusive, Replaced};
pub use salvage::{Salvaged, salvage_log};
pub use source::{Source, is_registry_at_rest};

use super::{
    connection::RETRY_PAUSE,
    log::{self, Found, LogFault},
    opening::Options,
    schema::{self, SCHEMA_VERSION},
};

/// 16 MB of the usual pages: often enough for a progress bar and for Ctrl-C.
const PAGES_A_STEP: i32 = 4096;
/// Instructions of SQLite between two looks at whether to give up: some milliseconds.
const INSTRUCTIONS_A_LOOK: i32 = 100_000;
/// Negative as SQLite has it: in KiB.
const CACHE_KIB: i32 = -32 * 1024;
/// Findings of SQLite's own check that are told apart; where there are as many, the file is lost anyhow.
const MAX_INTEGRITY_FINDINGS: usize = 100;

/// Why a database was not copied, restored, judged or made smaller. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MaintenanceError {
    #[error("{} does not exist; check the path", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is no regular file, so no database; check the path", .path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is no SQLite file; check the path", .path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} is a SQLite file, but not a registry's; check the path", .path.display())]
    NotARegistry { path: PathBuf },
    #[error(
        "{} has schema version {found}, made by a newer registry; this one knows up to {SCHEMA_VERSION}: use the newer one", .path.display())]
    TooNew { path: PathBuf, found: i64 },
    #[error("{} is held by another process, such as a registry that serves it; stop that one, then try again", .path.display())]
    Held { path: PathBuf },
    #[error(
        "{} is held by a process whose database was moved away or removed, such as a registry that still serves it; stop that one, then try again", .path.display())]
    Bereft { path: PathBuf },
    #[error("{} is damaged ({finding}); use a backup that `registry maintenance --check` finds sound", .path.display())]
    Damaged { path: PathBuf, finding: String },
    #[error("{} was changed by somebody who did not lock it; try again where its folder can be written", .path.display())]
    Changed { path: PathBuf },
    #[error(
        "{} was left in the middle of a change by a process that died; `registry maintenance --optimize` brings it back to what it was", .path.display())]
    HalfChanged { path: PathBuf },
    #[error("the disk is full, so work on {} was undone; make room, or choose another disk", .path.display())]
    DiskFull { path: PathBuf },
    #[error(
        "{} can't be opened ({why}); give this user access to the file, its folder, and the -wal or -journal beside it", .path.display())]
    Closed { path: PathBuf, why: String },
    #[error(transparent)]
    Log(#[from] LogFault),
    #[error("it was given up, and what was begun was undone")]
    Interrupted,
    #[error("{}: {why}; check its disk and its permissions", .path.display())]
    Failed { path: PathBuf, why: String },
}

impl MaintenanceError {
    fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held { path },
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, finding: why },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Closed { path, why }
            }
            _ => Self::Failed { path, why },
        }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Stage {
    /// Counted in bytes.
    Copying,
    /// Not counted.
    Verifying,
    /// Counted in rows.
    Reading(&'static str),
    /// Not counted.
    Compacting,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 where nobody can tell.
    pub total: u64,
}

/// Who is told how far long work is, and who may give it up.
#[derive(Clone)]
pub struct Watch {
    cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Asks `cancelled` now and then whether to give up, and tells `progress` how far it is.
    pub fn new(
        cancelled: impl Fn() -> bool + Send + Sync + 'static,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        Self { cancelled: Arc::new(cancelled), progress: Arc::new(progress) }
    }

    fn tell(&self, stage: Stage, done: u64, total: u64) {
        (self.progress)(Progress { stage, done, total });
    }

    fn cancelled(&self) -> bool {
        (self.cancelled)()
    }

    /// What `error` means; where the user wants the end, whatever it was.
    fn failed(&self, path: &Path, error: &rusqlite::Error) -> MaintenanceError {
        if self.cancelled() { MaintenanceError::Interrupted } else { MaintenanceError::of(path, error) }
    }
}

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Pages of the database.
    pub pages: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
}

/// A connection for one piece of work. It does not wait for locks by itself: [`patiently`] does, and can be
/// given up.
fn connect(path: &Path, flags: OpenFlags, watch: &Watch) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    // Where the log is not the database's own, this may fail, and must not bring the two together as it is closed.
    log::leave(&connection, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    log::leave(&connection, false)?;
    let cancelled = Arc::clone(&watch.cancelled);
    connection.progress_handler(INSTRUCTIONS_A_LOOK, Some(move || cancelled()))?;
    Ok(connection)
}

/// Tries again while another process holds the database, as long as the busy timeout.
fn patiently<T>(
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

/// Refuses what can't be a database before SQLite opens it, and so before it could be made.
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

/// A connection that may write, to a database whose log, where an end that was not in order has left one, makes one whole with it.
fn connect_to_write(options: &Options, watch: &Watch, found: Found) -> Result<Connection, MaintenanceError> {
    let fault = |error: &rusqlite::Error| found.incoherent(options, error).map(MaintenanceError::from);
    let mut incoherent = None;
    let connection = patiently(options, watch, || {
        let attempt = || {
            let connection = connect(&options.path, OpenFlags::SQLITE_OPEN_READ_WRITE, watch)?;
            log::leave(&connection, found.is_to_be_left())?;
            // The first look at the file may find it locked.
            connection.execute_batch("SELECT count(*) FROM sqlite_schema")?;
            Ok(connection)
        };
        attempt().inspect_err(|error| incoherent = fault(error))
    });
    let connection = connection.map_err(|error| incoherent.unwrap_or(error))?;
    if found.is_to_be_left() {
        let failed = |error: rusqlite::Error| watch.failed(&options.path, &error);
        watch.tell(Stage::Verifying, 0, 0);
        if found.is_to_be_checked() {
            log::holds_together(&connection, options, found).map_err(failed)??;
        }
        log::keep_dropped(&connection, options, found).map_err(failed)?;
        log::leave(&connection, false).map_err(failed)?;
    }
    Ok(connection)
}

/// Refuses a database that is not a registry's.
fn expect_registry(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    match schema::is_registry(connection) {
        Ok(true) => Ok(()),
        Ok(false) => Err(MaintenanceError::NotARegistry { path: path.to_owned() }),
        Err(error) => Err(MaintenanceError::of(path, &error)),
    }
}

/// Copies every page. Given up, it has changed nothing. The reader has a transaction open or the file for itself; otherwise SQLite would begin
/// again each time another process writes, which under load is for ever.
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
        // A step can't be interrupted, so its error is none of the user's, and the last step's may come after
        // the commit.
        let stepped = backup.step(PAGES_A_STEP).map_err(|error| MaintenanceError::of(path, &error))?;
        let progress = backup.progress();
        let count = |pages| u64::try_from(pages).unwrap_or(0);
        let (pages, left) = (count(progress.pagecount), count(progress.remaining));
        watch.tell(Stage::Copying, (pages - left.min(pages)) * page_bytes, pages * page_bytes);
        match stepped {
            StepResult::More => {}
            StepResult::Done => return Ok(Copied { pages, size_bytes: pages * page_bytes }),
            _ => return Err(MaintenanceError::Held { path: path.to_owned() }),
        }
    }
}

/// Copies into an empty file that nobody else has open, and leaves it as one file without a log: whoever
/// finds it may open it where nothing can be written. Bringing it down to the disk is left to the caller.
fn copy_to_new(from: &Connection, path: &Path, watch: &Watch) -> Result<Copied, MaintenanceError> {
    let failed = |error: rusqlite::Error| watch.failed(path, &error);
    let open = || {
        let copy = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, watch)?;
        copy.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        Ok(copy)
    };
    let mut to = open().map_err(failed)?;
    // A copy that fails is thrown away, not rolled back.
    to.pragma_update(None, "journal_mode", "OFF").map_err(failed)?;
    let copied = copy(from, &mut to, path, watch)?;
    to.close().map_err(|(_, error)| failed(error))?;
    let to = open().map_err(failed)?;
    leave_wal(&to).map_err(failed)?;
    to.close().map_err(|(_, error)| failed(error))?;
    Ok(copied)
}

/// Moves what is in the log into the database and does without one from here on. It errs as busy unless this
/// connection is the only one.
fn leave_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
}

/// What SQLite itself finds wrong; empty where it finds nothing.
fn integrity(connection: &Connection, watch: &Watch) -> rusqlite::Result<Vec<String>> {
    watch.tell(Stage::Verifying, 0, 0);
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

/// Errs where SQLite finds anything wrong.
fn expect_integrity(connection: &Connection, path: &Path, watch: &Watch) -> Result<(), MaintenanceError> {
    let findings = integrity(connection, watch).map_err(|error| watch.failed(path, &error))?;
    let Some(finding) = findings.into_iter().next() else { return Ok(()) };
    Err(MaintenanceError::Damaged { path: path.to_owned(), finding })
}
