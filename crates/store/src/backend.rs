//! The traits of a database. Actors are generic over them, so another database needs no change to the actors.

use std::{error::Error, time::Duration};

use registry_domain::Timestamp;

use crate::{ReadStore, StoreError, WriteStore};

/// A database: opens the connections that threads own.
pub trait Backend: Sized + Send + Sync + 'static {
    /// Where the database is and how to open it.
    type Options;
    /// Why a connection can't be opened.
    type OpenError: Error + Send + Sync + 'static;
    /// A connection that reads.
    type Reader: SnapshotStore + Send + Unpin + 'static;
    /// A connection that writes.
    type Writer: Transaction + Send + Unpin + 'static;
    /// A connection that maintains the database while the writer keeps working.
    type Maintenance: Maintenance + Send + Unpin + 'static;

    /// Opens the database, creating or upgrading it, and returns its writer.
    ///
    /// # Errors
    /// If the database can't be opened for writing.
    fn open(options: &Self::Options, now: Timestamp) -> Result<(Self, Self::Writer), Self::OpenError>;

    /// Opens a connection that reads.
    ///
    /// # Errors
    /// If it can't be opened.
    fn reader(&self) -> Result<Self::Reader, Self::OpenError>;

    /// Returns the writers beside the one of [`Backend::open`], if several can write at once.
    fn further_writers(&self) -> Vec<Self::Writer> {
        Vec::new()
    }

    /// Returns how many operations may share a transaction.
    fn max_batch(&self) -> usize {
        128
    }

    /// Opens the connection for maintenance.
    ///
    /// # Errors
    /// If it can't be opened.
    fn maintenance(&self) -> Result<Self::Maintenance, Self::OpenError>;

    /// Replaces the connection of a writer, after a panic or an error that leaves it in an unknown state.
    ///
    /// # Errors
    /// If it can't be opened; the writer keeps its old connection.
    fn reopen(&self, writer: &mut Self::Writer) -> Result<(), Self::OpenError>;

    /// Returns how long a write waits, from its admission, for another process to release a lock.
    fn write_timeout(&self) -> Duration;
}

/// A connection that reads. A store whose snapshots are costly may ignore the two calls; each read then makes its own.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait SnapshotStore: ReadStore {
    /// Begins a snapshot: until [`SnapshotStore::end_snapshot`], all reads see the database as of the first of them.
    fn begin_snapshot(&mut self) -> Result<(), StoreError>;
    /// Ends the snapshot. After an error, the connection must be replaced: a snapshot may still be open.
    fn end_snapshot(&mut self) -> Result<(), StoreError>;
}

/// A connection that commits transactions of several operations.
///
/// There are no savepoints, which would cost a fifth of the write throughput. An operation that fails before it writes
/// leaves nothing to undo; if it has written, the caller rolls the transaction back and runs the other operations
/// again.
///
/// A store may end a transaction by itself, for example on a full disk. So the caller checks
/// [`Transaction::in_transaction`] after each operation.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait Transaction: WriteStore {
    /// Begins a transaction. Waits up to `timeout` for other processes, then fails with [`StoreError::Busy`].
    fn begin(&mut self, timeout: Duration) -> Result<(), StoreError>;
    /// Returns the number of rows that this connection has ever written. An operation that does not change it wrote
    /// nothing.
    fn rows_written(&self) -> u64;
    /// Makes the transaction durable, or rolls it back. [`StoreError::InDoubt`] means that neither is certain.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Rolls the transaction back.
    fn rollback(&mut self) -> Result<(), StoreError>;
    /// Returns true while a transaction is open.
    fn in_transaction(&self) -> bool;
    /// Returns true if deliveries to webhooks were added or made due since the last call.
    fn take_deliveries(&mut self) -> bool {
        false
    }
    /// Runs the maintenance that needs the writer's connection. Called after transactions and about once a second
    /// while idle.
    fn maintain(&mut self) -> Result<Upkeep, StoreError>;
    /// Returns the sizes as of the last commit.
    fn size(&self) -> StoreSize;
    /// Prepares the database for the next start. Called once, last.
    fn close(&mut self);
}

/// A connection that maintains the database while the writer keeps working.
pub trait Maintenance {
    /// Runs one round. Returns false if there was nothing to do.
    ///
    /// # Errors
    /// As [`StoreError`] says; no data is lost.
    fn run(&mut self) -> Result<bool, StoreError>;
}

/// The result of a round of maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Nothing was due.
    Nothing,
    /// Work is due on the maintenance connection.
    Background,
    /// A round was completed.
    Done,
}

/// How large a database is; zero if the store does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSize {
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Pages of the write-ahead log that the last commit used.
    pub wal_pages: u32,
}
