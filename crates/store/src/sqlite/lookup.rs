//! Lookup tables for lists, searches and counts, so that none of them reads every version.
//!
//! | table | holds |
//! |---|---|
//! | `model_counts` | how many versions have a name, a status or a tag |
//! | `model_tags` | the versions of each tag and value, by id; the value of a native tag is empty |
//! | `scores`, `score_keys` | the versions of each score, by value; see [`scores`] |
//! | `version_files` | the files of each version |
//! | `model_texts` | the trigrams of name, version and description, folded by [`ngrams`] |
//! | `backdated_models` | versions that were created before one with a lower id, because the clock was set back. Without them, order by id is order by `created_at` |
//!
//! Each write updates them in the transaction that changes the version; recorded metrics change only scores.

use std::collections::BTreeMap;

use rusqlite::Connection;

use registry_domain::{Status, Tags, Version, VersionFile, scores::changes};

use crate::maintenance::rules::COUNTED;

use super::{
    ngrams,
    rows::{columns, read, text},
    scores::{self, Rebuild},
};

pub(super) const TABLES: [&str; 7] = [
    "model_counts",
    "model_tags",
    "model_texts",
    "backdated_models",
    "score_keys",
    "scores",
    "version_files",
];

const CREATE: &str = "
CREATE TABLE model_counts (
    kind TEXT NOT NULL, value TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE TABLE model_tags (
    key TEXT NOT NULL, value TEXT NOT NULL, version_id INTEGER NOT NULL, PRIMARY KEY (key, value, version_id)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE model_texts USING fts5(
    folded_name, folded_version, folded_description,
    content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram case_sensitive 1'
);
CREATE TABLE backdated_models (model_id INTEGER PRIMARY KEY, backdated_to TEXT NOT NULL);
CREATE INDEX idx_backdated_models ON backdated_models (backdated_to);
CREATE TABLE version_files (
    version_id INTEGER NOT NULL, path TEXT NOT NULL, size_bytes INTEGER, sha256 TEXT, role TEXT NOT NULL,
    PRIMARY KEY (version_id, path)
) WITHOUT ROWID;
";
/// Digests have no order, so the index is created once the table is filled.
const CREATE_FILE_INDEX: &str =
    "CREATE INDEX idx_version_files_sha256 ON version_files (sha256, version_id) WHERE sha256 IS NOT NULL";

const COUNT: &str =
    "INSERT INTO model_counts VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3";
const DROP_EMPTY_COUNT: &str = "DELETE FROM model_counts WHERE kind = ?1 AND value = ?2 AND count <= 0";
const ADD_TAG: &str = "INSERT INTO model_tags VALUES (?1, ?2, ?3)";
const REMOVE_TAG: &str = "DELETE FROM model_tags WHERE key = ?1 AND value = ?2 AND version_id = ?3";
const ADD_FILE: &str = "INSERT INTO version_files VALUES (?1, ?2, ?3, ?4, ?5)";
const REMOVE_FILES: &str = "DELETE FROM version_files WHERE version_id = ?1";
const SET_TEXT: &str = "INSERT OR REPLACE INTO model_texts (rowid, folded_name, folded_version, folded_description) \
    VALUES (?1, ?2, ?3, ?4)";
const REMOVE_TEXT: &str = "DELETE FROM model_texts WHERE rowid = ?1";
const ADD_BACKDATED: &str = "INSERT INTO backdated_models SELECT ?1, ?2 \
    WHERE EXISTS (SELECT 1 FROM models WHERE created_at > ?2 AND id < ?1)";
/// Compares with the version before it in order, and with the backdated ones.
const RESTORE_BACKDATED: &str = "INSERT INTO backdated_models SELECT ?1, ?2 \
    WHERE ?2 < (SELECT created_at FROM models WHERE id < ?1 \
        AND NOT EXISTS (SELECT 1 FROM backdated_models WHERE model_id = models.id) ORDER BY id DESC LIMIT 1) \
    OR EXISTS (SELECT 1 FROM backdated_models WHERE backdated_to > ?2 AND model_id < ?1)";
const NEXT_IN_ORDER: &str = "SELECT id, created_at FROM models WHERE id > ?1 \
    AND NOT EXISTS (SELECT 1 FROM backdated_models WHERE model_id = models.id) ORDER BY id";
const REMOVE_BACKDATED: &str = "DELETE FROM backdated_models WHERE model_id = ?1";

/// The time after a version's `updated_at`, as each change of it has one.
macro_rules! next_time {
    () => {
        "CASE WHEN updated_at < ?3 THEN ?3 \
         ELSE ifnull(strftime('%Y-%m-%d %H:%M:%f', updated_at, '+0.001 seconds'), ?3) END"
    };
}
const RENAME: &str = concat!(
    "UPDATE models SET name = ?2, updated_at = ",
    next_time!(),
    ", changed_at = ",
    next_time!(),
    " WHERE model_key = ?1 AND number > 0"
);
const TEXTS: &str = "SELECT id, version, description FROM models WHERE model_key = ?1 AND number > 0";

/// What a counter of `model_counts` counts; of the tags, only those without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountOf {
    Name,
    Status,
    Tag,
}

impl CountOf {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Status => "status",
            Self::Tag => "tag",
        }
    }
}

