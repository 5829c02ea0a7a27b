//! The schemas of `/v1`: parameters, bodies and answers. As in the native API, these types are described and never built.
#![allow(dead_code, reason = "described, never built")]

mod answers;
mod bodies;
mod policies;
mod webhooks;

use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema as _, ToSchema as _};

pub(super) use super::super::native::schema::{NewScores, NotModified, OnlyIf, StatusName, Unless};
pub(super) use answers::*;
pub(super) use bodies::*;
pub(super) use policies::*;
pub(super) use webhooks::*;

/// Returns the schemas by name.
pub(in crate::http) fn all() -> Value {
    macro_rules! by_name {
        ($($schema:ty),+) => {
            Value::from_iter([$((<$schema>::name().into_owned(), json!(<$schema>::schema()))),+])
        };
    }
    let mut schemas = by_name!(
        RegisteredModel,
        RegisteredVersion,
        VersionFile,
        VersionFiles,
        Holding,
        TrailEvent,
        ModelPage,
        VersionPageV1,
        EventPageV1,
        EventRecord,
        EventRecordPage,
        History,
        Aliases,
        Suites,
        WhoAmI,
        StoredKey,
        KeyPage,
        NewKeyToken,
        NewKey,
        Rotation,
        Deleted,
        WebhookV1,
        Webhooks,
        WebhookTest,
        DeliveryV1,
        Deliveries,
        Replayed,
        NewWebhook,
        WebhookChanges,
        EventTypeName,
        ReplayRequest,
        NewRegisteredModel,
        ModelChangesV1,
        NewVersion,
        NewFile,
        FileRoleName,
        NewOrigin,
        VersionChanges,
        TagValue,
        NewHolder,
        Rollback,
        StoredPolicy,
        PolicyList,
        PolicyVerdict,
        JudgedCondition,
        Verdicts,
        GivenApproval,
        ApprovalList,
        ApprovalPage,
        ApprovalStateName,
        NewPolicy,
        PolicyAction,
        PolicyCondition,
        PolicyTrial,
        NewApproval,
        DeniedCondition,
        Problem,
        ProblemDetails,
        FieldProblem
    );
    // In answers, a field that may be null is still present.
    for name in [
        "RegisteredVersion",
        "VersionFile",
        "Holding",
        "TrailEvent",
        "EventRecord",
        "Webhook",
        "WebhookDelivery",
        "StoredKey",
        "StoredPolicy",
        "JudgedCondition",
        "GivenApproval",
        "DeniedCondition",
    ] {
        let fields = schemas[name]["properties"].as_object().into_iter().flat_map(|fields| fields.keys());
        let is_sent = |name: &&String| !name.starts_with("deleted_") && *name != "secret";
        schemas[name]["required"] = fields.filter(is_sent).cloned().collect();
    }
    // Keys of tags are not blank.
    for name in ["NewRegisteredModel", "ModelChangesV1", "NewVersion", "VersionChanges"] {
        schemas[name]["properties"]["tags"]["propertyNames"] =
            json!({ "pattern": NOT_BLANK, "maxLength": 1024 });
    }
    schemas["ReplayRequest"]["oneOf"] = json!([{ "required": ["event"] }, { "required": ["since"] }]);
    let uri = json!({ "type": "string", "pattern": NOT_BLANK });
    let digest = json!({ "type": "string" });
    schemas["NewVersion"]["anyOf"] = json!([
        { "required": ["artifact_uri"], "properties": { "artifact_uri": uri } },
        { "required": ["sha256"], "properties": { "sha256": digest } },
        { "required": ["files"] },
    ]);
    schemas
}

/// Regular expressions of JSON Schema do not count U+0085 as a blank, but Unicode and this server do.
const NOT_BLANK: &str = r"[^\s\u0085]";

/// The path of one version of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByReference {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
    /// The version: its number, or `label:` and its label, or `@` and an alias that it holds, percent-encoded. Or its revision, the first
    /// 40 hex digits of its digest; of several versions with the same files, the newest.
    #[param(pattern = r"^(0|-?[1-9][0-9]{0,17}|label:[\s\S]+|@[\s\S]+|[0-9a-f]{40})$", example = "1")]
    reference: String,
}

/// The path of one model.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByName {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
}

/// The path of one webhook.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByWebhook {
    /// The id of the webhook.
    #[param(min_length = 1, example = "7f3c1b9e-8a52-4c11-9d3e-5b0f6a2c4d18")]
    id: String,
}

/// The path of one alias.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByAlias {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
    /// The alias, percent-encoded. It is not `latest`, and no number with or without `v` before it.
    #[param(min_length = 1, example = "champion")]
    alias: String,
}

/// The path of one API key.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByKeyRef {
    /// Its id, or the name of one that is not revoked.
    #[param(min_length = 1, example = "ci")]
    key: String,
}

/// The name of a policy in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByPolicy {
    /// The policy's name, percent-encoded.
    #[param(min_length = 1, example = "quality")]
    policy: String,
}

/// The key of a tag in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http::v1) struct ByKey {
    /// The key of the tag, percent-encoded.
    #[param(min_length = 1, example = "team")]
    key: String,
}

/// A conditional write of a model.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http::v1) struct OnlyIfModel {
    /// Entity tags from the model's `ETag`. If none of them is current, the answer is 412 and nothing changes. `*` matches any state.
    #[param(rename = "If-Match", required = false)]
    if_match: String,
}
