//! The audit trail: appends events to their chains, and reads them page by page.
//!
//! An event is in two chains: the events of its version, and the events of its model, which are chained by hash too. A page
//! is read by following a chain back, from its head or from a cursor.

use std::{borrow::Cow, collections::HashMap, ops::ControlFlow};

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{
    Cursor, Event, EventDraft, EventQuery, ModelKey, Page, TrailEvent, VersionId, chain::Link,
    query::TrailQuery, trail::HashedEvent,
};

use crate::{Followed, StoreError, VisitEvents, VisitTrail};

use super::{registered, rows::text};

/// Not a join of the two tables: SQLite would prepare it again for each value of its parameters.
const HEADS: &str = "SELECT (SELECT last_event_id FROM model_heads WHERE model_key = ?1), \
    (SELECT hash FROM model_heads WHERE model_key = ?1), \
    (SELECT last_event_id FROM version_heads WHERE version_id = ?2)";
const INSERT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at, details) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const LINK: &str = "INSERT INTO event_chain VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const SET_MODEL_HEAD: &str = "INSERT INTO model_heads VALUES (?1, ?2, ?3) \
    ON CONFLICT DO UPDATE SET last_event_id = ?2, hash = ?3";
const SET_VERSION_HEAD: &str = "INSERT INTO version_heads VALUES (?1, ?2, 1) \
    ON CONFLICT DO UPDATE SET last_event_id = ?2, events = events + 1";

const ALL_BEFORE: &str = "SELECT max(event_id) FROM event_chain WHERE event_id < ?1";
const EVENT: &str =
    "SELECT id, model_id, event_type, payload_json, actor, created_at FROM model_events WHERE id = ?1";
macro_rules! trail_columns {
    () => {
        "model_events.id, model_id, event_type, payload_json, actor, model_events.created_at, details, \
         event_chain.model_key, previous_of_model, hash, \
         (SELECT name FROM registered_models WHERE id = event_chain.model_key), \
         ifnull((SELECT number FROM models WHERE id = model_id), (SELECT number FROM deleted_models WHERE id = model_id))"
    };
}
const TRAIL_EVENT: &str = concat!(
    "SELECT ",
    trail_columns!(),
    " FROM model_events JOIN event_chain ON event_id = id WHERE id = ?1"
);
/// The last of the events that one call looks at, and how many these are.
const FOLLOWED_END: &str = "SELECT max(event_id), count(*) FROM \
    (SELECT event_id FROM event_chain WHERE event_id > ?1 AND event_id <= ?2 ORDER BY event_id LIMIT ?3)";
const FOLLOWED: &str = concat!(
    "SELECT ",
    trail_columns!(),
    " FROM event_chain CROSS JOIN model_events ON id = event_id WHERE event_id > ?1 AND event_id <= ?2 \
     AND (?3 IS NULL OR event_chain.model_key = ?3) AND (?4 IS NULL OR version_id = ?4) \
     AND (?5 IS NULL OR event_type = ?5) AND (?6 IS NULL OR actor = ?6) ORDER BY event_id"
);
const NEWEST: &str = "SELECT event_id, hash FROM event_chain ORDER BY event_id DESC LIMIT 1";
const HASH: &str = "SELECT hash FROM event_chain WHERE event_id = ?1";
const VERSION: &str = "SELECT id FROM models WHERE model_key = ?1 AND number = ?2 AND number > 0 \
    UNION ALL SELECT id FROM deleted_models WHERE model_key = ?1 AND number = ?2";
/// Events that a page of the trail looks at, at most. A page of rare events may have fewer than its limit, or none, and a next one.
const MAX_SCANNED: u32 = 20_000;

