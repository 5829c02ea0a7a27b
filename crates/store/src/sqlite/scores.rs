//! The rows of scores, clustered by score and value, so that the table is the index that searches filter and sort by.
//!
//! The JSON in `metrics` is what clients get; the rows repeat its numbers, and each write keeps them in the same
//! transaction.

use std::collections::HashMap;

use rusqlite::Connection;

use registry_domain::{Score, ScoreChange, VersionRow, scores::scores};

/// A key is never deleted: few names of scores are used by many versions.
pub(super) const CREATE: &str = "
CREATE TABLE score_keys (
    id INTEGER PRIMARY KEY, suite TEXT NOT NULL, metric TEXT NOT NULL, UNIQUE (suite, metric)
);
CREATE TABLE scores (
    key_id INTEGER NOT NULL, value REAL NOT NULL, version_id INTEGER NOT NULL,
    PRIMARY KEY (key_id, value, version_id)
) WITHOUT ROWID;
";

// Each statement looks up the key by itself: an id that is cached in memory may be gone after a rollback.
const MOVE: &str = "UPDATE OR REPLACE scores SET value = ?4 WHERE version_id = ?5 AND value = ?3 \
    AND key_id = (SELECT id FROM score_keys WHERE suite = ?1 AND metric = ?2)";
const ADD: &str =
    "INSERT OR REPLACE INTO scores SELECT id, ?3, ?4 FROM score_keys WHERE suite = ?1 AND metric = ?2";
const REMOVE: &str = "DELETE FROM scores WHERE version_id = ?4 AND value = ?3 \
    AND key_id = (SELECT id FROM score_keys WHERE suite = ?1 AND metric = ?2)";
const ADD_KEY: &str = "INSERT INTO score_keys (suite, metric) VALUES (?1, ?2)";
const KEY: &str = "SELECT id FROM score_keys WHERE suite = ?1 AND metric = ?2";

/// Rows that [`Rebuild`] sorts in memory, 24 bytes each, so that it writes each page of the table once per batch.
const BATCH_ROWS: usize = 8_000_000;
/// Keys whose ids [`Rebuild`] remembers.
const MAX_KNOWN_KEYS: usize = 100_000;

/// Updates the scores of a version.
pub(super) fn change(connection: &Connection, id: i64, changes: &[ScoreChange]) -> rusqlite::Result<()> {
    for ScoreChange { suite, metric, before, after } in changes {
        let Some(after) = after else {
            connection.prepare_cached(REMOVE)?.execute((suite, metric, before, id))?;
            continue;
        };
        let is_moved = match before {
            Some(before) => connection.prepare_cached(MOVE)?.execute((suite, metric, before, after, id))? > 0,
            None => false,
        };
        if is_moved || connection.prepare_cached(ADD)?.execute((suite, metric, after, id))? > 0 {
            continue;
        }
        connection.prepare_cached(ADD_KEY)?.execute((suite, metric))?;
        connection.prepare_cached(ADD)?.execute((suite, metric, after, id))?;
    }
    Ok(())
}

/// Fills the empty tables from all versions.
pub(super) struct Rebuild<'c> {
    connection: &'c Connection,
    keys: HashMap<(String, String), i64>,
    rows: Vec<(i64, f64, i64)>,
}

impl<'c> Rebuild<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, keys: HashMap::new(), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, version: &VersionRow<'_>) -> rusqlite::Result<()> {
        for Score { suite, metric, value } in scores(version.metrics.as_deref()) {
            let key = self.key(suite, metric)?;
            self.rows.push((key, value, version.id));
        }
        if self.rows.len() >= BATCH_ROWS { self.write() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> rusqlite::Result<()> {
        self.write()
    }

    fn key(&mut self, suite: String, metric: String) -> rusqlite::Result<i64> {
        let name = (suite, metric);
        if let Some(id) = self.keys.get(&name) {
            return Ok(*id);
        }
        let mut find = self.connection.prepare_cached(KEY)?;
        let found = find.query((&name.0, &name.1))?.next()?.map(|row| row.get(0)).transpose()?;
        let id = match found {
            Some(id) => id,
            None => self.connection.prepare_cached(ADD_KEY)?.insert((&name.0, &name.1))?,
        };
        if self.keys.len() >= MAX_KNOWN_KEYS {
            self.keys.clear();
        }
        self.keys.insert(name, id);
        Ok(id)
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        self.rows.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(&other.2))
        });
        let mut add = self.connection.prepare("INSERT INTO scores VALUES (?1, ?2, ?3)")?;
        for row in self.rows.drain(..) {
            add.execute(row)?;
        }
        Ok(())
    }
}
