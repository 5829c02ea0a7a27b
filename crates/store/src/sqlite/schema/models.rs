//! Gives the versions of an older file their models and numbers, and derives from its events who was in production when.

use std::collections::HashMap;

use rusqlite::Connection;

use registry_domain::{
    EventKind, ModelKey, PRODUCTION_ALIAS, Status, Timestamp, VersionId, json::read_object,
};

use super::{
    super::{events, trash},
    tables::{CHANGED_COLUMN, CREATE_LATER_TABLES, add_columns},
};

/// A model for each name, in the order of their first versions.
const ADOPT_NAMES: &str = "
INSERT INTO registered_models (name, created_at, updated_at)
    SELECT name, min(created_at), min(created_at) FROM models
    WHERE name NOT IN (SELECT name FROM registered_models WHERE deleted_at IS NULL) GROUP BY name ORDER BY min(id);
";
/// A number for each version in the order of ids. One that another tool has given twice stays with the first version.
const NUMBER_VERSIONS: &str = "
UPDATE models SET model_key = adopted.model_key, number = adopted.number FROM (
    SELECT models.id AS version_id, registered_models.id AS model_key,
        next_number - 1 + row_number() OVER (PARTITION BY models.name ORDER BY models.id) AS number
    FROM models JOIN registered_models ON registered_models.name = models.name AND deleted_at IS NULL
    WHERE models.model_key <> registered_models.id OR models.number = 0
        OR models.id NOT IN (SELECT min(id) FROM models GROUP BY model_key, number)
) AS adopted WHERE id = version_id;
";
const SET_NEXT_NUMBERS: &str = "
UPDATE registered_models SET next_number = highest + 1
    FROM (SELECT model_key, max(number) AS highest
        FROM (SELECT model_key, number FROM models UNION ALL SELECT model_key, number FROM deleted_models)
        GROUP BY model_key) AS used
    WHERE used.model_key = id AND next_number <= highest;
";
/// Ends each holding that was left open when the next one of its alias began.
const END_SURPLUS_HOLDINGS: &str = "
UPDATE holdings SET until = max(since, next_since) FROM (
    SELECT id AS holding, lead(since) OVER (PARTITION BY model_key, alias ORDER BY id) AS next_since
    FROM holdings WHERE until IS NULL
) WHERE holding = id AND next_since NOT NULL;
";
/// Makes production as the history has it agree with the statuses, which count. Another tool may have changed a status.
const RECONCILE_PRODUCTION: &str = "
UPDATE holdings SET until = max(since, ifnull((SELECT updated_at FROM models WHERE id = version_id), since))
    WHERE alias = 'production' AND until IS NULL
    AND NOT EXISTS (SELECT 1 FROM models
        WHERE id = version_id AND status = 'production' AND models.model_key = holdings.model_key);
INSERT INTO holdings (model_key, alias, version_id, number, label, since)
    SELECT model_key, 'production', id, number, version, updated_at FROM models WHERE status = 'production'
    AND NOT EXISTS (SELECT 1 FROM holdings WHERE holdings.model_key = models.model_key AND alias = 'production'
        AND version_id = models.id AND until IS NULL);
DELETE FROM aliases WHERE NOT EXISTS
    (SELECT 1 FROM models WHERE id = version_id AND models.model_key = aliases.model_key);
";
/// Ends the holdings of aliases that are gone, or that point to another version. When that happened is unknown.
const END_LOST_ALIASES: &str = "
UPDATE holdings SET until = max(since, ?1) WHERE alias <> 'production' AND until IS NULL
    AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.model_key = holdings.model_key
        AND aliases.alias = holdings.alias AND aliases.version_id = holdings.version_id)";
/// Begins the holdings of aliases that another tool has set.
const BEGIN_FOUND_ALIASES: &str = "
INSERT INTO holdings (model_key, alias, version_id, number, label, since)
    SELECT aliases.model_key, alias, version_id, number, version, ?1 FROM aliases JOIN models ON id = version_id
    WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE holdings.model_key = aliases.model_key
        AND holdings.alias = aliases.alias AND until IS NULL)";
const BEGIN: &str = "INSERT INTO holdings (model_key, alias, version_id, number, label, since, actor) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const END: &str = "UPDATE holdings SET until = max(?2, since) WHERE id = ?1";

/// The model, number and label of a version, which may be deleted.
struct Origin {
    model: ModelKey,
    number: i64,
    label: String,
}

/// Creates the tables that are missing, and fills them. Runs inside a transaction, before there are triggers.
///
/// Another tool may have added versions or events to a file that has the tables.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let has_history = connection.table_exists(None, "holdings")?;
    connection.execute_batch(CREATE_LATER_TABLES)?;
    add_columns(connection, "registered_models", &[CHANGED_COLUMN])?;
    trash::create(connection)?;
    for sql in [ADOPT_NAMES, SET_NEXT_NUMBERS, NUMBER_VERSIONS, SET_NEXT_NUMBERS, END_SURPLUS_HOLDINGS] {
        connection.execute_batch(sql)?;
    }
    let is_chained = "SELECT (SELECT count(*) FROM model_events) = (SELECT count(*) FROM event_chain)";
    let is_chained = connection.query_row(is_chained, [], |row| row.get(0))?;
    if has_history && is_chained {
        return Ok(());
    }
    let versions = known_versions(connection)?;
    if !has_history {
        fill_holdings(connection, &versions)?;
    }
    events::rebuild_chains(connection, |version| versions.get(&version).map_or(0, |known| known.model))
}

