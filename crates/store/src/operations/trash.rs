//! Deleting versions, and taking them out of the trash.

use registry_domain::{
    EventDraft, EventKind, Force, PRODUCTION_ALIAS, Precondition, Refusal, Scope, Status, Version, VersionId,
    policy::verdict::bounded,
};

use super::{
    Context, load_checked,
    policies::{Candidate, Target, Verdicts, judge},
};
use crate::{StoreError, WriteStore};

/// Moves a version to the trash. An immutable one needs `force`.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Conflict`], [`Refusal::PreconditionFailed`].
pub fn delete(
    store: &mut dyn WriteStore,
    id: VersionId,
    force: Force,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let version = load_checked(store, id, precondition)?;
    context.require(&Scope::Delete, &version.name)?;
    if version.status == Status::Production {
        context.require_status(None, Status::Production, &version.name)?;
    }
    version.check_deletable(force)?;
    let aliases = store.aliases(version.model)?.into_iter().filter(|alias| alias.version == id);
    let aliases: Vec<_> = aliases.map(|alias| alias.name).collect();
    delete_unchecked(store, &version, &aliases, false, context)
}

/// Moves a version to the trash, alone or together with its model. Its aliases end.
pub(super) fn delete_unchecked(
    store: &mut dyn WriteStore,
    version: &Version,
    aliases: &[String],
    with_model: bool,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let now = context.now.to_string();
    for alias in aliases {
        store.set_alias(version.model, alias, None)?;
        store.end_holding(version.model, alias, &now)?;
        context.append(store, version, &EventDraft::delete_alias(alias, &version.label))?;
    }
    store.delete(version, with_model, context.actor, &now)?;
    if !with_model {
        store.touch_model(version.model, &now)?;
    }
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

/// Takes a version out of the trash. One that was in production comes back in staging, and one that policies keep from its status
/// comes back experimental.
///
/// # Errors
/// [`Refusal::NotFound`] if it is not in the trash; [`Refusal::Conflict`] if its model is deleted or its label is taken.
pub fn restore(
    store: &mut dyn WriteStore,
    id: VersionId,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let version = store
        .find_deleted(id)?
        .ok_or_else(|| Refusal::NotFound(format!("there is no deleted version with id {id}")))?;
    require_restore(&version, context)?;
    let model = store.find_model(&version.name)?.filter(|model| model.key == version.model);
    if model.is_none() {
        return Err(Refusal::Conflict(format!(
            "the model {:?} of this version is deleted; restore the model first",
            version.name
        ))
        .into());
    }
    if let Some(taken) = store.find_label(&version.name, &version.label)? {
        return Err(Refusal::label_in_use(&version.name, &version.label, taken).into());
    }
    restore_unchecked(store, version, context)
}

/// Checks that the caller may take a version out of the trash, which gives it a status.
pub(super) fn require_restore(version: &Version, context: &Context<'_>) -> Result<(), Refusal> {
    context.require(&Scope::Delete, &version.name)?;
    match version.status.after_restore() {
        Status::Experimental => Ok(()),
        status => context.require_status(None, status, &version.name),
    }
}

/// Takes a version out of the trash whose model is there and whose label is free.
pub(super) fn restore_unchecked(
    store: &mut dyn WriteStore,
    mut version: Version,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    version.status = version.status.after_restore();
    let mut event_verdicts = Verdicts::default();
    if version.status != Status::Experimental {
        let target = Target::Status(version.status);
        event_verdicts = judge(store, Candidate::from(&version), target, None, context)?;
        if let Err(refusal) = event_verdicts.enforce(&version, version.status.as_str(), context) {
            let warning = format!("it comes back experimental: {refusal}");
            context.warnings.borrow_mut().extend(bounded([warning]));
            version.status = Status::Experimental;
        }
    }
    version.updated_at = context.after(&version);
    version.changed_at = Some(version.updated_at.clone());
    store.restore(&version)?;
    store.touch_model(version.model, &version.updated_at)?;
    let event = event_verdicts.note(EventDraft::restore(&version.name, &version.label, version.status));
    context.append(store, &version, &event)?;
    Ok(version)
}
