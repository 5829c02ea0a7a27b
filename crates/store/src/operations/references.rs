//! Which version a reference names, looked up in the transaction of the change, so that no other version is hit.

use registry_domain::{Refusal, VersionId, VersionRef};

use super::{aliases::find_holder, load_model};
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
