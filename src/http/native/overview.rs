//! Versions side by side, counts, and how busy the server is.

use actix_web::HttpResponse;
use serde_json::json;

use crate::domain::{Comparison, Contender, ModelRow};

use super::{
    super::{lenient, openapi::DoesNotFit, request::Call},
    Answer,
    answer::{self, List, ObjectWriter, write_counts, write_model},
    schema::{self, CompareParameters, Queue},
};

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
    let text = call.required_query("ids").unwrap_or_default();
    let ids: Result<Vec<_>, _> = text.split(',').map(lenient::integer_text).collect();
    let ids = match ids {
        Ok(ids) => ids,
        Err(kind) => {
            if call.query("ids").is_some() {
                call.fault_in_query(kind, "ids", text.into());
            }
            Vec::new()
        }
    };
    call.settle()?;
    let expose = call.app.expose_local_paths;
    // Each version is written once and stands in the answer four times.
    let add = move |rows: &mut Vec<(Contender, Vec<u8>)>, model: &ModelRow<'_>| {
        let mut row = Vec::new();
        write_model(&mut row, model, expose);
        rows.push((Contender::of(model), row));
    };
    let rows = call.registry().models_with_ids(ids, Vec::new(), add).await?;
    let contenders: Vec<_> = rows.iter().map(|(contender, _)| *contender).collect();
    let order = Comparison::of(&contenders);
    let list = |places: &mut dyn Iterator<Item = usize>| {
        let mut list = List::new();
        for place in places {
            list.row().extend_from_slice(&rows[place].1);
        }
        list.finish()
    };
    let mut body = Vec::new();
    let mut object = ObjectWriter::begin(&mut body);
    object.key("models");
    object.out.extend(list(&mut (0..rows.len())));
    object.key("comparison");
    let mut comparison = ObjectWriter::begin(object.out);
    for (key, places) in
        [("by_params", order.by_params), ("by_loss", order.by_loss), ("by_step", order.by_step)]
    {
        comparison.key(key);
        comparison.out.extend(list(&mut places.into_iter()));
    }
    comparison.end();
    object.end();
    Ok(answer::json(body))
}

/// Count versions
#[utoipa::path(
    get,
    path = "/stats",
    operation_id = "get_stats",
    responses((status = 200, description = "How many there are.", body = schema::Stats)),
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
    Ok(answer::json(body))
}

/// See how busy the server is
///
/// What waits in each of its queues, and how much could.
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
