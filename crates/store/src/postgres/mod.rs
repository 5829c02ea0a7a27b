//! The store in a PostgreSQL database, which several servers share.
//!
//! [`PostgresWriter`] runs each operation in a transaction of its own, [`PostgresReader`] reads. Each is used by one thread,
//! and opens its connection when it needs one. PostgreSQL 13 or newer, with the extension `pg_trgm`.

mod backend;
mod connection;
pub(crate) mod copy;
mod derive;
mod error;
mod events;
mod horizon;
mod keys;
mod lists;
mod lookup;
pub mod maintenance;
mod manifest;
mod models;
mod options;
mod policies;
mod reader;
mod registered;
mod rows;
mod schema;
mod search;
mod text;
mod tls;
mod webhooks;
mod writer;

pub use backend::{NoMaintenance, Postgres};
pub use error::OpenError;
pub use options::{Options, UrlError};
pub use reader::PostgresReader;
pub use schema::SCHEMA_VERSION;
pub use writer::PostgresWriter;
