//! Policies, verdicts and approvals in the JSON of `/v1`.

use serde_json::{Value, json};

use crate::{
    domain::{
        Denial, StoredPolicy,
        policy::{Judged, Verdict},
    },
    registry::ListedApproval,
};

use super::v1::time;

/// Returns a policy with what is known of its version.
pub(in crate::http) fn policy_json(stored: &StoredPolicy) -> Value {
    let policy = &stored.policy;
    let conditions = policy
        .conditions
        .iter()
        .map(|condition| json!({ "expression": condition.expression, "message": condition.message }));
    let is_builtin = stored.version == 0;
    json!({
        "name": policy.name,
        "version": stored.version,
        "models": policy.models,
        "target": policy.target,
        "action": policy.action.as_str(),
        "description": policy.description,
        "conditions": conditions.collect::<Vec<_>>(),
        "builtin": is_builtin,
        "deleted": stored.is_deleted,
        "created_by": stored.actor,
        "created_at": (!is_builtin).then(|| time(&stored.created_at)),
    })
}

/// Returns what the conditions of a policy say.
pub(in crate::http) fn verdict_json(verdict: &Verdict) -> Value {
    let condition = |judged: &Judged| {
        json!({
            "expression": judged.expression,
            "message": judged.message,
            "holds": judged.result == Ok(true),
            "error": judged.result.as_ref().err(),
        })
    };
    json!({
        "policy": verdict.policy,
        "version": verdict.version,
        "action": verdict.action.as_str(),
        "passed": verdict.holds(),
        "conditions": verdict.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}

/// Returns the conditions for which a change was refused.
pub(in crate::http) fn denial_json(denial: &Denial) -> Value {
    let failed = denial.failed.iter().map(|failed| {
        json!({
            "policy": failed.policy, "version": failed.version, "message": failed.message, "error": failed.error,
        })
    });
    failed.collect()
}

/// Returns an approval, or a request for one, with its state.
pub(in crate::http) fn approval_json(listed: &ListedApproval) -> Value {
    let approval = &listed.approval;
    let state = match (approval.withdrawn_at.is_some(), listed.lapsed.is_some(), listed.is_held) {
        (true, ..) => "withdrawn",
        (_, true, _) => "lapsed",
        (.., true) => "used",
        _ => "open",
    };
    json!({
        "id": approval.id,
        "model": listed.model,
        "version": listed.number,
        "label": listed.label,
        "target": approval.target,
        "kind": approval.kind.as_str(),
        "actor": approval.actor,
        "comment": approval.comment,
        "created_at": time(&approval.created_at),
        "state": state,
        "lapsed": listed.lapsed.filter(|_| state == "lapsed"),
        "withdrawn_at": approval.withdrawn_at.as_deref().map(time),
    })
}
