//! What each store does for a copy, and why it fails.

use super::tables::{NUMBERED, Row, Table, Value};
use crate::{postgres, sqlite::maintenance::MaintenanceError};

/// Why a registry was not copied. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum CopyError {
    #[error(transparent)]
    Sqlite(#[from] MaintenanceError),
    #[error(transparent)]
    Source(#[from] postgres::maintenance::MaintenanceError),
    #[error(transparent)]
    Open(#[from] postgres::OpenError),
    #[error("PostgreSQL: {0}; run the same command again to resume the copy")]
    Postgres(String),
    #[error(
        "PostgreSQL refuses a row of the source: {0}; see `registry maintenance --check` of the source, and correct the row"
    )]
    Refused(String),
    #[error("source and target are both SQLite files; to copy one, use --backup")]
    TwoFiles,
    #[error(
        "source and target are both PostgreSQL databases; to copy one, use pg_dump and pg_restore; to copy a file, unset \
         CAIA_REGISTRY_DATABASE_URL"
    )]
    TwoDatabases,
    #[error("{target} is not empty; give {instead}")]
    NotEmpty { target: String, instead: &'static str },
    #[error(
        "the source has changed since the unfinished copy in {target} began (then: {then}; now: {now}); stop the servers that \
         write to the source, {remove}, and copy again"
    )]
    Changed { target: String, then: String, now: String, remove: &'static str },
    #[error("another process copies into {target}; stop it, or wait until it is done")]
    Busy { target: String },
    #[error("a copy needs a session of its own; give the address of PostgreSQL, not of PgBouncer")]
    Pooled,
    #[error(
        "{table} of the source has a value that its column {column} can't hold, in the row {key}; see `registry maintenance --check`"
    )]
    Value { table: &'static str, column: &'static str, key: String },
    #[error(
        "the copy differs from the source in {table}, first in the row {key}, so it is not marked as complete; {remove}, then copy again"
    )]
    Differs { table: &'static str, key: String, remove: &'static str },
    #[error("it was cancelled; run the same command again to resume it")]
    Interrupted,
}

/// A database that is copied or copied into.
pub(crate) trait Side {
    /// What to do with a target that can't be continued.
    const REMOVE: &'static str;

    /// Returns the first rows after a key, in order; none if there are no more.
    fn page(&mut self, table: &'static Table, after: Option<&[Value]>) -> Result<Vec<Row>, CopyError>;
    /// Returns the row with the highest key.
    fn last(&mut self, table: &'static Table) -> Result<Option<Row>, CopyError>;
    fn count(&mut self, table: &'static Table) -> Result<u64, CopyError>;
    /// Returns the last id that each of [`NUMBERED`] has given out, or 0.
    fn last_ids(&mut self) -> Result<[i64; NUMBERED.len()], CopyError>;

    /// Marks the target as the unfinished copy of a source in this state, or returns the state that the mark has.
    fn begin(&mut self, state: &str) -> Result<Option<String>, CopyError>;
    /// Adds rows to the target, all or none.
    fn write(&mut self, table: &'static Table, rows: Vec<Row>) -> Result<(), CopyError>;
    /// Sets the last ids, and fills the tables that are derived from others.
    fn derive(&mut self, last_ids: &[i64; NUMBERED.len()]) -> Result<(), CopyError>;
    /// Removes the mark.
    fn finish(self) -> Result<(), CopyError>;
    /// Returns the name for messages, without a password.
    fn name(&self) -> String;
}

/// Shows a key.
pub(crate) fn shown(key: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        value => format!("{value:?}"),
    };
    key.iter().map(one).collect::<Vec<_>>().join(", ")
}
