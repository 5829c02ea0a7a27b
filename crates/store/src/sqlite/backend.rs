//! SQLite as a [`Backend`]: one writer, which also decides when to checkpoint the WAL, and a connection that does so.
//!
//! The maintenance connection moves pages while the writer keeps writing, so it never quite catches up. The writer moves
//! the few pages that remain and restarts the WAL: overwriting a file and syncing it costs a third less than growing it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use registry_domain::Timestamp;

use crate::{Backend, Maintenance, StoreError, StoreSize, Transaction, Upkeep};

use super::{
    connection::{SqliteReader, SqliteWriter, checkpoint, connect, keep_wal_on_close},
    open_error::OpenError,
    options::Options,
    upkeep::{Due, WalState},
};

/// How long the writer waits for readers before it restarts a WAL that has just been checkpointed. Most reads
/// of this process finish within one; if one takes longer, the WAL grows until the next attempt.
const RESTART_TIMEOUT: Duration = Duration::from_millis(4);

/// A SQLite file and the state that its connections share.
pub struct Sqlite {
    options: Options,
    wal: Arc<WalState>,
}

impl Backend for Sqlite {
    type Options = Options;
    type OpenError = OpenError;
    type Reader = SqliteReader;
    type Writer = SqliteWriter;
    type Maintenance = SqliteMaintenance;

    fn open(options: &Options, now: Timestamp) -> Result<(Self, SqliteWriter), OpenError> {
        let writer = SqliteWriter::open(options, now)?;
        Ok((Self { options: options.clone(), wal: Arc::clone(&writer.upkeep.state) }, writer))
    }

    fn reader(&self) -> Result<SqliteReader, OpenError> {
        SqliteReader::open(&self.options)
    }

    fn maintenance(&self) -> Result<SqliteMaintenance, OpenError> {
        let connection = connect(&self.options, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Ok(SqliteMaintenance { connection, wal: Arc::clone(&self.wal) })
    }

    fn reopen(&self, writer: &mut SqliteWriter) -> Result<(), OpenError> {
        writer.reopen(&self.options)
    }

    fn write_timeout(&self) -> Duration {
        self.options.busy_timeout
    }
}

impl Transaction for SqliteWriter {
    fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.webhooks.begin();
        self.with_busy_timeout(timeout, |writer| writer.run("BEGIN IMMEDIATE"))
    }

    fn rows_written(&self) -> u64 {
        self.connection.total_changes()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.commit_or_undo()
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK")
    }

    fn in_transaction(&self) -> bool {
        // SQLite ends a transaction by itself on some errors, a full disk among them.
        !self.connection.is_autocommit()
    }

    fn take_deliveries(&mut self) -> bool {
        self.webhooks.take_added()
    }

    fn maintain(&mut self) -> Result<Upkeep, StoreError> {
        if self.upkeep.state.is_retained() {
            return Ok(Upkeep::Nothing);
        }
        let pages = self.wal_pages();
        let due = self.upkeep.due(pages);
        let timeout = match due {
            Due::Nothing => return Ok(Upkeep::Nothing),
            Due::Checkpoint => return Ok(Upkeep::Background),
            Due::Restart => RESTART_TIMEOUT,
            Due::BlockingRestart => self.busy_timeout,
        };
        match self.restart_wal(timeout) {
            Ok(()) => Ok(Upkeep::Done),
            Err(StoreError::Busy) if due == Due::Restart => {
                tracing::debug!(pages, "a reader still needs the write-ahead log, which grows");
                Ok(Upkeep::Nothing)
            }
            Err(error) => {
                self.upkeep.state.record_failure(&error);
                Err(error)
            }
        }
    }

    fn size(&self) -> StoreSize {
        let (database_bytes, wal_bytes) = self.files.bytes();
        StoreSize { database_bytes, wal_bytes, wal_pages: self.wal_pages() }
    }

    fn close(&mut self) {
        if self.upkeep.state.is_retained() {
            if let Err(error) = keep_wal_on_close(&self.connection, true) {
                tracing::error!(%error, "the write-ahead log could not be kept whole");
            }
            return;
        }
        if let Err(error) = self.truncate_wal() {
            if matches!(error, StoreError::InDoubt(_)) {
                let _ = keep_wal_on_close(&self.connection, true);
            }
            tracing::warn!(%error, "the write-ahead log stays beside the database; the next start recovers it");
        }
    }
}

/// The connection that checkpoints the WAL.
pub struct SqliteMaintenance {
    connection: Connection,
    wal: Arc<WalState>,
}

impl Maintenance for SqliteMaintenance {
    fn run(&mut self) -> Result<bool, StoreError> {
        if self.wal.is_retained() {
            return Ok(false);
        }
        // Moves the pages that no reader still needs, without waiting.
        let (wal_pages, moved_pages) =
            checkpoint(&self.connection, "PASSIVE").inspect_err(|error| self.wal.record_failure(error))?;
        self.wal.checkpointed.store(true, Ordering::Relaxed);
        tracing::debug!(wal_pages, moved_pages, "checkpoint");
        Ok(true)
    }
}
