//! Tags of versions.

use registry_domain::{
    EventDraft, Patch, Precondition, Refusal, Scope, Tags, Version, VersionId, tags::TagChanges,
};

use super::{Context, load_checked, require_any_change, write_update};
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
    context.require(&Scope::Register, &version.name)?;
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
    context.require(&Scope::Register, &version.name)?;
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
    version.changed_at = Some(before.changed_at().to_owned());
    version.updated_at = context.after(&version);
    store.update(&before, &version)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Changes fields and single tags of a version, in one update with one event. Tags that are not named stay.
///
/// If only one tag changes, the event is the one of [`set_tag`] or [`delete_tag`].
///
/// # Errors
/// As [`update`](super::update) and [`set_tag`].
pub fn update_with_tags(
    store: &mut dyn WriteStore,
    id: VersionId,
    patch: &Patch,
    changes: &TagChanges,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let before = load_checked(store, id, precondition)?;
    require_any_change(&before, context)?;
    super::check_patch(store, patch, &before)?;
    let mut after = before.clone();
    patch.apply(&mut after);
    let mut tags = Tags::of(&after);
    tags.apply(changes)?;
    tags.store(&mut after);
    let mut fields = patch.updated_fields();
    let (had, has) = (Tags::of(&before), Tags::of(&after));
    if had != has && !fields.contains(&"tags") {
        if let (true, Some((key, _))) = (fields.is_empty() && changes.len() == 1, changes.first_key_value()) {
            context.require(&Scope::Register, &before.name)?;
            let event = EventDraft::tag(key, had.get(key), has.get(key));
            return write_tags(store, before, has, event, context);
        }
        fields.push("tags");
    }
    write_update(store, &before, after, &fields, context)
}
