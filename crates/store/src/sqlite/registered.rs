//! Registered models, their aliases and their holdings.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};

use registry_domain::{
    Alias, Cursor, Holding, Model, ModelKey, ModelSummary, Numbering, PRODUCTION_ALIAS, Page, VersionId,
    query::{CursorKey, HistoryQuery, ModelQuery},
};

use super::{lookup, ngrams, search::models::IS_PROMPT_MODEL};
use crate::StoreError;

macro_rules! model_columns {
    () => {
        "id, name, description, created_at, updated_at, deleted_at, changed_at, next_number"
    };
}
pub(super) use model_columns;
/// How many columns [`read`] reads; a statement may have more after them.
pub(super) const COLUMNS: usize = 8;
const LIVE: &str =
    concat!("SELECT ", model_columns!(), " FROM registered_models WHERE name = ?1 AND deleted_at IS NULL");
const DELETED: &str = concat!(
    "SELECT ",
    model_columns!(),
    " FROM registered_models WHERE name = ?1 AND deleted_at NOT NULL AND NOT purged ORDER BY deleted_at DESC, id DESC LIMIT 1"
);
const SPENT: &str = "SELECT EXISTS (SELECT 1 FROM registered_models \
    WHERE name = ?1 AND deleted_at NOT NULL AND next_number > 1)";
const KEY: &str = "SELECT id FROM registered_models WHERE name = ?1 AND deleted_at IS NULL";
/// `?5`: the numbers continue those of deleted models.
const INSERT: &str = "INSERT INTO registered_models (name, description, created_at, updated_at, next_number) \
    VALUES (?1, ?2, ?3, ?4, (SELECT ifnull(max(next_number), 1) FROM registered_models WHERE ?5 AND name = ?1)) \
    RETURNING id, next_number";
const UPDATE: &str = "UPDATE registered_models \
    SET name = ?2, description = ?3, updated_at = ?4, changed_at = ?5 WHERE id = ?1";
const TOUCH: &str = "UPDATE registered_models SET changed_at = ?2 WHERE id = ?1";
const SET_DELETED: &str =
    "UPDATE registered_models SET deleted_at = ?2, updated_at = ?3, changed_at = NULL WHERE id = ?1";
const FIRST_NUMBER: &str = "SELECT ifnull(max(next_number), 1) FROM registered_models WHERE name = ?1";
const TAKE_NUMBER: &str = "UPDATE registered_models SET next_number = max(next_number, ifnull(?2, 0)) + 1, \
    changed_at = max(ifnull(changed_at, updated_at), ?3) WHERE id = ?1 RETURNING next_number - 1";

const TAGS: &str = "SELECT key, value FROM registered_model_tags WHERE model_key = ?1";
const SET_TAG: &str = "INSERT OR REPLACE INTO registered_model_tags VALUES (?1, ?2, ?3)";
const REMOVE_TAG: &str = "DELETE FROM registered_model_tags WHERE model_key = ?1 AND key = ?2";

const ALIASES: &str = "SELECT alias, version_id, number, version FROM aliases \
    JOIN models ON models.id = version_id WHERE aliases.model_key = ?1 ORDER BY alias";
const ALIASES_OF: &str = "SELECT alias FROM aliases WHERE model_key = ?1 AND version_id = ?2 ORDER BY alias";
const PRODUCTION: &str = "SELECT id, number, version FROM models WHERE name = ?1 AND status = 'production'";
const SET_ALIAS: &str = "INSERT OR REPLACE INTO aliases VALUES (?1, ?2, ?3)";
const REMOVE_ALIAS: &str = "DELETE FROM aliases WHERE model_key = ?1 AND alias = ?2";

macro_rules! holding_columns {
    () => {
        "alias, version_id, number, label, since, until, actor, reason"
    };
}
/// A holding begins after the last one of the alias has ended, even if the clock was set back.
const BEGIN_HOLDING: &str = concat!(
    "INSERT INTO holdings (model_key, ",
    holding_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, max(?6, ifnull((SELECT until FROM holdings \
      WHERE model_key = ?1 AND alias = ?2 ORDER BY id DESC LIMIT 1), '')), NULL, ?7, ?8)"
);
const END_HOLDING: &str =
    "UPDATE holdings SET until = max(?3, since) WHERE model_key = ?1 AND alias = ?2 AND until IS NULL";
