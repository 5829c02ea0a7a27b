//! The tables, and how an older file is brought up to them.
//!
//! Every step looks at what is there and not only at the version number: a Python server that opens
//! the file in between may set that number to its own.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use registry_domain::{
    EventDraft, Status, Timestamp,
    json::respelled,
    promotion::{demotion_reason, surplus},
};

use super::{derived::tables, models::text, opening::OpenError};

/// The `user_version` of a file in the shape below. Numbers below 300 are left to the Python servers.
pub const SCHEMA_VERSION: i64 = 301;

/// Who demotes surplus production versions, in the audit trail.
const MIGRATION_ACTOR: &str = "registry:migration";

const CREATE_MODELS: &str = "
CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'experimental',
    checkpoint_path TEXT NOT NULL,
    config_path TEXT,
    d_model INTEGER,
    n_layers INTEGER,
    n_heads INTEGER,
    vocab_size INTEGER,
    params INTEGER,
    training_step INTEGER,
    training_loss REAL,
    dataset TEXT,
    description TEXT,
    tags TEXT,
    metrics TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    UNIQUE (name, version)
)";

/// What the predecessor of 0.2.0 did not have. Added to a new table in the same way, so that there is one list.
const LATER_COLUMNS: [(&str, &str); 10] = [
    ("artifact_uri", "TEXT"),
    ("checkpoint_sha256", "TEXT"),
    ("checkpoint_size_bytes", "INTEGER"),
    ("config_sha256", "TEXT"),
    ("config_size_bytes", "INTEGER"),
    ("run_id", "TEXT"),
    ("git_commit", "TEXT"),
    ("created_by", "TEXT"),
    ("source_host", "TEXT"),
    ("frozen", "INTEGER NOT NULL DEFAULT 0"),
];

/// Without a foreign key: the events of a deleted version stay.
const CREATE_EVENTS: &str = "
CREATE TABLE model_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    payload_json TEXT,
    actor TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
)";

/// The step as it is sorted: the lowest there is where there is none, or what another process wrote is no number.
macro_rules! step_key {
    () => {
        "CASE WHEN typeof(training_step) = 'integer' THEN training_step ELSE -9223372036854775808 END"
    };
}
pub(super) use step_key;

/// The statuses there are, as SQL has them. A list of all versions by `updated_at` is put together of one index a
/// status, and one for what another process may have made of a status: an index over all would be one more to
/// be rewritten at each change.
macro_rules! known_statuses {
    () => {
        "('experimental', 'staging', 'production', 'archived')"
    };
}
pub(super) use known_statuses;

/// Each index by name, and what it is on. SQLite puts the id behind the columns of each, so an order by these
/// columns and the id needs no sorting.
const INDEXES: [(&str, &str); 7] = [
    ("idx_models_created", "models (created_at)"),
    ("idx_models_step", concat!("models (", step_key!(), ")")),
    ("idx_models_status_created", "models (status, created_at)"),
    ("idx_models_status_updated", "models (status, updated_at)"),
    (
        "idx_models_other_updated",
        concat!("models (updated_at) WHERE ifnull(status, '') NOT IN ", known_statuses!()),
    ),
    ("idx_models_name_created", "models (name, created_at)"),
    ("idx_model_events_model", "model_events (model_id)"),
];

/// Guards a rule.
const ONE_PRODUCTION: &str = "CREATE UNIQUE INDEX IF NOT EXISTS idx_models_one_production ON models (name) \
    WHERE status = 'production'";

/// Of schema 300: each change of a version wrote it anew, for no list that the others don't serve.
const FORMER_INDEXES: [&str; 1] = ["idx_models_updated"];

/// Moves `updated_at` where another process changed a row without doing so itself; always forward.
const CREATE_TRIGGER: &str = "
DROP TRIGGER IF EXISTS trg_models_set_updated_at;
CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE models SET updated_at = CASE
        WHEN OLD.updated_at IS NULL OR OLD.updated_at < strftime('%Y-%m-%d %H:%M:%f', 'now')
            THEN strftime('%Y-%m-%d %H:%M:%f', 'now')
        ELSE ifnull(strftime('%Y-%m-%d %H:%M:%f', OLD.updated_at, '+0.001 seconds'),
                    strftime('%Y-%m-%d %H:%M:%f', 'now'))
    END WHERE id = NEW.id;