/// Adds a version that was inserted.
pub(super) fn add(connection: &Connection, version: &Version) -> rusqlite::Result<()> {
    add_rows(connection, version)?;
    connection.prepare_cached(ADD_BACKDATED)?.execute((version.id, &version.created_at))?;
    Ok(())
}

fn add_rows(connection: &Connection, version: &Version) -> rusqlite::Result<()> {
    count(connection, CountOf::Name, &version.name, 1)?;
    count(connection, CountOf::Status, version.status.as_str(), 1)?;
    change_tags(connection, version.id, &Tags::default(), &Tags::of(version))?;
    change_files(connection, version.id, &[], &VersionFile::of(version))?;
    scores::change(connection, version.id, &changes(None, version.metrics.as_deref()))?;
    set_text(connection, version.id, &version.name, &version.label, version.description.as_deref())
}

/// Adds a version that was taken out of the trash, between versions with lower and higher ids.
///
/// Apart from the backdated versions, order by id is order by `created_at`. So only the neighbours need to be compared.
pub(super) fn restore(connection: &Connection, version: &Version) -> rusqlite::Result<()> {
    add_rows(connection, version)?;
    connection.prepare_cached(RESTORE_BACKDATED)?.execute((version.id, &version.created_at))?;
    let mut overtaken = Vec::new();
    let mut next = connection.prepare_cached(NEXT_IN_ORDER)?;
    let mut next = next.query([version.id])?;
    while let Some(row) = next.next()? {
        let (id, created_at): (i64, String) = (row.get(0)?, row.get(1)?);
        if created_at >= version.created_at {
            break;
        }
        overtaken.push((id, created_at));
    }
    drop(next);
    for row in overtaken {
        connection.prepare_cached("INSERT INTO backdated_models VALUES (?1, ?2)")?.execute(row)?;
    }
    Ok(())
}

/// Updates the tables after a version has changed. Its label and `created_at` never change, and its name only by [`rename`].
pub(super) fn change(connection: &Connection, before: &Version, after: &Version) -> rusqlite::Result<()> {
    change_status(connection, before.status, after.status)?;
    if before.tags != after.tags || before.properties != after.properties {
        change_tags(connection, after.id, &Tags::of(before), &Tags::of(after))?;
    }
    change_files(connection, after.id, &VersionFile::of(before), &VersionFile::of(after))?;
    let changes = changes(before.metrics.as_deref(), after.metrics.as_deref());
    scores::change(connection, after.id, &changes)?;
    if before.description != after.description {
        set_text(connection, after.id, &after.name, &after.label, after.description.as_deref())?;
    }
    Ok(())
}

/// Updates the counters after a status has changed.
pub(super) fn change_status(connection: &Connection, from: Status, to: Status) -> rusqlite::Result<()> {
    if from != to {
        count(connection, CountOf::Status, from.as_str(), -1)?;
        count(connection, CountOf::Status, to.as_str(), 1)?;
    }
    Ok(())
}

/// Gives the versions of a model a new name.
pub(super) fn rename(
    connection: &Connection,
    model: i64,
    before: &str,
    after: &str,
    now: &str,
) -> rusqlite::Result<()> {
    let renamed = connection.prepare_cached(RENAME)?.execute((model, after, now))?;
    let renamed = i64::try_from(renamed).unwrap_or(i64::MAX);
    if renamed == 0 {
        return Ok(());
    }
    count(connection, CountOf::Name, before, -renamed)?;
    count(connection, CountOf::Name, after, renamed)?;
    let mut texts = connection.prepare_cached(TEXTS)?;
    let mut texts = texts.query([model])?;
    while let Some(row) = texts.next()? {
        let (label, description) = (text(row, 1)?.unwrap_or_default(), text(row, 2)?);
        set_text(connection, row.get(0)?, after, &label, description.as_deref())?;
    }
    Ok(())
}

