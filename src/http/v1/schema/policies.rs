//! Policies and approvals of `/v1`: bodies and answers.

use utoipa::ToSchema;

/// A policy. It judges each version of its models that gets its target.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "models": "*",
    "target": "production",
    "conditions": [
        {"expression": "candidate.scores.core.accuracy >= 0.9", "message": "the accuracy in the suite core must be 0.9 or more"}
    ]
})))]
pub(in crate::http::v1) struct NewPolicy {
    /// The name in the path, if it is given here too.
    #[schema(required = false)]
    name: String,
    /// Which models it is for: a pattern in which `*` stands for any characters. By default all.
    #[schema(required = false, max_length = 256)]
    models: String,
    /// A status other than `experimental`, or an alias. A name that is both means both.
    #[schema(pattern = r"[^\s\u0085]")]
    target: String,
    /// `deny` (the default) refuses the change, `warn` lets it pass.
    #[schema(required = false)]
    action: PolicyAction,
    description: Option<String>,
    /// All must hold.
    #[schema(min_items = 1, max_items = 32)]
    conditions: Vec<PolicyCondition>,
}

/// What a policy does if a condition does not hold.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(in crate::http::v1) enum PolicyAction {
    Deny,
    Warn,
}

/// A condition of a policy.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::v1) struct PolicyCondition {
    /// In the Common Expression Language; at most 4 KiB.
    expression: String,
    /// What a caller is to do if it does not hold; at most 1 KiB.
    #[schema(pattern = r"[^\s\u0085]")]
    message: String,
}

/// A version to try policies on.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"model": "minilm", "version": "1", "target": "production"})))]
pub(in crate::http::v1) struct PolicyTrial {
    model: String,
    /// A number, `label:` and a label, `@` and an alias, or a revision.
    #[schema(pattern = r"^(0|-?[1-9][0-9]{0,17}|label:[\s\S]+|@[\s\S]+|[0-9a-f]{40})$")]
    version: String,
    /// The status or the alias; by default the one of `policy`, or else `production`.
    #[schema(required = false)]
    target: String,
    /// A policy to judge by, in place of those that are stored.
    #[schema(required = false)]
    policy: NewPolicy,
}

/// An approval of a version, or a request for one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"target": "production", "comment": "looked at 50 answers"})))]
pub(in crate::http::v1) struct NewApproval {
    /// A status other than `experimental`, or an alias.
    #[schema(pattern = r"[^\s\u0085]")]
    target: String,
    comment: Option<String>,
    /// Asks others to approve the version.
    #[schema(required = false, default = false)]
    request: bool,
}

/// A policy in one of its versions, which never change.
#[derive(ToSchema)]
pub(in crate::http::v1) struct StoredPolicy {
    name: String,
    /// 1, 2, 3 … for each name; 0 for the policy of a setting.
    version: i64,
    models: String,
    target: String,
    action: PolicyAction,
    description: Option<String>,
    conditions: Vec<PolicyCondition>,
    /// True for the policy of a setting, which can't be changed.
    builtin: bool,
    deleted: bool,
    created_by: Option<String>,
    created_at: Option<String>,
}

/// Policies.
#[derive(ToSchema)]
pub(in crate::http::v1) struct PolicyList {
    policies: Vec<StoredPolicy>,
}

/// What policies say of a version.
#[derive(ToSchema)]
pub(in crate::http::v1) struct Verdicts {
    target: String,
    /// True if no policy denies it.
    allowed: bool,
    policies: Vec<PolicyVerdict>,
}

/// What the conditions of a policy say.
#[derive(ToSchema)]
pub(in crate::http::v1) struct PolicyVerdict {
    policy: String,
    /// 0 for a policy that is not stored.
    version: i64,
    action: PolicyAction,
    passed: bool,
    conditions: Vec<JudgedCondition>,
}

/// A condition and whether it holds.
#[derive(ToSchema)]
pub(in crate::http::v1) struct JudgedCondition {
    expression: String,
    message: String,
    holds: bool,
    /// Why it can't be judged, which counts as not holding.
    error: Option<String>,
}

/// An approval of a version, or a request for one.
#[derive(ToSchema)]
pub(in crate::http::v1) struct GivenApproval {
    id: i64,
    model: String,
    /// The number of the version.
    version: i64,
    label: String,
    /// A status or an alias.
    target: String,
    /// `approval` or `request`.
    kind: String,
    actor: String,
    comment: Option<String>,
    created_at: String,
    /// `open`, `used` (the version has the target), `lapsed` or `withdrawn`.
    state: String,
    /// Why it does not count any more.
    lapsed: Option<String>,
    withdrawn_at: Option<String>,
}

/// Approvals.
#[derive(ToSchema)]
pub(in crate::http::v1) struct ApprovalList {
    approvals: Vec<GivenApproval>,
}

/// A page of approvals.
#[derive(ToSchema)]
pub(in crate::http::v1) struct ApprovalPage {
    approvals: Vec<GivenApproval>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// Which approvals to list.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(in crate::http::v1) enum ApprovalStateName {
    Open,
    All,
}
