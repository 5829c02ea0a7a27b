//! Commits on a disk that may fail. The reported result of a commit must hold even after a crash.
//!
//! SQLite writes the frames of a transaction into the WAL, syncs them, and only then updates the WAL index, through
//! which readers find them. No reader sees a commit that fails at its sync or after it. But its frames may be complete
//! in the WAL, and recovery after a crash would treat them as committed. So the writer overwrites them at once: the
//! next transaction begins at the same place in the WAL, and checksums chain the frames, so one page invalidates all of
//! them. If even that fails, the outcome is unknown, and the answer says so.
//!
//! A sync that failed once may succeed later without having written anything. That does not harm commits: each
//! acknowledged commit was synced by itself (`synchronous=FULL`), and a failed one is written again. It does harm
//! checkpoints: SQLite syncs the database only when the whole WAL has been moved, and after a failed sync moves the
//! last part again, but not what it had moved before. So after a failed sync the WAL is kept whole, and the next start
//! recovers all of it.

use rusqlite::{Connection, TransactionBehavior};

use crate::{StoreError, Transaction as _};

use super::{
    connection::SqliteWriter,
    error_codes::{is_wal_index_failure, is_write_failure},
    schema,
};

impl SqliteWriter {
    /// Makes the transaction durable in the files at the database's path, or rolls it back.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Unwritable`], [`StoreError::Failing`] if it is undone;
    /// [`StoreError::InDoubt`] if that is not certain.
    pub(super) fn commit_or_undo(&mut self) -> Result<(), StoreError> {
        if let Err(displaced) = self.files.check() {
            self.rescue_wal();
            return Err(displaced);
        }
        self.is_wal_rescued = false;
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        let Err(error) = committed else {
            // If a file was moved away in between, the transaction counts once that very file is back.
            return self.files.check().map_err(|displaced| {
                self.rescue_wal();
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
            // These leave nothing in the WAL that recovery could treat as committed.
            error @ (StoreError::Full | StoreError::Busy) => Err(error),
            error if self.invalidate_failed_commit() => Err(self.full_if_disk_is(error)),
            error => Err(StoreError::InDoubt(error.to_string())),
        }
    }

    /// Overwrites the frames that a failed commit may have left in the WAL. Returns true if they are certainly invalid.
    fn invalidate_failed_commit(&mut self) -> bool {
        let overwritten =
            rusqlite::Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
                .and_then(|transaction| touch(&transaction).and_then(|()| transaction.commit()));
        match overwritten {
            Ok(()) => true,
            // By then its frame has been written and synced.
            Err(error) if is_wal_index_failure(&error) => true,
            // If not even this frame fits into the WAL, the first one of the failed commit did not.
            Err(error) if is_write_failure(&error) && self.files.is_full() => true,
            Err(error) => {
                tracing::error!(%error, "the frames of a failed commit could not be overwritten");
                false
            }
        }
    }

    /// Turns an I/O error into [`StoreError::Full`] if the disk is full, which SQLite does not always report as such.
    pub(super) fn full_if_disk_is(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Failing(_) if self.files.is_full() => StoreError::Full,
            error => error,
        }
    }

    /// If only the WAL was removed, moves its pages into the database now: they would be lost with this process.
    fn rescue_wal(&mut self) {
        if self.in_transaction() && self.rollback().is_err() {
            return;
        }
        if !self.files.only_wal_is_missing() || self.is_wal_rescued {
            return;
        }
        match self.truncate_wal() {
            Ok(_) => {
                self.is_wal_rescued = true;
                tracing::warn!("the write-ahead log was removed; its transactions are in the database");
            }
            Err(error) => {
                tracing::error!(%error, "the write-ahead log was removed, and its transactions can't be moved into the database");
            }
        }
    }
}

/// Rewrites a value of the file's header with itself: one page is written, and nothing changes.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    let version = schema::user_version(connection)?;
    connection.pragma_update(None, "user_version", version)
}
