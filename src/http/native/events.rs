//! `/models/{id}/events`: the audit trail of a version.

use crate::domain::{Event, EventQuery};

use super::{
    super::request::Call,
    Answer,
    answer::{List, write_event},
};

pub(super) async fn list(mut call: Call) -> Answer {
    let model_id = call.model_id();
    let limit = call.query_integer("limit", 1, EventQuery::MAX_LIMIT).unwrap_or(EventQuery::DEFAULT_LIMIT);
    let offset = call.query_integer("offset", 0, i64::MAX).unwrap_or_default();
    call.settle()?;
    let after = call.cursor(EventQuery::LIST_NAME, offset)?;
    // The limit was checked to be small.
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let query = EventQuery { model_id, limit, offset: offset.unsigned_abs(), after };
    let add = |list: &mut List, event: &Event<'_>| write_event(list.row(), event);
    let (page, list) = call.registry().events(query, List::new(), add).await?;
    Ok(list.into_page(&call, &page))
}
