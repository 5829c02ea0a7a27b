//! The tables that are copied, with the names and types that both stores share.

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Integer,
    /// A boolean, which is an integer of SQLite.
    Flag,
    Real,
    Text,
    Bytes,
}

/// A value, the same in both stores. SQLite has no negative zero, so 0.0 equals it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// Returns about how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Integer(_) | Self::Real(_) => 0,
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
            }
    }
}

pub(crate) type Row = Vec<Value>;

/// A table whose rows are copied.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// How many of the first columns are its key, by which rows are ordered.
    key: usize,
    pub(crate) columns: &'static [(&'static str, ColumnType)],
}

/// The maximum number of rows of a page.
pub(crate) const PAGE_ROWS: usize = 4_096;
/// A page ends after this many bytes, so that long metrics don't fill the memory.
pub(crate) const PAGE_BYTES: usize = 8 << 20;

impl Table {
    /// Returns the key of a row.
    pub(crate) fn key_of<'r>(&self, row: &'r [Value]) -> &'r [Value] {
        row.get(..self.key).unwrap_or_default()
    }

    /// Returns the names of these columns, comma-separated.
    pub(crate) fn names(columns: &[(&str, ColumnType)]) -> String {
        columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn key_columns(&self) -> &'static [(&'static str, ColumnType)] {
        self.columns.get(..self.key).unwrap_or_default()
    }

    /// Returns SQL for up to `limit` rows of `source` after a key, or for the first rows. Both stores understand it.
    pub(crate) fn page_sql(&self, source: &str, is_continued: bool, limit: usize) -> String {
        let (columns, key) = (Self::names(self.columns), Self::names(self.key_columns()));
        let after = if is_continued {
            let bound: Vec<_> = (1..=self.key).map(|number| format!("${number}")).collect();
            format!("WHERE ({key}) > ({}) ", bound.join(", "))
        } else {
            String::new()
        };
        format!("SELECT {columns} FROM {source} {after}ORDER BY {key} LIMIT {limit}")
    }

    /// Returns SQL for the row of `source` with the highest key.
    pub(crate) fn last_sql(&self, source: &str) -> String {
        let key = self.key_columns().iter().map(|(name, _)| format!("{name} DESC")).collect::<Vec<_>>();
        format!("SELECT {} FROM {source} ORDER BY {} LIMIT 1", Self::names(self.columns), key.join(", "))
    }
}

/// How many rows of a page to ask for. PostgreSQL sends all of them, so what exceeds [`PAGE_BYTES`] is wasted.
#[derive(Debug)]
pub(crate) struct PageLimit(usize);

impl PageLimit {
    pub(crate) fn rows(&self) -> usize {
        self.0
    }

    /// Learns from a page: its number of rows, and their bytes.
    pub(crate) fn adapt(&mut self, rows: usize, bytes: usize) {
        self.0 = match (rows < self.0, bytes > PAGE_BYTES) {
            (true, true) => (self.0 / 2).max(1),
            (false, false) => (self.0 * 2).min(PAGE_ROWS),
            _ => self.0,
        };
    }
}

impl Default for PageLimit {
    /// Begins with few, since a version may have a megabyte of metrics.
    fn default() -> Self {
        Self(64)
    }
}

use ColumnType::{Bytes, Flag, Integer, Real, Text};

/// The columns of a version, and further ones.
macro_rules! version_columns {
    ($($more:expr),*) => {
        &[
            ("id", Integer),
            ("name", Text),
            ("version", Text),
            ("status", Text),
            ("artifact_uri", Text),
            ("checkpoint_sha256", Text),
            ("checkpoint_size_bytes", Integer),
            ("config_sha256", Text),
            ("config_size_bytes", Integer),
            ("run_id", Text),
            ("git_commit", Text),
            ("created_by", Text),
            ("source_host", Text),
            ("frozen", Flag),
            ("checkpoint_path", Text),
            ("config_path", Text),
            ("d_model", Integer),
            ("n_layers", Integer),
            ("n_heads", Integer),
            ("vocab_size", Integer),
            ("params", Integer),
            ("training_step", Integer),
            ("training_loss", Real),
            ("dataset", Text),
            ("description", Text),
            ("tags", Text),
            ("metrics", Text),
            ("created_at", Text),
            ("updated_at", Text),
            ("model_key", Integer),
            ("number", Integer),
            ("properties", Text),
            ("digest", Text),
            ("file_count", Integer),
            ("total_bytes", Integer),
            ("stored", Flag),
            ("changed_at", Text),
            ("origin", Text),
            $($more),*
        ]
    };
}

