//! `/v1/events`: the audit trail.

use actix_web::http::header::HeaderName;

use crate::domain::{EventQuery, Refusal, query::TrailQuery, trail::TrailPosition};

use super::{
    super::{
        answer::{self, Answer},
        json,
        openapi::{BadCursor, DoesNotFit},
        request::Call,
        rows::{EventList, Events, WriteEvent},
    },
    follow::{self, EVENT_STREAM},
    schema::{EventPageV1, EventRecordPage},
};

/// The last event that a client of a stream has, when it comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// List the audit trail, or follow it
///
/// The newest event first or, with `after`, what follows an event, in order. Events stay when what they are about is deleted. A
/// page that looks for rare events may have fewer than `limit`, or none, and yet a next one.
///
/// With `Accept: text/event-stream` the answer is a stream of server-sent events that goes on: what follows `Last-Event-ID` or
/// `after`, else what happens from now on, in order and without a gap. The `data` of each is an event as on a page, and its `id`
/// is where to go on after it. `limit` and `cursor` are for pages.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "v1_list_events",
    params(
        ("model" = Option<String>, Query, min_length = 1, description = "Only events of the model that has, or had last, this name."),
        ("version" = Option<i64>, Query, description = "Only events of the version of this model with this number. It needs `model`."),
        ("type" = Option<String>, Query, min_length = 1, description = "Only events of this type."),
        ("actor" = Option<String>, Query, min_length = 1, description = "Only events of this actor."),
        ("after" = Option<String>, Query, pattern = "^(0|[1-9][0-9]{0,17})(-[0-9a-f]{16})?$",
            description = "Only events after this one, in order: an id, or the `id` of a stream. 0 is the beginning."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Events on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
        ("Last-Event-ID" = Option<String>, Header, description = "For a stream: the `id` of the last event that the client has. It replaces `after`."),
    ),
    responses(
        (status = 200, description = "A page of events, or a stream.", content(
            (EventPageV1 = "application/json"), (String = "text/event-stream"),
        )),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let mut query = TrailQuery {
        model: call.query_not_empty("model"),
        number: call.query("version"),
        event_type: call.query_not_empty("type"),
        actor: call.query_not_empty("actor"),
        ..TrailQuery::default()
    };
    if query.number.is_some() && query.model.is_none() {
        call.refuse("query", "version", "Input needs a model; add the parameter model");
    }
    let mut after = after(&mut call);
    if call.accepts(EVENT_STREAM) {
        call.check()?;
        after = last_event_id(&call)?.or(after);
        if let Some(position) = after {
            follow::check(&call.app, position).await?;
        }
        return follow::answer(&call, query, after).await;
    }
    query.limit = call.limit(EventQuery::DEFAULT_LIMIT, EventQuery::MAX_LIMIT);
    match after {
        Some(after) => in_order(&mut call, query, after, json::v1::write_event).await,
        None => {
            let before = call.cursor(TrailQuery::LIST_NAME, 0);
            call.check()?;
            let query = TrailQuery { before: before?.map(|cursor| cursor.id), ..query };
            let (events, _) = Events::list(&call.app, EventList::Trail(query)).await?;
            Ok(answer::rows(&call, events))
        }
    }
}

/// List the audit trail as its hashes cover it
///
/// Everything that an event's hash covers, byte for byte, in order from the first event. So a client can verify the chain of each
/// model, and keep a copy that proves later changes.
#[utoipa::path(
    get,
    path = "/v1/events/records",
    operation_id = "v1_list_event_records",
    params(
        ("after" = Option<String>, Query, pattern = "^(0|[1-9][0-9]{0,17})(-[0-9a-f]{16})?$",
            description = "Only events after this one: an id, or the `id` of a stream. By default 0, the beginning."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Events on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of events.", body = EventRecordPage),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn records(mut call: Call) -> Answer {
    let after = after(&mut call).unwrap_or_default();
    let limit = call.limit(EventQuery::DEFAULT_LIMIT, EventQuery::MAX_LIMIT);
    let query = TrailQuery { limit, ..TrailQuery::default() };
    in_order(&mut call, query, after, json::v1::write_record).await
}

/// Answers with a page of what follows an event.
async fn in_order(call: &mut Call, query: TrailQuery, after: TrailPosition, write: WriteEvent) -> Answer {
    let cursor = call.cursor(TrailQuery::LIST_NAME_IN_ORDER, 0);
    call.check()?;
    follow::check(&call.app, after).await?;
    let after = cursor?.map_or(after.id, |cursor| cursor.id);
    let query = TrailQuery { after: Some(after), ..query };
    let (events, _) = Events::list(&call.app, EventList::InOrder(query, write)).await?;
    Ok(answer::rows(call, events))
}

/// Reads the parameter `after`.
fn after(call: &mut Call) -> Option<TrailPosition> {
    let text = call.query_not_empty("after").filter(|text| !text.is_empty())?;
    text.parse().map_err(|why: &str| call.refuse("query", "after", why)).ok()
}

/// Reads the header of a client that comes back.
fn last_event_id(call: &Call) -> Result<Option<TrailPosition>, Refusal> {
    let Some(text) = call.header(LAST_EVENT_ID).filter(|text| !text.is_empty()) else { return Ok(None) };
    let position = text.parse().map_err(|why| Refusal::Invalid(format!("Last-Event-ID: {why}")));
    position.map(Some)
}