/// Makes aliases and history agree with the versions. Runs after [`create`], with indexes.
pub(super) fn reconcile(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection.execute_batch(RECONCILE_PRODUCTION)?;
    for sql in [END_LOST_ALIASES, BEGIN_FOUND_ALIASES] {
        connection.execute(sql, [now.to_string()])?;
    }
    Ok(())
}

/// Returns the versions, and the deleted ones whose events name their model.
fn known_versions(connection: &Connection) -> rusqlite::Result<HashMap<VersionId, Origin>> {
    let mut versions: HashMap<VersionId, Origin> = connection
        .prepare(
            "SELECT id, model_key, number, version FROM models \
             UNION ALL SELECT id, model_key, number, version FROM deleted_models",
        )?
        .query_map([], |row| {
            Ok((row.get(0)?, Origin { model: row.get(1)?, number: row.get(2)?, label: row.get(3)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    // In memory, since there are no indexes yet.
    let keys: HashMap<String, ModelKey> = connection
        .prepare("SELECT name, id FROM registered_models ORDER BY deleted_at IS NULL, id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rows = connection.prepare(
        "SELECT model_id, payload_json FROM model_events WHERE event_type IN ('create', 'delete') ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let version: VersionId = row.get(0)?;
        if versions.contains_key(&version) {
            continue;
        }
        let payload = row.get_ref(1)?.as_str().ok().and_then(read_object).unwrap_or_default();
        let text = |field: &str| payload.get(field).and_then(|value| value.as_str());
        let Some(name) = text("name") else { continue };
        if let Some(&model) = keys.get(name) {
            let label = text("version").unwrap_or_default().to_owned();
            // The version never had a number.
            versions.insert(version, Origin { model, number: 0, label });
        }
    }
    Ok(versions)
}

/// Derives from the events who was in production when.
///
/// A `PATCH` of the status left no values in the events of older servers. Of the versions that are in production now, the last
/// such event tells since when.
fn fill_holdings(connection: &Connection, versions: &HashMap<VersionId, Origin>) -> rusqlite::Result<()> {
    let mut begin = connection.prepare(BEGIN)?;
    let mut end = connection.prepare(END)?;
    let mut rows = connection.prepare(
        "SELECT model_id, event_type, payload_json, actor, created_at FROM model_events ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    // The holder of each model, and the id of its holding.
    let mut holders: HashMap<ModelKey, (VersionId, i64)> = HashMap::new();
    // The versions in production now, with the time and the actor of the last PATCH of their status.
    let mut current: HashMap<VersionId, Option<(String, Option<String>)>> = connection
        .prepare("SELECT id FROM models WHERE status = 'production'")?
        .query_map([], |row| Ok((row.get(0)?, None)))?
        .collect::<rusqlite::Result<_>>()?;
    while let Some(row) = rows.next()? {
        let (version, kind): (VersionId, String) = (row.get(0)?, row.get(1)?);
        let (Some(known), Some(kind)) = (versions.get(&version), EventKind::parse(&kind)) else { continue };
        let payload = row.get_ref(2)?.as_str().ok().and_then(read_object).unwrap_or_default();
        let status =
            |field: &str| payload.get(field).and_then(|value| value.as_str()).and_then(Status::parse);
        if kind == EventKind::Update
            && let Some(patched) = current.get_mut(&version)
            && let Some(fields) = payload.get("updated_fields").and_then(|fields| fields.as_array())
            && fields.iter().any(|field| field == "status")
        {
            *patched = Some((row.get(4)?, row.get(3)?));
        }
        let now = match kind {
            EventKind::Create => status("status"),
            EventKind::Promote | EventKind::AutoDemote => status("to"),
            EventKind::Delete => Some(Status::Archived),
            _ => None,
        };
        let Some(now) = now else { continue };
        let time: String = row.get(4)?;
        let held = holders.get(&known.model).copied();
        let holds = held.is_some_and(|(holder, _)| holder == version);
        if now == Status::Production && !holds {
            if let Some((_, holding)) = held {
                end.execute((holding, &time))?;
            }
            let actor: Option<String> = row.get(3)?;
            begin.execute((
                known.model,
                PRODUCTION_ALIAS,
                version,
                known.number,
                &known.label,
                &time,
                actor,
            ))?;
            holders.insert(known.model, (version, connection.last_insert_rowid()));
        } else if let (Some((_, holding)), true) = (held, holds && now != Status::Production) {
            holders.remove(&known.model);
            end.execute((holding, &time))?;
        }
    }
    for (version, patched) in current {
        let (Some(known), Some((time, actor))) = (versions.get(&version), patched) else { continue };
        match holders.get(&known.model) {
            Some((holder, _)) if *holder == version => continue,
            Some((_, holding)) => drop(end.execute((holding, &time))?),
            None => {}
        }
        begin.execute((known.model, PRODUCTION_ALIAS, version, known.number, &known.label, &time, actor))?;
    }
    Ok(())
}
