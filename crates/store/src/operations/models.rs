//! Changes of registered models.

use std::collections::BTreeMap;

use registry_domain::{
    EventDraft, EventKind, Model, Precondition, Refusal, Timestamp, limits::check_name, model::ModelPatch,
};

use super::{
    Context, load_model,
    trash::{delete_unchecked, restore},
};
use crate::{StoreError, WriteStore};

/// Returns a model with this name, as its first version creates it.
pub(super) fn new_model(name: &str, now: Timestamp) -> Model {
    let now = now.to_string();
    Model {
        key: 0,
        name: name.to_owned(),
        description: None,
        tags: BTreeMap::new(),
        created_at: now.clone(),
        updated_at: now,
        deleted_at: None,
    }
}

/// Creates a model without versions.
///
/// # Errors
/// [`Refusal::Conflict`] if there is one of this name; [`Refusal::Invalid`].
pub fn create_model(
    store: &mut dyn WriteStore,
    name: &str,
    patch: &ModelPatch,
    context: &Context<'_>,
) -> Result<Model, StoreError> {
    check_name("name", name)?;
    let mut model = new_model(name, context.now);
    patch.apply(&mut model)?;
    if store.find_model(name)?.is_some() {
        return Err(Refusal::Conflict(format!("there is a model {name:?} already")).into());
    }
    let model = store.insert_model(model)?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::CreateModel, &model))?;
    Ok(model)
}

/// Changes name, description or tags of a model. A new name goes to all its versions.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] if another model has the new name; [`Refusal::Invalid`];
/// [`Refusal::PreconditionFailed`].
pub fn update_model(
    store: &mut dyn WriteStore,
    name: &str,
    patch: &ModelPatch,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Model, StoreError> {
    let before = load_model(store, name)?;
    precondition.check_model(&before)?;
    let mut after = before.clone();
    patch.apply(&mut after)?;
    if after == before {
        return Ok(before);
    }
    if after.name != before.name && store.find_model(&after.name)?.is_some() {
        return Err(Refusal::Conflict(format!(
            "there is a model {:?} already; choose another name",
            after.name
        ))
        .into());
    }
    after.updated_at = context.now.after(&before.updated_at).to_string();
    store.update_model(&before, &after)?;
    context.append_to_model(store, after.key, &EventDraft::model_changed(&before, &after))?;
    Ok(after)
}

/// Moves a model and all its versions to the trash. One with a production or frozen version needs `force`.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Conflict`], [`Refusal::PreconditionFailed`].
pub fn delete_model(
    store: &mut dyn WriteStore,
    name: &str,
    force: bool,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let model = load_model(store, name)?;
    precondition.check_model(&model)?;
    let mut versions = Vec::new();
    for id in store.versions_of(model.key)? {
        versions.extend(store.find(id)?);
    }
    versions.iter().try_for_each(|version| version.check_deletable(force))?;
    for version in versions {
        delete_unchecked(store, &version, context)?;
    }
    store.set_model_deleted(model.key, Some(&context.now.to_string()))?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::DeleteModel, &model))
}

/// Takes the model that was deleted last under this name out of the trash, with the versions that were deleted with it.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] if another model has this name now.
pub fn restore_model(
    store: &mut dyn WriteStore,
    name: &str,
    context: &Context<'_>,
) -> Result<Model, StoreError> {
    let model = store
        .find_deleted_model(name)?
        .ok_or_else(|| Refusal::NotFound(format!("there is no deleted model {name:?}")))?;
    if store.find_model(name)?.is_some() {
        return Err(Refusal::Conflict(format!(
            "another model is named {name:?} now; rename it, then restore this one"
        ))
        .into());
    }
    let versions = store.deleted_with_model(model.key)?;
    store.set_model_deleted(model.key, None)?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::RestoreModel, &model))?;
    for id in versions {
        restore(store, id, context)?;
    }
    Ok(Model { deleted_at: None, ..model })
}
