//! Comparison, counts, and the load of the server.

use actix_web::HttpResponse;
use serde_json::{Map, json};

use crate::domain::Stats;

use super::{
    super::{
        answer::{self, Answer},
        openapi::DoesNotFit,
        request::Call,
        rows::Versions,
    },
    schema::{self, Queue},
};

/// The maximum number of versions that one call compares.
const MAX_COMPARED: usize = 200;

/// Compare versions
#[utoipa::path(
    get,
    path = "/compare",
    operation_id = "compare_models",
    params(
        ("ids" = Vec<i64>, Query, style = Form, explode = false, min_items = 1, max_items = 200, example = json!([1, 2]),
            description = "Ids of versions, separated by commas, at most 200. Unknown ids are left out of the answer."),
    ),
    responses(
        (status = 200, description = "The versions, in three orders.", body = schema::Comparison),
        DoesNotFit,
    ),
)]
pub(super) async fn compare(mut call: Call) -> Answer {
    let ids = call.query_ids("ids", MAX_COMPARED);
    call.check()?;
    let versions = Versions::compared(&call.app, call.form(), ids).await?;
    Ok(answer::rows(&call, versions))
}

/// Count versions
#[utoipa::path(
    get,
    path = "/stats",
    operation_id = "get_stats",
    responses((status = 200, description = "The counts.", body = schema::Stats)),
)]
pub(super) async fn stats(call: Call) -> Answer {
    let Stats { total_models, by_status, by_name } = call.registry().read(|store| store.stats()).await?;
    let stats = schema::Stats { total_models, by_status, by_name };
    answer::json(serde_json::to_vec(&stats).unwrap_or_default())
}

/// Get the load of the server
///
/// The jobs that wait in each of its queues, and how many may wait.
#[utoipa::path(
    get,
    path = "/queues",
    operation_id = "get_queues",
    responses((status = 200, description = "The queues by name.", body = inline(BTreeMap<String, Queue>))),
)]
pub(super) async fn queues(call: Call) -> Answer {
    let depths = call.registry().queue_depths().into_iter();
    let queues: Map<_, _> = depths
        .map(|queue| (queue.queue.to_owned(), json!(Queue { depth: queue.depth, capacity: queue.capacity })))
        .collect();
    Ok(HttpResponse::Ok().json(queues))
}