/// Appends an event to the chains of its model and of its version, if it has one.
pub(super) fn append(
    connection: &Connection,
    model: ModelKey,
    version: Option<VersionId>,
    event: &EventDraft,
    actor: &str,
    created_at: &str,
) -> rusqlite::Result<()> {
    let version_id = version.unwrap_or(0);
    // Without FROM, so there is always one row.
    let (previous, last_hash, of_version): (Option<i64>, Option<Vec<u8>>, Option<i64>) = connection
        .prepare_cached(HEADS)?
        .query_row((model, version_id), |head| Ok((head.get(0)?, head.get(1)?, head.get(2)?)))?;
    let link = Link {
        model,
        previous,
        version_id,
        event_type: event.kind.as_str(),
        payload: Some(&event.payload),
        details: event.details.as_deref(),
        actor: Some(actor),
        created_at,
    };
    let hash = link.hash(last_hash.as_deref());
    connection.prepare_cached(INSERT)?.execute((
        version_id,
        link.event_type,
        link.payload,
        actor,
        created_at,
        link.details,
    ))?;
    let id = connection.last_insert_rowid();
    connection.prepare_cached(LINK)?.execute((id, model, version_id, previous, of_version, hash))?;
    connection.prepare_cached(SET_MODEL_HEAD)?.execute((model, id, hash))?;
    if version.is_some() {
        connection.prepare_cached(SET_VERSION_HEAD)?.execute((version_id, id))?;
    }
    Ok(())
}

/// Computes the chains of all events from their rows. `model_of` returns the model of an event that was in no chain.
/// Runs inside a transaction.
pub(super) fn rebuild_chains(
    connection: &Connection,
    model_of: impl Fn(VersionId) -> ModelKey,
) -> rusqlite::Result<()> {
    let known: HashMap<i64, ModelKey> = connection
        .prepare("SELECT event_id, model_key FROM event_chain")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    connection
        .execute_batch("DELETE FROM event_chain; DELETE FROM model_heads; DELETE FROM version_heads")?;
    let mut models: HashMap<ModelKey, (i64, [u8; 32])> = HashMap::new();
    let mut versions: HashMap<VersionId, (i64, u64)> = HashMap::new();
    let mut insert = connection.prepare(LINK)?;
    let mut rows = connection.prepare(
        "SELECT id, model_id, event_type, payload_json, actor, created_at, details FROM model_events ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (id, version_id): (i64, VersionId) = (row.get(0)?, row.get(1)?);
        let model = known.get(&id).copied().unwrap_or_else(|| model_of(version_id));
        let before = models.get(&model);
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
        let of_version = versions.get(&version_id).map(|(id, _)| *id);
        insert.execute((id, model, version_id, link.previous, of_version, hash))?;
        models.insert(model, (id, hash));
        if version_id != 0 {
            let (last, count) = versions.entry(version_id).or_default();
            (*last, *count) = (id, *count + 1);
        }
    }
    let mut insert = connection.prepare("INSERT INTO model_heads VALUES (?1, ?2, ?3)")?;
    for (model, (id, hash)) in models {
        insert.execute((model, id, hash))?;
    }
    let mut insert = connection.prepare("INSERT INTO version_heads VALUES (?1, ?2, ?3)")?;
    for (version, (id, count)) in versions {
        insert.execute((version, id, count))?;
    }
    Ok(())
}

/// What the events of a chain have in common.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Version(VersionId),
    Model(ModelKey),
    All,
}

/// A chain of events, which is followed back.
struct Chain<'c> {
    connection: &'c Connection,
    subject: Subject,
    /// The next event to read.
    next: Option<i64>,
}