END;
";

/// Fills what older servers left open. An absent URI becomes one that names the row.
const FILL_GAPS: &str = "
UPDATE models SET status = 'experimental'
    WHERE status IS NULL OR status NOT IN ('experimental', 'staging', 'production', 'archived');
UPDATE models SET artifact_uri = 'legacy:' || id WHERE artifact_uri IS NULL OR trim(artifact_uri) = '';
UPDATE models SET created_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE created_at IS NULL;
UPDATE models SET updated_at = created_at WHERE updated_at IS NULL;
UPDATE models SET frozen = 0 WHERE frozen IS NULL;
";

/// Refuses a file that a newer registry has made.
pub(super) fn check_version(found: i64, path: &Path) -> Result<(), OpenError> {
    if found <= SCHEMA_VERSION {
        return Ok(());
    }
    Err(OpenError::TooNew { path: path.to_owned(), found, known: SCHEMA_VERSION })
}

/// Refuses a file that is not a registry's, before anything is written to it.
pub(super) fn recognize(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    check_version(user_version(connection).map_err(failed)?, path)?;
    if !holds_nothing(connection).map_err(failed)? && !is_registry(connection).map_err(failed)? {
        return Err(OpenError::NotARegistry { path: path.to_owned() });
    }
    Ok(())
}

/// Returns true if the file is not empty and has an older schema.
pub(super) fn needs_upgrade(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(user_version(connection)? < SCHEMA_VERSION && !holds_nothing(connection)?)
}

/// Whether the database has no table yet.
pub(super) fn holds_nothing(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))
}

/// Whether the database is a registry's, of whatever version.
pub(super) fn is_registry(connection: &Connection) -> rusqlite::Result<bool> {
    ["id", "name", "version"]
        .into_iter()
        .try_fold(true, |known, column| Ok(known && has_column(connection, "models", column)?))
}

/// The same schema in memory, to hold a file against.
pub(super) fn reference() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, Timestamp::from_unix_millis(0))?;
    Ok(connection)
}

/// Brings the file up to [`SCHEMA_VERSION`], in one transaction. Where two processes do so at once, the
/// second waits and finds nothing left to do.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    if is_current(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_current(&transaction)? {
        if user_version(&transaction)? == SCHEMA_VERSION {
            tracing::warn!("indexes or triggers of the database are gone; what they kept is made anew");
        }
        // A large file takes a while, and nobody should take that for a server that hangs.
        let is_new = holds_nothing(&transaction)?;
        let tell = |step: &str| {
            if !is_new {
                tracing::info!("bringing the database up to date: {step}");
            }
        };
        tell("versions");
        // The triggers would count what follows as changes, one by one.
        transaction.execute_batch("DROP TRIGGER IF EXISTS trg_models_set_updated_at")?;
        tables::drop_triggers(&transaction)?;
        bring_up_models(&transaction)?;
        tell("events");
        bring_up_events(&transaction)?;
        tell("gaps");
        transaction.execute_batch(FILL_GAPS)?;
        tell("spelling");
        for (table, column) in [("models", "tags"), ("models", "metrics"), ("model_events", "payload_json")] {
            respell(&transaction, table, column)?;
        }
        tell("production");
        demote_surplus(&transaction, now)?;
        tell("indexes");
        bring_up_indexes(&transaction)?;
        tell("counters");
        tables::rebuild(&transaction)?;
        transaction.execute_batch(CREATE_TRIGGER)?;
        tell("commit");
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}

/// Whether nothing is left to be brought up.
pub(super) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(user_version(connection)? == SCHEMA_VERSION
        && has_indexes(connection)?
        && tables::are_whole(connection)?)
}

pub(super) fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(super) fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    Ok(connection.query_row(sql, [table], |_| Ok(())).optional()?.is_some())
}

pub(super) fn has_column(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
    Ok(connection.query_row(sql, [table, column], |_| Ok(())).optional()?.is_some())
}

fn bring_up_models(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    if !has_table(transaction, "models")? {
        transaction.execute_batch(CREATE_MODELS)?;
    }
    for (column, kind) in LATER_COLUMNS {
        if !has_column(transaction, "models", column)? {
            transaction.execute_batch(&format!("ALTER TABLE models ADD COLUMN {column} {kind}"))?;
        }
    }
    Ok(())
}

