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
    super::StoreError,
    backend::WalUpkeep,
    failing,
    log::{
        self,
        mark::{self, Mark},
    },
    opening::{OpenError, Options, Synchronous, inspect_file},
    place::Place,
    schema,
};

/// Older SQLite has a bug in resetting the WAL that can lose committed writes.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Room for every statement of this store with every filter and sort of a list.
const STATEMENT_CACHE: usize = 256;
/// How long to wait before asking again for what SQLite's own busy handler does not wait for.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::Unwritable("it is read-only".to_owned()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Failing(failing::what_failed(&error).to_owned())
            }
            Some(ErrorCode::TooBig) => Refusal::TooLarge(
                "this version would hold more than the database can keep in one row".to_owned(),
            )
            .into(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The connection that writes.
pub struct SqliteWriter {
    pub(super) connection: Connection,
    busy_timeout: Duration,
    wal_pages: Arc<AtomicU32>,
    pub(super) place: Place,
    /// Whether what a log that was taken away held is in the database.
    pub(super) log_rescued: bool,
    /// Whether the next transaction is the first of a log, and so has to tie it to the database.
    pub(super) begins_log: bool,
    /// When the WAL is checkpointed and restarted.
    pub(super) upkeep: WalUpkeep,
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
    /// Opens the database, making it where there is none and bringing an older one up to date.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &Options, now: Timestamp) -> Result<Self, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::OldSqlite { found: rusqlite::version() });
        }
        inspect_file(&options.path)?;
        let found = log::inspect(options)?;
        let mut writer = Self::connect(options, OpenFlags::SQLITE_OPEN_CREATE, found)?;
        let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
        if found.is_to_be_checked() {
            log::holds_together(&writer.connection, options, found).map_err(failed)??;
        }
        schema::recognize(&writer.connection, &options.path)?;
        use_wal(&writer.connection, options)?;
        log::keep_dropped(&writer.connection, options, found).map_err(failed)?;
        schema::migrate(&mut writer.connection, now).map_err(failed)?;
        // The log is there now too.
        writer.place = Place::of(options);
        if !found.is_in_use
            && let Err(error) = writer.begin_first_log()
        {
            // Somebody else reads it, or it can't be written now. After a crash all of the file is checked then.
            tracing::debug!(%error, "the log is not begun anew yet");
        }
        Ok(writer)
    }

    /// Takes a new connection to the database that [`SqliteWriter::open`] has opened in this process. The file is not
    /// looked at: closing any descriptor of it would drop the locks of the connections that are open.
    ///
    /// # Errors
    /// See [`OpenError`], and where the path no longer leads to that database; the connection is then the old one.
    pub fn reopen(&mut self, options: &Options) -> Result<(), OpenError> {
        let displaced =
            |why: StoreError| OpenError::Failed { path: options.path.clone(), why: why.to_string() };
        self.place.check().map_err(displaced)?;
        let fresh = Self::connect(options, OpenFlags::empty(), log::NOTHING)?;
        self.place.check().map_err(displaced)?;
        *self = Self { place: self.place.clone(), begins_log: self.begins_log, ..fresh };
        Ok(())
    }

    /// With a log that was found beside the database, closing the connection leaves that log until somebody has it checked.
    fn connect(options: &Options, create: OpenFlags, found: log::Found) -> Result<Self, OpenError> {
        let failed = |error: rusqlite::Error| match found.incoherent(options, &error) {
            Some(fault) => fault.into(),
            None => OpenError::from_sqlite(&options.path, &error),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let mut connection = Connection::open_with_flags(&options.path, flags).map_err(failed)?;
        // Before anything is read, which would leave an empty log behind that nobody here may write.
        if connection.is_readonly("main").map_err(failed)? {
            let why = "the file is read-only".to_owned();
            return Err(OpenError::NotWritable { path: options.path.clone(), why });
        }
        log::leave(&connection, found.is_to_be_left()).map_err(failed)?;
        prepare(&connection, options).map_err(failed)?;
        let wal_pages = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&wal_pages);
        // In place of SQLite's own hook, which would checkpoint on the thread that commits.
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
                counter.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(failed)?;
        let place = Place::of(options);
        Ok(Self {
            connection,
            busy_timeout: options.busy_timeout,
            wal_pages,
            place,
            log_rescued: false,
            begins_log: false,
            upkeep: WalUpkeep::default(),
        })
    }

    /// Sizes of the database's file and its log's, as they were at the last commit.
    #[must_use]
    pub fn file_bytes(&self) -> (u64, u64) {
        self.place.bytes()
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

    /// Marks where an operation begins inside the transaction.
    ///
    /// # Errors
    /// As SQLite's.
    pub fn begin_operation(&mut self) -> Result<(), StoreError> {
        self.run("SAVEPOINT operation")
    }

    /// Keeps what the operation did.
    ///
    /// # Errors
    /// As SQLite's.
    pub fn keep_operation(&mut self) -> Result<(), StoreError> {
        self.run("RELEASE operation")
    }

    /// Undoes what the operation did, and nothing before it.
    ///
    /// # Errors
    /// As SQLite's.
    pub fn undo_operation(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO operation")?;
        self.run("RELEASE operation")
    }

    /// Whether a transaction is open. SQLite ends it by itself on some errors, a full disk among them.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Moves all of the WAL into the database and begins it anew, once no reader needs it, waiting for that so long.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after that, or as SQLite's; the WAL is then as it was.
    pub fn restart_wal(&mut self, patience: Duration) -> Result<Checkpoint, StoreError> {
        self.connection.busy_timeout(patience)?;
        let done = self.end_log("RESTART");
        self.connection.busy_timeout(self.busy_timeout)?;
        done
    }

    /// Moves all of the WAL into the database and empties it.
    ///
    /// # Errors
    /// As SQLite's; the WAL is then as it was.
    pub fn truncate_wal(&mut self) -> Result<Checkpoint, StoreError> {
        self.end_log("TRUNCATE")
    }

    /// So that a second crash does not meet what is left of a log from before the first one.
    fn begin_first_log(&mut self) -> Result<(), StoreError> {
        mark::begin(&self.connection)?;
        self.end_log("TRUNCATE").map(drop)
    }

    /// Marks the state that the next log will be begun on, and moves it into the database.
    fn end_log(&mut self, mode: &str) -> Result<Checkpoint, StoreError> {
        if self.wal_pages() > 0 || mark::is_of_many(&self.connection)? {
            self.begin()?;
            if let Err(error) =
                Mark::Last.set(&self.connection).map_err(StoreError::from).and_then(|()| self.run("COMMIT"))
            {
                if self.in_transaction() {
                    self.rollback()?;
                }
                return Err(error);
            }
        }
        let done = checkpoint(&self.connection, mode)?;
        self.wal_pages.store(0, Ordering::Relaxed);
        self.begins_log = true;
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

    /// Runs several statements on one state of the database.
    pub(super) fn snapshot<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        let result = read(&self.connection);
        let ended = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if !self.connection.is_autocommit() {
            // Nothing was written, and left open it would hold up every later read of this connection.
            self.connection.execute_batch("ROLLBACK")?;
        }
        let result = result?;
        ended?;
        Ok(result)
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

    /// Moves what it can without waiting for anybody; the writer goes on meanwhile.
    ///
    /// # Errors
    /// As SQLite's; nothing is lost by it.
    pub fn run(&mut self) -> Result<Checkpoint, StoreError> {
        checkpoint(&self.connection, "PASSIVE")
    }
}

/// Moves pages from the WAL into the database.
///
/// # Errors
/// [`StoreError::InDoubt`] where they could not be synced: what was moved so far may not be on the disk, so the WAL must
/// be kept whole.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> Result<Checkpoint, StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let done = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (blocked, wal_pages, moved_pages): (bool, i64, i64) = done.map_err(|error| {
        if failing::is_of_sync(&error) {
            return StoreError::InDoubt("syncing what was moved into the database failed".to_owned());
        }
        error.into()
    })?;
    if blocked && mode != "PASSIVE" {
        return Err(StoreError::Busy);
    }
    Ok(Checkpoint { wal_pages, moved_pages })
}

/// What is set on every connection.
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

/// Turns the write-ahead log on. Changing the mode needs the file for oneself, which SQLite does not
/// wait for; so when another process is opening it too, this does.
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
