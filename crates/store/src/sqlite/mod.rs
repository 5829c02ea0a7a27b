//! The store in one SQLite file.
//!
//! [`SqliteWriter`] owns the connection that writes, [`SqliteReader`] one that can't. Each is used by
//! one thread. The file stays one that 0.2.0 can open, and other processes may write it meanwhile.

mod backend;
mod connection;
mod events;
mod failing;
mod lists;
mod log;
mod lookup;
pub mod maintenance;
mod models;
mod ngrams;
mod opening;
mod place;
mod read_only;
mod rows;
mod schema;

pub use backend::{Sqlite, SqliteMaintenance};
pub use connection::{Checkpointer, SqliteReader, SqliteWriter};
pub use lists::PlannedStatement;
pub use log::LogFault;
pub use opening::{OpenError, Options, Synchronous};
pub use read_only::{ReadOnly, look_without_writing};
pub use schema::SCHEMA_VERSION;

/// The version of SQLite inside.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
