//! The audit trail: adds events, and reads them page by page.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{Cursor, Event, EventQuery, Page, query::CursorKey};

use crate::{StoreError, VisitEvents};

use super::rows::text;

pub(super) const INSERT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, \
    created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
/// The maximum number of events of a version that are counted. A page of a longer trail has no total.
const MAX_COUNTED: u64 = 10_000;
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM model_events WHERE model_id = ?1 LIMIT ?2)";
const PAGE: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at FROM model_events \
    WHERE model_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
/// Events after a given one, from the index alone.
const IDS: &str = "SELECT id FROM model_events WHERE model_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
/// The last event that an offset skips; from the index alone, so that no payload is read.
const LAST_SKIPPED: &str =
    "SELECT id FROM model_events WHERE model_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3";

pub(super) fn page(
    connection: &Connection,
    query: &EventQuery,
    visit: VisitEvents<'_>,
) -> Result<Page, StoreError> {
    let counted: u64 =
        connection.prepare_cached(COUNT)?.query_row((query.version_id, MAX_COUNTED + 1), |row| row.get(0))?;
    let total = (counted <= MAX_COUNTED).then_some(counted);
    let mut before = query.after.as_ref().map_or(i64::MAX, |cursor| cursor.id);
    if let Some(passed) = query.offset.checked_sub(1) {
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let last = connection
            .prepare_cached(LAST_SKIPPED)?
            .query_row((query.version_id, before, passed), |row| row.get(0))
            .optional()?;
        let Some(last) = last else { return Ok(Page { total, next: None }) };
        before = last;
    }
    let mut statement = connection.prepare_cached(PAGE)?;
    // One more than the limit shows if there is a next page.
    let mut rows = statement.query((query.version_id, before, i64::from(query.limit) + 1))?;
    let (mut seen, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if seen == query.limit {
            return Ok(Page { total, next: last.map(cursor) });
        }
        let event = read(row)?;
        let id = event.id;
        (seen, last) = (seen + 1, Some(id));
        if visit(event).is_break() {
            return Ok(Page { total, next: next(connection, query, id, query.limit - seen)? });
        }
    }
    Ok(Page { total, next: None })
}

/// Returns the cursor of a page with `left` more events after the event `last`; `None` if no page follows.
fn next(
    connection: &Connection,
    query: &EventQuery,
    last: i64,
    left: u32,
) -> Result<Option<Cursor>, StoreError> {
    let mut ids = connection.prepare_cached(IDS)?;
    let ids = ids.query_map((query.version_id, last, i64::from(left) + 1), |row| row.get(0))?;
    let ids = ids.collect::<rusqlite::Result<Vec<i64>>>()?;
    let follows = ids.len() > left as usize;
    let last = ids.get((left as usize).wrapping_sub(1)).copied().unwrap_or(last);
    Ok(follows.then(|| cursor(last)))
}

fn cursor(id: i64) -> Cursor {
    Cursor { list: EventQuery::LIST_NAME.to_owned(), key: CursorKey::Integer(None), id }
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