const HOLDINGS: &str = concat!(
    "SELECT ",
    holding_columns!(),
    " FROM holdings WHERE model_key = ?1 AND (?2 IS NULL OR alias = ?2) \
      AND (?3 IS NULL OR since <= ?3 AND (until IS NULL OR until > ?3)) ORDER BY id DESC LIMIT ?4"
);
/// `?3` must be the version, `?4` must not.
const LAST_HOLDING: &str = concat!(
    "SELECT ",
    holding_columns!(),
    " FROM holdings WHERE model_key = ?1 AND alias = ?2 AND (?3 IS NULL OR version_id = ?3) \
      AND (?4 IS NULL OR version_id <> ?4) ORDER BY id DESC LIMIT 1"
);
const COUNT_VERSIONS: &str = "SELECT ifnull((SELECT count FROM model_counts WHERE kind = 'name' AND value = ?1), 0), \
    (SELECT max(number) FROM models WHERE model_key = ?2 AND number > 0)";
const COUNT_DELETED: &str = "SELECT count(*), max(number) FROM deleted_models WHERE model_key = ?1";
/// The model that has this name, or had it last.
const KEY_EVER: &str = "SELECT id FROM registered_models WHERE name = ?1 \
    ORDER BY deleted_at IS NULL DESC, deleted_at DESC, id DESC LIMIT 1";
/// A page ends early once the descriptions, tags and aliases of its models have this many bytes.
pub(super) const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Returns the key of the model with this name.
pub(super) fn key(connection: &Connection, name: &str) -> rusqlite::Result<Option<ModelKey>> {
    connection.prepare_cached(KEY)?.query_row([name], |row| row.get(0)).optional()
}

/// Returns the key of the model with this name, or of the one that was deleted last under it.
pub(super) fn key_ever(connection: &Connection, name: &str) -> rusqlite::Result<Option<ModelKey>> {
    connection.prepare_cached(KEY_EVER)?.query_row([name], |row| row.get(0)).optional()
}

/// Returns the model with this name.
pub(super) fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<Model>> {
    find_by(connection, LIVE, name)
}

/// Returns the model that was deleted last under this name.
pub(super) fn find_deleted(connection: &Connection, name: &str) -> rusqlite::Result<Option<Model>> {
    find_by(connection, DELETED, name)
}

/// Returns true if a deleted or purged model had this name last and gave numbers to versions.
pub(super) fn has_spent_numbers(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(SPENT)?.query_row([name], |row| row.get(0))
}

