//! The store in one SQLite file.
//!
//! [`SqliteWriter`] owns the file and the connection that writes, [`SqliteReader`] a connection that can't. Each is used by
//! one thread. Other processes may read the file, and none may write it.

mod backend;
mod commit;
mod connection;
mod error_codes;
mod events;
mod keys;
mod lists;
mod lock;
mod lookup;
pub mod maintenance;
mod manifest;
mod models;
mod ngrams;
mod open_error;
mod options;
#[cfg(test)]
mod plans;
mod policies;
mod reader;
mod registered;
mod rows;
mod schema;
mod scores;
mod search;
mod trash;
mod upkeep;
mod wal;
mod watched_files;
mod webhooks;

pub use backend::{Sqlite, SqliteMaintenance};
pub use connection::{SqliteReader, SqliteWriter};
pub use lists::PlannedStatement;
pub use lock::{DatabaseLock, LockError};
pub use open_error::OpenError;
pub use options::{Options, Synchronous};
pub use schema::SCHEMA_VERSION;
pub use wal::WalError;

/// Returns the version of the bundled SQLite.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
