//! Policies: changing them, and judging what they say of a version that gets a status or an alias.

use std::collections::BTreeSet;

use registry_domain::{
    Approval, ApprovalKind, ApprovedState, EventDraft, EventKind, Manifest, ModelKey, PRODUCTION_ALIAS,
    Policy, REGISTRY_KEY, Refusal, Scope, Status, StoredPolicy, Version, VersionFile, VersionId,
    policy::{
        Actor, Budget, Inputs, Parsed, REQUIRED_SUITE, Subject, Verdict, check_count,
        inputs::digest,
        verdict::{bounded, check},
    },
};

use super::Context;
use crate::{Registration, StoreError, WriteStore};

/// A status or an alias that a version gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'t> {
    Status(Status),
    Alias(&'t str),
}

impl<'t> Target<'t> {
    fn name(self) -> &'t str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::Alias(alias) => alias,
        }
    }
}

/// A version that gets a target. One that is not registered yet has the id 0, and its manifest here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'c> {
    pub(super) version: &'c Version,
    pub(super) manifest: Option<&'c Manifest>,
}

impl<'c> From<&'c Version> for Candidate<'c> {
    fn from(version: &'c Version) -> Self {
        Self { version, manifest: None }
    }
}

/// What policies say of a candidate.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    pub(super) list: Vec<Verdict>,
    inputs_sha256: Option<String>,
}

impl Verdicts {
    /// Adds what policies said to the event of the change that they allowed.
    pub(super) fn note(&self, event: EventDraft) -> EventDraft {
        if self.list.is_empty() {
            event
        } else {
            event.with_verdicts(&self.list, self.inputs_sha256.as_deref())
        }
    }

    /// Refuses the change if a policy denies it, or else reports what policies warn of.
    pub(super) fn enforce(
        &self,
        version: &Version,
        target: &str,
        context: &Context<'_>,
    ) -> Result<(), Refusal> {
        check(&self.list, version, target)?;
        let warnings = self.list.iter().flat_map(Verdict::failed).map(|failed| failed.to_string());
        context.warnings.borrow_mut().extend(bounded(warnings));
        Ok(())
    }
}

/// Judges a version that gets a target by all policies that are about it, within the transaction of the change.
///
/// The caller enforces the verdicts: see [`Verdicts::enforce`].
pub(super) fn judge(
    store: &mut dyn WriteStore,
    candidate: Candidate<'_>,
    target: Target<'_>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Verdicts, StoreError> {
    let mut policies = store.active_policies()?;
    policies.retain(|stored| stored.policy.is_about(&candidate.version.name, target.name()));
    judge_by(store, policies, candidate, target, reason, context)
}

/// Judges a version by these policies.
fn judge_by(
    store: &mut dyn WriteStore,
    policies: Vec<StoredPolicy>,
    candidate: Candidate<'_>,
    target: Target<'_>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Verdicts, StoreError> {
    if policies.is_empty() {
        return Ok(Verdicts::default());
    }
    let policies: Vec<_> = policies.into_iter().map(Parsed::of).collect();
    let mentions = |name: &str| policies.iter().any(|policy| policy.mentions(name));
    let needs = Needs {
        files: mentions("files"),
        registration: mentions("registered_by") || mentions("registered_at"),
        aliases: mentions("aliases"),
    };
    let current = match mentions("current") {
        true => current_holder(store, candidate.version, target)?,
        false => None,
    };
    let current = current.map(|version| subject(store, version, None, needs, context)).transpose()?;
    let approvals = match mentions("approvals") {
        true => live_approvals(store, candidate.version, target.name())?,
        false => Vec::new(),
    };
    let candidate = subject(store, candidate.version.clone(), candidate.manifest, needs, context)?;
    let actor = Actor {
        name: context.actor.to_owned(),
        kind: context.principal.kind.as_str(),
        scopes: context.principal.grant.scope_names(),
    };
    let inputs = Inputs {
        candidate: &candidate,
        current: current.as_ref(),
        approvals: &approvals,
        actor: &actor,
        now: context.now,
        target: target.name(),
        reason,
    };
    let inputs = inputs.values();
    let mut budget = Budget::default();
    let list = policies.iter().map(|policy| policy.judge(&inputs, &mut budget)).collect();
    Ok(Verdicts { list, inputs_sha256: Some(digest(&inputs)) })
}

/// What conditions mention that takes further reads.
#[derive(Debug, Clone, Copy)]
struct Needs {
    files: bool,
    registration: bool,
    aliases: bool,
}

