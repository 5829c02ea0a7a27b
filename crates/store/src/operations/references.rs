//! Which version a reference names, looked up in the transaction of the change, so that no other version is hit.

use registry_domain::{ModelKey, PRODUCTION_ALIAS, Refusal, Version, VersionId, VersionRef};

use super::load_model;
use crate::{StoreError, WriteStore};

/// Returns the id of the version that a reference names.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn find_version(store: &mut dyn WriteStore, version: &VersionRef) -> Result<VersionId, StoreError> {
    let found = match version {
        VersionRef::Id(id) => Some(*id),
        VersionRef::Label(name, label) => store.find_label(name, label)?,
        VersionRef::Number(name, number) => match store.find_model(name)? {
            Some(model) => store.find_number(model.key, *number)?,
            None => None,
        },
        VersionRef::Alias(name, alias) => match store.find_model(name)? {
            Some(model) => find_holder(store, model.key, name, alias)?.map(|holder| holder.id),
            None => None,
        },
        VersionRef::Revision(name, revision) => match store.find_model(name)? {
            Some(model) => store.find_revision(model.key, revision)?,
            None => None,
        },
    };
    Ok(found.ok_or_else(|| version.missing())?)
}

/// Returns the id of a version in the trash.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn find_deleted_version(
    store: &mut dyn WriteStore,
    name: &str,
    number: i64,
) -> Result<VersionId, StoreError> {
    let model = load_model(store, name)?;
    Ok(store.find_deleted_number(model.key, number)?.ok_or_else(|| {
        Refusal::NotFound(format!("there is no deleted version number {number} of {name:?}"))
    })?)
}

/// Returns the version of a model with this number.
pub(super) fn find_number(
    store: &mut dyn WriteStore,
    model: ModelKey,
    name: &str,
    number: i64,
) -> Result<Version, StoreError> {
    let missing = || VersionRef::Number(name.to_owned(), number).missing();
    let id = store.find_number(model, number)?.ok_or_else(missing)?;
    Ok(store.find(id)?.ok_or_else(missing)?)
}

/// Returns the version that holds an alias.
pub(super) fn find_holder(
    store: &mut dyn WriteStore,
    model: ModelKey,
    name: &str,
    alias: &str,
) -> Result<Option<Version>, StoreError> {
    if alias == PRODUCTION_ALIAS {
        return store.find_production(name);
    }
    match store.aliases(model)?.into_iter().find(|known| known.name == alias) {
        Some(alias) => store.find(alias.version),
        None => Ok(None),
    }
}
