//! Connections: how they are opened, what is set on each, and what their errors mean.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use registry_domain::{Refusal, Timestamp};

use super::{
    super::{SnapshotStore, StoreError},
    backend::WalUpkeep,
    commit::{self, keep_wal_on_close},
    lock::DatabaseLock,
    maintenance::back_up_before_upgrade,
    opening::{OpenError, Options, Synchronous, inspect_file, recognize},
    schema, wal,
    watched_files::WatchedFiles,
};

/// Older SQLite has a bug in resetting the WAL that can lose committed writes.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Fits every statement of this store with every filter and sort of a list.
const STATEMENT_CACHE: usize = 256;
/// The pause between two attempts to take a lock for which SQLite's own busy handler does not wait.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::Unwritable("it is read-only".to_owned()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Failing(commit::what_failed(&error).to_owned())
            }
            Some(ErrorCode::TooBig) => Refusal::TooLarge(
                "this version would hold more than the database can keep in one row".to_owned(),
            )
            .into(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The connection that writes, and the ownership of the file.
pub struct SqliteWriter {
    pub(super) connection: Connection,
    busy_timeout: Duration,
    wal_pages: Arc<AtomicU32>,
    pub(super) files: WatchedFiles,
    /// True once what a WAL that was taken away held is in the database.
    pub(super) is_wal_rescued: bool,
    /// When the WAL is checkpointed and restarted.
    pub(super) upkeep: WalUpkeep,
    /// Released last, once the connection is closed.
    _lock: DatabaseLock,
}

/// A connection that only reads.
pub struct SqliteReader {
    pub(super) connection: Connection,
}

/// A connection that moves committed pages from the WAL into the database.
pub struct Checkpointer {
    connection: Connection,
}

/// How far a checkpoint came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Pages in the WAL.
    pub wal_pages: i64,
    /// Of those, pages that are in the database now.
    pub moved_pages: i64,
}

impl SqliteWriter {
    /// Takes the ownership of the database and opens it. A missing file is created; one with an older schema is backed up
    /// and upgraded.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &Options, now: Timestamp) -> Result<Self, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::OldSqlite { found: rusqlite::version() });
        }
        inspect_file(&options.path)?;
        let lock = DatabaseLock::acquire(options)?;
        wal::inspect_to_recover(options)?;
        let [_, wal, ..] = options.files();
        let has_wal = std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0);
        let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
        let wal_pages = Arc::new(AtomicU32::new(0));
        let mut connection = connect(options, OpenFlags::SQLITE_OPEN_CREATE, &wal_pages)?;
        // A file that turns out to be another program's keeps its WAL, and gets none.
        keep_wal_on_close(&connection, has_wal).map_err(failed)?;
        recognize(&connection, &options.path)?;
        if schema::needs_upgrade(&connection).map_err(failed)? {
            let backup = back_up_before_upgrade(options);
            let backup =
                backup.map_err(|why| OpenError::UpgradeBackup { path: options.path.clone(), why })?;
            tracing::info!(backup = %backup.display(), "the database has an older schema; a verified backup was made before its upgrade");
        }
        keep_wal_on_close(&connection, false).map_err(failed)?;
        use_wal(&connection, options)?;
        schema::migrate(&mut connection, now).map_err(failed)?;
        Ok(Self {
            connection,
            busy_timeout: options.busy_timeout,
            wal_pages,
            files: WatchedFiles::of(options),
            is_wal_rescued: false,
            upkeep: WalUpkeep::default(),
            _lock: lock,
        })
    }

    /// Replaces the connection after an operation panicked. The file is not inspected: closing any descriptor of it would
    /// drop the locks of the other connections.
    ///
    /// # Errors
    /// See [`OpenError`], and if the path no longer leads to the database; the old connection then stays.
    pub fn reopen(&mut self, options: &Options) -> Result<(), OpenError> {
        let mut check = || {
            let displaced = self.files.check();
            displaced.map_err(|why| OpenError::Failed { path: options.path.clone(), why: why.to_string() })
        };
        check()?;
        let connection = connect(options, OpenFlags::empty(), &self.wal_pages)?;
        check()?;
        self.connection = connection;
        Ok(())
    }

    /// Sizes of the database and its WAL at the last commit.
    #[must_use]
    pub fn file_bytes(&self) -> (u64, u64) {
        self.files.bytes()
    }

    /// Pages in the WAL after the last commit of this connection.
    #[must_use]
    pub fn wal_pages(&self) -> u32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// Begins a transaction that may write, waiting for other processes as long as the busy timeout.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after that.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN IMMEDIATE")
    }

    /// As [`SqliteWriter::begin`], waiting at most `patience`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after that.
    pub(super) fn begin_within(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(patience)?;
        let begun = self.begin();
        self.connection.busy_timeout(self.busy_timeout)?;
        begun
    }

    /// How long this connection waits for other processes.
    pub(super) fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// Undoes the transaction.
    ///
    /// # Errors
    /// As SQLite's.
    pub fn rollback(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK")
    }

    /// Returns true while a transaction is open. SQLite ends it by itself on some errors, a full disk among them.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Moves the whole WAL into the database and restarts it, waiting up to `patience` for readers that still need it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after that, or as SQLite's; the WAL is then as it was.
    pub fn restart_wal(&mut self, patience: Duration) -> Result<Checkpoint, StoreError> {
        self.connection.busy_timeout(patience)?;
        let done = self.end_wal("RESTART");
        self.connection.busy_timeout(self.busy_timeout)?;
        done
    }

    /// Moves the whole WAL into the database and empties it.
    ///
    /// # Errors
    /// As SQLite's; the WAL is then as it was.
    pub fn truncate_wal(&mut self) -> Result<Checkpoint, StoreError> {
        self.end_wal("TRUNCATE")
    }

    fn end_wal(&mut self, mode: &str) -> Result<Checkpoint, StoreError> {
        let done = checkpoint(&self.connection, mode)?;
        self.wal_pages.store(0, Ordering::Relaxed);
        Ok(done)
    }

    pub(super) fn run(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl SqliteReader {
    /// Opens a database that [`SqliteWriter::open`] has opened.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&options.path, flags).map_err(failed)?;
        prepare(&connection, options).map_err(failed)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Self { connection })
    }

    /// Runs several statements on one state of the database: the open snapshot, or one of their own.
    pub(super) fn snapshot<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.connection.is_autocommit() {
            return read(&self.connection);
        }
        self.begin_snapshot()?;
        let result = read(&self.connection);
        let ended = self.end_snapshot();
        let result = result?;
        ended?;
        Ok(result)
    }
}