fn subject(
    store: &mut dyn WriteStore,
    version: Version,
    manifest: Option<&Manifest>,
    needs: Needs,
    context: &Context<'_>,
) -> Result<Subject, StoreError> {
    let files = match (needs.files, manifest) {
        (false, _) => Vec::new(),
        (true, Some(manifest)) => manifest.files().iter().map(VersionFile::from).collect(),
        (true, None) if version.manifest.is_some() => store.manifest_files(version.id)?,
        (true, None) => VersionFile::of(&version),
    };
    let registered = match (needs.registration, version.id) {
        (false, _) => None,
        (true, 0) => Some((Some(context.actor.to_owned()), context.now.to_string())),
        (true, id) => store.registration(id)?.map(|Registration { actor, at }| (actor, at)),
    };
    let aliases = match needs.aliases {
        true => held_aliases(store, &version)?,
        false => Vec::new(),
    };
    Ok(Subject { version, files, registered, aliases })
}

/// Returns the aliases that a version holds, and since when. `production` is one of them.
fn held_aliases(store: &mut dyn WriteStore, version: &Version) -> Result<Vec<(String, String)>, StoreError> {
    let held = store.aliases(version.model)?.into_iter().filter(|alias| alias.version == version.id);
    let mut names: BTreeSet<String> = held.map(|alias| alias.name).collect();
    if version.status == Status::Production && version.id != 0 {
        names.insert(PRODUCTION_ALIAS.to_owned());
    }
    let mut aliases = Vec::new();
    for name in names {
        if let Some(holding) = store.last_holding(version.model, &name, Some(version.id), None)? {
            aliases.push((name, holding.since));
        }
    }
    Ok(aliases)
}

/// Returns the version that has the target, or had it last, and is not the candidate. Of a status that several versions may have,
/// it is the newest one. It may be in the trash.
fn current_holder(
    store: &mut dyn WriteStore,
    candidate: &Version,
    target: Target<'_>,
) -> Result<Option<Version>, StoreError> {
    let is_other = |version: &Version| version.id != candidate.id;
    let (model, alias) = match target {
        Target::Status(Status::Production) | Target::Alias(PRODUCTION_ALIAS) => {
            if let Some(holder) = store.find_production(&candidate.name)?.filter(is_other) {
                return Ok(Some(holder));
            }
            (candidate.model, PRODUCTION_ALIAS)
        }
        Target::Status(status) => {
            let newest = store.versions_with_status(candidate.model, status)?;
            return match newest.into_iter().find(|id| *id != candidate.id) {
                Some(id) => store.find(id),
                None => Ok(None),
            };
        }
        Target::Alias(alias) => {
            let holder = store.aliases(candidate.model)?.into_iter().find(|known| known.name == alias);
            if let Some(holder) = holder.filter(|holder| holder.version != candidate.id) {
                return store.find(holder.version);
            }
            (candidate.model, alias)
        }
    };
    match store.last_holding(model, alias, None, Some(candidate.id))? {
        Some(holding) => find_anywhere(store, holding.version),
        None => Ok(None),
    }
}

/// Returns a version, which may be in the trash.
fn find_anywhere(store: &mut dyn WriteStore, id: VersionId) -> Result<Option<Version>, StoreError> {
    match store.find(id)? {
        Some(version) => Ok(Some(version)),
        None => store.find_deleted(id),
    }
}

/// Returns the approvals of a version for a target that count.
fn live_approvals(
    store: &mut dyn WriteStore,
    version: &Version,
    target: &str,
) -> Result<Vec<Approval>, StoreError> {
    let now = ApprovedState::of(version);
    let mut approvals = store.approvals_of(version.id)?;
    approvals.retain(|approval| {
        approval.kind == ApprovalKind::Approval
            && approval.target == target
            && approval.lapsed(&now).is_none()
    });
    Ok(approvals)
}

/// Judges a version without changing anything: by all policies about the target, or by one that is perhaps not stored.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Invalid`] for a bad policy.
pub fn test_policies(
    store: &mut dyn WriteStore,
    id: VersionId,
    target: &str,
    policy: Option<&Policy>,
    context: &Context<'_>,
) -> Result<Vec<Verdict>, StoreError> {
    let version = store.find(id)?.ok_or_else(|| Refusal::no_version(id))?;
    let candidate = Candidate::from(&version);
    let of = Status::parse(target).map_or(Target::Alias(target), Target::Status);
    if let Some(policy) = policy {
        policy.check()?;
        let (policy, actor, created_at) = (policy.clone(), None, String::new());
        let unsaved = StoredPolicy { policy, version: 0, actor, created_at, is_deleted: false };
        return Ok(judge_by(store, vec![unsaved], candidate, of, None, context)?.list);
    }
    let mut verdicts = Vec::new();
    if target == PRODUCTION_ALIAS {
        let incumbent = store.find_production(&version.name)?;
        let metrics = incumbent.as_ref().and_then(|incumbent| incumbent.metrics.as_deref());
        verdicts.extend(context.gate.verdict(version.metrics.as_deref(), metrics));
    }
    verdicts.extend(judge(store, candidate, of, None, context)?.list);
    Ok(verdicts)
}

