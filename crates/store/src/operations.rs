//! The changes a registry makes, each `read → rule → write → event`, over any [`WriteStore`].
//!
//! Each runs inside one transaction and is all or nothing: after an error the caller undoes its writes. A refused
//! operation has written nothing, because rules come before writes.

mod aliases;
mod models;
mod references;

pub use aliases::{delete_alias, rollback, set_alias};
pub use models::{create_model, delete_model, restore_model, update_model};
pub use references::{find_deleted_version, find_version};

use registry_domain::{
    Draft, Evaluation, EventDraft, EventKind, Gate, Holding, Model, ModelKey, PRODUCTION_ALIAS, Patch,
    Precondition, Refusal, Status, Tags, Timestamp, Version, VersionId, json, limits::check_metrics,
    promotion::demotion_reason, tags::TagChanges,
};

use super::{StoreError, WriteStore};

/// Who runs an operation, when, and under which rules.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// Written into the audit trail.
    pub actor: &'a str,
    /// The clock, read once for the operation.
    pub now: Timestamp,
    /// The condition for production.
    pub gate: &'a Gate,
    /// The largest payload of an event, in bytes.
    pub max_event_payload_bytes: usize,
    /// The largest metrics of a version, in bytes of JSON.
    pub max_metrics_bytes: usize,
}

impl Context<'_> {
    /// Checks the size of an event. Called before anything is written.
    fn checked(&self, event: EventDraft) -> Result<EventDraft, Refusal> {
        event.within(self.max_event_payload_bytes)
    }

    fn append(
        &self,
        store: &mut dyn WriteStore,
        version: &Version,
        event: &EventDraft,
    ) -> Result<(), StoreError> {
        store.append_event(version.model, Some(version.id), event, self.actor, &self.now.to_string())
    }

    fn append_to_model(
        &self,
        store: &mut dyn WriteStore,
        model: ModelKey,
        event: &EventDraft,
    ) -> Result<(), StoreError> {
        store.append_event(model, None, event, self.actor, &self.now.to_string())
    }

    /// Returns the next `updated_at` of a version, which always increases.
    fn after(&self, model: &Version) -> String {
        self.now.after(&model.updated_at).to_string()
    }
}

/// Whether a label that a deleted version had is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelReuse {
    /// Always, as 0.2.0 did.
    Allowed,
    /// Only to a version with the same digest.
    ForSameBytes,
}

