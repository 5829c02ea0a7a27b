//! Committing on a disk that may fail: what is said of a commit has to be true, also after a crash.
//!
//! SQLite writes a transaction's frames into the log, syncs them, and only then tells the index of the log, by which
//! readers find them. A commit that fails at its sync, or behind it, is seen by nobody. But its frames may lie whole in
//! the log, and who recovers that after a crash would take them for committed. So the writer overwrites them at once:
//! the next transaction begins at the same place of the log, and the frames' checksums are chained, so one page makes
//! all of them void. As long as even that fails, nobody knows, and the answer says so.
//!
//! A sync that has failed once may succeed later without having written anything. That does no harm here:
//! what was acknowledged was synced before by its own commit (`synchronous=FULL`), and what failed is written anew.
//! A checkpoint is another matter: SQLite syncs the database only when all of the log has been moved, and after a failed sync
//! moves the last part anew, but not what it had moved before. So after that the log is kept whole: whoever opens the
//! database next recovers it from its beginning.

use rusqlite::{Transaction, TransactionBehavior, config::DbConfig, ffi};

use super::{super::StoreError, connection::SqliteWriter, log::mark::Mark, schema};

/// What failed, by SQLite's extended code.
pub(super) fn what_failed(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ) => "reading failed",
        Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE) => "writing failed",
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => "syncing failed",
        Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_SHMOPEN) => {
            "the index of the log can't grow"
        }
        Some(ffi::SQLITE_PERM) => "access was refused",
        Some(code) if code & 0xff == ffi::SQLITE_CANTOPEN => "a file of it can't be opened",
        _ => "an I/O error",
    }
}

/// Whether the index of the log could not grow: the last step of a commit, and the first of opening.
pub(super) fn is_of_index(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP))
}

/// Whether syncing failed.
pub(super) fn is_of_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

impl SqliteWriter {
    /// Makes the transaction durable, in the very files that the path leads to. Where that fails, the transaction is
    /// undone.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Unwritable`], [`StoreError::Failing`] where it is gone for good;
    /// [`StoreError::InDoubt`] where that can't be said.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if let Err(displaced) = self.place.check() {
            self.rescue_log();
            return Err(displaced);
        }
        self.log_rescued = false;
        let before = self.wal_pages();
        let marked = if self.begins_log { Mark::First.set(&self.connection) } else { Ok(()) };
        let committed = marked.and_then(|()| self.connection.prepare_cached("COMMIT")?.execute([]));
        let Err(error) = committed else {
            // Where somebody else had the log begin anew, this one could not know.
            self.begins_log = self.wal_pages() < before && !self.begins_log;
            // Moved away in between: what was written counts if that very file comes back.
            return self.place.check().map_err(|displaced| {
                self.rescue_log();
                StoreError::InDoubt(displaced.to_string())
            });
        };
        if self.in_transaction()
            && let Err(error) = self.rollback()
        {
            tracing::error!(%error, "a transaction that was not committed could not be rolled back");
        }
        tracing::debug!(%error, "a commit failed");
        match StoreError::from(error) {
            // Of these nothing is in the log that could pass for committed.
            error @ (StoreError::Full | StoreError::Busy) => Err(error),
            error if self.make_void() => Err(self.judged(error)),
            error => Err(StoreError::InDoubt(error.to_string())),
        }
    }

    /// Leaves the log beside the database when this connection is closed, for whoever opens it next.
    ///
    /// # Errors
    /// As SQLite's.
    pub fn leave_log(&mut self) -> Result<(), StoreError> {
        Ok(self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)?)
    }

    /// Overwrites what a failed commit may have left in the log; whether that is certain.
    fn make_void(&mut self) -> bool {
        let begins_log = self.begins_log;
        let overwrite = |transaction: &Transaction<'_>| match begins_log {
            true => Mark::First.set(transaction),
            false => touch(transaction),
        };
        let overwritten = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
            .and_then(|transaction| overwrite(&transaction).and_then(|()| transaction.commit()));
        match overwritten {
            Ok(()) => {
                self.begins_log = false;
                true
            }
            // By then its frame has been written and synced.
            Err(error) if is_of_index(&error) => true,
            Err(error) => {
                tracing::error!(%error, "what a failed commit left in the log could not be overwritten");
                false
            }
        }
    }

    /// An I/O error on a full disk is one of the full disk: not every lack of room is told as such.
    pub(super) fn judged(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Failing(_) if self.place.is_full() => StoreError::Full,
            error => error,
        }
    }

    /// Where the log was taken away, what it holds is lost with this process; so it is moved into the database now.
    fn rescue_log(&mut self) {
        if self.in_transaction() && self.rollback().is_err() {
            return;
        }
        if !self.place.only_the_log_is_gone() || self.log_rescued {
            return;
        }
        match self.truncate_wal() {
            Ok(_) => {
                self.log_rescued = true;
                tracing::warn!("the write-ahead log was taken away; what it held is in the database");
            }
            Err(error) => {
                tracing::error!(%error, "the write-ahead log was taken away, and what it holds can't be moved into the database");
            }
        }
    }
}

/// Rewrites a value of the file's header with itself: one page, and nothing changes.
pub(super) fn touch(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let version = schema::user_version(connection)?;
    connection.pragma_update(None, "user_version", version)
}