/// Stores a new version of a policy. One that is as before changes nothing.
///
/// # Errors
/// [`Refusal::Invalid`] says what is wrong with it; [`Refusal::Conflict`] if there are as many policies as there may be.
pub fn set_policy(
    store: &mut dyn WriteStore,
    policy: &Policy,
    context: &Context<'_>,
) -> Result<StoredPolicy, StoreError> {
    policy.check()?;
    context.require(&Scope::Policies, &policy.models)?;
    let before = store.find_policy(&policy.name)?;
    let active = before.as_ref().filter(|before| !before.is_deleted);
    // A policy that is narrowed or replaced no longer protects the models that it was about.
    if let Some(active) = active {
        context.require(&Scope::Policies, &active.policy.models)?;
    }
    if let Some(same) = active.filter(|before| before.policy == *policy) {
        return Ok(same.clone());
    }
    if active.is_none() {
        check_count(store.active_policies()?.len())?;
    }
    let version = before.as_ref().map_or(0, |before| before.version) + 1;
    let values = active.map(|before| &before.policy);
    let event = EventDraft::of_policy(EventKind::SetPolicy, &policy.name, version, values, Some(policy));
    write_version(store, policy.clone(), version, false, &event, context)
}

/// Deletes a policy. Its versions are kept.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] for the policy of a setting.
pub fn delete_policy(
    store: &mut dyn WriteStore,
    name: &str,
    context: &Context<'_>,
) -> Result<StoredPolicy, StoreError> {
    if name == REQUIRED_SUITE && context.gate.required_suite.is_some() {
        return Err(Refusal::Conflict(format!(
            "the policy {name:?} is a setting of the server; change the setting"
        ))
        .into());
    }
    let before = store.find_policy(name)?.filter(|before| !before.is_deleted);
    let before = before.ok_or_else(|| Refusal::no_policy(name))?;
    context.require(&Scope::Policies, &before.policy.models)?;
    let event =
        EventDraft::of_policy(EventKind::DeletePolicy, name, before.version, Some(&before.policy), None);
    write_version(store, before.policy, before.version + 1, true, &event, context)
}

fn write_version(
    store: &mut dyn WriteStore,
    policy: Policy,
    version: i64,
    is_deleted: bool,
    event: &EventDraft,
    context: &Context<'_>,
) -> Result<StoredPolicy, StoreError> {
    let (actor, created_at) = (Some(context.actor.to_owned()), context.now.to_string());
    let stored = StoredPolicy { policy, version, actor, created_at, is_deleted };
    store.insert_policy(&stored)?;
    store.append_event(REGISTRY_KEY, None, event, context.actor, &context.now.to_string())?;
    Ok(stored)
}

/// Checks that the holders of a model's statuses and aliases meet the policies that only a new name makes them subject to.
///
/// # Errors
/// [`Refusal::Denied`].
pub(super) fn check_renamed(
    store: &mut dyn WriteStore,
    model: ModelKey,
    [before, after]: [&str; 2],
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let mut policies = store.active_policies()?;
    policies.retain(|stored| {
        let policy = &stored.policy;
        policy.is_about(after, &policy.target) && !policy.is_about(before, &policy.target)
    });
    let targets: BTreeSet<String> = policies.iter().map(|stored| stored.policy.target.clone()).collect();
    for target in targets {
        let mut about = policies.clone();
        about.retain(|stored| stored.policy.target == target);
        let mut holders: Vec<(VersionId, Target<'_>)> = Vec::new();
        if let Some(status) = Status::parse(&target) {
            let versions = store.versions_with_status(model, status)?;
            holders.extend(versions.into_iter().map(|id| (id, Target::Status(status))));
        }
        let aliases = store.aliases(model)?.into_iter().filter(|alias| alias.name == target);
        holders.extend(aliases.map(|alias| (alias.version, Target::Alias(&target))));
        for (id, of) in holders {
            if let Some(version) = store.find(id)? {
                let verdicts = judge_by(store, about.clone(), Candidate::from(&version), of, None, context)?;
                check(&verdicts.list, &version, &target)?;
            }
        }
    }
    Ok(())
}