impl SnapshotStore for SqliteReader {
    fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(())
    }

    fn end_snapshot(&mut self) -> Result<(), StoreError> {
        // SQLite ends the transaction by itself after some errors.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

impl Checkpointer {
    /// Opens a database that [`SqliteWriter::open`] has opened.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&options.path, flags).map_err(failed)?;
        prepare(&connection, options).map_err(failed)?;
        Ok(Self { connection })
    }

    /// Moves the pages that no reader still needs, without waiting; the writer goes on in parallel.
    ///
    /// # Errors
    /// As SQLite's; the WAL then keeps its pages.
    pub fn run(&mut self) -> Result<Checkpoint, StoreError> {
        checkpoint(&self.connection, "PASSIVE")
    }
}

/// Moves pages from the WAL into the database.
///
/// # Errors
/// [`StoreError::InDoubt`] if they could not be synced: the pages moved so far may not be on the disk, so the WAL must be
/// kept whole.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> Result<Checkpoint, StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let done = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (blocked, wal_pages, moved_pages): (bool, i64, i64) = done.map_err(|error| {
        if commit::is_sync_failure(&error) {
            return StoreError::InDoubt("syncing what was moved into the database failed".to_owned());
        }
        error.into()
    })?;
    if blocked && mode != "PASSIVE" {
        return Err(StoreError::Busy);
    }
    Ok(Checkpoint { wal_pages, moved_pages })
}

/// Opens a connection that writes and counts the pages of the WAL.
fn connect(
    options: &Options,
    create: OpenFlags,
    wal_pages: &Arc<AtomicU32>,
) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let mut connection = Connection::open_with_flags(&options.path, flags).map_err(failed)?;
    // SQLite falls back to reading; this is before a read would leave an empty WAL beside the file.
    if connection.is_readonly("main").map_err(failed)? {
        let why = "the file is read-only".to_owned();
        return Err(OpenError::NotWritable { path: options.path.clone(), why });
    }
    prepare(&connection, options).map_err(failed)?;
    let pages_in_wal = Arc::clone(wal_pages);
    // Replaces SQLite's own hook, which would checkpoint on the thread that commits.
    connection
        .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            pages_in_wal.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(failed)?;
    Ok(connection)
}

/// Sets the options of every connection.
pub(super) fn prepare(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)
}

/// Turns the WAL on. Changing the journal mode needs the file exclusively, and SQLite does not wait for that; so if another
/// program is reading the file, this does.
fn use_wal(connection: &Connection, options: &Options) -> Result<(), OpenError> {
    let deadline = Instant::now() + options.busy_timeout;
    loop {
        let mode =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => return Err(OpenError::NoWal { path: options.path.clone(), mode }),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(OpenError::from_sqlite(&options.path, &error)),
        }
    }
}