/// Removes a version.
pub(super) fn remove(connection: &Connection, version: &Version) -> rusqlite::Result<()> {
    count(connection, CountOf::Name, &version.name, -1)?;
    count(connection, CountOf::Status, version.status.as_str(), -1)?;
    change_tags(connection, version.id, &Tags::of(version), &Tags::default())?;
    connection.prepare_cached(REMOVE_FILES)?.execute([version.id])?;
    scores::change(connection, version.id, &changes(version.metrics.as_deref(), None))?;
    connection.prepare_cached(REMOVE_TEXT)?.execute([version.id])?;
    connection.prepare_cached(REMOVE_BACKDATED)?.execute([version.id])?;
    Ok(())
}

fn count(connection: &Connection, of: CountOf, value: &str, change: i64) -> rusqlite::Result<()> {
    connection.prepare_cached(COUNT)?.execute((of.as_str(), value, change))?;
    if change < 0 {
        connection.prepare_cached(DROP_EMPTY_COUNT)?.execute((of.as_str(), value))?;
    }
    Ok(())
}

fn change_tags(connection: &Connection, id: i64, old: &Tags, new: &Tags) -> rusqlite::Result<()> {
    let (old, new) = (old.by_key(), new.by_key());
    for (key, value) in differing(&old, &new) {
        connection.prepare_cached(REMOVE_TAG)?.execute((key, value, id))?;
        if value.is_empty() {
            count(connection, CountOf::Tag, key, -1)?;
        }
    }
    for (key, value) in differing(&new, &old) {
        connection.prepare_cached(ADD_TAG)?.execute((key, value, id))?;
        if value.is_empty() {
            count(connection, CountOf::Tag, key, 1)?;
        }
    }
    Ok(())
}

/// Returns the tags in `tags` that `others` does not have with the same value.
fn differing<'t>(
    tags: &'t BTreeMap<&str, &str>,
    others: &'t BTreeMap<&str, &str>,
) -> impl Iterator<Item = (&'t str, &'t str)> {
    tags.iter().filter(|(key, value)| others.get(*key) != Some(value)).map(|(key, value)| (*key, *value))
}

fn change_files(
    connection: &Connection,
    id: i64,
    old: &[VersionFile],
    new: &[VersionFile],
) -> rusqlite::Result<()> {
    if old == new {
        return Ok(());
    }
    if !old.is_empty() {
        connection.prepare_cached(REMOVE_FILES)?.execute([id])?;
    }
    for VersionFile { path, size_bytes, sha256, role } in new {
        connection.prepare_cached(ADD_FILE)?.execute((id, path, size_bytes, sha256, role.as_str()))?;
    }
    Ok(())
}

fn set_text(
    connection: &Connection,
    id: i64,
    name: &str,
    version: &str,
    description: Option<&str>,
) -> rusqlite::Result<()> {
    let [name, version, description] = [name, version, description.unwrap_or("")].map(ngrams::indexed);
    connection.prepare_cached(SET_TEXT)?.execute((id, name, version, description))?;
    Ok(())
}

/// Creates and fills the tables from the versions. Runs inside a transaction.
pub(super) fn rebuild(connection: &Connection) -> rusqlite::Result<()> {
    for table in TABLES {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    connection.execute_batch(CREATE)?;
    connection.execute_batch(scores::CREATE)?;
    let mut scores = Rebuild::new(connection);
    let mut add_backdated = connection.prepare("INSERT INTO backdated_models VALUES (?1, ?2)")?;
    let mut add_tag = connection.prepare(ADD_TAG)?;
    let mut rows = connection.prepare(concat!("SELECT ", columns!(), " FROM models ORDER BY id"))?;
    let mut rows = rows.query([])?;
    let mut latest = String::new();
    while let Some(row) = rows.next()? {
        let version = read(row)?;
        let id = version.id;
        set_text(connection, id, &version.name, &version.label, version.description.as_deref())?;
        for (key, value) in Tags::of(&version).by_key() {
            add_tag.execute((key, value, id))?;
        }
        change_files(connection, id, &[], &VersionFile::of(&version))?;
        scores.add(&version)?;
        if *version.created_at < *latest {
            add_backdated.execute((id, &*version.created_at))?;
        } else {
            latest = version.created_at.into_owned();
        }
    }
    scores.finish()?;
    connection.execute_batch(CREATE_FILE_INDEX)?;
    for (kind, column, table) in COUNTED {
        let counts = format!("SELECT ?1, {column}, count(*) FROM {table} GROUP BY {column}");
        connection.execute(&format!("INSERT INTO model_counts {counts}"), [kind])?;
    }
    Ok(())
}
