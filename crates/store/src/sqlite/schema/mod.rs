//! The schema of a file, and its upgrade.

mod models;
mod tables;
mod upgrade;

use rusqlite::{Connection, TransactionBehavior};

use registry_domain::Timestamp;

pub(super) use tables::{
    LATER_COLUMNS, TABLES, add_columns, holds_nothing, is_registry, is_unfinished_copy, step_key,
    user_version,
};

/// The `user_version` of a file with this schema. 0.2.0 and its predecessor used numbers below 300. Files
/// of 300 and 301 had counting triggers, those of 400 no models, those of 500 neither manifests nor what MLflow
/// shows, those of 501 neither API keys nor policies nor webhooks.
pub const SCHEMA_VERSION: i64 = 502;

/// Returns true if the file is not empty and has an older schema.
pub(super) fn needs_upgrade(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(user_version(connection)? != SCHEMA_VERSION && !holds_nothing(connection)?)
}

/// Creates this schema in memory, to compare a file with.
pub(super) fn reference() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, Timestamp::from_unix_millis(0))?;
    Ok(connection)
}

/// Upgrades the file to [`SCHEMA_VERSION`] in one transaction, or leaves it as it was.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    if user_version(connection)? == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    upgrade::run(&transaction, now)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}
