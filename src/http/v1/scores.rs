//! `…/versions/{reference}/scores`: scores by suite.

use super::{
    super::{
        answer::{self, Answer},
        fields::read_evaluation,
        openapi::{DiskFull, DoesNotFit, Failure, NotFound, PreconditionFailed, TooLarge},
        request::{BodyLimit, Call},
    },
    path,
    schema::{ByReference, ChangedVersionV1, NewScores, OnlyIf, Suites},
};

/// Get the scores of a version
#[utoipa::path(
    get,
    path = "/v1/models/{name}/versions/{reference}/scores",
    operation_id = "v1_get_scores",
    params(ByReference),
    responses((status = 200, description = "The scores.", body = Suites), NotFound, DoesNotFit),
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    call.check()?;
    let suites = call.registry().suites(version, None).await?;
    answer::json(format!(r#"{{"suites":{suites}}}"#).into_bytes())
}

/// Record scores of a version
///
/// They are merged into the suite key by key. The suite's `_meta` says who recorded them, when and on what.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/versions/{reference}/scores",
    operation_id = "v1_record_scores",
    params(ByReference, OnlyIf),
    request_body = NewScores,
    responses(
        ChangedVersionV1,
        (status = 400, description = "An invalid value: a blank suite, or a `_meta` that is not an object.", body = Failure),
        NotFound,
        (status = 409, description = "The version's metrics are not an object.", body = Failure),
        PreconditionFailed, TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn record(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let mut fields = call.body(BodyLimit::Metrics).await?;
    let evaluation = read_evaluation(&mut fields);
    fields.finish();
    let change = call.check_change(version)?;
    let version = call.registry().record_metrics(change, evaluation?).await?;
    Ok(answer::changed(&call, &version))
}