/// The tables in the order in which they are copied. The lookup tables are not among them: they are derived from versions.
pub(crate) static TABLES: [Table; 16] = [
    Table {
        name: "registered_models",
        key: 1,
        columns: &[
            ("id", Integer),
            ("name", Text),
            ("description", Text),
            ("created_at", Text),
            ("updated_at", Text),
            ("deleted_at", Text),
            ("purged", Flag),
            ("next_number", Integer),
            ("changed_at", Text),
        ],
    },
    Table {
        name: "registered_model_tags",
        key: 2,
        columns: &[("model_key", Integer), ("key", Text), ("value", Text)],
    },
    Table { name: "models", key: 1, columns: version_columns!() },
    Table {
        name: "deleted_models",
        key: 1,
        columns: version_columns!(("deleted_at", Text), ("deleted_by", Text), ("with_model", Flag)),
    },
    Table {
        name: "manifest_files",
        key: 2,
        columns: &[
            ("version_id", Integer),
            ("path", Text),
            ("size_bytes", Integer),
            ("sha256", Text),
            ("role", Text),
        ],
    },
    Table {
        name: "aliases",
        key: 2,
        columns: &[("model_key", Integer), ("alias", Text), ("version_id", Integer)],
    },
    Table {
        name: "holdings",
        key: 1,
        columns: &[
            ("id", Integer),
            ("model_key", Integer),
            ("alias", Text),
            ("version_id", Integer),
            ("number", Integer),
            ("label", Text),
            ("since", Text),
            ("until", Text),
            ("actor", Text),
            ("reason", Text),
        ],
    },
    Table {
        name: "policies",
        key: 2,
        columns: &[
            ("name", Text),
            ("version", Integer),
            ("document", Text),
            ("actor", Text),
            ("created_at", Text),
            ("deleted", Flag),
        ],
    },
    Table {
        name: "approvals",
        key: 1,
        columns: &[
            ("id", Integer),
            ("version_id", Integer),
            ("target", Text),
            ("kind", Text),
            ("actor", Text),
            ("comment", Text),
            ("created_at", Text),
            ("artifact", Text),
            ("scores", Text),
            ("withdrawn_at", Text),
        ],
    },
    Table {
        name: "spent_labels",
        key: 2,
        columns: &[("model_key", Integer), ("label", Text), ("sha256", Text)],
    },
    Table {
        name: EVENTS,
        key: 1,
        columns: &[
            ("id", Integer),
            ("model_id", Integer),
            ("event_type", Text),
            ("payload_json", Text),
            ("actor", Text),
            ("created_at", Text),
            ("details", Text),
            ("model_key", Integer),
            ("previous_of_model", Integer),
            ("previous_of_version", Integer),
            ("hash", Bytes),
        ],
    },
    Table {
        name: "model_heads",
        key: 1,
        columns: &[("model_key", Integer), ("last_event_id", Integer), ("hash", Bytes)],
    },
    Table {
        name: "api_keys",
        key: 1,
        columns: &[
            ("id", Integer),
            ("name", Text),
            ("digest", Bytes),
            ("scopes", Text),
            ("models", Text),
            ("expires_at", Text),
            ("created_by", Text),
            ("created_at", Text),
            ("rotated_at", Text),
            ("last_used_at", Text),
            ("revoked_at", Text),
            ("revoked_by", Text),
        ],
    },
    // After the events, with which PostgreSQL keeps it.
    Table {
        name: VERSION_HEADS,
        key: 1,
        columns: &[("version_id", Integer), ("last_event_id", Integer), ("events", Integer)],
    },
    Table { name: "webhooks", key: 1, columns: &[("id", Integer), ("uid", Text), ("definition", Text)] },
    Table {
        name: "webhook_deliveries",
        key: 1,
        columns: &[
            ("id", Integer),
            ("webhook_id", Integer),
            ("event_id", Integer),
            ("model_key", Integer),
            ("model", Text),
            ("event_type", Text),
            ("data", Text),
            ("state", Text),
            ("created_ms", Integer),
            ("queued_ms", Integer),
            ("due_ms", Integer),
            ("claimed", Integer),
            ("attempts", Integer),
            ("attempted_ms", Integer),
            ("status", Integer),
            ("latency_ms", Integer),
            ("error", Text),
        ],
    },
];

/// The events with their links; two tables of SQLite.
pub(crate) const EVENTS: &str = "model_events";
/// The last event of each version, and how many it has; columns of PostgreSQL's events.
pub(crate) const VERSION_HEADS: &str = "version_heads";
/// The tables that give out ids, which are never given out again.
pub(crate) const NUMBERED: [&str; 8] = [
    "models",
    EVENTS,
    "registered_models",
    "holdings",
    "api_keys",
    "approvals",
    "webhooks",
    "webhook_deliveries",
];
