//! The audit trail, read page by page.

use std::{borrow::Cow, ops::ControlFlow};

use tokio_postgres::{Row, types::Type};

use registry_domain::{Cursor, Event, EventQuery, Page, TrailEvent, query::TrailQuery};

use crate::{VisitEvents, VisitTrail};

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    lists::{BEGIN_SNAPSHOT, number},
    rows::{Value, Values, text},
};

const COUNT: &str = "SELECT coalesce((SELECT ordinal FROM model_events WHERE model_id = $1 \
    ORDER BY id DESC LIMIT 1), 0)";
const EVENTS: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at FROM model_events \
    WHERE model_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3 OFFSET $4";
/// The model that has this name, or had it last.
const KEY_EVER: &str = "SELECT id FROM registered_models WHERE name = $1 \
    ORDER BY deleted_at IS NULL DESC, deleted_at DESC, id DESC LIMIT 1";
const VERSION: &str = "SELECT id FROM models WHERE model_key = $1 AND number = $2 \
    UNION ALL SELECT id FROM deleted_models WHERE model_key = $1 AND number = $2";
/// Events that a page of the trail looks at, at most. A page of rare events may have fewer than its limit, or none, and a next one.
const MAX_SCANNED: i64 = 20_000;

/// Visits a page of a version's events, newest first.
pub(super) fn page(
    connection: &mut Connection,
    query: &EventQuery,
    visit: VisitEvents<'_>,
) -> Result<Page, Failure> {
    connection.batch(BEGIN_SNAPSHOT)?;
    let total = number(connection, COUNT, &[(&query.version_id, Type::INT8)])?;
    let before = query.after.as_ref().map_or(i64::MAX, |cursor| cursor.id);
    let (limit, offset) = (i64::from(query.limit) + 1, i64::try_from(query.offset).unwrap_or(i64::MAX));
    let parameters: [Parameter<'_>; 4] =
        [(&query.version_id, Type::INT8), (&before, Type::INT8), (&limit, Type::INT8), (&offset, Type::INT8)];
    let (mut seen, mut last, mut next, mut stopped) = (0, 0, None, false);
    connection.each(&Request::prepared(EVENTS, &parameters), &mut |row| {
        if seen == query.limit {
            next = Some(Cursor::at(EventQuery::LIST_NAME, last));
            return Ok(ControlFlow::Break(()));
        }
        (seen, last) = (seen + 1, row.try_get(0)?);
        // The page is described to its end, even if nothing more is visited.
        stopped = stopped || visit(event(row)?).is_break();
        Ok(ControlFlow::Continue(()))
    })?;
    connection.batch("COMMIT")?;
    Ok(Page { total: Some(total), next })
}

/// Visits a page of the trail, newest first.
pub(super) fn trail(
    connection: &mut Connection,
    query: &TrailQuery,
    visit: VisitTrail<'_>,
) -> Result<Page, Failure> {
    connection.batch(BEGIN_SNAPSHOT)?;
    let page = match subject(connection, query)? {
        Some(subject) => trail_of(connection, query, subject, visit)?,
        None => Page { total: None, next: None },
    };
    connection.batch("COMMIT")?;
    Ok(page)
}

/// Returns the column by which the events are selected, and its value: any event has an id above 0. `None` if there is no such
/// model or version.
fn subject(connection: &mut Connection, query: &TrailQuery) -> Result<Option<(&'static str, i64)>, Failure> {
    let id = |rows: Vec<Row>| rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
    let model = match &query.model {
        None => None,
        Some(name) => {
            let name = super::text::encoded(name);
            let Some(model) = id(connection.one(KEY_EVER, &[(&name, Type::TEXT)])?)? else { return Ok(None) };
            Some(model)
        }
    };
    Ok(match (query.number, model) {
        (Some(number), Some(model)) => {
            let version = id(connection.one(VERSION, &[(&model, Type::INT8), (&number, Type::INT8)])?)?;
            version.map(|version| ("model_id =", version))
        }
        (Some(_), None) => None,
        (None, Some(model)) => Some(("model_key =", model)),
        (None, None) => Some(("id >=", i64::MIN)),
    })
}

fn trail_of(
    connection: &mut Connection,
    query: &TrailQuery,
    (column, subject): (&str, i64),
    visit: VisitTrail<'_>,
) -> Result<Page, Failure> {
    let mut values = Values::default();
    let subject = values.bind(Value::integer(subject));
    let before = values.bind(Value::integer(query.before.unwrap_or(i64::MAX)));
    let scanned = format!(
        "SELECT * FROM model_events WHERE {column} {subject} AND id < {before} ORDER BY id DESC LIMIT {MAX_SCANNED}"
    );
    let (newest, counted) = (scanned, values.clone());
    let mut conditions = Vec::new();
    for (column, value) in [("event_type", &query.event_type), ("actor", &query.actor)] {
        if let Some(value) = value {
            conditions.push(format!("{column} = {}", values.bind(Value::text(value))));
        }
    }
    let filter = if conditions.is_empty() { "" } else { " WHERE " };
    let limit = values.bind(Value::integer(i64::from(query.limit) + 1));
    let sql = format!(
        "SELECT id, model_id, event_type, payload_json, actor, created_at, details, model_key, previous_of_model, \
         hash, (SELECT name FROM registered_models WHERE registered_models.id = model_key), \
         coalesce((SELECT number FROM models WHERE models.id = model_id), \
             (SELECT number FROM deleted_models WHERE deleted_models.id = model_id)) \
         FROM (SELECT * FROM ({newest}) AS scanned{filter}{} ORDER BY id DESC LIMIT {limit}) AS found ORDER BY id DESC",
        conditions.join(" AND ")
    );
    let (mut seen, mut last, mut next, mut stopped) = (0, 0, None, false);
    connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
        if stopped || seen == query.limit {
            next = Some(Cursor::at(TrailQuery::LIST_NAME, last));
            return Ok(ControlFlow::Break(()));
        }
        (seen, last) = (seen + 1, row.try_get(0)?);
        stopped = visit(trail_event(row)?).is_break();
        Ok(ControlFlow::Continue(()))
    })?;
    if next.is_none() && !stopped && !conditions.is_empty() {
        // The page is short; there may be more beyond the events that it has looked at.
        let sql = format!("SELECT count(*), min(id) FROM ({newest}) AS scanned");
        connection.each(&Request::unprepared(&sql, &counted.parameters()), &mut |row| {
            if row.try_get::<_, i64>(0)? == MAX_SCANNED {
                next = row.try_get::<_, Option<i64>>(1)?.map(|id| Cursor::at(TrailQuery::LIST_NAME, id));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(Page { total: None, next })
}

fn event(row: &Row) -> Result<Event<'_>, Failure> {
    Ok(Event {
        id: row.try_get(0)?,
        version_id: row.try_get(1)?,
        event_type: text(row, 2)?.unwrap_or_default(),
        payload: text(row, 3)?.unwrap_or(Cow::Borrowed("null")),
        actor: text(row, 4)?,
        created_at: text(row, 5)?.unwrap_or_default(),
    })
}

fn trail_event(row: &Row) -> Result<TrailEvent<'_>, Failure> {
    Ok(TrailEvent {
        event: event(row)?,
        details: text(row, 6)?,
        model: row.try_get(7)?,
        previous: row.try_get(8)?,
        hash: Cow::Borrowed(row.try_get(9)?),
        model_name: text(row, 10)?,
        number: row.try_get(11)?,
    })
}
