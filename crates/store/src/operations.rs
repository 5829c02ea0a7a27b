//! The changes a registry makes, each `read → rule → write → event`, over any [`WriteStore`].
//!
//! Each runs inside one transaction and is all or nothing: after an error the caller undoes its writes. A refused
//! operation has written nothing, because rules come before writes.

mod aliases;
pub mod mlflow;
mod models;
mod production;
mod references;
mod tags;
mod trash;
mod webhooks;

pub use aliases::{delete_alias, set_alias};
pub use models::{create_model, delete_model, restore_model, update_model};
pub use production::{promote, rollback};
pub use references::{find_deleted_version, find_version};
pub use tags::{delete_tag, set_tag, update_with_tags};
pub use trash::{delete, restore};
pub use webhooks::{create_webhook, delete_webhook, replay_deliveries, update_webhook};

use registry_domain::{
    Draft, Evaluation, EventDraft, EventKind, Gate, GivenTimes, LabelReuse, Model, Numbering, Patch,
    Precondition, Refusal, Timestamp, Version, VersionId, import::check_number, json, limits::check_metrics,
};

use self::{
    production::{demote, find_incumbent, record_status},
    webhooks::Subject,
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
    let mut incumbent = find_incumbent(store, &draft.name, None, draft.status, Some(&metrics), context)?;
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
    patch.check_allowed(&before)?;
    let mut after = before.clone();
    patch.apply(&mut after);
    write_update(store, &before, after, &patch.updated_fields(), context)
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
    if let (Some(metrics), true) = (&after.metrics, fields.contains(&"metrics")) {
        check_metrics(before.metrics.as_deref(), metrics, None, context.max_metrics_bytes)?;
    }
    after.updated_at = context.after(before);
    let changed_at = if fields == ["tags"] { before.changed_at() } else { &after.updated_at };
    after.changed_at = Some(changed_at.to_owned());
    let event = context.checked(EventDraft::update(fields))?;
    let event = event.with_values(before.values(fields), after.values(fields));
    let (now, metrics) = (after.status, after.metrics.as_deref());
    let mut incumbent = find_incumbent(store, &after.name, Some(before.status), now, metrics, context)?;
    demote(store, incumbent.as_mut(), context)?;
    store.update(before, &after)?;
    if before.status != now {
        store.touch_model(after.model, &after.updated_at)?;
    }
    record_status(store, &after, Some(before.status), incumbent.as_ref(), None, context)?;
    context.append(store, &after, &event)?;
    Ok(after)
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
