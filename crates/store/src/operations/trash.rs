//! Deleting versions, and taking them out of the trash.

use registry_domain::{
    EventDraft, EventKind, PRODUCTION_ALIAS, Precondition, Refusal, Status, Version, VersionId,
};

use super::{Context, load_checked};
use crate::{StoreError, WriteStore};

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
    version.check_deletable(force)?;
    delete_unchecked(store, &version, context)
}

/// Moves a version to the trash. Its aliases end.
pub(super) fn delete_unchecked(
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
    version.status = version.status.once_restored();
    version.updated_at = context.after(&version);
    store.restore(&version)?;
    let event = EventDraft::restore(&version.name, &version.label, version.status);
    context.append(store, &version, &event)?;
    Ok(version)
}
