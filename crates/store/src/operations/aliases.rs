//! Aliases, and the way back to a version that was in production before.

use registry_domain::{
    EventDraft, PRODUCTION_ALIAS, Precondition, Refusal, Status, Version, VersionId, limits::check_reason,
    model::check_alias,
};

use super::{Context, begin_holding, change_status, load_model, promote};
use crate::{StoreError, WriteStore};

/// Points an alias of a model to one of its versions. `production` is the status, so setting that alias is a promotion.
///
/// With `expected`, the alias must point to that version now; `Some(None)` means that it must not exist.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such model or version; [`Refusal::Conflict`] if another version holds the alias than
/// expected, or the gate refuses the promotion; [`Refusal::Invalid`].
pub fn set_alias(
    store: &mut dyn WriteStore,
    name: &str,
    alias: &str,
    number: i64,
    expected: Option<Option<i64>>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    check_alias(alias)?;
    reason.map_or(Ok(()), check_reason)?;
    let model = load_model(store, name)?;
    let holder = find_holder(store, model.key, name, alias)?;
    check_holder(alias, holder.as_ref(), expected)?;
    let version = find_version(store, model.key, name, number)?;
    if holder.as_ref().is_some_and(|holder| holder.id == version.id) {
        return Ok(version);
    }
    if alias == PRODUCTION_ALIAS {
        return promote(store, version.id, Status::Production, reason, &Precondition::default(), context);
    }
    let from = holder.as_ref().map(|holder| holder.label.as_str());
    let event = context.checked(EventDraft::set_alias(alias, &version.label, from))?.because(reason);
    store.end_holding(model.key, alias, &context.now.to_string())?;
    store.set_alias(model.key, alias, Some(version.id))?;
    begin_holding(store, &version, alias, reason, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Deletes an alias. Deleting `production` moves its holder to staging.
///
/// # Errors
/// As [`set_alias`].
pub fn delete_alias(
    store: &mut dyn WriteStore,
    name: &str,
    alias: &str,
    expected: Option<Option<i64>>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    let model = load_model(store, name)?;
    let holder = find_holder(store, model.key, name, alias)?;
    check_holder(alias, holder.as_ref(), expected)?;
    let Some(holder) = holder else {
        return Err(Refusal::NotFound(format!("{name:?} has no alias {alias:?}")).into());
    };
    if alias == PRODUCTION_ALIAS {
        return change_status(store, holder, Status::Staging, None, None, context);
    }
    store.set_alias(model.key, alias, None)?;
    store.end_holding(model.key, alias, &context.now.to_string())?;
    context.append(store, &holder, &EventDraft::delete_alias(alias, &holder.label))?;
    Ok(holder)
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
    let incumbent = store.find_production(name)?;
    let is_current = |id: VersionId| incumbent.as_ref().is_some_and(|incumbent| incumbent.id == id);
    let holdings = store.holdings(model.key, PRODUCTION_ALIAS)?;
    let target = match to {
        Some(number) => {
            let version = find_version(store, model.key, name, number)?;
            if is_current(version.id) {
                return Err(Refusal::Conflict(format!(
                    "version {:?} of {name:?} is in production now",
                    version.label
                ))
                .into());
            }
            if holdings.iter().all(|holding| holding.version != version.id) {
                return Err(Refusal::Conflict(format!(
                    "version {:?} of {name:?} was never in production; promote it instead",
                    version.label
                ))
                .into());
            }
            version
        }
        None => {
            let before = holdings.iter().find(|holding| !is_current(holding.version));
            let before = before.ok_or_else(|| {
                Refusal::Conflict(format!("{name:?} had no other version in production before"))
            })?;
            store.find(before.version)?.ok_or_else(|| {
                Refusal::Conflict(format!(
                    "version {:?}, which was in production before, is deleted; restore it, or name another version",
                    before.label
                ))
            })?
        }
    };
    change_status(store, target, Status::Production, incumbent, Some(reason), context)
}

pub(super) fn find_holder(
    store: &mut dyn WriteStore,
    model: i64,
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

fn check_holder(alias: &str, holder: Option<&Version>, expected: Option<Option<i64>>) -> Result<(), Refusal> {
    let held = holder.map(|holder| holder.number);
    if expected.is_none_or(|expected| expected == held) {
        return Ok(());
    }
    let held = held.map_or_else(|| "no version".to_owned(), |number| format!("version number {number}"));
    Err(Refusal::Conflict(format!("alias {alias:?} points to {held}, not to the expected one; look again")))
}

fn find_version(
    store: &mut dyn WriteStore,
    model: i64,
    name: &str,
    number: i64,
) -> Result<Version, StoreError> {
    let missing = || registry_domain::VersionRef::Number(name.to_owned(), number).missing();
    let id = store.find_number(model, number)?.ok_or_else(missing)?;
    Ok(store.find(id)?.ok_or_else(missing)?)
}
