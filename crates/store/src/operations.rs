//! The changes a registry makes, each `read → rule → write → event`, over any [`WriteStore`].
//!
//! Each runs inside one transaction and is all or nothing: after an error the caller undoes its writes. A refused
//! operation has written nothing, because rules come before writes.

mod aliases;
mod approvals;
mod keys;
pub mod mlflow;
mod models;
mod policies;
mod production;
mod references;
mod tags;
mod trash;
mod webhooks;

pub use aliases::{delete_alias, set_alias};
pub use approvals::{approve, withdraw};
pub use keys::{create_key, revoke_key, rotate_key};
pub use models::{create_model, delete_model, restore_model, update_model};
pub use policies::{delete_policy, set_policy, test_policies};
pub use production::{promote, rollback};
pub use references::{find_deleted_version, find_version};
pub use tags::{delete_tag, set_tag, update_with_tags};
pub use trash::{delete, restore};
pub use webhooks::{create_webhook, delete_webhook, disable_webhook, replay_deliveries, update_webhook};

use std::cell::RefCell;

use registry_domain::{
    Draft, Evaluation, EventDraft, EventKind, Gate, GivenTimes, LabelReuse, Model, Numbering,
    PRODUCTION_ALIAS, Patch, Precondition, Principal, Refusal, Scope, ScopeKind, Status, Timestamp, Version,
    VersionId, import::check_number, json, limits::check_metrics, suites::MetricsChange,
};

use self::{
    policies::Candidate,
    production::{Admission, admit, demote, record_status},
    webhooks::Subject,
};
use super::{StoreError, WriteStore};

/// Who runs an operation, when, and under which rules.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// Written into the audit trail.
    pub actor: &'a str,
    /// Who may do what.
    pub principal: &'a Principal,
    /// The clock, read once for the operation.
    pub now: Timestamp,
    /// The condition for production.
    pub gate: &'a Gate,
    /// The largest payload of an event, in bytes.
    pub max_event_payload_bytes: usize,
    /// The largest metrics of a version, in bytes of JSON.
    pub max_metrics_bytes: usize,
    /// What policies warn of, written by the operation.
    pub warnings: RefCell<Vec<String>>,
}

impl Context<'_> {
    /// Checks that the caller may do this with a model.
    fn require(&self, needed: &Scope, model: &str) -> Result<(), Refusal> {
        self.principal.require(needed, Some(model))
    }

    /// Checks that the caller may give a version of this model a status. A caller who takes one out of production must be
    /// allowed to put one there too.
    fn require_status(&self, from: Option<Status>, to: Status, model: &str) -> Result<(), Refusal> {
        self.require(&Scope::of_status(to), model)?;
        match from {
            Some(Status::Production) => self.require(&Scope::of_status(Status::Production), model),
            _ => Ok(()),
        }
    }

    /// Checks the size of an event. Called before anything is written.
    fn checked(&self, event: EventDraft) -> Result<EventDraft, Refusal> {
        event.within(self.max_event_payload_bytes)
    }

    /// Appends an event of a version, and adds its deliveries to webhooks. `version` is as it is after the event, or before its
    /// deletion.
    fn append(
        &self,
        store: &mut dyn WriteStore,
        version: &Version,
        event: &EventDraft,
    ) -> Result<(), StoreError> {
        store.append_event(version.model, Some(version.id), event, self.actor, &self.now.to_string())?;
        webhooks::notify(store, Subject::Version(version), event, self)
    }

    fn append_to_model(
        &self,
        store: &mut dyn WriteStore,
        model: &Model,
        event: &EventDraft,
    ) -> Result<(), StoreError> {
        store.append_event(model.key, None, event, self.actor, &self.now.to_string())?;
        webhooks::notify(store, Subject::Model(model), event, self)
    }

    /// Returns the next `updated_at` of a version, which always increases.
    fn after(&self, version: &Version) -> String {
        self.now.after(&version.updated_at).to_string()
    }
}

