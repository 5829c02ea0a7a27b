//! Stored API keys, in every store.

use model_registry::{
    domain::{ApiKey, Grant, KeyFilter, KeyQuery, KeyRef, Principal, Refusal, Timestamp},
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use crate::{models::at, suite::Fixture};

fn grant(scopes: &[&str], models: &[&str]) -> Grant {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Grant::parse(&texts(scopes), &texts(models), Some(Timestamp::from_unix_millis(4_000_000_000_123)))
        .unwrap()
}

fn create(store: &mut dyn WriteStore, name: &str, context: &Context<'_>) -> Result<ApiKey, StoreError> {
    let grant = grant(&["read", "promote:*", "alias:ü *"], &["team/*"]);
    operations::create_key(store, name, grant, [7; 32], context)
}

fn keys(store: &mut impl Fixture, filter: KeyFilter, after: i64, limit: u32) -> Vec<ApiKey> {
    store.reader().keys(&KeyQuery { filter, after, limit }).unwrap()
}

pub fn a_key_is_stored_changed_and_revoked_and_its_id_is_never_used_again(store: &mut impl Fixture) {
    assert_eq!(store.reader().last_registry_event().unwrap(), 0);
    let ci = at(store, 1, |store, context| create(store, "ci", context)).unwrap();
    let created = store.reader().last_registry_event().unwrap();
    assert!(created > 0);
    let by_name = KeyFilter::One(KeyRef::Name("ci".to_owned()));
    assert_eq!(keys(store, by_name.clone(), 0, 1), std::slice::from_ref(&ci));
    assert_eq!(keys(store, KeyFilter::One(KeyRef::Id(ci.id)), 0, 1), std::slice::from_ref(&ci));
    assert_eq!(keys(store, KeyFilter::One(KeyRef::Id(ci.id + 1)), 0, 1), []);
    let again = at(store, 2, |store, context| create(store, "ci", context));
    assert!(matches!(again, Err(StoreError::Refused(Refusal::Conflict(_)))), "{again:?}");

    let reference = KeyRef::Id(ci.id);
    let rotated =
        at(store, 3, |store, context| operations::rotate_key(store, &reference, [8; 32], None, context));
    let rotated = rotated.unwrap();
    assert_eq!((rotated.digest, rotated.grant.clone()), ([8; 32], ci.grant.clone()));
    assert_eq!(keys(store, by_name.clone(), 0, 1), [rotated]);

    for (used, stored) in [
        ("2026-01-02 00:00:00.000", "2026-01-02 00:00:00.000"),
        ("2026-01-01 00:00:00.000", "2026-01-02 00:00:00.000"),
    ] {
        store
            .write(|store| store.record_key_uses(&[(ci.id, used.to_owned()), (99, used.to_owned())]))
            .unwrap();
        let found = keys(store, by_name.clone(), 0, 1);
        assert_eq!(found[0].last_used_at.as_deref(), Some(stored), "a later use stays");
    }

    at(store, 4, |store, context| operations::revoke_key(store, &reference, context)).unwrap();
    assert_eq!(keys(store, by_name, 0, 1), []);
    assert_eq!(keys(store, KeyFilter::Live, 0, 9), []);
    assert_eq!(keys(store, KeyFilter::All, 0, 9)[0].revoked_by.as_deref(), Some("ann"));
    let gone = at(store, 5, |store, context| operations::revoke_key(store, &reference, context));
    assert!(matches!(gone, Err(StoreError::Refused(Refusal::Conflict(_)))), "{gone:?}");
    for name in ["ci", "other"] {
        assert!(at(store, 6, |store, context| create(store, name, context)).unwrap().id > ci.id);
    }
    let page = keys(store, KeyFilter::All, ci.id, 1);
    assert_eq!((page.len(), page[0].name.as_str()), (1, "ci"));
    assert!(store.reader().last_registry_event().unwrap() > created);
}

pub fn a_key_manages_no_key_with_more_rights_and_a_refusal_writes_nothing(store: &mut impl Fixture) {
    let boss = at(store, 1, |store, context| create(store, "boss", context)).unwrap();
    let before = store.reader().last_registry_event().unwrap();
    let lead =
        Principal { grant: grant(&["keys", "read"], &["team/*"]), ..Principal::administrator("key:lead") };
    let refused = |result: Result<ApiKey, StoreError>| {
        assert!(matches!(result, Err(StoreError::Refused(Refusal::Forbidden(_)))), "{result:?}");
    };
    let reference = KeyRef::Id(boss.id);
    refused(at(store, 2, |store, context| {
        operations::revoke_key(store, &reference, &Context { principal: &lead, ..context.clone() })
    }));
    refused(at(store, 2, |store, context| {
        let context = Context { principal: &lead, ..context.clone() };
        operations::rotate_key(store, &reference, [9; 32], None, &context)
    }));
    refused(at(store, 2, |store, context| {
        create(store, "x", &Context { principal: &lead, ..context.clone() })
    }));
    assert_eq!(keys(store, KeyFilter::All, 0, 9), [boss]);
    assert_eq!(store.reader().last_registry_event().unwrap(), before);
}

pub fn a_key_that_was_revoked_or_rotated_after_its_request_began_manages_no_key(store: &mut impl Fixture) {
    let refused = |result: Result<ApiKey, StoreError>| {
        assert!(matches!(result, Err(StoreError::Refused(Refusal::Forbidden(_)))), "{result:?}");
    };
    let (own, other) =
        at(store, 1, |store, context| Ok((create(store, "own", context)?, create(store, "other", context)?)))
            .unwrap();
    let administer = |key: &ApiKey| Principal { grant: Grant::everything(), ..key.principal() };
    let (own, other) = (KeyRef::Id(own.id), KeyRef::Id(other.id));
    let former = administer(&keys(store, KeyFilter::Live, 0, 9)[0]);
    let rotated =
        at(store, 2, |store, context| operations::rotate_key(store, &own, [7; 32], None, context)).unwrap();
    refused(at(store, 3, |store, context| {
        create(store, "x", &Context { principal: &former, ..context.clone() })
    }));
    let present = administer(&rotated);
    at(store, 4, |store, context| create(store, "y", &Context { principal: &present, ..context.clone() }))
        .unwrap();
    at(store, 5, |store, context| operations::revoke_key(store, &own, context)).unwrap();
    let before = store.reader().last_registry_event().unwrap();
    refused(at(store, 6, |store, context| {
        create(store, "z", &Context { principal: &present, ..context.clone() })
    }));
    refused(at(store, 7, |store, context| {
        let context = Context { principal: &present, ..context.clone() };
        operations::rotate_key(store, &other, [8; 32], None, &context)
    }));
    assert_eq!(store.reader().last_registry_event().unwrap(), before);
}