/// Registers a version, and its model if there is none of this name.
///
/// # Errors
/// [`Refusal::Conflict`] if name and label are taken, or were and may not be used again, or the gate refuses the version;
/// [`Refusal::TooLarge`] if its event or its metrics are.
pub fn register(
    store: &mut dyn WriteStore,
    draft: Draft,
    reuse: LabelReuse,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let event = context.checked(EventDraft::identity(
        EventKind::Create,
        &draft.name,
        &draft.label,
        draft.status,
        draft.artifact_uri.as_deref(),
    ))?;
    let metrics = json::compact(&draft.metrics);
    check_metrics(None, &metrics, None, context.max_metrics_bytes)?;
    if let Some(id) = store.find_label(&draft.name, &draft.label)? {
        return Err(Refusal::taken(&draft.name, &draft.label, id).into());
    }
    let model = store.find_model(&draft.name)?;
    if let (Some(model), LabelReuse::ForSameBytes) = (&model, reuse)
        && let Some(sha256) = store.spent_label(model.key, &draft.label)?
    {
        let digest = draft.checkpoint.sha256.map(|digest| digest.to_string());
        if digest.is_none() || digest != sha256 {
            return Err(Refusal::spent(&draft.name, &draft.label).into());
        }
    }
    let incumbent = find_incumbent(store, &draft.name, None, draft.status, Some(&metrics), context)?;
    let model = match model {
        Some(model) => model.key,
        None => store.insert_model(models::new_model(&draft.name, context.now))?.key,
    };
    demote(store, incumbent.as_ref(), context)?;
    let version = store.insert(draft, model, context.now)?;
    append_demotion(store, incumbent.as_ref(), version.id, context)?;
    record_production(store, &version, None, None, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
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
    let mut version = load_checked(store, id, precondition)?;
    patch.check_allowed(&version)?;
    let fields = patch.updated_fields();
    if fields.is_empty() {
        return Ok(version);
    }
    let before = version.clone();
    patch.apply(&mut version);
    if let (Some(metrics), true) = (&version.metrics, patch.metrics.is_some()) {
        check_metrics(before.metrics.as_deref(), metrics, None, context.max_metrics_bytes)?;
    }
    version.updated_at = context.after(&version);
    let event = context.checked(EventDraft::update(&fields))?;
    let event = event.with_values(before.values(&fields), version.values(&fields));
    let (now, metrics) = (version.status, version.metrics.as_deref());
    let incumbent = find_incumbent(store, &version.name, Some(before.status), now, metrics, context)?;
    demote(store, incumbent.as_ref(), context)?;
    store.update(&before, &version)?;
    append_demotion(store, incumbent.as_ref(), id, context)?;
    record_production(store, &version, Some(before.status), None, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Changes fields and single tags of a version. Tags that are not named stay.
///
/// # Errors
/// As [`update`]; [`Refusal::Invalid`] for a tag that is blank or too long.
pub fn update_with_tags(
    store: &mut dyn WriteStore,
    id: VersionId,
    patch: &Patch,
    tags: &TagChanges,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = load_checked(store, id, precondition)?;
    // Checked before anything is written.
    Tags::of(&version).apply(tags)?;
    let mut version = update(store, id, patch, precondition, context)?;
    let any = Precondition::default();
    for (key, value) in tags {
        match value {
            Some(value) => version = set_tag(store, id, key, value, &any, context)?,
            None if Tags::of(&version).get(key).is_some() => {
                version = delete_tag(store, id, key, &any, context)?;
            }
            None => {}
        }
    }
    Ok(version)
}

/// Changes the status of a version. The reason, if there is one, goes into the audit trail.
///
/// # Errors
/// As [`update`].
pub fn promote(
    store: &mut dyn WriteStore,
    id: VersionId,
    to: Status,
    reason: Option<&str>,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = load_checked(store, id, precondition)?;
    let incumbent =
        find_incumbent(store, &version.name, Some(version.status), to, version.metrics.as_deref(), context)?;
    change_status(store, version, to, incumbent, reason, context)
}

/// Writes a status that the rules allow, demotes the incumbent and appends the events.
fn change_status(
    store: &mut dyn WriteStore,
    mut version: Version,
    to: Status,
    incumbent: Option<Version>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let from = version.status;
    let event = context.checked(EventDraft::promote(from, to))?.because(reason);
    demote(store, incumbent.as_ref(), context)?;
    version.status = to;
    version.updated_at = context.after(&version);
    store.set_status(version.id, to, &version.updated_at)?;
    append_demotion(store, incumbent.as_ref(), version.id, context)?;
    record_production(store, &version, Some(from), reason, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
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

/// Sets a tag of a version; an empty value makes it one without a value. An immutable version accepts it. Setting the value
/// that the tag has changes nothing.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::PreconditionFailed`], [`Refusal::Invalid`] if key or value are over their limits, and
/// [`Refusal::Conflict`] if the version has as many tags as it may.
pub fn set_tag(
    store: &mut dyn WriteStore,
    id: VersionId,
    key: &str,
    value: &str,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = load_checked(store, id, precondition)?;
    let mut tags = Tags::of(&version);
    let before = tags.set(key, value)?;
    if before.as_deref() == Some(value) {
        return Ok(version);
    }
    write_tags(store, version, tags, EventDraft::tag(key, before.as_deref(), Some(value)), context)
}

/// Deletes a tag of a version, with or without a value. An immutable version accepts it.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such version or tag; [`Refusal::PreconditionFailed`].
pub fn delete_tag(
    store: &mut dyn WriteStore,
    id: VersionId,
    key: &str,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = load_checked(store, id, precondition)?;
    let mut tags = Tags::of(&version);
    let Some(before) = tags.remove(key) else {
        return Err(Refusal::NotFound(format!("version {id} has no tag {key:?}")).into());
    };
    write_tags(store, version, tags, EventDraft::tag(key, Some(&before), None), context)
}

fn write_tags(
    store: &mut dyn WriteStore,
    mut version: Version,
    tags: Tags,
    event: EventDraft,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let event = context.checked(event)?;
    let before = version.clone();
    tags.store(&mut version);
    version.updated_at = context.after(&version);
    store.update(&before, &version)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Moves a version to the trash. An immutable one needs `force`.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Conflict`], [`Refusal::PreconditionFailed`].
pub fn delete(
    store: &mut dyn WriteStore,
    id: VersionId,
    force: bool,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let version = load_checked(store, id, precondition)?;
    if version.is_immutable() && !force {
        let state = if version.status == Status::Production { "in production" } else { "frozen" };
        return Err(Refusal::ForceRequired { id, state }.into());
    }
    delete_unchecked(store, &version, context)
}

/// Moves a version to the trash. Its aliases end.
fn delete_unchecked(
    store: &mut dyn WriteStore,
    version: &Version,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let now = context.now.to_string();
    let aliases = store.aliases(version.model)?;
    for alias in aliases.into_iter().filter(|alias| alias.version == version.id) {
        store.set_alias(version.model, &alias.name, None)?;
        store.end_holding(version.model, &alias.name, &now)?;
        context.append(store, version, &EventDraft::delete_alias(&alias.name, &version.label))?;
    }
    store.delete(version, context.actor, &now)?;
    if version.status == Status::Production {
        store.end_holding(version.model, PRODUCTION_ALIAS, &now)?;
    }
    let event = EventDraft::identity(
        EventKind::Delete,
        &version.name,
        &version.label,
        version.status,
        version.artifact_uri.as_deref(),
    );
    // No size limit here, so that a version with a very long URI can be deleted.
    context.append(store, version, &event)
}

/// Takes a version out of the trash. One that was in production comes back in staging.
///
/// # Errors
/// [`Refusal::NotFound`] if it is not in the trash; [`Refusal::Conflict`] if its model is deleted or its label is taken.
pub fn restore(
    store: &mut dyn WriteStore,
    id: VersionId,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let mut version = store
        .find_deleted(id)?
        .ok_or_else(|| Refusal::NotFound(format!("there is no deleted version with id {id}")))?;
    let model = store.find_model(&version.name)?.filter(|model| model.key == version.model);
    if model.is_none() {
        return Err(Refusal::Conflict(format!(
            "the model {:?} of this version is deleted; restore the model first",
            version.name
        ))
        .into());
    }
    if let Some(taken) = store.find_label(&version.name, &version.label)? {
        return Err(Refusal::taken(&version.name, &version.label, taken).into());
    }
    if version.status == Status::Production {
        version.status = Status::Staging;
    }
    version.updated_at = context.after(&version);
    store.restore(&version)?;
    let event = EventDraft::restore(&version.name, &version.label, version.status);
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

/// Checks the gate, if a version of `name` with `metrics` enters production, and returns the version that it replaces.
///
/// `from` is the version's status before, `None` for a new one.
fn find_incumbent(
    store: &mut dyn WriteStore,
    name: &str,
    from: Option<Status>,
    to: Status,
    metrics: Option<&str>,
    context: &Context<'_>,
) -> Result<Option<Version>, StoreError> {
    if to != Status::Production || from == Some(to) {
        return Ok(None);
    }
    let incumbent = store.find_production(name)?;
    let to_beat = incumbent.as_ref().and_then(|model| model.metrics.as_deref());
    context.gate.admit(metrics, to_beat)?;
    Ok(incumbent)
}

/// Moves the incumbent to staging. The caller writes its event once the successor has an id.
fn demote(
    store: &mut dyn WriteStore,
    incumbent: Option<&Version>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let Some(incumbent) = incumbent else { return Ok(()) };
    store.set_status(incumbent.id, Status::Staging, &context.after(incumbent))?;
    store.end_holding(incumbent.model, PRODUCTION_ALIAS, &context.now.to_string())
}

fn append_demotion(
    store: &mut dyn WriteStore,
    incumbent: Option<&Version>,
    successor: VersionId,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let Some(incumbent) = incumbent else { return Ok(()) };
    context.append(store, incumbent, &EventDraft::auto_demote(&demotion_reason(successor)))
}

/// Begins or ends the version's time in production, if its status changed from or to that.
fn record_production(
    store: &mut dyn WriteStore,
    version: &Version,
    from: Option<Status>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let was_there = from == Some(Status::Production);
    match (was_there, version.status == Status::Production) {
        (false, true) => begin_holding(store, version, PRODUCTION_ALIAS, reason, context),
        (true, false) => store.end_holding(version.model, PRODUCTION_ALIAS, &context.now.to_string()),
        _ => Ok(()),
    }
}

fn begin_holding(
    store: &mut dyn WriteStore,
    version: &Version,
    alias: &str,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let holding = Holding {
        alias: alias.to_owned(),
        version: version.id,
        number: version.number,
        label: version.label.clone(),
        since: context.now.to_string(),
        until: None,
        actor: Some(context.actor.to_owned()),
        reason: reason.map(str::to_owned),
    };
    store.begin_holding(version.model, &holding)
}