/// Registers a version, and its model if there is none of this name.
///
/// # Errors
/// [`Refusal::Conflict`] if label or number are taken, or the gate refuses the version; [`Refusal::LabelSpent`];
/// [`Refusal::TooLarge`] if its event or its metrics are.
pub fn register(
    store: &mut dyn WriteStore,
    mut draft: Draft,
    reuse: LabelReuse,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    context.require(&Scope::Register, &draft.name)?;
    if draft.status != Status::default() {
        context.require_status(None, draft.status, &draft.name)?;
    }
    if draft.metrics.contains_key("suites") {
        context.require(&Scope::Evaluate, &draft.name)?;
    }
    let model = store.find_model(&draft.name)?;
    let next_number = match &model {
        Some(model) => model.next_number,
        None => store.first_number(&draft.name)?,
    };
    if draft.label.is_empty() {
        draft.label = free_label(store, &draft.name, draft.number.unwrap_or(next_number), reuse)?;
    }
    let event = context.checked(EventDraft::identity(
        EventKind::Create,
        &draft.name,
        &draft.label,
        draft.status,
        draft.artifact_uri.as_deref(),
    ))?;
    draft.times.check(context.now)?;
    let metrics = json::compact(&draft.metrics);
    check_metrics(None, &metrics, None, context.max_metrics_bytes)?;
    if let Some(id) = store.find_label(&draft.name, &draft.label)? {
        return Err(Refusal::taken(&draft.name, &draft.label, id).into());
    }
    if let Some(number) = draft.number {
        check_number(&draft.name, number, next_number)?;
    }
    if reuse == LabelReuse::ForSameBytes {
        draft.check_same_bytes(&store.spent_digests(&draft.name, &draft.label)?)?;
    }
    let mut admission = Admission::default();
    // Most versions begin as experimental, and some have many files to copy.
    if draft.status != Status::Experimental {
        let version = Version {
            model: model.as_ref().map_or(0, |model| model.key),
            number: draft.number.unwrap_or(next_number),
            ..draft.clone().into_version(context.now)
        };
        let candidate = Candidate { version: &version, manifest: draft.manifest.as_deref() };
        admission = admit(store, candidate, None, None, context)?;
    }
    let event = admission.verdicts.note(event);
    let mut incumbent = admission.incumbent;
    let model = match model {
        Some(model) => model.key,
        None => {
            let model = models::new_model(&draft.name, since_first_version(&draft), context.now);
            store.insert_model(model, Numbering::Continued)?.key
        }
    };
    demote(store, incumbent.as_mut(), context)?;
    let version = store.insert(draft, model, context.now)?;
    record_status(store, &version, None, incumbent.as_ref(), None, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Returns the number of a new version as its label, or one like it that is free.
fn free_label(
    store: &mut dyn WriteStore,
    model: &str,
    number: i64,
    reuse: LabelReuse,
) -> Result<String, StoreError> {
    let mut label = number.to_string();
    for copy in 2.. {
        let is_spent = reuse != LabelReuse::Allowed && !store.spent_digests(model, &label)?.is_empty();
        if !is_spent && store.find_label(model, &label)?.is_none() {
            break;
        }
        label = format!("{number}-{copy}");
    }
    Ok(label)
}

/// Returns the times of the model that a version creates.
fn since_first_version(draft: &Draft) -> GivenTimes {
    GivenTimes { created_at: draft.times.created_at, updated_at: draft.times.created_at }
}

/// Changes the fields of a version that `patch` gives.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] if the version is immutable or the gate refuses it;
/// [`Refusal::PreconditionFailed`] if the version has changed since the caller read it.
pub fn update(
    store: &mut dyn WriteStore,
    id: VersionId,
    patch: &Patch,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let before = load_checked(store, id, precondition)?;
    require_any_change(&before, context)?;
    check_patch(store, patch, &before)?;
    let mut after = before.clone();
    patch.apply(&mut after);
    write_update(store, &before, after, &patch.updated_fields(), context)
}

/// Checks that a patch may be applied to a version. One that was in production keeps its files, because a rollback to it is not
/// judged again.
fn check_patch(store: &mut dyn WriteStore, patch: &Patch, version: &Version) -> Result<(), StoreError> {
    patch.check_allowed(version)?;
    if patch.changes_files()
        && store.last_holding(version.model, PRODUCTION_ALIAS, Some(version.id), None)?.is_some()
    {
        patch.check_files_kept()?;
    }
    Ok(())
}

/// Writes a version whose `fields` have changed, in one update with one event. Without fields nothing changes.
fn write_update(
    store: &mut dyn WriteStore,
    before: &Version,
    mut after: Version,
    fields: &[&'static str],
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    if fields.is_empty() {
        return Ok(after);
    }
    let change = fields
        .contains(&"metrics")
        .then(|| MetricsChange::between(before.metrics.as_deref(), after.metrics.as_deref()));
    require_update(before, &after, fields, change.as_ref(), context)?;
    if let (Some(metrics), true) = (&after.metrics, fields.contains(&"metrics")) {
        check_metrics(before.metrics.as_deref(), metrics, None, context.max_metrics_bytes)?;
    }
    after.updated_at = context.after(before);
    let changed_at = if fields == ["tags"] { before.changed_at() } else { &after.updated_at };
    after.changed_at = Some(changed_at.to_owned());
    let event = context.checked(EventDraft::update(fields))?;
    let event = event.with_values(before.values(fields), after.values(fields));
    let admission = admit(store, Candidate::from(&after), Some(before.status), None, context)?;
    let event = admission.verdicts.note(event);
    let mut incumbent = admission.incumbent;
    demote(store, incumbent.as_mut(), context)?;
    store.update(before, &after)?;
    if before.status != after.status {
        store.touch_model(after.model, &after.updated_at)?;
    }
    record_status(store, &after, Some(before.status), incumbent.as_ref(), None, context)?;
    context.append(store, &after, &event)?;
    for event in change.into_iter().flat_map(|change| change.events(context.max_event_payload_bytes)) {
        context.append(store, &after, &event)?;
    }
    Ok(after)
}

/// Checks that the caller may change something of a version, before a refusal tells more about it.
fn require_any_change(version: &Version, context: &Context<'_>) -> Result<(), Refusal> {
    let kinds = [ScopeKind::Register, ScopeKind::Evaluate, ScopeKind::Promote];
    context.principal.require_kind(&kinds)?;
    context.principal.require_model(&version.name)
}

/// Checks that the caller may change these fields of a version: a status needs the right to it, scores need `evaluate`, and all else
/// `register`.
fn require_update(
    before: &Version,
    after: &Version,
    fields: &[&'static str],
    metrics: Option<&MetricsChange>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let name = &before.name;
    let has_new_status = before.status != after.status;
    if has_new_status {
        context.require_status(Some(before.status), after.status, name)?;
    }
    let has_new_scores = metrics.is_some_and(MetricsChange::has_suites);
    if has_new_scores {
        context.require(&Scope::Evaluate, name)?;
    }
    let is_only = |field: &&'static str| match *field {
        "status" => has_new_status,
        "metrics" => has_new_scores && metrics.is_some_and(|metrics| !metrics.others),
        _ => false,
    };
    if fields.iter().all(is_only) { Ok(()) } else { context.require(&Scope::Register, name) }
}

/// Merges the scores of a suite into a version's metrics.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::TooLarge`], [`Refusal::PreconditionFailed`], and
/// [`Refusal::Conflict`] if `updated_at` differs from what the caller read, or the metrics can't take a suite.
pub fn record_metrics(
    store: &mut dyn WriteStore,
    id: VersionId,
    evaluation: &Evaluation,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let mut version = load_checked(store, id, precondition)?;
    context.require(&Scope::Evaluate, &version.name)?;
    let before = version.metrics.as_deref();
    let recorded = evaluation.record(before, context.actor, context.now)?;
    check_metrics(before, &recorded.metrics, Some(&evaluation.suite), context.max_metrics_bytes)?;
    let event = context.checked(recorded.event)?;
    version.updated_at = context.after(&version);
    store.set_metrics(id, &recorded.metrics, &recorded.scores, &version.updated_at)?;
    version.metrics = Some(recorded.metrics);
    context.append(store, &version, &event)?;
    Ok(version)
}

fn load_checked(
    store: &mut dyn WriteStore,
    id: VersionId,
    precondition: &Precondition,
) -> Result<Version, StoreError> {
    let version = store.find(id)?.ok_or_else(|| Refusal::no_version(id))?;
    precondition.check(&version)?;
    Ok(version)
}

/// Returns the model with this name.
fn load_model(store: &mut dyn WriteStore, name: &str) -> Result<Model, StoreError> {
    Ok(store.find_model(name)?.ok_or_else(|| Refusal::no_model(name))?)
}
