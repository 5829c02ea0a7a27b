//! Comparison, counts, and the load of the server.

use actix_web::HttpResponse;
use serde_json::json;

use super::{
    super::{openapi::DoesNotFit, request::Call},
    Answer,
    answer::{self, ObjectWriter, write_counts},
    rows::Versions,
    schema::{self, CompareParameters, Queue},
};

/// Versions that one call compares at most.
const MOST_COMPARED: usize = 200;

/// Compare versions
#[utoipa::path(
    get,
    path = "/compare",
    operation_id = "compare_models",
    params(CompareParameters),
    responses(
        (status = 200, description = "The versions, in three orders.", body = schema::Comparison),
        DoesNotFit,
    ),
)]
pub(super) async fn compare(mut call: Call) -> Answer {
    let ids = call.query_ids("ids", MOST_COMPARED);
    call.check()?;
    let versions = Versions::compared(call.registry(), ids, call.app.options.expose_local_paths).await?;
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
    let stats = call.registry().stats().await?;
    let mut body = Vec::new();
    let mut object = ObjectWriter::begin(&mut body);
    object.key("total_models");
    object.out.extend_from_slice(stats.total_models.to_string().as_bytes());
    object.key("by_status");
    write_counts(object.out, &stats.by_status);
    object.key("by_name");
    write_counts(object.out, &stats.by_name);
    object.end();
    answer::json(body)
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
    let queues: serde_json::Map<_, _> = call
        .registry()
        .queue_depths()
        .into_iter()
        .map(|queue| (queue.queue.to_owned(), json!({ "depth": queue.depth, "capacity": queue.capacity })))
        .collect();
    Ok(HttpResponse::Ok().json(queues))
}
