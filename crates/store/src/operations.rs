//! The changes a registry makes, each `read → rule → write → event`, over any [`WriteStore`].
//!
//! Each runs inside one transaction and is all or nothing: after an error the caller undoes its writes. A refused
//! operation has written nothing, because rules come before writes.

use registry_domain::{
    Draft, Evaluation, EventDraft, EventKind, Gate, Patch, Precondition, Refusal, Status, Tags, Timestamp,
    Version, VersionId, json, limits::check_metrics, promotion::demotion_reason,
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
        id: VersionId,
        event: &EventDraft,
    ) -> Result<(), StoreError> {
        store.append_event(id, event, self.actor, &self.now.to_string())
    }

    /// Returns the next `updated_at` of a version, which always increases.
    fn after(&self, model: &Version) -> String {
        self.now.after(&model.updated_at).to_string()
    }
}

/// Registers a version.
///
/// # Errors
/// [`Refusal::Conflict`] if name and version are taken or the gate refuses it; [`Refusal::TooLarge`] if its event or its
/// metrics are.
pub fn register(
    store: &mut dyn WriteStore,
    draft: Draft,
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
    let incumbent = demote_incumbent(store, &draft.name, None, draft.status, Some(&metrics), context)?;
    let model = store.insert(draft, context.now)?;
    if let Some(incumbent) = incumbent {
        append_demotion(store, incumbent, model.id, context)?;
    }
    context.append(store, model.id, &event)?;
    Ok(model)
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
    let mut model = load_checked(store, id, precondition)?;
    patch.check_allowed(&model)?;
    let fields = patch.updated_fields();
    if fields.is_empty() {
        return Ok(model);
    }
    let before = model.clone();
    patch.apply(&mut model);
    if let (Some(metrics), true) = (&model.metrics, patch.metrics.is_some()) {
        check_metrics(before.metrics.as_deref(), metrics, None, context.max_metrics_bytes)?;
    }
    model.updated_at = context.after(&model);
    let event = context.checked(EventDraft::update(&fields))?;
    let (now, metrics) = (model.status, model.metrics.as_deref());
    let incumbent = demote_incumbent(store, &model.name, Some(before.status), now, metrics, context)?;
    store.update(&before, &model)?;
    if let Some(incumbent) = incumbent {
        append_demotion(store, incumbent, id, context)?;
    }
    context.append(store, id, &event)?;
    Ok(model)
}

/// Changes the status of a version.
///
/// # Errors
/// As [`update`].
pub fn promote(
    store: &mut dyn WriteStore,
    id: VersionId,
    to: Status,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let mut model = load_checked(store, id, precondition)?;
    let from = model.status;
    let event = context.checked(EventDraft::promote(from, to))?;
    let incumbent = demote_incumbent(store, &model.name, Some(from), to, model.metrics.as_deref(), context)?;
    model.status = to;
    model.updated_at = context.after(&model);
    store.set_status(id, to, &model.updated_at)?;
    if let Some(incumbent) = incumbent {
        append_demotion(store, incumbent, id, context)?;
    }
    context.append(store, id, &event)?;
    Ok(model)
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
    let mut model = load_checked(store, id, precondition)?;
    let before = model.metrics.as_deref();
    let recorded = evaluation.record(before, context.actor, context.now)?;
    check_metrics(before, &recorded.metrics, Some(&evaluation.suite), context.max_metrics_bytes)?;
    let event = context.checked(recorded.event)?;
    model.updated_at = context.after(&model);
    store.set_metrics(id, &recorded.metrics, &recorded.scores, &model.updated_at)?;
    model.metrics = Some(recorded.metrics);
    context.append(store, id, &event)?;
    Ok(model)
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
    let model = load_checked(store, id, precondition)?;
    let mut tags = Tags::of(&model);
    if tags.set(key, value)?.as_deref() == Some(value) {
        return Ok(model);
    }
    write_tags(store, model, tags, EventDraft::tag(key, Some(value)), context)
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
    let model = load_checked(store, id, precondition)?;
    let mut tags = Tags::of(&model);
    if tags.remove(key).is_none() {
        return Err(Refusal::NotFound(format!("version {id} has no tag {key:?}")).into());
    }
    write_tags(store, model, tags, EventDraft::tag(key, None), context)
}

fn write_tags(
    store: &mut dyn WriteStore,
    mut model: Version,
    tags: Tags,
    event: EventDraft,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let event = context.checked(event)?;
    let before = model.clone();
    tags.store(&mut model);
    model.updated_at = context.after(&model);
    store.update(&before, &model)?;
    context.append(store, model.id, &event)?;
    Ok(model)
}

/// Deletes a version. An immutable one needs `force`.
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
    let model = load_checked(store, id, precondition)?;
    if model.is_immutable() && !force {
        let state = if model.status == Status::Production { "in production" } else { "frozen" };
        return Err(Refusal::ForceRequired { id, state }.into());
    }
    store.delete(id)?;
    let event = EventDraft::identity(
        EventKind::Delete,
        &model.name,
        &model.label,
        model.status,
        model.artifact_uri.as_deref(),
    );
    // No size limit here, so that a version with a very long URI can be deleted.
    context.append(store, id, &event)
}

fn load_checked(
    store: &mut dyn WriteStore,
    id: VersionId,
    precondition: &Precondition,
) -> Result<Version, StoreError> {
    let model = store.find(id)?.ok_or_else(|| Refusal::no_version(id))?;
    precondition.check(&model)?;
    Ok(model)
}

/// Checks the gate and moves the incumbent to staging, if a version of `name` with `metrics` enters production.
///
/// `from` is the version's status before, `None` for a new one. Returns the incumbent; the caller writes its event once
/// the successor has an id.
fn demote_incumbent(
    store: &mut dyn WriteStore,
    name: &str,
    from: Option<Status>,
    to: Status,
    metrics: Option<&str>,
    context: &Context<'_>,
) -> Result<Option<VersionId>, StoreError> {
    if to != Status::Production || from == Some(to) {
        return Ok(None);
    }
    let incumbent = store.find_production(name)?;
    let to_beat = incumbent.as_ref().and_then(|model| model.metrics.as_deref());
    context.gate.admit(metrics, to_beat)?;
    if let Some(incumbent) = &incumbent {
        store.set_status(incumbent.id, Status::Staging, &context.after(incumbent))?;
    }
    Ok(incumbent.map(|model| model.id))
}

fn append_demotion(
    store: &mut dyn WriteStore,
    incumbent: VersionId,
    successor: VersionId,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    context.append(store, incumbent, &EventDraft::auto_demote(&demotion_reason(successor)))
}
