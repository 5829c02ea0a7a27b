//! `/v1/policies`: what must hold before a version gets a status or an alias.

use actix_web::HttpResponse;
use serde_json::json;

use crate::{
    domain::{
        Policy, Refusal, VersionRef,
        policy::{Action, Condition},
    },
    registry::PolicyTest,
};

use super::{
    super::{
        answer::{self, Answer},
        fields::Fields,
        json::policies::{policy_json, verdict_json},
        openapi::{DiskFull, DoesNotFit, Failure, TooLarge},
        request::{BodyLimit, Call},
    },
    path,
    schema::{ByPolicy, NewPolicy, PolicyList, PolicyTrial, StoredPolicy, Verdicts},
};

/// List policies
///
/// By name, each in its newest version. The policy of the setting `--promotion-required-suite` comes first and can't be changed.
#[utoipa::path(
    get,
    path = "/v1/policies",
    operation_id = "v1_list_policies",
    responses((status = 200, description = "The policies.", body = PolicyList), DoesNotFit),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    call.check()?;
    let policies = call.registry().policies().await?;
    let policies: Vec<_> = policies.iter().map(policy_json).collect();
    answer::json(json!({ "policies": policies }).to_string().into_bytes())
}

/// Get a policy
#[utoipa::path(
    get,
    path = "/v1/policies/{policy}",
    operation_id = "v1_get_policy",
    params(
        ByPolicy,
        ("version" = Option<i64>, Query, description = "One of its versions, by default the newest. Versions stay when it is deleted."),
    ),
    responses(
        (status = 200, description = "The policy.", body = StoredPolicy),
        (status = 404, description = "There is no such policy or version.", body = Failure),
        DoesNotFit,
    ),
)]
pub(super) async fn get(mut call: Call) -> Answer {
    let (name, version) = (call.path_text(2)?, call.query("version"));
    call.check()?;
    let policy = call.registry().policy(name, version).await?;
    Ok(HttpResponse::Ok().json(policy_json(&policy)))
}

/// Set a policy
///
/// Creates it, or adds a new version; a policy as it is already changes nothing. It is in effect for every change that is committed
/// after it.
#[utoipa::path(
    put,
    path = "/v1/policies/{policy}",
    operation_id = "v1_set_policy",
    params(ByPolicy),
    request_body = NewPolicy,
    responses(
        (status = 200, description = "The policy, as it is stored.", body = StoredPolicy),
        (status = 400, description = "A condition can't be read or can't succeed, or a value is blank, too long or unknown.", body = Failure),
        (status = 409, description = "There are 256 policies.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn set(mut call: Call) -> Answer {
    let name = call.path_text(2)?;
    let mut fields = call.body(BodyLimit::Tags).await?;
    let given: Option<String> = fields.not_null("name");
    let policy = read_policy(&mut fields, name);
    fields.finish();
    call.check()?;
    if let Some(given) = given.filter(|given| *given != policy.name) {
        let message =
            format!("the body names the policy {given:?} and the path {:?}; send one name", policy.name);
        return Err(Refusal::Invalid(message).into());
    }
    let stored = call.registry().set_policy(policy, call.caller()).await?;
    Ok(HttpResponse::Ok().json(policy_json(&stored)))
}

/// Delete a policy
///
/// Its versions are kept, and a new policy of its name counts on from them.
#[utoipa::path(
    delete,
    path = "/v1/policies/{policy}",
    operation_id = "v1_delete_policy",
    params(ByPolicy),
    responses(
        (status = 200, description = "The version that says that it is deleted.", body = StoredPolicy),
        (status = 404, description = "There is no such policy.", body = Failure),
        (status = 409, description = "The policy is a setting of the server.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn delete(mut call: Call) -> Answer {
    let name = call.path_text(2)?;
    call.check()?;
    let deleted = call.registry().delete_policy(name, call.caller()).await?;
    Ok(HttpResponse::Ok().json(policy_json(&deleted)))
}

/// Try policies
///
/// Judges a version as a change by the caller would now, and changes nothing. By default by all policies about the target; with
/// `policy`, by that one alone, which need not be stored.
#[utoipa::path(
    post,
    path = "/v1/policies/test",
    operation_id = "v1_test_policies",
    request_body = PolicyTrial,
    responses(
        (status = 200, description = "What each condition says.", body = Verdicts),
        (status = 400, description = "The policy is invalid.", body = Failure),
        (status = 404, description = "There is no such version.", body = Failure),
        TooLarge, DoesNotFit, DiskFull,
    ),
)]
pub(super) async fn test(mut call: Call) -> Answer {
    let mut fields = call.body(BodyLimit::Tags).await?;
    let (model, version) = (fields.required("model"), fields.given::<String>("version"));
    let target: Option<String> = fields.not_null("target");
    let policy = fields.object("policy", |fields| {
        let name = fields.not_null("name").unwrap_or_else(|| "unnamed".to_owned());
        read_policy(fields, name)
    });
    fields.finish();
    let version = version.map(|text| path::reference(&mut call, "body", "version", model, &text));
    call.check()?;
    let version = version.unwrap_or(VersionRef::Id(0));
    let target = target.or_else(|| policy.as_ref().map(|policy| policy.target.clone()));
    let target = target.unwrap_or_else(|| "production".to_owned());
    let test = PolicyTest { version, target: target.clone(), policy };
    let verdicts = call.registry().test_policies(test, call.caller()).await?;
    let is_denied = verdicts.iter().any(|verdict| verdict.action == Action::Deny && !verdict.holds());
    let policies: Vec<_> = verdicts.iter().map(verdict_json).collect();
    let body = json!({ "target": target, "allowed": !is_denied, "policies": policies });
    answer::json(body.to_string().into_bytes())
}

/// Reads what a policy says, without its name.
fn read_policy(fields: &mut Fields<'_>, name: String) -> Policy {
    let condition = |fields: &mut Fields<'_>| {
        Some(Condition { expression: fields.required("expression"), message: fields.required("message") })
    };
    Policy {
        name,
        models: fields.not_null("models").unwrap_or_else(|| "*".to_owned()),
        target: fields.required("target"),
        action: fields.not_null("action").unwrap_or_default(),
        description: fields.optional("description"),
        conditions: fields.required_objects("conditions", condition),
    }
}
