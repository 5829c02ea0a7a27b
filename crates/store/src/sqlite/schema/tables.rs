//! The tables, indexes and triggers of this schema, and questions about the schema of a file.

use rusqlite::Connection;

use crate::maintenance::MARK;

pub(super) const CREATE_MODELS: &str = "
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

/// Columns that 0.2.0's predecessor did not have. A new table gets them in the same way, so that there is one list.
pub(in super::super) const LATER_COLUMNS: [(&str, &str); 19] = [
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
    ("properties", "TEXT"),
    ("model_key", "INTEGER NOT NULL DEFAULT 0"),
    ("number", "INTEGER NOT NULL DEFAULT 0"),
    ("digest", "TEXT"),
    ("file_count", "INTEGER"),
    ("total_bytes", "INTEGER"),
    ("stored", "INTEGER NOT NULL DEFAULT 0"),
    ("changed_at", "TEXT"),
    ("origin", "TEXT"),
];

/// A column of `registered_models` that those of schema 500 did not have.
pub(super) const CHANGED_COLUMN: (&str, &str) = ("changed_at", "TEXT");

/// Without a foreign key: the events of a deleted version stay.
pub(super) const CREATE_EVENTS: &str = "
CREATE TABLE model_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    payload_json TEXT,
    actor TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
)";

/// A column of events that 0.2.0 did not have.
pub(super) const DETAILS_COLUMN: (&str, &str) = ("details", "TEXT");

