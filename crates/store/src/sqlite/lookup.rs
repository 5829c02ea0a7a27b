//! Lookup tables for lists, searches and counts, so that none of them reads every version.
//!
//! | table | holds |
//! |---|---|
//! | `model_counts` | how many versions have a name, a status or a tag |
//! | `model_tags` | the versions of each tag, by id |
//! | `model_texts` | the trigrams of name, version and description, folded by [`ngrams`] |
//! | `backdated_models` | versions that were created before one with a lower id, because the clock was set back. Without them, order by id is order by `created_at` |
//!
//! Each write updates them in the transaction that changes the version; recorded metrics change none of them.

use rusqlite::Connection;
use serde_json::Value;

use registry_domain::{Status, Version};

use super::{ngrams, rows::text};

pub(super) const TABLES: [&str; 4] = ["model_counts", "model_tags", "model_texts", "backdated_models"];

const CREATE: &str = "
CREATE TABLE model_counts (
    kind TEXT NOT NULL, value TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE TABLE model_tags (
    tag TEXT NOT NULL, model_id INTEGER NOT NULL, PRIMARY KEY (tag, model_id)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE model_texts USING fts5(
    folded_name, folded_version, folded_description,
    content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram case_sensitive 1'
);
CREATE TABLE backdated_models (model_id INTEGER PRIMARY KEY, backdated_to TEXT NOT NULL);
CREATE INDEX idx_backdated_models ON backdated_models (backdated_to);
";

const COUNT: &str =
    "INSERT INTO model_counts VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3";
const DROP_EMPTY_COUNT: &str = "DELETE FROM model_counts WHERE kind = ?1 AND value = ?2 AND count <= 0";
const ADD_TAG: &str = "INSERT INTO model_tags VALUES (?1, ?2)";
const REMOVE_TAG: &str = "DELETE FROM model_tags WHERE tag = ?1 AND model_id = ?2";
const SET_TEXT: &str = "INSERT OR REPLACE INTO model_texts (rowid, folded_name, folded_version, folded_description) \
    VALUES (?1, ?2, ?3, ?4)";
const REMOVE_TEXT: &str = "DELETE FROM model_texts WHERE rowid = ?1";
const ADD_BACKDATED: &str = "INSERT INTO backdated_models SELECT ?1, ?2 \
    WHERE EXISTS (SELECT 1 FROM models WHERE created_at > ?2 AND id < ?1)";
const REMOVE_BACKDATED: &str = "DELETE FROM backdated_models WHERE model_id = ?1";

const RENAME: &str = "UPDATE models SET name = ?2 WHERE model_key = ?1";
const TEXTS: &str = "SELECT id, version, description FROM models WHERE model_key = ?1";

/// What a counter of `model_counts` counts.
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

/// Each kind of counter with the column and the table that it counts.
pub(super) const COUNTED: [(CountOf, &str, &str); 3] = [
    (CountOf::Name, "name", "models"),
    (CountOf::Status, "status", "models"),
    (CountOf::Tag, "tag", "model_tags"),
];

/// Adds a version that was inserted.
pub(super) fn add(connection: &Connection, model: &Version) -> rusqlite::Result<()> {
    count(connection, CountOf::Name, &model.name, 1)?;
    count(connection, CountOf::Status, model.status.as_str(), 1)?;
    change_tags(connection, model.id, &[], &tags_of(model.tags.as_deref()))?;
    set_text(connection, model.id, &model.name, &model.label, model.description.as_deref())?;
    connection.prepare_cached(ADD_BACKDATED)?.execute((model.id, &model.created_at))?;
    Ok(())
}

/// Updates the tables after a version has changed. Its name, version and `created_at` never change.
pub(super) fn change(connection: &Connection, before: &Version, after: &Version) -> rusqlite::Result<()> {
    change_status(connection, before.status, after.status)?;
    if before.tags != after.tags {
        let [old, new] = [before, after].map(|model| tags_of(model.tags.as_deref()));
        change_tags(connection, after.id, &old, &new)?;
    }
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

/// Gives the versions of a model a new name. The trigger moves their `updated_at`.
pub(super) fn rename(connection: &Connection, model: i64, before: &str, after: &str) -> rusqlite::Result<()> {
    let renamed = connection.prepare_cached(RENAME)?.execute((model, after))?;
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
pub(super) fn remove(connection: &Connection, model: &Version) -> rusqlite::Result<()> {
    count(connection, CountOf::Name, &model.name, -1)?;
    count(connection, CountOf::Status, model.status.as_str(), -1)?;
    change_tags(connection, model.id, &tags_of(model.tags.as_deref()), &[])?;
    connection.prepare_cached(REMOVE_TEXT)?.execute([model.id])?;
    connection.prepare_cached(REMOVE_BACKDATED)?.execute([model.id])?;
    Ok(())
}

fn count(connection: &Connection, of: CountOf, value: &str, change: i64) -> rusqlite::Result<()> {
    connection.prepare_cached(COUNT)?.execute((of.as_str(), value, change))?;
    if change < 0 {
        connection.prepare_cached(DROP_EMPTY_COUNT)?.execute((of.as_str(), value))?;
    }
    Ok(())
}

/// Updates the tags of a version. Both lists are sorted.
fn change_tags(connection: &Connection, id: i64, old: &[String], new: &[String]) -> rusqlite::Result<()> {
    for tag in old.iter().filter(|tag| new.binary_search(tag).is_err()) {
        connection.prepare_cached(REMOVE_TAG)?.execute((tag, id))?;
        count(connection, CountOf::Tag, tag, -1)?;
    }
    for tag in new.iter().filter(|tag| old.binary_search(tag).is_err()) {
        connection.prepare_cached(ADD_TAG)?.execute((tag, id))?;
        count(connection, CountOf::Tag, tag, 1)?;
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

/// Returns the tags in a `tags` column, each once and sorted. An old file may contain an object or a bare text instead of a
/// list; the texts in it count too.
pub(super) fn tags_of(column: Option<&str>) -> Vec<String> {
    let Some(text) = column else { return Vec::new() };
    let mut tags = serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| {
        let values = match serde_json::from_str(text) {
            Ok(Value::Array(values)) => values,
            Ok(Value::Object(fields)) => fields.into_iter().map(|(_, value)| value).collect(),
            Ok(value) => vec![value],
            Err(_) => Vec::new(),
        };
        values.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    });
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Creates and fills the tables from the versions. Runs inside a transaction.
pub(super) fn rebuild(connection: &Connection) -> rusqlite::Result<()> {
    for table in TABLES {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    connection.execute_batch(CREATE)?;
    let mut add_backdated = connection.prepare("INSERT INTO backdated_models VALUES (?1, ?2)")?;
    let mut add_tag = connection.prepare(ADD_TAG)?;
    let mut rows = connection
        .prepare("SELECT id, name, version, description, tags, created_at FROM models ORDER BY id")?;
    let mut rows = rows.query([])?;
    let mut latest = String::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let (name, version, description) = (text(row, 1)?, text(row, 2)?, text(row, 3)?);
        set_text(
            connection,
            id,
            &name.unwrap_or_default(),
            &version.unwrap_or_default(),
            description.as_deref(),
        )?;
        for tag in tags_of(text(row, 4)?.as_deref()) {
            add_tag.execute((tag, id))?;
        }
        let created_at = text(row, 5)?.unwrap_or_default();
        if *created_at < *latest {
            add_backdated.execute((id, &*created_at))?;
        } else {
            latest = created_at.into_owned();
        }
    }
    for (of, column, table) in COUNTED {
        let counts = format!("SELECT ?1, {column}, count(*) FROM {table} GROUP BY {column}");
        connection.execute(&format!("INSERT INTO model_counts {counts}"), [of.as_str()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_distinct_texts_of_a_list_an_object_or_a_bare_text() {
        for (text, tags) in [
            (r#"["b","a","b"]"#, &["a", "b"][..]),
            (r#"["\u0442", 1, null, ["x"], {"y": "z"}, "nul\u0000"]"#, &["nul\0", "т"]),
            (r#"{"k": "v", "n": 1}"#, &["v"]),
            (r#""bare""#, &["bare"]),
            ("1", &[]),
            ("no json", &[]),
            ("", &[]),
            ("[\"a\"", &[]),
        ] {
            assert_eq!(tags_of(Some(text)), tags, "{text}");
        }
        assert_eq!(tags_of(None), [] as [&str; 0]);
    }
}
