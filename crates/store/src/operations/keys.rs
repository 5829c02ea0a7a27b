//! Changes of stored API keys. A caller may only manage keys that have no more rights than it has itself.

use registry_domain::{
    ApiKey, EventKind, Grant, KeyRef, REGISTRY_KEY, Refusal, Scope, Timestamp,
    key::{SecretDigest, check_expiry, check_key_name},
};

use super::Context;
use crate::{StoreError, WriteStore};

/// Stores a key. Without an end, it ends with its creator.
///
/// # Errors
/// [`Refusal::Forbidden`] if it would have more rights than its creator; [`Refusal::Conflict`] if another key has the name;
/// [`Refusal::Invalid`].
pub fn create_key(
    store: &mut dyn WriteStore,
    name: &str,
    mut grant: Grant,
    digest: SecretDigest,
    context: &Context<'_>,
) -> Result<ApiKey, StoreError> {
    require_keys(store, context)?;
    check_key_name(name)?;
    grant.expires_at = grant.expires_at.or(context.principal.grant.expires_at);
    check_expiry(grant.expires_at, context.now)?;
    context.principal.grant.check_covers(&grant)?;
    if store.find_key(&KeyRef::Name(name.to_owned()))?.is_some() {
        return Err(Refusal::Conflict(format!(
            "there is a key {name:?} already; choose another name, or revoke or rotate that one"
        ))
        .into());
    }
    let mut key = ApiKey {
        id: 0,
        name: name.to_owned(),
        digest,
        grant,
        created_by: context.actor.to_owned(),
        created_at: context.now.to_string(),
        rotated_at: None,
        last_used_at: None,
        revoked_at: None,
        revoked_by: None,
    };
    key.id = store.insert_key(&key)?;
    append(store, &key, EventKind::CreateKey, context)?;
    Ok(key)
}

/// Gives a key another secret and, if one is given, another end. Its former secret is invalid from then on.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Forbidden`] if the key has more rights than the caller; [`Refusal::Conflict`] if it is revoked
/// or has ended; [`Refusal::Invalid`].
pub fn rotate_key(
    store: &mut dyn WriteStore,
    key: &KeyRef,
    digest: SecretDigest,
    expires_at: Option<Timestamp>,
    context: &Context<'_>,
) -> Result<ApiKey, StoreError> {
    let mut key = load(store, key, context)?;
    check_expiry(expires_at, context.now)?;
    key.grant.expires_at = expires_at.or(key.grant.expires_at);
    if let Some(end) = key.grant.expires_at.filter(|end| *end <= context.now) {
        return Err(Refusal::Conflict(format!(
            "the key {:?} has expired at {}; give a later end",
            key.name,
            end.to_rfc3339()
        ))
        .into());
    }
    context.principal.grant.check_covers(&key.grant)?;
    key.digest = digest;
    key.rotated_at = Some(context.now.to_string());
    store.update_key(&key)?;
    append(store, &key, EventKind::RotateKey, context)?;
    Ok(key)
}

/// Revokes a key for good. Its name is free then.
///
/// # Errors
/// As [`rotate_key`].
pub fn revoke_key(
    store: &mut dyn WriteStore,
    key: &KeyRef,
    context: &Context<'_>,
) -> Result<ApiKey, StoreError> {
    let mut key = load(store, key, context)?;
    key.revoked_at = Some(context.now.to_string());
    key.revoked_by = Some(context.actor.to_owned());
    store.update_key(&key)?;
    append(store, &key, EventKind::RevokeKey, context)?;
    Ok(key)
}

/// Checks that the caller may manage keys, and that its own key is still valid: it may have been revoked or rotated while the
/// request was arriving.
fn require_keys(store: &mut dyn WriteStore, context: &Context<'_>) -> Result<(), StoreError> {
    context.principal.require(&Scope::Keys, None)?;
    if let Some(used) = &context.principal.key {
        let own = store.find_key(&KeyRef::Id(used.id))?;
        if !own.is_some_and(|own| own.revoked_at.is_none() && own.rotated_at == used.rotated_at) {
            return Err(Refusal::Forbidden(format!(
                "{} was revoked or rotated in the meantime; use a valid key",
                context.principal.name
            ))
            .into());
        }
    }
    Ok(())
}

/// Returns a key that the caller may manage.
fn load(store: &mut dyn WriteStore, reference: &KeyRef, context: &Context<'_>) -> Result<ApiKey, StoreError> {
    require_keys(store, context)?;
    let key = store.find_key(reference)?.ok_or_else(|| reference.missing())?;
    key.check_live()?;
    // One that outlives the caller may be ended by it.
    context
        .principal
        .grant
        .check_covers(&Grant { expires_at: context.principal.grant.expires_at, ..key.grant.clone() })?;
    Ok(key)
}

fn append(
    store: &mut dyn WriteStore,
    key: &ApiKey,
    kind: EventKind,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    store.append_event(REGISTRY_KEY, None, &key.event(kind), context.actor, &context.now.to_string())
}
