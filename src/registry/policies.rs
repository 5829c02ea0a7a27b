//! Use cases of policies and approvals.

use std::{collections::HashMap, ops::ControlFlow};

use crate::{
    domain::{
        Approval, ApprovalKind, ApprovalState, ApprovedState, ModelKey, PRODUCTION_ALIAS, Policy, Refusal,
        Status, StoredPolicy, VersionId, VersionRef,
        policy::{REQUIRED_SUITE, Verdict},
    },
    store::{ApprovalQuery, ReadStore, StoreError, operations},
};

use super::{Caller, Registry, Result};

/// Approvals of one version that are shown.
const MAX_APPROVALS_SHOWN: u32 = 1_000;

/// A dry run of policies.
#[derive(Debug, Clone)]
pub struct PolicyTest {
    /// The version to judge.
    pub version: VersionRef,
    /// The status or alias that it would get.
    pub target: String,
    /// A policy to judge by, in place of those that are stored.
    pub policy: Option<Policy>,
}

/// An approval with what became of it.
#[derive(Debug, Clone)]
pub struct ListedApproval {
    /// The approval.
    pub approval: Approval,
    /// The model of its version.
    pub model: String,
    /// The number of its version.
    pub number: i64,
    /// The label of its version.
    pub label: String,
    /// Why it does not count; `None` if it counts.
    pub lapsed: Option<&'static str>,
    /// True if the version has the target.
    pub is_held: bool,
}

/// What a list of approvals needs to know of a version.
struct Approved {
    model: ModelKey,
    name: String,
    number: i64,
    label: String,
    status: Status,
    state: ApprovedState,
}

/// Reading.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError`")]
impl Registry {
    /// Returns all policies: the one of the setting first, then those that are stored, by name.
    pub async fn policies(&self) -> Result<Vec<StoredPolicy>> {
        let mut policies: Vec<_> = self.parts.rules.gate.policy().into_iter().collect();
        policies.extend(self.read(|store| store.policies()).await?);
        Ok(policies)
    }

    /// Returns a policy, or one of its versions, which may be of a deleted one.
    pub async fn policy(&self, name: String, version: Option<i64>) -> Result<StoredPolicy> {
        if let Some(policy) = self.parts.rules.gate.policy().filter(|_| name == REQUIRED_SUITE) {
            return Ok(policy);
        }
        let of = name.clone();
        let found = self.read(move |store| store.policy(&of, version)).await?;
        let found = found.filter(|policy| version.is_some() || !policy.is_deleted);
        Ok(found.ok_or_else(|| match version {
            Some(version) => Refusal::NotFound(format!("the policy {name:?} has no version {version}")),
            None => Refusal::no_policy(&name),
        })?)
    }

    /// Returns what was said of a version, the newest first.
    pub async fn approvals_of(&self, version: VersionRef) -> Result<Vec<ListedApproval>> {
        let id = self.model(version, |row| row.id).await?;
        let query =
            ApprovalQuery { version: Some(id), withdrawn: true, before: None, limit: MAX_APPROVALS_SHOWN };
        self.read(move |store| {
            let approvals = store.approvals(&query)?;
            listed(store, approvals)
        })
        .await
    }

    /// Returns a page of approvals of all versions, the newest first, and the id before which the next one begins. Those of versions
    /// in the trash are left out.
    pub async fn approvals(
        &self,
        state: ApprovalState,
        limit: u32,
        before: Option<i64>,
    ) -> Result<(Vec<ListedApproval>, Option<i64>)> {
        let withdrawn = state == ApprovalState::All;
        let query = ApprovalQuery { version: None, withdrawn, before, limit: limit + 1 };
        self.read(move |store| {
            let mut approvals = store.approvals(&query)?;
            let has_more = approvals.len() > limit as usize;
            approvals.truncate(limit as usize);
            let next = approvals.last().filter(|_| has_more).map(|last| last.id);
            let mut page = listed(store, approvals)?;
            page.retain(|approval| withdrawn || (approval.lapsed.is_none() && !approval.is_held));
            Ok((page, next))
        })
        .await
    }
}

/// Adds to approvals what is known of their versions.
fn listed(
    store: &mut dyn ReadStore,
    approvals: Vec<Approval>,
) -> std::result::Result<Vec<ListedApproval>, StoreError> {
    let mut ids: Vec<VersionId> = approvals.iter().map(|approval| approval.version).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut versions: HashMap<VersionId, Approved> = HashMap::new();
    store.versions_with_ids(&ids, &mut |row| {
        let version = row.into_owned();
        let state = ApprovedState::of(&version);
        let approved = Approved {
            model: version.model,
            name: version.name,
            number: version.number,
            label: version.label,
            status: version.status,
            state,
        };
        versions.insert(version.id, approved);
        ControlFlow::Continue(())
    })?;
    let mut listed = Vec::with_capacity(approvals.len());
    for approval in approvals {
        let Some(version) = versions.get(&approval.version) else { continue };
        let is_held = version.status.as_str() == approval.target
            || (approval.target != PRODUCTION_ALIAS
                && store.aliases_of(version.model, approval.version)?.contains(&approval.target));
        listed.push(ListedApproval {
            lapsed: approval.lapsed(&version.state),
            model: version.name.clone(),
            number: version.number,
            label: version.label.clone(),
            is_held,
            approval,
        });
    }
    Ok(listed)
}

/// Changing. Each method returns once the change is committed.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError` and the operations")]
impl Registry {
    /// Stores a new version of a policy.
    pub async fn set_policy(&self, policy: Policy, caller: Caller) -> Result<StoredPolicy> {
        self.change(caller, move |store, context| operations::set_policy(store, &policy, context)).await
    }

    /// Deletes a policy.
    pub async fn delete_policy(&self, name: String, caller: Caller) -> Result<StoredPolicy> {
        self.change(caller, move |store, context| operations::delete_policy(store, &name, context)).await
    }

    /// Judges a version as a change by this caller would, without changing it. It runs where changes run, so that it sees what they
    /// see.
    pub async fn test_policies(&self, test: PolicyTest, caller: Caller) -> Result<Vec<Verdict>> {
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &test.version)?;
            operations::test_policies(store, id, &test.target, test.policy.as_ref(), context)
        })
        .await
    }

    /// Notes an approval of a version, or a request for one.
    pub async fn approve(
        &self,
        version: VersionRef,
        target: String,
        kind: ApprovalKind,
        comment: Option<String>,
        caller: Caller,
    ) -> Result<ListedApproval> {
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            let (approval, version) =
                operations::approve(store, id, &target, kind, comment.as_deref(), context)?;
            let is_held = version.status.as_str() == approval.target;
            Ok(ListedApproval {
                approval,
                model: version.name,
                number: version.number,
                label: version.label,
                lapsed: None,
                is_held,
            })
        })
        .await
    }

    /// Withdraws what the caller said of a version for a target.
    pub async fn withdraw_approval(&self, version: VersionRef, target: String, caller: Caller) -> Result<()> {
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::withdraw(store, id, &target, context)
        })
        .await
    }
}
