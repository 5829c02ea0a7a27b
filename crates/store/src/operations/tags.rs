//! Tags of versions.

use registry_domain::{EventDraft, Patch, Precondition, Refusal, Tags, Version, VersionId, tags::TagChanges};

use super::{Context, load_checked, update};
use crate::{StoreError, WriteStore};

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