impl<'c> Chain<'c> {
    /// Begins with the newest event, or with the one before the event `before`, whether or not that is in the chain.
    fn begin(connection: &'c Connection, subject: Subject, before: Option<i64>) -> rusqlite::Result<Self> {
        let (head, of) = match subject {
            Subject::Version(version) => {
                ("SELECT last_event_id FROM version_heads WHERE version_id = ?1", version)
            }
            Subject::Model(model) => ("SELECT last_event_id FROM model_heads WHERE model_key = ?1", model),
            Subject::All => (ALL_BEFORE, before.unwrap_or(i64::MAX)),
        };
        let next = connection.prepare_cached(head)?.query_row([of], |row| row.get(0)).optional()?.flatten();
        let mut chain = Self { connection, subject, next };
        if let Some(before) = before {
            if next.is_some_and(|head| before <= head) && chain.contains(before)? {
                chain.next = Some(before);
            }
            // An event that is in the chain is passed in one step.
            while chain.next.is_some_and(|id| id >= before) {
                chain.step()?;
            }
        }
        Ok(chain)
    }

    fn contains(&self, id: i64) -> rusqlite::Result<bool> {
        let is_in_chain = match self.subject {
            Subject::Version(_) => "SELECT version_id = ?2 FROM event_chain WHERE event_id = ?1",
            Subject::Model(_) => "SELECT model_key = ?2 FROM event_chain WHERE event_id = ?1",
            Subject::All => return Ok(false),
        };
        let (Subject::Version(of) | Subject::Model(of)) = self.subject else { return Ok(false) };
        let found =
            self.connection.prepare_cached(is_in_chain)?.query_row((id, of), |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(false))
    }

    /// Returns the next event and goes on to the one before it.
    fn step(&mut self) -> rusqlite::Result<Option<i64>> {
        let Some(id) = self.next else { return Ok(None) };
        let mut previous = self.connection.prepare_cached(match self.subject {
            Subject::Version(_) => "SELECT previous_of_version FROM event_chain WHERE event_id = ?1",
            Subject::Model(_) => "SELECT previous_of_model FROM event_chain WHERE event_id = ?1",
            Subject::All => ALL_BEFORE,
        })?;
        self.next = previous.query_row([id], |row| row.get(0)).optional()?.flatten();
        Ok(Some(id))
    }
}

/// Reads a page of a version's events.
pub(super) fn page(
    connection: &Connection,
    query: &EventQuery,
    visit: VisitEvents<'_>,
) -> Result<Page, StoreError> {
    let count = "SELECT events FROM version_heads WHERE version_id = ?1";
    let count =
        connection.prepare_cached(count)?.query_row([query.version_id], |row| row.get(0)).optional()?;
    let total: u64 = count.unwrap_or(0);
    let before = query.after.as_ref().map(|cursor| cursor.id);
    let mut chain = Chain::begin(connection, Subject::Version(query.version_id), before)?;
    for _ in 0..query.offset.min(total) {
        chain.step()?;
    }
    let mut read_event = connection.prepare_cached(EVENT)?;
    let (mut seen, mut flow, mut last) = (0, ControlFlow::Continue(()), None);
    while seen < query.limit
        && let Some(id) = chain.step()?
    {
        // The rest of the page is only counted once the visitor has broken off.
        if flow.is_continue() {
            let mut rows = read_event.query([id])?;
            if let Some(row) = rows.next()? {
                flow = visit(read(row)?);
            }
        }
        (seen, last) = (seen + 1, Some(id));
    }
    let next = chain.next.and(last).map(|id| Cursor::at(EventQuery::LIST_NAME, id));
    Ok(Page { total: Some(total), next })
}

/// Reads a page of the trail.
pub(super) fn trail(
    connection: &Connection,
    query: &TrailQuery,
    visit: VisitTrail<'_>,
) -> Result<Page, StoreError> {
    let (_, Some(subject)) = subject(connection, query)? else {
        return Ok(Page { total: None, next: None });
    };
    let mut chain = Chain::begin(connection, subject, query.before)?;
    let mut read_event = connection.prepare_cached(TRAIL_EVENT)?;
    let (mut seen, mut scanned, mut last) = (0, 0, None);
    while seen < query.limit
        && scanned < MAX_SCANNED
        && let Some(id) = chain.step()?
    {
        (scanned, last) = (scanned + 1, Some(id));
        let mut rows = read_event.query([id])?;
        let Some(row) = rows.next()? else { continue };
        let passes = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        if passes(&query.event_type, text(row, 2)?.as_deref())
            && passes(&query.actor, text(row, 4)?.as_deref())
        {
            seen += 1;
            if visit(read_trail(row)?).is_break() {
                break;
            }
        }
    }
    let next = chain.next.and(last).map(|id| Cursor::at(TrailQuery::LIST_NAME, id));
    Ok(Page { total: None, next })
}

