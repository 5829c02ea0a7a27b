//! `/v1/approvals` and the approvals of versions.

use actix_web::HttpResponse;
use serde_json::json;

use crate::domain::{ApprovalKind, ApprovalState, Cursor};

use super::{
    super::{
        answer::{self, Answer},
        json::policies::approval_json,
        openapi::{BadCursor, DiskFull, DoesNotFit, Failure, NotFound, TooLarge},
        request::{BodyLimit, Call},
    },
    path,
    schema::{
        ApprovalList, ApprovalPage, ApprovalStateName, ByReference, Deleted, GivenApproval, NewApproval,
    },
};

/// Approvals on a page by default, and at most.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;
/// The name of the list in cursors.
const LIST_NAME: &str = "approvals.desc";

/// List approvals of all versions
///
/// The newest first. What waits is `open`: approvals and requests that count, of versions that do not have the target. A page may have
/// fewer than `limit`, or none, and yet a next one.
#[utoipa::path(
    get,
    path = "/v1/approvals",
    operation_id = "v1_list_approvals",
    params(
        ("state" = Option<ApprovalStateName>, Query, description = "`open` (the default), or `all`."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Approvals on a page, by default 100."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses((status = 200, description = "A page of approvals.", body = ApprovalPage), BadCursor, DoesNotFit),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let state = call.query::<ApprovalState>("state");
    let limit = call.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let after = call.cursor(LIST_NAME, 0);
    call.check()?;
    let before = after?.map(|cursor| cursor.id);
    let (page, next) = call.registry().approvals(state.unwrap_or_default(), limit, before).await?;
    let approvals: Vec<_> = page.iter().map(approval_json).collect();
    let next = next.map(|id| Cursor::at(LIST_NAME, id).encode());
    answer::json(json!({ "approvals": approvals, "next": next }).to_string().into_bytes())
}

/// List the approvals of a version
///
/// The newest first, at most 1,000, with those that have lapsed or were withdrawn.
#[utoipa::path(
    get,
    path = "/v1/models/{name}/versions/{reference}/approvals",
    operation_id = "v1_list_approvals_of_version",
    params(ByReference),
    responses((status = 200, description = "The approvals.", body = ApprovalList), NotFound, DoesNotFit),
)]
pub(super) async fn of_version(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    call.check()?;
    let approvals = call.registry().approvals_of(version).await?;
    let approvals: Vec<_> = approvals.iter().map(approval_json).collect();
    answer::json(json!({ "approvals": approvals }).to_string().into_bytes())
}

/// Approve a version
///
/// The approval is about the artifact and the scores that the version has now, and lapses when they change. The author of a version
/// can't approve it. With `request`, it asks others to approve it instead.
#[utoipa::path(
    post,
    path = "/v1/models/{name}/versions/{reference}/approvals",
    operation_id = "v1_approve_version",
    params(ByReference),
    request_body = NewApproval,
    responses(
        (status = 201, description = "The approval.", body = GivenApproval),
        (status = 400, description = "The target is neither a status nor an alias, or the comment is blank or too long.", body = Failure),
        NotFound,
        (status = 409, description = "The caller has approved the version for this target already, or it has 256 approvals.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn approve(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let mut fields = call.body(BodyLimit::Write).await?;
    let target = fields.required("target");
    let (comment, is_request) = (fields.optional("comment"), fields.not_null("request").unwrap_or_default());
    fields.finish();
    call.check()?;
    let kind = if is_request { ApprovalKind::Request } else { ApprovalKind::Approval };
    let approval = call.registry().approve(version, target, kind, comment, call.caller()).await?;
    Ok(HttpResponse::Created().json(approval_json(&approval)))
}

/// Withdraw an approval
///
/// Takes back what the caller said of the version for this target: an approval, a request, or both.
#[utoipa::path(
    delete,
    path = "/v1/models/{name}/versions/{reference}/approvals",
    operation_id = "v1_withdraw_approval",
    params(
        ByReference,
        ("target" = String, Query, min_length = 1, example = "production", description = "The status or the alias."),
    ),
    responses(
        (status = 200, description = "It is withdrawn.", body = Deleted),
        (status = 404, description = "There is no such version, or the caller has said nothing of it.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn withdraw(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let target = call.query_not_empty("target");
    if target.is_none() {
        call.refuse("query", "target", "missing; name the status or the alias");
    }
    call.check()?;
    call.registry().withdraw_approval(version, target.unwrap_or_default(), call.caller()).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted": true })))
}
