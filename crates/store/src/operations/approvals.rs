//! Approvals of versions, and requests for them.

use registry_domain::{
    Approval, ApprovalKind, ApprovedState, EventDraft, EventKind, Refusal, Scope, Version, VersionId,
    approval::{already_given, check_approver, check_comment, check_count},
    policy::check_target,
};

use super::Context;
use crate::{StoreError, WriteStore};

/// Notes that the caller approves that a version gets a status or an alias, or asks others to do so. What the caller said
/// of an earlier state of the version is withdrawn. Returns the approval and its version.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Invalid`]; [`Refusal::Forbidden`] if the caller is the author of the version;
/// [`Refusal::Conflict`] if the caller has said so already.
pub fn approve(
    store: &mut dyn WriteStore,
    id: VersionId,
    target: &str,
    kind: ApprovalKind,
    comment: Option<&str>,
    context: &Context<'_>,
) -> Result<(Approval, Version), StoreError> {
    check_target(target)?;
    comment.map_or(Ok(()), check_comment)?;
    let version = store.find(id)?.ok_or_else(|| Refusal::no_version(id))?;
    if kind == ApprovalKind::Approval {
        context.require(&Scope::Approve, &version.name)?;
        let registered_by = store.registration(id)?.and_then(|registration| registration.actor);
        check_approver(context.actor, &version, registered_by.as_deref())?;
    } else {
        context.principal.require_model(&version.name)?;
    }
    let subject = ApprovedState::of(&version);
    let given = store.approvals_of(id)?;
    check_count(given.len())?;
    let mut same = given
        .into_iter()
        .filter(|other| other.actor == context.actor && other.kind == kind && other.target == target);
    if let Some(before) = same.next() {
        if before.lapsed(&subject).is_none() {
            return Err(already_given(kind, context.actor, &version, target).into());
        }
        store.withdraw_approval(before.id, &context.now.to_string())?;
    }
    let mut approval = Approval {
        id: 0,
        version: id,
        target: target.to_owned(),
        kind,
        actor: context.actor.to_owned(),
        comment: comment.map(str::to_owned),
        created_at: context.now.to_string(),
        subject,
        withdrawn_at: None,
    };
    approval.id = store.insert_approval(&approval)?;
    let event = match kind {
        ApprovalKind::Approval => EventKind::Approve,
        ApprovalKind::Request => EventKind::RequestApproval,
    };
    append(store, &version, event, target, comment, context)?;
    Ok((approval, version))
}

/// Withdraws what the caller said of a version for a target: an approval, a request, or both.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such version, or the caller has said nothing.
pub fn withdraw(
    store: &mut dyn WriteStore,
    id: VersionId,
    target: &str,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let version = store.find(id)?.ok_or_else(|| Refusal::no_version(id))?;
    let mut given = store.approvals_of(id)?;
    given.retain(|other| other.actor == context.actor && other.target == target);
    if given.is_empty() {
        return Err(Refusal::NotFound(format!(
            "{} has neither approved version {:?} of {:?} for {target:?} nor asked for it",
            context.actor, version.label, version.name
        ))
        .into());
    }
    for approval in given {
        store.withdraw_approval(approval.id, &context.now.to_string())?;
    }
    append(store, &version, EventKind::WithdrawApproval, target, None, context)
}

fn append(
    store: &mut dyn WriteStore,
    version: &Version,
    kind: EventKind,
    target: &str,
    comment: Option<&str>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let event = EventDraft::of_approval(kind, &version.name, &version.label, target).because(comment);
    context.append(store, version, &event)
}