/// Returns the model that a query names, and what its events have in common; `None` if there is no such model or version.
fn subject(
    connection: &Connection,
    query: &TrailQuery,
) -> rusqlite::Result<(Option<ModelKey>, Option<Subject>)> {
    let Some(name) = &query.model else {
        return Ok((None, query.number.is_none().then_some(Subject::All)));
    };
    let Some(model) = registered::key_ever(connection, name)? else { return Ok((None, None)) };
    let Some(number) = query.number else { return Ok((Some(model), Some(Subject::Model(model)))) };
    let mut version = connection.prepare_cached(VERSION)?;
    let version = version.query_row((model, number), |row| row.get(0)).optional()?;
    Ok((Some(model), version.map(Subject::Version)))
}

/// Visits what follows an event, in order.
pub(super) fn follow(
    connection: &Connection,
    query: &TrailQuery,
    visit: VisitTrail<'_>,
) -> Result<Followed, StoreError> {
    let (after, until) = (query.after.unwrap_or(0), query.until.unwrap_or(i64::MAX));
    let (model, subject) = subject(connection, query)?;
    let (end, scanned): (Option<i64>, u32) = connection
        .prepare_cached(FOLLOWED_END)?
        .query_row((after, until, MAX_SCANNED), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let end = end.unwrap_or(after);
    let all = Followed { through: end, has_more: scanned == MAX_SCANNED, model };
    let (model_key, version) = match subject {
        None => return Ok(all),
        Some(Subject::All) => (None, None),
        Some(Subject::Model(model)) => (Some(model), None),
        Some(Subject::Version(version)) => (None, Some(version)),
    };
    let mut rows = connection.prepare_cached(FOLLOWED)?;
    let mut rows = rows.query((after, end, model_key, version, &query.event_type, &query.actor))?;
    let (mut seen, mut through) = (0, after);
    while let Some(row) = rows.next()? {
        if seen == query.limit {
            return Ok(Followed { through, has_more: true, model });
        }
        (seen, through) = (seen + 1, row.get(0)?);
        if visit(read_trail(row)?).is_break() {
            return Ok(Followed { through, has_more: all.has_more || through < end, model });
        }
    }
    Ok(all)
}

/// Returns the newest event.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Option<HashedEvent>> {
    connection.prepare_cached(NEWEST)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Returns the hash of an event.
pub(super) fn hash(connection: &Connection, id: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached(HASH)?.query_row([id], |row| row.get(0)).optional()
}

fn read_trail<'r>(row: &'r Row<'_>) -> rusqlite::Result<TrailEvent<'r>> {
    Ok(TrailEvent {
        event: read(row)?,
        has_payload: text(row, 3)?.is_some(),
        details: text(row, 6)?,
        model: row.get(7)?,
        previous: row.get(8)?,
        hash: Cow::Owned(row.get(9)?),
        model_name: text(row, 10)?,
        number: row.get(11)?,
    })
}

fn read<'r>(row: &'r Row<'_>) -> rusqlite::Result<Event<'r>> {
    Ok(Event {
        id: row.get(0)?,
        version_id: row.get(1)?,
        event_type: text(row, 2)?.unwrap_or_default(),
        payload: text(row, 3)?.unwrap_or(Cow::Borrowed("null")),
        actor: text(row, 4)?,
        created_at: text(row, 5)?.unwrap_or_default(),
    })
}
