//! `/models/{id}/events`: the audit trail of a version.

use crate::domain::EventQuery;

use super::{
    super::{
        answer::{self, Answer},
        openapi::{BadCursor, DoesNotFit},
        request::Call,
        rows::{EventList, Events},
    },
    schema::{ById, EventPage},
};

/// List the changes of a version
///
/// The newest first. Events stay when the version is deleted. An id that never existed has no events.
#[utoipa::path(
    get,
    path = "/models/{model_id}/events",
    operation_id = "list_events",
    params(
        ById,
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Events on a page, by default 100."),
        ("offset" = Option<i64>, Query, minimum = 0, description = "Events to skip."),
        ("cursor" = Option<String>, Query,
            description = "The end of the previous page, from its `Link` header. It excludes an offset."),
    ),
    responses(
        EventPage,
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let model_id = call.model_id();
    let limit = call.limit(EventQuery::DEFAULT_LIMIT, EventQuery::MAX_LIMIT);
    let offset = call.query_integer("offset", 0, i64::MAX).unwrap_or_default();
    call.check()?;
    let after = call.cursor(EventQuery::LIST_NAME, offset)?;
    let query = EventQuery { version_id: model_id, limit, offset: offset.unsigned_abs(), after };
    let (events, page) = Events::list(&call.app, EventList::OfVersion(query)).await?;
    Ok(answer::page(&call, events, &page))
}
