//! What enters and leaves production, and the history of it.

use registry_domain::{
    EventDraft, Holding, PRODUCTION_ALIAS, Precondition, Refusal, Status, Version, VersionId,
    limits::check_reason,
    policy::Verdict,
    promotion::{demotion_reason, rollback_target},
};

use super::{
    Context, load_checked, load_model,
    policies::{Candidate, Target, Verdicts, judge},
    references::find_number,
};
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
    context.require_status(Some(version.status), to, &version.name)?;
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
    let after = Version { status: to, ..version.clone() };
    let admission = admit(store, Candidate::from(&after), Some(version.status), reason, context)?;
    change_status(store, version, to, admission, reason, context)
}

/// That a version may get a status: the version that it replaces, and what policies say.
#[derive(Default)]
pub(super) struct Admission {
    pub(super) incumbent: Option<Incumbent>,
    pub(super) verdicts: Verdicts,
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
    Admission { mut incumbent, verdicts }: Admission,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let from = version.status;
    let event = verdicts.note(context.checked(EventDraft::promote(from, to))?.because(reason));
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
/// `to`. It has passed gate and policies before, so it need not pass them again.
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
    context.require_status(None, Status::Production, name)?;
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
    let admission = Admission { incumbent, verdicts: Verdicts::default() };
    change_status(store, version, Status::Production, admission, Some(reason), context)
}

/// Checks that a version may get the status that it has in `candidate`, which every way to a status calls. `from` is its status
/// before, `None` for a new version.
///
/// Gate and policies judge it, unless it has the status already, begins as experimental, or leaves production.
///
/// # Errors
/// [`Refusal::Conflict`] by the gate; [`Refusal::Denied`] by policies, with what the gate says.
pub(super) fn admit(
    store: &mut dyn WriteStore,
    candidate: Candidate<'_>,
    from: Option<Status>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Admission, StoreError> {
    let (version, to) = (candidate.version, candidate.version.status);
    if from == Some(to) || from == Some(Status::Production) || to == Status::Experimental {
        return Ok(Admission::default());
    }
    let mut admission = Admission::default();
    let mut gate = None;
    if to == Status::Production {
        admission.incumbent = store.find_production(&version.name)?.map(Incumbent::of);
        let incumbent = admission.incumbent.as_ref();
        let to_beat = incumbent.and_then(|incumbent| incumbent.version.metrics.as_deref());
        gate = context.gate.verdict(version.metrics.as_deref(), to_beat);
    }
    let mut verdicts = judge(store, candidate, Target::Status(to), reason, context)?;
    let gate_refuses = gate.as_ref().and_then(|gate| gate.failed().next());
    if let (Some(failed), true) = (gate_refuses, verdicts.list.iter().all(Verdict::holds)) {
        return Err(Refusal::Conflict(failed.message).into());
    }
    verdicts.list.splice(0..0, gate);
    verdicts.enforce(version, to.as_str(), context)?;
    admission.verdicts = verdicts;
    Ok(admission)
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