fn bring_up_events(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    if !has_table(transaction, "model_events")? {
        return transaction.execute_batch(CREATE_EVENTS);
    }
    let bound: i64 =
        transaction.query_row("SELECT count(*) FROM pragma_foreign_key_list('model_events')", [], |row| {
            row.get(0)
        })?;
    if bound == 0 {
        return Ok(());
    }
    // A foreign key that nobody enforced so far would now forbid deleting a version that has events.
    transaction.execute_batch("ALTER TABLE model_events RENAME TO model_events_bound")?;
    transaction.execute_batch(CREATE_EVENTS)?;
    transaction.execute_batch(
        "INSERT INTO model_events (id, model_id, event_type, payload_json, actor, created_at)
            SELECT id, model_id, event_type, payload_json, actor,
                ifnull(created_at, strftime('%Y-%m-%d %H:%M:%f', 'now'))
            FROM model_events_bound ORDER BY id;
         DELETE FROM sqlite_sequence WHERE name = 'model_events';
         INSERT INTO sqlite_sequence (name, seq)
            SELECT 'model_events', seq FROM sqlite_sequence WHERE name = 'model_events_bound';
         DROP TABLE model_events_bound;",
    )
}

/// Whether the indexes are there, as they are to be.
fn has_indexes(connection: &Connection) -> rusqlite::Result<bool> {
    INDEXES.iter().try_fold(true, |all, (name, on)| Ok(all && has_index(connection, name, on)?))
}

fn has_index(connection: &Connection, name: &str, on: &str) -> rusqlite::Result<bool> {
    let kept = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1 AND sql = ?2";
    let create = create_index(name, on);
    Ok(connection.query_row(kept, [name, &create], |_| Ok(())).optional()?.is_some())
}

fn create_index(name: &str, on: &str) -> String {
    format!("CREATE INDEX {name} ON {on}")
}

fn bring_up_indexes(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for name in FORMER_INDEXES {
        transaction.execute_batch(&format!("DROP INDEX IF EXISTS {name}"))?;
    }
    transaction.execute_batch(ONE_PRODUCTION)?;
    for (name, on) in INDEXES {
        if !has_index(transaction, name, on)? {
            let create = create_index(name, on);
            transaction.execute_batch(&format!("DROP INDEX IF EXISTS {name}; {create}"))?;
        }
    }
    Ok(())
}

/// Brings JSON that a Python server wrote to the spelling in which it is answered.
fn respell(transaction: &Transaction<'_>, table: &str, column: &str) -> rusqlite::Result<()> {
    let mut rows =
        transaction.prepare(&format!("SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL"))?;
    let mut update = transaction.prepare(&format!("UPDATE {table} SET {column} = ?2 WHERE id = ?1"))?;
    let mut rows = rows.query([])?;
    // Rows are changed in place while they are read; none moves, since ids stay.
    while let Some(row) = rows.next()? {
        let Ok(text) = row.get_ref(1)?.as_str() else { continue };
        if let Some(spelled) = respelled(text) {
            update.execute((row.get::<_, i64>(0)?, spelled))?;
        }
    }
    Ok(())
}

/// Where a name has several production versions, all but the newest go to staging.
fn demote_surplus(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare("SELECT name, updated_at, id FROM models WHERE status = 'production'")?;
    let production = statement
        .query_map([], |row| {
            let [name, updated_at] =
                [row.get_ref(0)?, row.get_ref(1)?].map(|value| text(value).unwrap_or_default());
            Ok((name.into_owned(), updated_at.into_owned(), row.get(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let times: std::collections::HashMap<i64, String> =
        production.iter().map(|(_, time, id)| (*id, time.clone())).collect();
    for (id, successor) in surplus(production) {
        let updated_at = now.after(times.get(&id).map_or("", String::as_str)).to_string();
        transaction.execute(
            "UPDATE models SET status = ?2, updated_at = ?3 WHERE id = ?1",
            (id, Status::Staging.as_str(), updated_at),
        )?;
        let event = EventDraft::auto_demote(&demotion_reason(successor));
        transaction.execute(
            super::events::INSERT,
            (id, event.kind.as_str(), event.payload, MIGRATION_ACTOR, now.to_string()),
        )?;
    }
    Ok(())
}
