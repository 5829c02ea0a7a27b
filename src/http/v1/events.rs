//! `/v1/events`: the audit trail.

use crate::domain::{EventQuery, query::TrailQuery};

use super::{
    super::{
        answer::{self, Answer},
        openapi::{BadCursor, DoesNotFit},
        request::Call,
        rows::{EventList, Events},
    },
    schema::EventPageV1,
};

/// List the audit trail
///
/// The newest event first. Events stay when what they are about is deleted. A page that looks for rare events may have fewer than
/// `limit`, or none, and yet a next one.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "v1_list_events",
    params(
        ("model" = Option<String>, Query, min_length = 1, description = "Only events of the model that has, or had last, this name."),
        ("version" = Option<i64>, Query, description = "Only events of the version of this model with this number. It needs `model`."),
        ("type" = Option<String>, Query, min_length = 1, description = "Only events of this type."),
        ("actor" = Option<String>, Query, min_length = 1, description = "Only events of this actor."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Events on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of events.", body = EventPageV1),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let query = TrailQuery {
        model: call.query_not_empty("model"),
        number: call.query("version"),
        event_type: call.query_not_empty("type"),
        actor: call.query_not_empty("actor"),
        limit: call.limit(EventQuery::DEFAULT_LIMIT, EventQuery::MAX_LIMIT),
        before: None,
    };
    if query.number.is_some() && query.model.is_none() {
        call.refuse("query", "version", "Input needs a model; add the parameter model");
    }
    let after = call.cursor(TrailQuery::LIST_NAME, 0);
    call.check()?;
    let query = TrailQuery { before: after?.map(|cursor| cursor.id), ..query };
    let (events, _) = Events::list(&call.app, EventList::Trail(query)).await?;
    Ok(answer::rows(&call, events))
}
