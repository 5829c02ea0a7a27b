//! Policies and approvals: a part of the suite that every store passes.

use model_registry::{
    domain::{
        Approval, ApprovalKind, Draft, FileRole, LabelReuse, Manifest, ManifestFile, Policy, Refusal, Status,
        StoredPolicy,
        digest::Digest,
        json::read_object,
        policy::{Action, Condition, Verdict},
    },
    store::{ApprovalQuery, ReadStore, Registration, StoreError, operations},
};

use crate::{
    models::{at, delete, draft, promote, register, set_alias, time},
    suite::Fixture,
};

fn policy(name: &str, target: &str, expression: &str) -> Policy {
    Policy {
        name: name.to_owned(),
        models: "m*".to_owned(),
        target: target.to_owned(),
        action: Action::Deny,
        description: Some("\u{1}\0 é".to_owned()),
        conditions: vec![Condition { expression: expression.to_owned(), message: "no".to_owned() }],
    }
}

fn set(store: &mut impl Fixture, second: i64, policy: &Policy) -> StoredPolicy {
    at(store, second, |store, context| operations::set_policy(store, policy, context)).unwrap()
}

pub fn each_save_of_a_policy_is_a_version_that_stays(store: &mut impl Fixture) {
    let (one, two) = (policy("ä b", "production", "true"), policy("ä b", "staging", "false"));
    set(store, 1, &policy("z", "production", "true"));
    let first = set(store, 2, &one);
    assert_eq!(
        (first.version, first.created_at.as_str(), first.actor.as_deref()),
        (1, time(2).as_str(), Some("ann"))
    );
    assert_eq!(set(store, 3, &one), first, "the same again is no change");
    let second = set(store, 4, &two);
    assert_eq!(second.version, 2);
    let reader = store.reader();
    assert_eq!(reader.policy("ä b", None).unwrap(), Some(second.clone()));
    assert_eq!(reader.policy("ä b", Some(1)).unwrap(), Some(first));
    assert_eq!(reader.policy("ä b", Some(3)).unwrap(), None);
    let names: Vec<_> = reader.policies().unwrap().into_iter().map(|stored| stored.policy.name).collect();
    assert_eq!(names, ["z", "ä b"]);
    let deleted = at(store, 5, |store, context| operations::delete_policy(store, "ä b", context)).unwrap();
    assert!(deleted.is_deleted && deleted.version == 3 && deleted.policy == two);
    let again = at(store, 6, |store, context| operations::delete_policy(store, "ä b", context));
    assert!(matches!(again, Err(StoreError::Refused(Refusal::NotFound(_)))), "{again:?}");
    assert_eq!(store.reader().policies().unwrap().len(), 1);
    assert_eq!(store.reader().policy("ä b", None).unwrap(), Some(deleted));
    assert_eq!(set(store, 7, &one).version, 4);
    // An undone change leaves nothing.
    let undone: Result<(), _> = at(store, 8, |store, context| {
        operations::set_policy(store, &policy("undone", "production", "true"), context)?;
        Err(StoreError::Busy)
    });
    assert!(undone.is_err());
    assert_eq!(store.reader().policy("undone", None).unwrap(), None);
}

fn list(store: &mut dyn ReadStore, withdrawn: bool, before: Option<i64>) -> Vec<Approval> {
    store.approvals(&ApprovalQuery { version: None, withdrawn, before, limit: 10 }).unwrap()
}

