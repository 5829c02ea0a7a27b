//! What enters and leaves production, and the history of it.

use registry_domain::{
    EventDraft, Holding, PRODUCTION_ALIAS, Precondition, Refusal, Status, Version, VersionId,
    limits::check_reason,
    promotion::{demotion_reason, rollback_target},
};

use super::{Context, load_checked, load_model, references::find_number};
use crate::{StoreError, WriteStore};

/// Changes the status of a version. The reason, if there is one, goes into the audit trail.
///
/// # Errors
/// As [`update`](super::update). The caller has checked the reason.
pub fn promote(
    store: &mut dyn WriteStore,
    id: VersionId,
    to: Status,
    reason: Option<&str>,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = load_checked(store, id, precondition)?;
    promote_loaded(store, version, to, reason, context)
}

/// Changes the status of a version, if the gate admits it.
pub(super) fn promote_loaded(
    store: &mut dyn WriteStore,
    version: Version,
    to: Status,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let incumbent =
        find_incumbent(store, &version.name, Some(version.status), to, version.metrics.as_deref(), context)?;
    change_status(store, version, to, incumbent, reason, context)
}

/// The version that leaves production for another one, and the status that it gets.
pub(super) struct Incumbent {
    pub(super) version: Version,
    pub(super) to: Status,
}

impl Incumbent {
    fn of(version: Version) -> Self {
        Self { version, to: Status::AFTER_PRODUCTION }
    }
}

/// Writes a status that the rules allow, demotes the incumbent and appends the events.
pub(super) fn change_status(
    store: &mut dyn WriteStore,
    mut version: Version,
    to: Status,
    mut incumbent: Option<Incumbent>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let from = version.status;
    let event = context.checked(EventDraft::promote(from, to))?.because(reason);
    demote(store, incumbent.as_mut(), context)?;
    version.status = to;
    version.updated_at = context.after(&version);
    version.changed_at = Some(version.updated_at.clone());
    store.set_status(version.id, to, &version.updated_at)?;
    store.touch_model(version.model, &version.updated_at)?;
    record_status(store, &version, Some(from), incumbent.as_ref(), reason, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Puts a version back into production that was there before: the one before the current one, or the one with the number
/// `to`. It has passed the gate before, so it need not pass it again.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such model or version; [`Refusal::Conflict`] if that version was never in production,
/// or is there now, or is deleted.
pub fn rollback(
    store: &mut dyn WriteStore,
    name: &str,
    to: Option<i64>,
    reason: &str,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    check_reason(reason)?;
    let model = load_model(store, name)?;
    let incumbent = store.find_production(name)?.map(Incumbent::of);
    let to = to.map(|number| find_number(store, model.key, name, number)).transpose()?;
    let current = incumbent.as_ref().map(|incumbent| &incumbent.version);
    let (of, except) = (to.as_ref().map(|to| to.id), current.map(|current| current.id));
    let held = store.last_holding(model.key, PRODUCTION_ALIAS, of, except)?;
    let target = rollback_target(name, held, to.as_ref(), current)?;
    let version = store.find(target.version)?.ok_or_else(|| {
        Refusal::Conflict(format!(
            "version {:?}, which was in production before, is deleted; restore it, or name another version",
            target.label
        ))
    })?;
    change_status(store, version, Status::Production, incumbent, Some(reason), context)
}

/// Checks the gate, if a version of `name` with `metrics` enters production, and returns the version that it replaces.
///
/// `from` is the version's status before, `None` for a new one.
pub(super) fn find_incumbent(
    store: &mut dyn WriteStore,
    name: &str,
    from: Option<Status>,
    to: Status,
    metrics: Option<&str>,
    context: &Context<'_>,
) -> Result<Option<Incumbent>, StoreError> {
    if to != Status::Production || from == Some(to) {
        return Ok(None);
    }
    let incumbent = store.find_production(name)?;
    let to_beat = incumbent.as_ref().and_then(|incumbent| incumbent.metrics.as_deref());
    context.gate.admit(metrics, to_beat)?;
    Ok(incumbent.map(Incumbent::of))
}

/// Moves the incumbent out of production. [`record_status`] appends its event, once the successor has an id.
pub(super) fn demote(
    store: &mut dyn WriteStore,
    incumbent: Option<&mut Incumbent>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let Some(Incumbent { version, to }) = incumbent else { return Ok(()) };
    version.status = *to;
    store.set_status(version.id, *to, &context.after(version))?;
    store.end_holding(version.model, PRODUCTION_ALIAS, &context.now.to_string())
}

/// Appends the demotion of the incumbent, and begins or ends the version's time in production, if its status changed from or
/// to that. Called once the version is written.
pub(super) fn record_status(
    store: &mut dyn WriteStore,
    version: &Version,
    from: Option<Status>,
    incumbent: Option<&Incumbent>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    if let Some(Incumbent { version: displaced, to }) = incumbent {
        context.append(store, displaced, &EventDraft::auto_demote(*to, &demotion_reason(version.id)))?;
    }
    let was_there = from == Some(Status::Production);
    match (was_there, version.status == Status::Production) {
        (false, true) => begin_holding(store, version, PRODUCTION_ALIAS, reason, context),
        (true, false) => store.end_holding(version.model, PRODUCTION_ALIAS, &context.now.to_string()),
        _ => Ok(()),
    }
}

pub(super) fn begin_holding(
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
