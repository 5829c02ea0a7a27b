//! The trash: a part of the suite that every store passes.

use model_registry::{
    domain::{Force, LabelReuse, Precondition, Refusal, Status, Version, VersionRef, model::ModelPatch},
    store::{StoreError, operations},
};

use crate::{
    models::{at, conflict, delete, draft, find, history, promote, register, set_alias, spans, time},
    suite::Fixture,
};

pub fn a_deleted_version_is_restored_with_its_values_and_without_its_aliases(store: &mut impl Fixture) {
    register(store, "m", "0");
    let mut draft = draft("m", "1", Some('a'));
    draft.tags = vec!["nightly".to_owned()];
    draft.description = Some("needle".to_owned());
    let version =
        at(store, 0, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
            .unwrap();
    set_alias(store, 1, "champion", version.number, None).unwrap();
    promote(store, 2, version.id, Status::Production);
    let before = store.write(|store| store.find(version.id)).unwrap().unwrap();
    delete(store, 3, version.id);
    assert_eq!(find(store, &VersionRef::Id(version.id)), None);
    assert_eq!(store.reader().model("m").unwrap().unwrap().aliases, []);
    let restored = at(store, 4, |store, context| operations::restore(store, version.id, context)).unwrap();
    let (updated_at, changed_at) = (time(4), Some(time(4)));
    let expected = Version { status: Status::Staging, updated_at, changed_at, ..before };
    assert_eq!(restored, expected);
    assert_eq!(store.write(|store| store.find(version.id)).unwrap(), Some(expected));
    let again = at(store, 5, |store, context| operations::restore(store, version.id, context));
    assert!(matches!(again, Err(StoreError::Refused(Refusal::NotFound(_)))));
    delete(store, 6, version.id);
    register(store, "m", "1");
    conflict(
        at(store, 7, |store, context| operations::restore(store, version.id, context)),
        "delete that one first",
    );
}

pub fn a_label_that_was_used_for_other_bytes_is_spent(store: &mut impl Fixture) {
    let register = |store: &mut _, sha256, reuse| {
        at(store, 0, |store, context| operations::register(store, draft("m", "1", sha256), reuse, context))
    };
    let first = register(store, Some('a'), LabelReuse::ForSameBytes).unwrap();
    delete(store, 1, first.id);
    conflict(register(store, Some('b'), LabelReuse::ForSameBytes), "was used for other bytes");
    conflict(register(store, None, LabelReuse::ForSameBytes), "give the SHA-256");
    let second = register(store, Some('a'), LabelReuse::ForSameBytes).unwrap();
    delete(store, 2, second.id);
    let third = register(store, Some('b'), LabelReuse::Allowed).unwrap();
    assert_eq!(third.number, 3);
    delete(store, 3, third.id);
    for other in ['a', 'b'] {
        conflict(register(store, Some(other), LabelReuse::ForSameBytes), "was used for other bytes");
    }
    let fourth = register(store, None, LabelReuse::Allowed).unwrap();
    // Nor does a new model of the name give the label to other bytes.
    at(store, 4, |store, context| {
        operations::delete_model(store, "m", Force::All, &Precondition::default(), context)
    })
    .unwrap();
    conflict(register(store, Some('c'), LabelReuse::ForSameBytes), "was used for other bytes");
    let fifth = register(store, Some('b'), LabelReuse::Allowed).unwrap();
    assert!(fifth.model != fourth.model && fifth.number == fourth.number + 1);
}

pub fn a_version_that_was_deleted_before_its_model_is_not_restored_with_it(store: &mut impl Fixture) {
    let one = register(store, "m", "1");
    delete(store, 5, one.id);
    let two = register(store, "m", "1");
    set_alias(store, 4, "champion", two.number, None).unwrap();
    let before = store.reader().model("m").unwrap().unwrap().model;
    // In the same moment.
    at(store, 5, |store, context| {
        operations::delete_model(store, "m", Force::All, &Precondition::default(), context)
    })
    .unwrap();
    assert_eq!(history(store, "champion", None), [], "the model is gone");
    let restored = at(store, 5, |store, context| operations::restore_model(store, "m", context)).unwrap();
    let summary = store.reader().model("m").unwrap().unwrap();
    assert_eq!((summary.versions, summary.latest, summary.aliases), (1, Some(two.number), vec![]));
    assert_eq!(summary.model, restored);
    assert!(restored.updated_at > before.updated_at && restored.revision() != before.revision());
    assert_eq!(spans(&history(store, "champion", None)), [(2, time(4), Some(time(5)))]);
    let version = store.write(|store| store.find(two.id)).unwrap().unwrap();
    // The clock of the operation also moves the versions of a renamed model.
    for (second, name, expected) in [(9, "n", time(9)), (9, "o", format!("{}1", &time(9)[..22]))] {
        let patch = ModelPatch { name: Some(name.to_owned()), ..ModelPatch::default() };
        let from = if name == "n" { "m" } else { "n" };
        at(store, second, |store, context| {
            operations::update_model(store, from, &patch, &Precondition::default(), context)
        })
        .unwrap();
        let renamed = store.write(|store| store.find(two.id)).unwrap().unwrap();
        assert_eq!(
            renamed,
            Version {
                name: name.to_owned(),
                updated_at: expected.clone(),
                changed_at: Some(expected),
                ..version.clone()
            }
        );
    }
}
