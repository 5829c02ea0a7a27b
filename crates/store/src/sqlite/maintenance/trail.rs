//! Follows the audit trail's chains, and checks that models, aliases and holdings agree with the versions.

use std::{borrow::Cow, collections::HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{
    ModelKey, VersionId,
    chain::{ChainedEvent, Link},
};

use super::{
    Finding, MaintenanceError, Source, Stage, Watch,
    check::{CORRECT_BY_HAND, REBUILD},
    purge::expect_current,
};
use crate::{
    maintenance::{
        rules::{SPANNING, WEBHOOKS, unreadable_webhook},
        trail::{Audit, HEADS, NAMES, TAMPERED, Trail, VersionPlace, VisitChain},
    },
    sqlite::rows::text,
};

const EVENTS: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at, details, \
    model_key, version_id, previous_of_model, previous_of_version, hash \
    FROM model_events LEFT JOIN event_chain ON event_id = id ORDER BY id";
/// Events of which only the links are left.
const GONE: &str = "SELECT event_id, model_key, version_id, hash FROM event_chain \
    WHERE event_id NOT IN (SELECT id FROM model_events) ORDER BY event_id";
/// Events between two reports of progress.
const EVENTS_PER_REPORT: u64 = 1000;

impl Source {
    /// Verifies the hash chains of the audit trail, and visits each event.
    ///
    /// # Errors
    /// If the database has an older schema, or can't be read.
    pub fn verify_audit(&self, watch: &Watch, visit: VisitChain<'_>) -> Result<Audit, MaintenanceError> {
        expect_current(&self.connection, &self.path)?;
        let verified = verify(&self.connection, watch, visit);
        verified.map_err(|error| watch.failed(&self.path, &error))
    }
}

fn verify(connection: &Connection, watch: &Watch, visit: VisitChain<'_>) -> rusqlite::Result<Audit> {
    let total = connection.query_row("SELECT count(*) FROM model_events", [], |row| row.get(0))?;
    let mut done = 0;
    let mut trail = follow(connection, &mut |event| {
        done += 1;
        if done % EVENTS_PER_REPORT == 0 {
            watch.report(Stage::Reading("model_events"), done, total);
        }
        visit(event);
    })?;
    compare_ends(connection, &mut trail)?;
    let mut names = connection.prepare(NAMES)?;
    let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(trail.into_audit(names.collect::<rusqlite::Result<HashMap<_, _>>>()?))
}

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
    let mut trail = follow(connection, &mut |_| ())?;
    compare_ends(connection, &mut trail)?;
    let of_versions = compare_version_ends(connection, &mut trail)?;
    findings.extend(trail.findings());
    findings.extend(of_versions);
    Ok(findings)
}

/// Follows all chains at once.
fn follow(connection: &Connection, visit: VisitChain<'_>) -> rusqlite::Result<Trail> {
    let mut trail = Trail::default();
    let mut gone = connection.prepare(GONE)?;
    let mut gone = gone.query([])?;
    let mut next_gone = gone.next()?.map(Gone::read).transpose()?;
    let mut rows = connection.prepare(EVENTS)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        while let Some(event) = next_gone.take_if(|event| event.id < id) {
            event.pass(&mut trail);
            next_gone = gone.next()?.map(Gone::read).transpose()?;
        }
        let Some(model) = row.get::<_, Option<ModelKey>>(7)? else {
            trail.add(id, None, "another tool has added this event".to_owned(), REBUILD);
            continue;
        };
        let version_id: VersionId = row.get(8)?;
        let hash = row.get_ref(11)?.as_blob().unwrap_or_default();
        let texts = match Texts::read(row) {
            Ok(texts) => texts,
            Err(
                error @ (rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)),
            ) => {
                trail.pass(id, model, version_id, hash, format!("it can't be read: {error}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        let event = ChainedEvent { id, link: texts.link(model, row.get(9)?, version_id), hash };
        trail.follow(&event, &VersionPlace { previous: row.get(10)?, ordinal: None });
        if row.get::<_, VersionId>(1)? != version_id {
            trail.add(id, Some(model), "its version has changed".to_owned(), TAMPERED);
        }
        visit(&event);
    }
    while let Some(event) = next_gone {
        event.pass(&mut trail);
        next_gone = gone.next()?.map(Gone::read).transpose()?;
    }
    Ok(trail)
}

/// The links of an event that is gone.
struct Gone {
    id: i64,
    model: ModelKey,
    version: VersionId,
    hash: Vec<u8>,
}

impl Gone {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let hash = row.get_ref(3)?.as_blob().unwrap_or_default().to_owned();
        Ok(Self { id: row.get(0)?, model: row.get(1)?, version: row.get(2)?, hash })
    }

    fn pass(self, trail: &mut Trail) {
        trail.pass(self.id, self.model, self.version, &self.hash, "the event is gone".to_owned());
    }
}

/// The texts of a row of [`EVENTS`].
struct Texts<'r> {
    event_type: Cow<'r, str>,
    payload: Option<Cow<'r, str>>,
    actor: Option<Cow<'r, str>>,
    created_at: Cow<'r, str>,
    details: Option<Cow<'r, str>>,
}

impl<'r> Texts<'r> {
    fn read(row: &'r Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            event_type: text(row, 2)?.unwrap_or_default(),
            payload: text(row, 3)?,
            actor: text(row, 4)?,
            created_at: text(row, 5)?.unwrap_or_default(),
            details: text(row, 6)?,
        })
    }

    fn link(&self, model: ModelKey, previous: Option<i64>, version_id: VersionId) -> Link<'_> {
        Link {
            model,
            previous,
            version_id,
            event_type: &self.event_type,
            payload: self.payload.as_deref(),
            details: self.details.as_deref(),
            actor: self.actor.as_deref(),
            created_at: &self.created_at,
        }
    }
}

/// Compares the ends of the chains with what is stored as their ends.
fn compare_ends(connection: &Connection, trail: &mut Trail) -> rusqlite::Result<()> {
    let mut models = connection.prepare(HEADS)?;
    let mut models = models.query([])?;
    while let Some(row) = models.next()? {
        trail.compare_end(row.get(0)?, row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default());
    }
    trail.end();
    Ok(())
}

/// Compares the last events of versions with those that are stored as their last. Returns the first that differs.
fn compare_version_ends(connection: &Connection, trail: &mut Trail) -> rusqlite::Result<Option<Finding>> {
    let mut versions = connection.prepare("SELECT version_id, last_event_id, events FROM version_heads")?;
    let mut versions = versions.query([])?;
    let mut first = None;
    while let Some(row) = versions.next()? {
        let found = trail.compare_version_end(row.get(0)?, row.get(1)?, row.get(2)?);
        first = first.or(found);
    }
    let missing = trail.versions_without_end();
    Ok(first.or((missing > 0).then(|| Finding {
        table: "version_heads",
        id: None,
        problem: format!("the ends of the events of {missing} versions are missing"),
        remedy: REBUILD,
    })))
}