/// Tables that 0.2.0 did not have.
///
/// Events have no index, which would cost each write a random page. Their chains are followed instead: from
/// `version_heads` and `model_heads` back through `event_chain`, whose rows are short and written one after the other.
pub(super) const CREATE_LATER_TABLES: &str = "
CREATE TABLE IF NOT EXISTS registered_models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    description TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    deleted_at TEXT,
    purged INTEGER NOT NULL DEFAULT 0,
    next_number INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS registered_model_tags (
    model_key INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (model_key, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aliases (
    model_key INTEGER NOT NULL, alias TEXT NOT NULL, version_id INTEGER NOT NULL, PRIMARY KEY (model_key, alias)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holdings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_key INTEGER NOT NULL,
    alias TEXT NOT NULL,
    version_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    label TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    actor TEXT,
    reason TEXT
);
CREATE TABLE IF NOT EXISTS event_chain (
    event_id INTEGER PRIMARY KEY,
    model_key INTEGER NOT NULL,
    version_id INTEGER NOT NULL,
    previous_of_model INTEGER,
    previous_of_version INTEGER,
    hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS model_heads (model_key INTEGER PRIMARY KEY, last_event_id INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS version_heads (
    version_id INTEGER PRIMARY KEY, last_event_id INTEGER NOT NULL, events INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS spent_labels (
    model_key INTEGER NOT NULL, label TEXT NOT NULL, sha256 TEXT, PRIMARY KEY (model_key, label)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS manifest_files (
    version_id INTEGER NOT NULL, path TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, role TEXT NOT NULL,
    PRIMARY KEY (version_id, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policies (
    name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL, actor TEXT, created_at TEXT NOT NULL,
    deleted INTEGER NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approvals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    comment TEXT,
    created_at TEXT NOT NULL,
    artifact TEXT NOT NULL,
    scores TEXT NOT NULL,
    withdrawn_at TEXT
);
CREATE TABLE IF NOT EXISTS api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    scopes TEXT NOT NULL,
    models TEXT NOT NULL,
    expires_at TEXT,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    rotated_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT,
    revoked_by TEXT
);
CREATE TABLE IF NOT EXISTS webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, definition TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    model_key INTEGER NOT NULL,
    model TEXT NOT NULL,
    event_type TEXT NOT NULL,
    data TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    queued_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    claimed INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempted_ms INTEGER,
    status INTEGER,
    latency_ms INTEGER,
    error TEXT
);
";

/// The tables that the registry's rules are about, besides the lookup tables.
pub(in super::super) const TABLES: [&str; 17] = [
    "models",
    "model_events",
    "registered_models",
    "registered_model_tags",
    "aliases",
    "holdings",
    "event_chain",
    "model_heads",
    "version_heads",
    "spent_labels",
    "deleted_models",
    "manifest_files",
    "policies",
    "approvals",
    "api_keys",
    "webhooks",
    "webhook_deliveries",
];

/// The sort key of `training_step`: an absent step is the lowest.
macro_rules! step_key {
    () => {
        "ifnull(training_step, -9223372036854775808)"
    };
}
pub(in super::super) use step_key;

/// SQLite appends the id to each index, so order by these columns and the id needs no sorting.
///
/// Recorded metrics change `updated_at`, so each index with that column makes every such write slower: a single one serves
/// the lists of one status and, merged over the four statuses, the list of all versions.
///
/// The unique ones guard a rule: a name has one production version, it is given to one model unless the others are deleted,
/// a number to one version of its model, an alias to one version at a time, and a name to one API key that is not revoked. Rows
/// that another tool adds have no number until the next upgrade; a statement that reads along that index says `number > 0`.
pub(super) const INDEXES: [Index; 27] = [
    Index::unique("idx_models_one_production", "models (name) WHERE status = 'production'"),
    Index::unique("idx_registered_models_name", "registered_models (name) WHERE deleted_at IS NULL"),
    Index::unique("idx_models_number", "models (model_key, number) WHERE number > 0"),
    Index::unique("idx_holdings_open", "holdings (model_key, alias) WHERE until IS NULL"),
    // An actor approves a version for a target once. The columns also find the approvals of a version.
    Index::unique(
        "idx_approvals_live",
        "approvals (version_id, target, kind, actor) WHERE withdrawn_at IS NULL",
    ),
    Index::unique("idx_api_keys_name", "api_keys (name) WHERE revoked_at IS NULL"),
    Index::of("idx_models_created", "models (created_at)"),
    Index::of("idx_models_step", concat!("models (", step_key!(), ")")),
    Index::of("idx_models_status_created", "models (status, created_at)"),
    Index::of("idx_models_status_updated", "models (status, updated_at)"),
    // The newest version of each status.
    Index::of("idx_models_latest", "models (model_key, status, number)"),
    Index::of("idx_models_name_created", "models (name, created_at)"),
    Index::of("idx_models_artifact_uri", "models (artifact_uri)"),
    Index::of("idx_models_digest", "models (model_key, digest) WHERE digest IS NOT NULL"),
    Index::of("idx_models_run", "models (run_id) WHERE run_id IS NOT NULL"),
    // As MLflow lists them. Recorded metrics leave this column.
    Index::of("idx_models_changed", "models (changed_at)"),
    Index::of("idx_registered_model_tags_value", "registered_model_tags (key, value)"),
    Index::of("idx_deleted_models_id", "deleted_models (id)"),
    Index::of("idx_deleted_models_label", "deleted_models (name, version)"),
    Index::of("idx_deleted_models_number", "deleted_models (model_key, number)"),
    Index::of("idx_registered_models_page", "registered_models (name)"),
    Index::of("idx_aliases_alias", "aliases (alias, version_id)"),
    Index::of("idx_holdings_alias", "holdings (model_key, alias)"),
    Index::of("idx_manifest_files_sha256", "manifest_files (sha256, version_id)"),
    // Those that are to be sent, in order by webhook and model.
    Index::of(
        "idx_webhook_deliveries_pending",
        "webhook_deliveries (webhook_id, model_key, id) WHERE state = 'pending'",
    ),
    Index::of("idx_webhook_deliveries_webhook", "webhook_deliveries (webhook_id, id)"),
    Index::of("idx_webhook_deliveries_event", "webhook_deliveries (webhook_id, event_id)"),
];

/// An index of this schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    name: &'static str,
    /// The table, its columns and, for some of its rows, the condition.
    on: &'static str,
    is_unique: bool,
}

impl Index {
    const fn of(name: &'static str, on: &'static str) -> Self {
        Self { name, on, is_unique: false }
    }

    const fn unique(name: &'static str, on: &'static str) -> Self {
        Self { name, on, is_unique: true }
    }

    /// Returns the statement that creates it, as SQLite stores it.
    fn sql(&self) -> String {
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        format!("CREATE {unique}INDEX {} ON {}", self.name, self.on)
    }

    /// Creates it, in place of one with its name.
    pub(super) fn create(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(&format!("DROP INDEX IF EXISTS {}; {}", self.name, self.sql()))
    }
}

/// Moves `updated_at` forward if an UPDATE does not set it. The operations set it; SQL by hand may not.
pub(super) const CREATE_TRIGGER: &str = "
CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE models SET updated_at = CASE
        WHEN OLD.updated_at < strftime('%Y-%m-%d %H:%M:%f', 'now') THEN strftime('%Y-%m-%d %H:%M:%f', 'now')
        ELSE ifnull(strftime('%Y-%m-%d %H:%M:%f', OLD.updated_at, '+0.001 seconds'),
                    strftime('%Y-%m-%d %H:%M:%f', 'now'))
    END WHERE id = NEW.id;
END;
";

/// Adds the columns that a table lacks.
pub(in super::super) fn add_columns(
    connection: &Connection,
    table: &str,
    columns: &[(&str, &str)],
) -> rusqlite::Result<()> {
    for (column, kind) in columns {
        if !connection.column_exists(None, table, *column)? {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
        }
    }
    Ok(())
}

pub(in super::super) fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Returns true if the database has no table yet.
pub(in super::super) fn holds_nothing(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))
}

/// Returns true if the database is a copy of a registry that is not complete.
pub(in super::super) fn is_unfinished_copy(connection: &Connection) -> rusqlite::Result<bool> {
    connection.table_exists(None, MARK)
}

/// Returns true if the database is a registry's, of any version.
pub(in super::super) fn is_registry(connection: &Connection) -> rusqlite::Result<bool> {
    for column in ["id", "name", "version"] {
        if !connection.column_exists(None, "models", column)? {
            return Ok(false);
        }
    }
    Ok(true)
}