pub fn approvals_are_kept_and_withdrawn(store: &mut impl Fixture) {
    let version = register(store, "m", "1");
    let approve = |store: &mut _, second, target: &str, kind| {
        at(store, second, |store, context| {
            // The author is ann, as every caller of these tests.
            let context = operations::Context { actor: "bob", ..context.clone() };
            operations::approve(store, version.id, target, kind, Some("fine"), &context)
        })
    };
    let given = approve(store, 1, "production", ApprovalKind::Approval).unwrap().0;
    approve(store, 2, "production", ApprovalKind::Request).unwrap();
    approve(store, 3, "champion", ApprovalKind::Approval).unwrap();
    let twice = approve(store, 4, "production", ApprovalKind::Approval);
    assert!(matches!(twice, Err(StoreError::Refused(Refusal::Conflict(_)))), "{twice:?}");
    let author = at(store, 4, |store, context| {
        operations::approve(store, version.id, "production", ApprovalKind::Approval, None, context)
    });
    assert!(matches!(author, Err(StoreError::Refused(Refusal::Forbidden(_)))), "{author:?}");
    let found = list(store.reader(), false, None);
    assert_eq!(found.len(), 3);
    assert_eq!(found[2], given, "the newest comes first");
    assert_eq!(list(store.reader(), false, Some(given.id)), []);
    at(store, 5, |store, context| {
        let context = operations::Context { actor: "bob", ..context.clone() };
        operations::withdraw(store, version.id, "production", &context)
    })
    .unwrap();
    assert_eq!(list(store.reader(), false, None).len(), 1);
    let all = list(store.reader(), true, None);
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].withdrawn_at, Some(time(5)));
    assert_eq!(store.write(|store| store.approvals_of(version.id)).unwrap().len(), 1);
    let registration = store.write(|store| store.registration(version.id)).unwrap();
    assert_eq!(registration, Some(Registration { actor: Some("ann".to_owned()), at: time(0) }));
    assert_eq!(store.write(|store| store.registration(99)).unwrap(), None);
}

pub fn conditions_see_files_origin_aliases_and_the_holder_before(store: &mut impl Fixture) {
    let file = |path: &str| ManifestFile {
        path: path.to_owned(),
        size_bytes: 7,
        sha256: Digest::from_bytes([1; 32]),
        role: FileRole::of_path(path),
    };
    let mut draft: Draft = draft("m", "1", None);
    draft.set_manifest(Manifest::new(vec![file("README.md"), file("a/m.safetensors")]).unwrap(), false);
    draft.metrics = read_object(r#"{"suites":{"core":{"score":0.5,"_meta":{"a":1}}}}"#).unwrap();
    let first = at(store, 1, |store, context| {
        operations::register(store, draft.clone(), LabelReuse::Allowed, context)
    })
    .unwrap();
    let second = register(store, "m", "2");
    set_alias(store, 2, "canary", first.number, None).unwrap();
    let holds = |store: &mut _, id, target: &str, expression: &str| -> Result<bool, String> {
        let policy = policy("p", target, expression);
        let tried: Vec<Verdict> = at(store, 100, |store, context| {
            operations::test_policies(store, id, target, Some(&policy), context)
        })
        .unwrap();
        tried[0].conditions[0].result.clone()
    };
    for expression in [
        "candidate.files.map(f, f.path) == ['README.md', 'a/m.safetensors'] && candidate.files[1].role == 'weights'",
        "candidate.total_bytes == 14 && candidate.files.all(f, f.size == 7 && f.sha256.size() == 64)",
        "candidate.registered_by == 'ann' && now - candidate.registered_at == duration('99s')",
        "candidate.aliases.exists(a, a.name == 'canary' && now - a.since == duration('98s'))",
        "candidate.scores == {'core': {'score': 0.5}} && current == null && actor.name == 'ann'",
        "actor.kind == 'key' && 'admin' in actor.scopes && approvals.size() == 0 && reason == null",
    ] {
        assert_eq!(holds(store, first.id, "production", expression), Ok(true), "{expression}");
    }
    promote(store, 3, first.id, Status::Production);
    assert_eq!(holds(store, second.id, "production", "current.label == '1'"), Ok(true));
    assert_eq!(
        holds(store, first.id, "production", "current == null"),
        Ok(true),
        "it is never the candidate"
    );
    assert_eq!(holds(store, second.id, "canary", "current.label == '1'"), Ok(true));
    assert_eq!(holds(store, second.id, "staging", "current == null"), Ok(true));
    promote(store, 4, first.id, Status::Staging);
    assert_eq!(holds(store, second.id, "staging", "current.label == '1'"), Ok(true));
    assert_eq!(holds(store, second.id, "production", "current.label == '1'"), Ok(true));
    delete(store, 5, first.id);
    assert_eq!(
        holds(store, second.id, "production", "current.label == '1' && current.files.size() == 2"),
        Ok(true),
        "it is in the trash"
    );
    assert_eq!(holds(store, second.id, "canary", "current.label == '1' && current.aliases == []"), Ok(true));
}
