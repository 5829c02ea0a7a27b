//! The audit trail's statements.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{Cursor, Event, EventQuery, Page, query::CursorKey};

use crate::{StoreError, VisitEvent};

use super::models::{answerable, integer, text};

pub(super) const INSERT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, \
    created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
/// Events of one version that are counted; beyond, a page comes without a total.
const MAX_COUNTED: u64 = 10_000;
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM model_events WHERE model_id = ?1 LIMIT ?2)";
const PAGE: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at FROM model_events \
    WHERE model_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
/// The last event that is passed over; in the index alone, so that no payload is read for nothing.
const LAST_PASSED: &str =
    "SELECT id FROM model_events WHERE model_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3";

pub(super) fn page(
    connection: &Connection,
    query: &EventQuery,
    visit: VisitEvent<'_>,
) -> Result<Page, StoreError> {
    let counted: u64 =
        connection.prepare_cached(COUNT)?.query_row((query.model_id, MAX_COUNTED + 1), |row| row.get(0))?;
    let total = (counted <= MAX_COUNTED).then_some(counted);
    let mut before = query.after.as_ref().map_or(i64::MAX, |cursor| cursor.id);
    if let Some(passed) = query.offset.checked_sub(1) {
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let last = connection
            .prepare_cached(LAST_PASSED)?
            .query_row((query.model_id, before, passed), |row| row.get(0))
            .optional()?;
        let Some(last) = last else { return Ok(Page { total, next: None }) };
        before = last;
    }
    let mut statement = connection.prepare_cached(PAGE)?;
    // One more than asked for tells whether there is a next page.
    let mut rows = statement.query((query.model_id, before, i64::from(query.limit) + 1))?;
    let (mut seen, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if seen == query.limit {
            let list = EventQuery::LIST_NAME.to_owned();
            let next = last.map(|id| Cursor { list, key: CursorKey::Integer(None), id });
            return Ok(Page { total, next });
        }
        let event = read(row)?;
        (seen, last) = (seen + 1, Some(event.id));
        visit(event);
    }
    Ok(Page { total, next: None })
}

fn read<'r>(row: &'r Row<'_>) -> rusqlite::Result<Event<'r>> {
    Ok(Event {
        id: row.get(0)?,
        model_id: integer(row.get_ref(1)?).unwrap_or_default(),
        event_type: text(row.get_ref(2)?).unwrap_or_default(),
        payload: text(row.get_ref(3)?).and_then(answerable).unwrap_or(Cow::Borrowed("null")),
        actor: text(row.get_ref(4)?),
        created_at: text(row.get_ref(5)?).unwrap_or_default(),
    })
}
