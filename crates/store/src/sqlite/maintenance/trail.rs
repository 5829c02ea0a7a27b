//! Checks the audit trail's chains, and that models, aliases and holdings agree with the versions.

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{ModelKey, VersionId, chain::Link};

use super::{
    Finding,
    check::{CORRECT_BY_HAND, REBUILD},
};
use crate::{
    maintenance::{
        rules::{SPANNING, WEBHOOKS, unreadable_webhook},
        trail::{StoredEvent, TAMPERED, Trail, WRONG_END, broken},
    },
    sqlite::rows::text,
};

/// Checks the rules that span tables, then every event of the chains.
pub(super) fn find(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in &SPANNING {
        let first = |row: &Row<'_>| {
            let name = row.get_ref(2)?.as_str().unwrap_or_default();
            Ok(rule.finding(row.get(0)?, row.get(1)?, name, CORRECT_BY_HAND))
        };
        findings.extend(connection.query_row(&rule.first(), [], first).optional()?);
    }
    let mut webhooks = connection.prepare(WEBHOOKS)?;
    let webhooks = webhooks.query_map([], |row| {
        let definition = row.get_ref(1)?.as_str().unwrap_or_default();
        Ok(unreadable_webhook(row.get(0)?, definition, CORRECT_BY_HAND))
    })?;
    for finding in webhooks {
        findings.extend(finding?);
    }
    findings.extend(broken_link(connection)?);
    Ok(findings)
}

/// Follows all chains at once, and returns the first event that does not fit.
fn broken_link(connection: &Connection) -> rusqlite::Result<Option<Finding>> {
    let orphan = "SELECT min(event_id) FROM event_chain WHERE event_id NOT IN (SELECT id FROM model_events)";
    if let Some(id) = connection.query_row(orphan, [], |row| row.get(0))? {
        return Ok(Some(broken(id, "the event is gone", TAMPERED)));
    }
    let mut trail = Trail::default();
    let mut rows = connection.prepare(
        "SELECT id, model_id, event_type, payload_json, actor, created_at, details, \
         model_key, version_id, previous_of_model, previous_of_version, hash \
         FROM model_events LEFT JOIN event_chain ON event_id = id ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(model) = row.get::<_, Option<ModelKey>>(7)? else {
            return Ok(Some(broken(id, "another tool has added this event", REBUILD)));
        };
        let version_id: VersionId = row.get(8)?;
        let (event_type, created_at) = (text(row, 2)?.unwrap_or_default(), text(row, 5)?.unwrap_or_default());
        let (payload, actor, details) = (text(row, 3)?, text(row, 4)?, text(row, 6)?);
        let link = Link {
            model,
            previous: row.get(9)?,
            version_id,
            event_type: &event_type,
            payload: payload.as_deref(),
            details: details.as_deref(),
            actor: actor.as_deref(),
            created_at: &created_at,
        };
        let (previous_of_version, hash) = (row.get(10)?, row.get_ref(11)?.as_blob().unwrap_or_default());
        let followed = trail.follow(&StoredEvent { id, link, previous_of_version, hash });
        let is_its_own = row.get::<_, VersionId>(1)? == version_id;
        if let Err(problem) = followed.and(is_its_own.then_some(()).ok_or("its version has changed")) {
            return Ok(Some(broken(id, problem, TAMPERED)));
        }
    }
    wrong_head(connection, &trail)
}

/// Compares the ends of the chains with what is stored as their ends: an event that was cut off leaves nothing else.
fn wrong_head(connection: &Connection, trail: &Trail) -> rusqlite::Result<Option<Finding>> {
    let finding = |table, id, problem: &str| {
        Some(Finding { table, id: Some(id), problem: problem.to_owned(), remedy: TAMPERED })
    };
    let mut models = connection.prepare("SELECT model_key, last_event_id, hash FROM model_heads")?;
    let mut models = models.query([])?;
    let mut seen = 0;
    while let Some(row) = models.next()? {
        let key = row.get(0)?;
        let hash = row.get_ref(2)?.as_blob().ok();
        let end = trail.models.get(&key);
        if end.map(|(id, _)| *id) != Some(row.get(1)?) || end.map(|(_, hash)| hash.as_slice()) != hash {
            return Ok(finding("model_heads", key, WRONG_END));
        }
        seen += 1;
    }
    let mut versions = connection.prepare("SELECT version_id, last_event_id, events FROM version_heads")?;
    let mut versions = versions.query([])?;
    while let Some(row) = versions.next()? {
        let id = row.get(0)?;
        if trail.versions.get(&id) != Some(&(row.get(1)?, row.get(2)?)) {
            return Ok(finding(
                "version_heads",
                id,
                "the events of this version do not end where they should",
            ));
        }
        seen += 1;
    }
    let expected = trail.models.len() + trail.versions.len();
    Ok((seen != expected).then(|| Finding {
        table: "event_chain",
        id: None,
        problem: format!("{} ends of audit trails are missing", expected.abs_diff(seen)),
        remedy: REBUILD,
    }))
}
