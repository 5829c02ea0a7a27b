//! Opens connections and sets their options.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use registry_domain::Timestamp;

use crate::{SnapshotStore, StoreError, webhooks::RELEASE};

use super::{
    error_codes::is_sync_failure,
    lock::{DatabaseLock, RETRY_PAUSE},
    maintenance::back_up_before_upgrade,
    open_error::{OpenError, inspect_file, recognize},
    options::{Options, Synchronous},
    schema,
    search::{self, Budget},
    upkeep::WalUpkeep,
    wal,
    watched_files::WatchedFiles,
    webhooks::WebhookState,
};

/// Older SQLite has a bug in resetting the WAL that can lose committed writes.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Enough for every statement of this store, with every filter and sort of a list.
const STATEMENT_CACHE: usize = 256;
/// The connection that writes. It owns the file.
pub struct SqliteWriter {
    pub(super) connection: Connection,
    pub(super) busy_timeout: Duration,
    wal_pages: Arc<AtomicU32>,
    pub(super) files: WatchedFiles,
    /// True once the pages of a WAL that was removed are in the database.
    pub(super) is_wal_rescued: bool,
    /// When the WAL is checkpointed and restarted.
    pub(super) upkeep: WalUpkeep,
    pub(super) webhooks: WebhookState,
    /// Released last, once the connection is closed.
    _lock: DatabaseLock,
}

/// A connection that only reads.
pub struct SqliteReader {
    pub(super) connection: Connection,
    /// What a search may still cost.
    pub(super) budget: Arc<Budget>,
}

impl SqliteWriter {
    /// Takes ownership of the database and opens it. A missing file is created; one with an older schema is backed up
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
        let mut connection = connect_writer(options, OpenFlags::SQLITE_OPEN_CREATE, &wal_pages)?;
        // If the file turns out to belong to another program, its WAL is kept and none is created.
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
        connection.execute(RELEASE, []).map_err(failed)?;
        Ok(Self {
            connection,
            busy_timeout: options.busy_timeout,
            wal_pages,
            files: WatchedFiles::of(options),
            is_wal_rescued: false,
            upkeep: WalUpkeep::new(Arc::default()),
            webhooks: WebhookState::default(),
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
        let connection = connect_writer(options, OpenFlags::empty(), &self.wal_pages)?;
        check()?;
        self.connection = connection;
        Ok(())
    }

    /// Pages in the WAL after the last commit of this connection.
    #[must_use]
    pub fn wal_pages(&self) -> u32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// Moves the whole WAL into the database and restarts it, waiting up to `timeout` for readers that still need it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after that, or SQLite's error; the WAL is then not restarted, and nothing is lost.
    pub fn restart_wal(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.with_busy_timeout(timeout, |writer| writer.end_wal("RESTART"))
    }

    /// Moves the whole WAL into the database and empties it.
    ///
    /// # Errors
    /// SQLite's error; the WAL is then not emptied, and nothing is lost.
    pub fn truncate_wal(&mut self) -> Result<(), StoreError> {
        self.end_wal("TRUNCATE")
    }

    fn end_wal(&mut self, mode: &str) -> Result<(), StoreError> {
        checkpoint(&self.connection, mode)?;
        self.wal_pages.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `attempt`, during which SQLite waits up to `timeout` for other processes.
    pub(super) fn with_busy_timeout<T>(
        &mut self,
        timeout: Duration,
        attempt: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connection.busy_timeout(timeout)?;
        let done = attempt(self);
        self.connection.busy_timeout(self.busy_timeout)?;
        done
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
        let mut connection = connect(options, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        let budget = search::prepare(&mut connection).map_err(failed)?;
        Ok(Self { connection, budget })
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

/// Moves pages from the WAL into the database. Returns how many pages the WAL has, and how many of them were moved.
///
/// # Errors
/// [`StoreError::InDoubt`] if they could not be synced: the pages moved so far may not be on the disk, so the WAL must be
/// kept whole.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> Result<(i64, i64), StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let done = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (blocked, wal_pages, moved_pages): (bool, i64, i64) = done.map_err(|error| {
        if is_sync_failure(&error) {
            return StoreError::InDoubt("syncing what was moved into the database failed".to_owned());
        }
        error.into()
    })?;
    if blocked && mode != "PASSIVE" {
        return Err(StoreError::Busy);
    }
    Ok((wal_pages, moved_pages))
}

/// Sets whether closing the connection keeps the WAL, for the next start to recover.
pub(super) fn keep_wal_on_close(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Opens a connection that writes and counts the pages of the WAL.
fn connect_writer(
    options: &Options,
    create: OpenFlags,
    wal_pages: &Arc<AtomicU32>,
) -> Result<Connection, OpenError> {
    let mut connection = connect(options, OpenFlags::SQLITE_OPEN_READ_WRITE | create)?;
    let pages_in_wal = Arc::clone(wal_pages);
    // Replaces SQLite's own hook, which would checkpoint on the thread that commits.
    connection
        .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            pages_in_wal.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(|error| OpenError::from_sqlite(&options.path, &error))?;
    Ok(connection)
}

/// Opens a connection and sets the options of every connection.
pub(super) fn connect(options: &Options, flags: OpenFlags) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open_with_flags(&options.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        // SQLite falls back to read-only access, and a read would leave an empty WAL beside the file.
        if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) && connection.is_readonly("main")? {
            return Ok(None);
        }
        connection.busy_timeout(options.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        let synchronous = match options.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(Some(connection))
    };
    let path = &options.path;
    open()
        .map_err(|error| OpenError::from_sqlite(path, &error))?
        .ok_or_else(|| OpenError::NotWritable { path: path.clone(), why: "the file is read-only".to_owned() })
}

/// Turns the WAL on. Changing the journal mode needs the file exclusively, and SQLite does not wait for that; so this
/// function waits while another program reads the file.
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
