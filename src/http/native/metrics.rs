//! `/models/{id}/metrics`: scores by suite.

use crate::domain::VersionRef;

use super::{
    super::{
        answer::{self, Answer},
        fields::read_evaluation,
        openapi::{DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
    },
    schema::{ById, ChangedVersion, NewScores, OnlyIf, OnlyIfUpdatedAt},
};

/// Record scores
///
/// The suite's `_meta` says who recorded the scores, when and on what.
#[utoipa::path(
    post,
    path = "/models/{model_id}/metrics",
    operation_id = "record_metrics",
    params(
        ById,
        OnlyIf,
        OnlyIfUpdatedAt,
        ("if_updated_at" = Option<String>, Query,
            description = "As the header `If-Updated-At`, which wins if both are given."),
    ),
    request_body = NewScores,
    responses(
        ChangedVersion,
        (status = 400,
            description = "An invalid value: a blank suite, or a `_meta` that is not an object.",
            body = Failure),
        NotFound,
        (status = 409,
            description = "The version has another `updated_at` than the caller expects, or its metrics are not an object.",
            body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn record(mut call: Call) -> Answer {
    let id = call.model_id();
    let mut fields = call.body(BodyLimit::Metrics).await?;
    let evaluation = read_evaluation(&mut fields);
    fields.finish();
    call.check()?;
    let change = call.change_if_updated_at(VersionRef::Id(id));
    let model = call.registry().record_metrics(change, evaluation?).await?;
    Ok(answer::changed(&call, &model))
}

/// Get scores
#[utoipa::path(
    get,
    path = "/models/{model_id}/metrics",
    operation_id = "get_metrics",
    params(
        ById,
        ("suite" = Option<String>, Query, description = "Only the scores of this suite. If there are none, the answer is 404."),
    ),
    responses(
        (status = 200, description = "The version's scores, by suite.", body = inline(BTreeMap<String, serde_json::Value>)),
        (status = 404, description = "The version does not exist, or has no scores of this suite.", body = Failure),
        DoesNotFit,
    ),
)]
pub(super) async fn suites(mut call: Call) -> Answer {
    let id = call.model_id();
    call.check()?;
    let suite = call.query_not_empty("suite");
    let suites = call.registry().suites(VersionRef::Id(id), suite).await?;
    answer::json(suites.into_bytes())
}
