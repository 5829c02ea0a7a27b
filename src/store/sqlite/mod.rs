//! The store in one SQLite file.
//!
//! [`SqliteWriter`] owns the connection that writes, [`SqliteReader`] one that can't. Each is used by
//! one thread. The file stays one that 0.2.0 can open, and other processes may write it meanwhile.

mod connection;
mod derived;
mod events;
mod lists;
mod log;
pub mod maintenance;
mod models;
mod opening;
mod schema;

pub use connection::{Checkpointer, SqliteReader, SqliteWriter};
pub use lists::PlannedStatement;
pub use log::LogFault;
pub use opening::{OpenError, Options, Synchronous};
pub use schema::SCHEMA_VERSION;
