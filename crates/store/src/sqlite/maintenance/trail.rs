//! Checks the audit trail's chains, and that models, aliases and holdings agree with the versions.

use std::collections::HashMap;

use rusqlite::Connection;

use registry_domain::{ModelKey, VersionId, chain::Link};

use super::Finding;
use crate::sqlite::rows::text;

const TAMPERED: &str = "compare it with a backup: another tool has changed the audit trail";
const REBUILD: &str = "run `PRAGMA user_version = 0` on the file with another SQLite tool and start \
                       `registry serve`, which rebuilds it";
const CORRECT: &str = "correct it by hand with another SQLite tool, or restore a backup";

/// Rules that span tables: what each finds, and the rows that break it, as `id` and a text.
const RULES: [(&str, &str, &str); 6] = [
    (
        "models",
        "does not belong to the model of its name",
        "SELECT models.id, models.name FROM models LEFT JOIN registered_models \
         ON registered_models.id = model_key AND deleted_at IS NULL \
         WHERE registered_models.name IS NOT models.name",
    ),
    (
        "models",
        "has a number that another version of its model has too",
        "SELECT max(id), name FROM models GROUP BY model_key, number HAVING count(*) > 1",
    ),
    (
        "registered_models",
        "would give out a number that a version has",
        "SELECT registered_models.id, registered_models.name FROM registered_models \
         JOIN (SELECT model_key, max(number) AS highest FROM models GROUP BY model_key) \
         ON model_key = registered_models.id AND highest >= next_number",
    ),
    (
        "aliases",
        "points to no version of its model",
        "SELECT version_id, alias FROM aliases WHERE NOT EXISTS \
         (SELECT 1 FROM models WHERE models.id = version_id AND models.model_key = aliases.model_key)",
    ),
    (
        "holdings",
        "is in production, and the history does not say so",
        "SELECT id, name FROM models WHERE status = 'production' AND NOT EXISTS (SELECT 1 FROM holdings \
         WHERE holdings.model_key = models.model_key AND version_id = models.id \
         AND alias = 'production' AND until IS NULL)",
    ),
    (
        "holdings",
        "is in production by the history, and not by its status",
        "SELECT version_id, label FROM holdings WHERE alias = 'production' AND until IS NULL \
         AND NOT EXISTS (SELECT 1 FROM models WHERE id = version_id AND status = 'production')",
    ),
];

/// Checks the rules that span tables, then every event of the chains.
pub(super) fn find(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (table, problem, rows) in RULES {
        let counted = format!(
            "SELECT count(*), min(id), name FROM (SELECT id, name FROM (SELECT NULL AS id, NULL AS name WHERE false UNION ALL {rows}))"
        );
        let (count, id, name): (u64, Option<i64>, Option<String>) =
            connection.query_row(&counted, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if count > 0 {
            let name = name.unwrap_or_default();
            let problem = format!("{name:?}, the first of {count}, {problem}");
            findings.push(Finding { table, id, problem, remedy: CORRECT });
        }
    }
    findings.extend(broken_link(connection)?);
    Ok(findings)
}

#[derive(Default)]
struct Heads {
    models: HashMap<ModelKey, (i64, Vec<u8>)>,
    versions: HashMap<VersionId, (i64, u64)>,
}

/// Follows all chains at once, and returns the first event that does not fit.
fn broken_link(connection: &Connection) -> rusqlite::Result<Option<Finding>> {
    let broken = |id: i64, problem: &str, remedy| {
        let problem = format!("the audit trail is broken here: {problem}");
        Some(Finding { table: "event_chain", id: Some(id), problem, remedy })
    };
    let orphan = "SELECT min(event_id) FROM event_chain WHERE event_id NOT IN (SELECT id FROM model_events)";
    if let Some(id) = connection.query_row(orphan, [], |row| row.get(0))? {
        return Ok(broken(id, "the event is gone", TAMPERED));
    }
    let mut heads = Heads::default();
    let mut rows = connection.prepare(
        "SELECT id, model_id, event_type, payload_json, actor, created_at, details, \
         model_key, version_id, previous_of_model, previous_of_version, hash \
         FROM model_events LEFT JOIN event_chain ON event_id = id ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(model) = row.get::<_, Option<ModelKey>>(7)? else {
            return Ok(broken(id, "another tool has added this event", REBUILD));
        };
        let version_id: VersionId = row.get(8)?;
        let before = heads.models.get(&model);
        let (event_type, created_at) = (text(row, 2)?.unwrap_or_default(), text(row, 5)?.unwrap_or_default());
        let (payload, actor, details) = (text(row, 3)?, text(row, 4)?, text(row, 6)?);
        let link = Link {
            model,
            previous: before.map(|(id, _)| *id),
            version_id,
            event_type: &event_type,
            payload: payload.as_deref(),
            details: details.as_deref(),
            actor: actor.as_deref(),
            created_at: &created_at,
        };
        let hash = link.hash(before.map(|(_, hash)| hash.as_slice()));
        let of_version = heads.versions.get(&version_id).map(|(id, _)| *id);
        let is_linked = row.get::<_, i64>(1)? == version_id
            && row.get::<_, Option<i64>>(9)? == link.previous
            && row.get::<_, Option<i64>>(10)? == of_version;
        if !is_linked || row.get_ref(11)?.as_blob().ok() != Some(&hash) {
            return Ok(broken(id, "the event, or one before it, has changed", TAMPERED));
        }
        heads.models.insert(model, (id, hash.to_vec()));
        if version_id != 0 {
            let (last, count) = heads.versions.entry(version_id).or_default();
            (*last, *count) = (id, *count + 1);
        }
    }
    wrong_head(connection, &heads)
}

/// Compares the ends of the chains with what is stored as their ends: an event that was cut off leaves nothing else.
fn wrong_head(connection: &Connection, heads: &Heads) -> rusqlite::Result<Option<Finding>> {
    let finding = |table, id, problem: &str| {
        Some(Finding { table, id: Some(id), problem: problem.to_owned(), remedy: TAMPERED })
    };
    let mut models = connection.prepare("SELECT model_key, last_event_id, hash FROM model_heads")?;
    let mut models = models.query([])?;
    let mut seen = 0;
    while let Some(row) = models.next()? {
        let key = row.get(0)?;
        if heads.models.get(&key) != Some(&(row.get(1)?, row.get(2)?)) {
            return Ok(finding(
                "model_heads",
                key,
                "the audit trail of this model does not end where it should",
            ));
        }
        seen += 1;
    }
    let mut versions = connection.prepare("SELECT version_id, last_event_id, events FROM version_heads")?;
    let mut versions = versions.query([])?;
    while let Some(row) = versions.next()? {
        let id = row.get(0)?;
        if heads.versions.get(&id) != Some(&(row.get(1)?, row.get(2)?)) {
            return Ok(finding(
                "version_heads",
                id,
                "the events of this version do not end where they should",
            ));
        }
        seen += 1;
    }
    let expected = heads.models.len() + heads.versions.len();
    Ok((seen != expected).then(|| Finding {
        table: "event_chain",
        id: None,
        problem: format!("{} ends of audit trails are missing", expected.abs_diff(seen)),
        remedy: REBUILD,
    }))
}
