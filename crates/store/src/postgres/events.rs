//! The audit trail, read page by page.

use std::{borrow::Cow, ops::ControlFlow};

use tokio_postgres::{Row, types::Type};

use registry_domain::{
    Cursor, Event, EventQuery, ModelKey, Page, TrailEvent, query::TrailQuery, trail::HashedEvent,
};

use crate::{Followed, VisitEvents, VisitTrail};

use super::{
    connection::{Connection, Connector, Parameter, Request},
    error::Failure,
    horizon,
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
/// The columns of an event of the trail, in the order in which [`trail_event`] reads them.
const TRAIL_COLUMNS: &str = "id, model_id, event_type, payload_json, actor, created_at, details, model_key, \
    previous_of_model, hash, (SELECT name FROM registered_models WHERE registered_models.id = model_key), \
    coalesce((SELECT number FROM models WHERE models.id = model_id), \
        (SELECT number FROM deleted_models WHERE deleted_models.id = model_id))";
const NEWEST: &str = "SELECT id, hash FROM model_events WHERE id <= $1 ORDER BY id DESC LIMIT 1";
const HASH: &str = "SELECT hash FROM model_events WHERE id = $1";
/// The last of the events that one call looks at, and how many these are.
const FOLLOWED_END: &str = "SELECT max(id), count(*) FROM \
    (SELECT id FROM model_events WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3) AS scanned";

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
    let page = match subject(connection, query)?.1 {
        Some(subject) => trail_of(connection, query, subject, visit)?,
        None => Page { total: None, next: None },
    };
    connection.batch("COMMIT")?;
    Ok(page)
}

/// What a query selects events by: a column with a comparison, and its value.
type Subject = (&'static str, i64);

/// Returns the model that a query names, and what its events have in common: any event has an id above 0. `None` if there is no
/// such model or version.
fn subject(
    connection: &mut Connection,
    query: &TrailQuery,
) -> Result<(Option<ModelKey>, Option<Subject>), Failure> {
    let id = |rows: Vec<Row>| rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
    let Some(name) = &query.model else {
        return Ok((None, query.number.is_none().then_some(("id >=", i64::MIN))));
    };
    let name = super::text::encoded(name);
    let Some(model) = id(connection.one(KEY_EVER, &[(&name, Type::TEXT)])?)? else { return Ok((None, None)) };
    let Some(number) = query.number else { return Ok((Some(model), Some(("model_key =", model)))) };
    let version = id(connection.one(VERSION, &[(&model, Type::INT8), (&number, Type::INT8)])?)?;
    Ok((Some(model), version.map(|version| ("model_id =", version))))
}

/// Visits what follows an event, in order, as far as the trail is complete.
pub(super) fn follow(
    connection: &mut Connection,
    connector: &Connector,
    query: &TrailQuery,
    visit: VisitTrail<'_>,
) -> Result<Followed, Failure> {
    let after = query.after.unwrap_or(0);
    let until = horizon::complete(connection, connector, after)?.min(query.until.unwrap_or(i64::MAX));
    connection.batch(BEGIN_SNAPSHOT)?;
    let (model, subject) = subject(connection, query)?;
    let bounds: [Parameter<'_>; 3] = [(&after, Type::INT8), (&until, Type::INT8), (&MAX_SCANNED, Type::INT8)];
    let scanned = connection.one(FOLLOWED_END, &bounds)?;
    let (end, scanned) = match scanned.first() {
        Some(row) => (row.try_get::<_, Option<i64>>(0)?, row.try_get::<_, i64>(1)?),
        None => (None, 0),
    };
    let end = end.unwrap_or(after);
    let mut followed = Followed { through: end, has_more: scanned == MAX_SCANNED, model };
    if let Some(subject) = subject.filter(|_| end > after) {
        follow_to(connection, query, subject, end, &mut followed, visit)?;
    }
    connection.batch("COMMIT")?;
    Ok(followed)
}

fn follow_to(
    connection: &mut Connection,
    query: &TrailQuery,
    (column, subject): Subject,
    end: i64,
    followed: &mut Followed,
    visit: VisitTrail<'_>,
) -> Result<(), Failure> {
    let mut values = Values::default();
    let mut conditions = vec![
        format!("{column} {}", values.bind(Value::integer(subject))),
        format!("id > {}", values.bind(Value::integer(query.after.unwrap_or(0)))),
        format!("id <= {}", values.bind(Value::integer(end))),
    ];
    for (column, value) in [("event_type", &query.event_type), ("actor", &query.actor)] {
        if let Some(value) = value {
            conditions.push(format!("{column} = {}", values.bind(Value::text(value))));
        }
    }
    let limit = values.bind(Value::integer(i64::from(query.limit) + 1));
    let sql = format!(
        "SELECT {TRAIL_COLUMNS} FROM model_events WHERE {} ORDER BY id LIMIT {limit}",
        conditions.join(" AND ")
    );
    let (mut seen, mut through) = (0, query.after.unwrap_or(0));
    connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
        if seen == query.limit {
            (followed.through, followed.has_more) = (through, true);
            return Ok(ControlFlow::Break(()));
        }
        (seen, through) = (seen + 1, row.try_get(0)?);
        let flow = visit(trail_event(row)?);
        if flow.is_break() {
            (followed.through, followed.has_more) = (through, followed.has_more || through < end);
        }
        Ok(flow)
    })
}

/// Returns the newest event up to which the trail is complete.
pub(super) fn newest(
    connection: &mut Connection,
    connector: &Connector,
) -> Result<Option<HashedEvent>, Failure> {
    let until = horizon::complete(connection, connector, i64::MAX)?;
    let rows = connection.one(NEWEST, &[(&until, Type::INT8)])?;
    rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Returns the hash of an event.
pub(super) fn hash(connection: &mut Connection, id: i64) -> Result<Option<Vec<u8>>, Failure> {
    let rows = connection.one(HASH, &[(&id, Type::INT8)])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

fn trail_of(
    connection: &mut Connection,
    query: &TrailQuery,
    (column, subject): Subject,
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
        "SELECT {TRAIL_COLUMNS} FROM (SELECT * FROM ({newest}) AS scanned{filter}{} ORDER BY id DESC LIMIT {limit}) AS found ORDER BY id DESC",
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
        has_payload: text(row, 3)?.is_some(),
        details: text(row, 6)?,
        model: row.try_get(7)?,
        previous: row.try_get(8)?,
        hash: Cow::Borrowed(row.try_get(9)?),
        model_name: text(row, 10)?,
        number: row.try_get(11)?,
    })
}
