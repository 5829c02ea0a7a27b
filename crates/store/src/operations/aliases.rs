//! Aliases: names that point to one version of their model.

use registry_domain::{
    EventDraft, PRODUCTION_ALIAS, Refusal, Scope, Status, Version,
    limits::check_reason,
    model::{check_alias_count, check_holder},
};

use super::{
    Context, load_model,
    policies::{Candidate, Target, judge},
    production::{Admission, begin_holding, change_status, promote_loaded},
    references::{find_holder, find_number},
};
use crate::{StoreError, WriteStore};

/// Points an alias of a model to one of its versions. `production` is the status, so setting that alias is a promotion.
///
/// With `expected`, the alias must point to that version now; `Some(None)` means that it must not exist. Each API checks the form of an
/// alias by its own rules before.
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
    require(name, alias, Status::Production, context)?;
    reason.map_or(Ok(()), check_reason)?;
    let model = load_model(store, name)?;
    if alias == PRODUCTION_ALIAS {
        let holder = store.find_production(name)?;
        check_holder(alias, holder.as_ref().map(|holder| holder.number), expected)?;
        let version = find_number(store, model.key, name, number)?;
        if version.status == Status::Production {
            return Ok(version);
        }
        return promote_loaded(store, version, Status::Production, reason, context);
    }
    let aliases = store.aliases(model.key)?;
    let holder = aliases.iter().find(|known| known.name == alias);
    check_holder(alias, holder.map(|holder| holder.number), expected)?;
    let version = find_number(store, model.key, name, number)?;
    if holder.is_some_and(|holder| holder.version == version.id) {
        return Ok(version);
    }
    if holder.is_none() {
        check_alias_count(aliases.len())?;
    }
    let from = holder.map(|holder| holder.label.clone());
    let verdicts = judge(store, Candidate::from(&version), Target::Alias(alias), reason, context)?;
    verdicts.enforce(&version, alias, context)?;
    let event = EventDraft::set_alias(alias, &version.label, from.as_deref());
    let event = verdicts.note(context.checked(event)?.because(reason));
    store.end_holding(model.key, alias, &context.now.to_string())?;
    store.set_alias(model.key, alias, Some(version.id))?;
    begin_holding(store, &version, alias, reason, context)?;
    context.append(store, &version, &event)?;
    Ok(version)
}

/// Deletes an alias. Deleting `production` moves its holder to staging. The reason, if there is one, goes into the audit trail.
///
/// # Errors
/// As [`set_alias`].
pub fn delete_alias(
    store: &mut dyn WriteStore,
    name: &str,
    alias: &str,
    expected: Option<Option<i64>>,
    reason: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    require(name, alias, Status::AFTER_PRODUCTION, context)?;
    reason.map_or(Ok(()), check_reason)?;
    let model = load_model(store, name)?;
    let holder = find_holder(store, model.key, name, alias)?;
    check_holder(alias, holder.as_ref().map(|holder| holder.number), expected)?;
    let Some(holder) = holder else {
        return Err(Refusal::NotFound(format!("{name:?} has no alias {alias:?}")).into());
    };
    if alias == PRODUCTION_ALIAS {
        return change_status(store, holder, Status::AFTER_PRODUCTION, Admission::default(), reason, context);
    }
    let event = context.checked(EventDraft::delete_alias(alias, &holder.label))?.because(reason);
    store.set_alias(model.key, alias, None)?;
    store.end_holding(model.key, alias, &context.now.to_string())?;
    context.append(store, &holder, &event)?;
    Ok(holder)
}

/// Checks that the caller may move an alias. `production` is a status: `to` is the one that its version gets.
pub(super) fn require(name: &str, alias: &str, to: Status, context: &Context<'_>) -> Result<(), Refusal> {
    if alias == PRODUCTION_ALIAS {
        return context.require_status(Some(Status::Production), to, name);
    }
    context.require(&Scope::of_alias(alias), name)
}