fn find_by(connection: &Connection, sql: &str, name: &str) -> rusqlite::Result<Option<Model>> {
    let mut model = connection.prepare_cached(sql)?.query_row([name], read).optional()?;
    if let Some(model) = &mut model {
        model.tags = tags(connection, model.key)?;
    }
    Ok(model)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Model> {
    Ok(Model {
        key: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        tags: BTreeMap::new(),
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
        deleted_at: row.get(5)?,
        changed_at: row.get(6)?,
        next_number: row.get(7)?,
    })
}

fn tags(connection: &Connection, model: ModelKey) -> rusqlite::Result<BTreeMap<String, String>> {
    connection.prepare_cached(TAGS)?.query_map([model], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Adds a model and returns it with its key and its next number.
pub(super) fn insert(
    connection: &Connection,
    mut model: Model,
    numbering: Numbering,
) -> rusqlite::Result<Model> {
    (model.key, model.next_number) = connection.prepare_cached(INSERT)?.query_row(
        (
            &model.name,
            &model.description,
            &model.created_at,
            &model.updated_at,
            numbering == Numbering::Continued,
        ),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (tag, value) in &model.tags {
        connection.prepare_cached(SET_TAG)?.execute((model.key, tag, value))?;
    }
    Ok(model)
}

/// Writes when anything but the tags and aliases of a model changed last.
pub(super) fn touch(connection: &Connection, model: ModelKey, changed_at: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(TOUCH)?.execute((model, changed_at))?;
    Ok(())
}

/// Writes what differs. A new name also goes to the versions, in the trash too.
pub(super) fn update(connection: &Connection, before: &Model, after: &Model) -> rusqlite::Result<()> {
    let key = after.key;
    connection.prepare_cached(UPDATE)?.execute((
        key,
        &after.name,
        &after.description,
        &after.updated_at,
        &after.changed_at,
    ))?;
    for tag in before.tags.keys().filter(|tag| !after.tags.contains_key(*tag)) {
        connection.prepare_cached(REMOVE_TAG)?.execute((key, tag))?;
    }
    for (tag, value) in after.tags.iter().filter(|(tag, value)| before.tags.get(*tag) != Some(value)) {
        connection.prepare_cached(SET_TAG)?.execute((key, tag, value))?;
    }
    if before.name != after.name {
        lookup::rename(connection, key, &before.name, &after.name, &after.updated_at)?;
        connection
            .prepare_cached("UPDATE deleted_models SET name = ?2 WHERE model_key = ?1")?
            .execute((key, &after.name))?;
    }
    Ok(())
}

pub(super) fn set_deleted(
    connection: &Connection,
    model: ModelKey,
    deleted_at: Option<&str>,
    updated_at: &str,
) -> rusqlite::Result<()> {
    connection.prepare_cached(SET_DELETED)?.execute((model, deleted_at, updated_at))?;
    Ok(())
}

/// Returns the number of the first version of a new model of this name.
pub(super) fn first_number(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(FIRST_NUMBER)?.query_row([name], |row| row.get(0))
}

/// Returns the next number of a version, or `given` if that is higher. It is never given out again. The model has changed when
/// the version was created, if not later.
pub(super) fn take_number(
    connection: &Connection,
    model: ModelKey,
    given: Option<i64>,
    created_at: &str,
) -> rusqlite::Result<i64> {
    connection.prepare_cached(TAKE_NUMBER)?.query_row((model, given, created_at), |row| row.get(0))
}

/// Returns the aliases of a version, without `production`.
pub(super) fn aliases_of(
    connection: &Connection,
    model: ModelKey,
    version: VersionId,
) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(ALIASES_OF)?.query_map((model, version), |row| row.get(0))?.collect()
}

/// Returns the aliases of a model, without `production`.
pub(super) fn aliases(connection: &Connection, model: ModelKey) -> rusqlite::Result<Vec<Alias>> {
    let read = |row: &Row<'_>| {
        Ok(Alias { name: row.get(0)?, version: row.get(1)?, number: row.get(2)?, label: row.get(3)? })
    };
    connection.prepare_cached(ALIASES)?.query_map([model], read)?.collect()
}

pub(super) fn set_alias(
    connection: &Connection,
    model: ModelKey,
    alias: &str,
    version: Option<VersionId>,
) -> rusqlite::Result<()> {
    match version {
        Some(version) => connection.prepare_cached(SET_ALIAS)?.execute((model, alias, version))?,
        None => connection.prepare_cached(REMOVE_ALIAS)?.execute((model, alias))?,
    };
    Ok(())
}

pub(super) fn begin_holding(
    connection: &Connection,
    model: ModelKey,
    holding: &Holding,
) -> rusqlite::Result<()> {
    connection.prepare_cached(BEGIN_HOLDING)?.execute((
        model,
        &holding.alias,
        holding.version,
        holding.number,
        &holding.label,
        &holding.since,
        &holding.actor,
        &holding.reason,
    ))?;
    Ok(())
}

pub(super) fn end_holding(
    connection: &Connection,
    model: ModelKey,
    alias: &str,
    until: &str,
) -> rusqlite::Result<()> {
    connection.prepare_cached(END_HOLDING)?.execute((model, alias, until))?;
    Ok(())
}

/// Returns who held the aliases of a model, newest first.
pub(super) fn holdings(
    connection: &Connection,
    model: ModelKey,
    alias: Option<&str>,
    at: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<Holding>> {
    connection.prepare_cached(HOLDINGS)?.query_map((model, alias, at, limit), holding)?.collect()
}

/// Returns the last holding of an alias: of this version, or of any version except that one.
pub(super) fn last_holding(
    connection: &Connection,
    model: ModelKey,
    alias: &str,
    of: Option<VersionId>,
    except: Option<VersionId>,
) -> rusqlite::Result<Option<Holding>> {
    let mut last = connection.prepare_cached(LAST_HOLDING)?;
    last.query_row((model, alias, of, except), holding).optional()
}

fn holding(row: &Row<'_>) -> rusqlite::Result<Holding> {
    Ok(Holding {
        alias: row.get(0)?,
        version: row.get(1)?,
        number: row.get(2)?,
        label: row.get(3)?,
        since: row.get(4)?,
        until: row.get(5)?,
        actor: row.get(6)?,
        reason: row.get(7)?,
    })
}

/// Returns who held the aliases of a model that a query names.
pub(super) fn history(connection: &Connection, query: &HistoryQuery) -> rusqlite::Result<Vec<Holding>> {
    match key(connection, &query.model)? {
        Some(model) => holdings(connection, model, query.alias.as_deref(), query.at.as_deref(), query.limit),
        None => Ok(Vec::new()),
    }
}

/// Returns a model with a summary of its versions.
pub(super) fn summary(connection: &Connection, name: &str) -> rusqlite::Result<Option<ModelSummary>> {
    find(connection, name)?.map(|model| summarize(connection, model)).transpose()
}

/// Returns a model with a summary of its versions; of the deleted ones, if the model is in the trash.
pub(super) fn summarize(connection: &Connection, model: Model) -> rusqlite::Result<ModelSummary> {
    if model.deleted_at.is_some() {
        let (versions, latest) = connection
            .prepare_cached(COUNT_DELETED)?
            .query_row([model.key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        return Ok(ModelSummary { model, versions, latest, aliases: Vec::new() });
    }
    let (versions, latest) = connection
        .prepare_cached(COUNT_VERSIONS)?
        .query_row((&model.name, model.key), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut aliases = aliases(connection, model.key)?;
    let production = connection.prepare_cached(PRODUCTION)?.query_row([&model.name], |row| {
        Ok(Alias {
            name: PRODUCTION_ALIAS.to_owned(),
            version: row.get(0)?,
            number: row.get(1)?,
            label: row.get(2)?,
        })
    });
    aliases.extend(production.optional()?);
    aliases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(ModelSummary { model, versions, latest, aliases })
}

/// Returns a page of models, by name.
pub(super) fn page(
    connection: &Connection,
    query: &ModelQuery,
) -> Result<(Vec<ModelSummary>, Page), StoreError> {
    let mut sql =
        concat!("SELECT ", model_columns!(), " FROM registered_models AS m WHERE deleted_at ").to_owned();
    sql.push_str(if query.deleted { "NOT NULL AND NOT purged" } else { "IS NULL" });
    let mut values: Vec<Value> = Vec::new();
    if let Some(after) = &query.after {
        let CursorKey::Text(name) = &after.key else {
            return Ok((Vec::new(), Page { total: None, next: None }));
        };
        sql.push_str(" AND (name, id) > (?, ?)");
        values.extend([name.clone().into(), after.id.into()]);
    }
    if let Some((key, value)) = &query.tag {
        sql.push_str(" AND EXISTS (SELECT 1 FROM registered_model_tags WHERE model_key = id AND key = ?");
        values.push(key.clone().into());
        if let Some(value) = value {
            sql.push_str(" AND value = ?");
            values.push(value.clone().into());
        }
        sql.push(')');
    }
    sql.push_str(if query.prompts { " AND " } else { " AND NOT " });
    sql.push_str(IS_PROMPT_MODEL);
    sql.push_str(" ORDER BY name, id");
    let folded = query.q.as_deref().map(ngrams::fold);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut found, mut bytes): (Vec<ModelSummary>, usize) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        if folded.as_deref().is_some_and(|text| !ngrams::contains(&name, text)) {
            continue;
        }
        if found.len() == query.limit as usize || bytes > MAX_PAGE_BYTES {
            let next = found.last().map(|last| Cursor {
                list: ModelQuery::LIST_NAME.to_owned(),
                key: CursorKey::Text(last.model.name.clone()),
                id: last.model.key,
            });
            return Ok((found, Page { total: None, next }));
        }
        let summary = summarize_row(connection, row)?;
        bytes += bytes_of(&summary);
        found.push(summary);
    }
    Ok((found, Page { total: None, next: None }))
}

/// Returns the model of a row of [`model_columns`], with a summary of its versions.
pub(super) fn summarize_row(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<ModelSummary> {
    let mut model = read(row)?;
    model.tags = tags(connection, model.key)?;
    summarize(connection, model)
}

/// Returns how much the description, tags and aliases of a model are.
pub(super) fn bytes_of(summary: &ModelSummary) -> usize {
    let model = &summary.model;
    let tags = model.tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let aliases = summary.aliases.iter().map(|alias| alias.name.len()).sum::<usize>();
    model.description.as_ref().map_or(0, String::len) + tags + aliases
}
