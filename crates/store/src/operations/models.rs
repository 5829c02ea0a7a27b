//! Changes of registered models.

use std::collections::BTreeMap;

use registry_domain::{
    EventDraft, EventKind, Force, GivenTimes, Model, Numbering, Precondition, Refusal, Scope, Status,
    Timestamp, VersionId, limits::check_name, model::ModelPatch,
};

use super::{
    Context, load_model,
    policies::check_renamed,
    trash::{delete_unchecked, require_restore, restore_unchecked},
};
use crate::{StoreError, WriteStore};

/// Returns a model with this name, as its first version creates it.
pub(super) fn new_model(name: &str, times: GivenTimes, now: Timestamp) -> Model {
    let (created_at, updated_at) = times.or_now(now);
    Model {
        key: 0,
        name: name.to_owned(),
        description: None,
        tags: BTreeMap::new(),
        created_at: created_at.to_string(),
        updated_at: updated_at.to_string(),
        deleted_at: None,
        changed_at: None,
        next_number: 1,
    }
}

/// Creates a model without versions. `numbering` says how its versions are numbered if a deleted model had its name.
///
/// # Errors
/// [`Refusal::Conflict`] if there is one of this name; [`Refusal::Invalid`].
pub fn create_model(
    store: &mut dyn WriteStore,
    name: &str,
    patch: &ModelPatch,
    times: GivenTimes,
    numbering: Numbering,
    context: &Context<'_>,
) -> Result<Model, StoreError> {
    context.require(&Scope::Register, name)?;
    check_name("name", name)?;
    times.check(context.now)?;
    let mut model = new_model(name, times, context.now);
    patch.apply(&mut model)?;
    if store.find_model(name)?.is_some() {
        return Err(Refusal::model_exists(name).into());
    }
    let model = store.insert_model(model, numbering)?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::CreateModel, &model.name))?;
    Ok(model)
}

/// Changes name, description or tags of a model. A new name goes to all its versions.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] if another model has the new name, or a deleted one with versions had it;
/// [`Refusal::Invalid`]; [`Refusal::PreconditionFailed`].
pub fn update_model(
    store: &mut dyn WriteStore,
    name: &str,
    patch: &ModelPatch,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<Model, StoreError> {
    context.require(&Scope::Register, name)?;
    let before = load_model(store, name)?;
    precondition.check_model(&before)?;
    let mut after = before.clone();
    patch.apply(&mut after)?;
    if after == before {
        return Ok(before);
    }
    if after.name != before.name {
        require_rename(store, &before, &after.name, context)?;
        check_new_name(store, &after.name)?;
        check_renamed(store, before.key, [&before.name, &after.name], context)?;
    }
    after.updated_at = context.now.after(&before.updated_at).to_string();
    let only_tags =
        Model { tags: before.tags.clone(), updated_at: before.updated_at.clone(), ..after.clone() } == before;
    after.changed_at = only_tags.then(|| before.changed_at().to_owned());
    store.update_model(&before, &after)?;
    context.append_to_model(store, after.key, &EventDraft::model_changed(&before, &after))?;
    Ok(after)
}

/// Checks that the caller may rename a model. What points to it by its name, production and aliases, then points to nothing, or to
/// the model that gets the name next.
fn require_rename(
    store: &mut dyn WriteStore,
    before: &Model,
    name: &str,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    let mut needed = vec![Scope::Register];
    if store.find_production(&before.name)?.is_some() {
        needed.push(Scope::of_status(Status::Production));
    }
    needed.extend(store.aliases(before.key)?.iter().map(|alias| Scope::of_alias(&alias.name)));
    for scope in needed {
        context.require(&scope, &before.name)?;
        context.require(&scope, name)?;
    }
    Ok(())
}

/// Checks that a model may be renamed to `name`.
fn check_new_name(store: &mut dyn WriteStore, name: &str) -> Result<(), StoreError> {
    if store.find_model(name)?.is_some() {
        return Err(Refusal::model_exists(name).into());
    }
    // After such a rename, `name:label` and `name#number` would name other bytes than before.
    if store.has_spent_numbers(name)? {
        return Err(Refusal::Conflict(format!(
            "a deleted model was named {name:?}, and its labels and numbers stay spent; choose another name"
        ))
        .into());
    }
    Ok(())
}

/// Moves a model and all its versions to the trash. One with a production or frozen version needs `force`.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Conflict`], [`Refusal::PreconditionFailed`].
pub fn delete_model(
    store: &mut dyn WriteStore,
    name: &str,
    force: Force,
    precondition: &Precondition,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    context.require(&Scope::Delete, name)?;
    let model = load_model(store, name)?;
    precondition.check_model(&model)?;
    if store.find_production(name)?.is_some() {
        context.require_status(None, Status::Production, name)?;
    }
    let versions = store.versions_of(model.key)?;
    if force != Force::All {
        // One version at a time: together their metrics may not fit into memory.
        for id in &versions {
            store.find(*id)?.map_or(Ok(()), |version| version.check_deletable(force))?;
        }
    }
    let mut aliases: BTreeMap<VersionId, Vec<String>> = BTreeMap::new();
    for alias in store.aliases(model.key)? {
        aliases.entry(alias.version).or_default().push(alias.name);
    }
    for id in versions {
        if let Some(version) = store.find(id)? {
            let aliases = aliases.remove(&id).unwrap_or_default();
            delete_unchecked(store, &version, &aliases, true, context)?;
        }
    }
    let updated_at = context.now.after(&model.updated_at).to_string();
    store.set_model_deleted(model.key, Some(&context.now.to_string()), &updated_at)?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::DeleteModel, &model.name))
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
    context.require(&Scope::Delete, name)?;
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
    for id in &versions {
        store.find_deleted(*id)?.map_or(Ok(()), |version| require_restore(&version, context))?;
    }
    let updated_at = context.now.after(&model.updated_at).to_string();
    store.set_model_deleted(model.key, None, &updated_at)?;
    context.append_to_model(store, model.key, &EventDraft::of_model(EventKind::RestoreModel, &model.name))?;
    // No version has the name of the model, so all labels are free, and no rule can refuse one of these.
    for id in versions {
        if let Some(version) = store.find_deleted(id)? {
            restore_unchecked(store, version, context)?;
        }
    }
    store.touch_model(model.key, &updated_at)?;
    Ok(Model { deleted_at: None, changed_at: Some(updated_at.clone()), updated_at, ..model })
}
