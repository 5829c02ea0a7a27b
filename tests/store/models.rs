//! Models, aliases, history and the trash: a part of the suite that every store passes.

use std::{collections::BTreeMap, ops::ControlFlow};

use model_registry::{
    domain::{
        Draft, FileRecord, Gate, Holding, LabelReuse, Model, PRODUCTION_ALIAS, Precondition, Refusal, Status,
        Timestamp, Version, VersionRef,
        model::ModelPatch,
        query::{HistoryQuery, ModelQuery, TrailQuery},
    },
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use crate::suite::Fixture;

/// Runs an operation at this second of a day.
fn at<T>(
    store: &mut impl Fixture,
    second: i64,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        now: Timestamp::from_unix_millis(1_769_817_600_000 + second * 1_000),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
    };
    store.write(|store| operation(store, &context))
}

fn time(second: i64) -> String {
    Timestamp::from_unix_millis(1_769_817_600_000 + second * 1_000).to_string()
}

fn draft(name: &str, label: &str, sha256: Option<char>) -> Draft {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some(format!("s3://b/{name}/{label}"));
    let digest = sha256.map(|digit| digit.to_string().repeat(64));
    draft.checkpoint = FileRecord::claimed("checkpoint", None, digest.as_deref(), None).unwrap();
    draft
}

fn register(store: &mut impl Fixture, name: &str, label: &str) -> Version {
    let draft = draft(name, label, None);
    at(store, 0, |store, context| operations::register(store, draft, LabelReuse::Allowed, context)).unwrap()
}

fn set_alias(
    store: &mut impl Fixture,
    second: i64,
    alias: &str,
    number: i64,
    expected: Option<Option<i64>>,
) -> Result<Version, StoreError> {
    at(store, second, |store, context| {
        operations::set_alias(store, "m", alias, number, expected, Some("why"), context)
    })
}

fn promote(store: &mut impl Fixture, second: i64, id: i64, to: Status) {
    at(store, second, |store, context| {
        operations::promote(store, id, to, None, &Precondition::default(), context)
    })
    .unwrap();
}

fn delete(store: &mut impl Fixture, second: i64, id: i64) {
    at(store, second, |store, context| {
        operations::delete(store, id, true, &Precondition::default(), context)
    })
    .unwrap();
}

fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) {
    match result {
        Err(StoreError::Refused(Refusal::Conflict(why))) => assert!(why.contains(expected), "{why}"),
        other => panic!("a conflict was expected: {other:?}"),
    }
}

fn find(store: &mut impl Fixture, reference: &VersionRef) -> Option<i64> {
    let mut found = None;
    store.reader().version(reference, &mut |row| found = Some(row.id)).unwrap();
    found
}

fn history(store: &mut impl Fixture, alias: &str, at: Option<String>) -> Vec<Holding> {
    let query = HistoryQuery { model: "m".to_owned(), alias: Some(alias.to_owned()), at, limit: 100 };
    store.reader().history(&query).unwrap()
}

fn spans(holdings: &[Holding]) -> Vec<(i64, String, Option<String>)> {
    holdings.iter().map(|held| (held.number, held.since.clone(), held.until.clone())).collect()
}

pub fn numbers_count_up_and_are_never_given_out_again(store: &mut impl Fixture) {
    let numbers = |store: &mut _, labels: &[&str]| {
        labels.iter().map(|label| register(store, "m", label).number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(store, &["a", "b"]), [1, 2]);
    assert_eq!(register(store, "other", "a").number, 1);
    delete(store, 1, 2);
    assert_eq!(numbers(store, &["b", "c"]), [3, 4]);
    let taken = at(store, 2, |store, context| {
        operations::register(store, draft("m", "c", None), LabelReuse::Allowed, context)
    });
    conflict(taken, "registered already");
    at(store, 3, |store, context| {
        operations::delete_model(store, "m", true, &Precondition::default(), context)
    })
    .unwrap();
    assert_eq!(numbers(store, &["a"]), [5], "a new model of the name goes on counting");
}

pub fn a_version_is_named_by_number_label_and_alias(store: &mut impl Fixture) {
    let (one, two) = (register(store, "m", "v1"), register(store, "m", "v2"));
    set_alias(store, 1, "champion", two.number, None).unwrap();
    promote(store, 2, one.id, Status::Production);
    let name = || "m".to_owned();
    for (reference, expected) in [
        (VersionRef::Id(two.id), Some(two.id)),
        (VersionRef::Label(name(), "v1".to_owned()), Some(one.id)),
        (VersionRef::Label(name(), "V1".to_owned()), None),
        (VersionRef::Number(name(), 2), Some(two.id)),
        (VersionRef::Number(name(), 3), None),
        (VersionRef::Number("none".to_owned(), 1), None),
        (VersionRef::Alias(name(), "champion".to_owned()), Some(two.id)),
        (VersionRef::Alias(name(), "Champion".to_owned()), None),
        (VersionRef::production(name()), Some(one.id)),
    ] {
        assert_eq!(find(store, &reference), expected, "{reference:?}");
    }
}

pub fn an_alias_moves_only_from_the_expected_holder(store: &mut impl Fixture) {
    register(store, "m", "1");
    register(store, "m", "2");
    conflict(set_alias(store, 1, "champion", 1, Some(Some(2))), "points to no version");
    set_alias(store, 2, "champion", 1, Some(None)).unwrap();
    conflict(set_alias(store, 3, "champion", 2, Some(None)), "points to version number 1");
    set_alias(store, 4, "champion", 2, Some(Some(1))).unwrap();
    set_alias(store, 5, "champion", 2, None).unwrap();
    let expected = [(2, time(4), None), (1, time(2), Some(time(4)))];
    assert_eq!(spans(&history(store, "champion", None)), expected, "setting it again is no change");
    let delete = |store: &mut _, second, expected| {
        at(store, second, |store, context| {
            operations::delete_alias(store, "m", "champion", expected, None, context)
        })
    };
    conflict(delete(store, 6, Some(Some(1))), "points to version number 2");
    delete(store, 7, None).unwrap();
    assert!(matches!(delete(store, 8, None), Err(StoreError::Refused(Refusal::NotFound(_)))));
    assert_eq!(history(store, "champion", None)[0].until, Some(time(7)));
    for (alias, number) in [("latest", 1), ("12", 1), (" ", 1)] {
        let refused = set_alias(store, 9, alias, number, None);
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::Invalid(_)))), "{alias}");
    }
    let missing = set_alias(store, 9, "champion", 3, None);
    assert!(matches!(missing, Err(StoreError::Refused(Refusal::NotFound(_)))));
}

pub fn production_is_an_alias_and_the_history_has_no_overlap_and_no_gap(store: &mut impl Fixture) {
    let (one, two) = (register(store, "m", "1"), register(store, "m", "2"));
    promote(store, 10, one.id, Status::Production);
    promote(store, 15, one.id, Status::Production);
    set_alias(store, 20, PRODUCTION_ALIAS, two.number, Some(Some(1))).unwrap();
    assert_eq!(find(store, &VersionRef::production("m".to_owned())), Some(two.id));
    at(store, 30, |store, context| {
        operations::delete_alias(store, "m", PRODUCTION_ALIAS, None, Some("bad"), context)
    })
    .unwrap();
    promote(store, 40, one.id, Status::Production);
    delete(store, 50, one.id);
    let expected =
        [(1, time(40), Some(time(50))), (2, time(20), Some(time(30))), (1, time(10), Some(time(20)))];
    assert_eq!(spans(&history(store, PRODUCTION_ALIAS, None)), expected);
    for (second, expected) in
        [(9, None), (10, Some(1)), (19, Some(1)), (20, Some(2)), (29, Some(2)), (30, None), (50, None)]
    {
        let held = history(store, PRODUCTION_ALIAS, Some(time(second)));
        assert_eq!(held.iter().map(|held| held.number).next(), expected, "at {second}");
        assert!(held.len() < 2);
    }
    assert_eq!(history(store, PRODUCTION_ALIAS, None)[1].reason.as_deref(), Some("why"));
    set_alias(store, 42, "champion", two.number, None).unwrap();
    at(store, 43, |store, context| {
        operations::delete_alias(store, "m", "champion", None, Some("worse"), context)
    })
    .unwrap();
    let mut reasons = Vec::new();
    let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
        if event.event.event_type == "delete_alias" || event.event.payload.ends_with(r#""to":"staging"}"#) {
            reasons.push(event.details.map(|details| details.into_owned()));
        }
        ControlFlow::Continue(())
    };
    let query = TrailQuery { model: Some("m".to_owned()), limit: 100, ..TrailQuery::default() };
    store.reader().trail(&query, &mut visit).unwrap();
    let reason = |text: &str| Some(format!(r#"{{"reason":"{text}"}}"#));
    assert_eq!(reasons, [reason("worse"), reason("bad")]);
    // The clock is set back.
    promote(store, 45, two.id, Status::Production);
    delete(store, 41, two.id);
    assert_eq!(spans(&history(store, PRODUCTION_ALIAS, None))[0], (2, time(50), Some(time(50))));
}

pub fn a_rollback_goes_only_to_a_version_that_was_in_production(store: &mut impl Fixture) {
    let ids: Vec<_> = ["1", "2", "3", "4"].map(|label| register(store, "m", label).id).to_vec();
    let back = |store: &mut _, second, to| {
        at(store, second, |store, context| operations::rollback(store, "m", to, "it fails", context))
    };
    conflict(back(store, 1, None), "no other version in production before");
    for (second, id) in (10..).zip(&ids[..3]) {
        promote(store, second, *id, Status::Production);
    }
    assert_eq!(back(store, 20, None).unwrap().number, 2);
    assert_eq!(back(store, 21, Some(1)).unwrap().number, 1);
    conflict(back(store, 22, Some(1)), "is in production now");
    conflict(back(store, 22, Some(4)), "was never in production");
    let blank =
        at(store, 22, |store, context| operations::rollback(store, "m", Some(2), " ", context)).unwrap_err();
    assert!(blank.to_string().contains("reason is blank"), "{blank}");
    delete(store, 23, ids[1]);
    conflict(back(store, 24, None), "is deleted");
    assert_eq!(back(store, 25, Some(3)).unwrap().status, Status::Production);
    let held = history(store, PRODUCTION_ALIAS, None);
    assert_eq!((held[0].number, held[0].reason.as_deref()), (3, Some("it fails")));
}

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
    let expected = Version { status: Status::Staging, updated_at: time(4), ..before };
    assert_eq!(restored, expected);
    assert_eq!(store.write(|store| store.find(version.id)).unwrap(), Some(expected));
    let again = at(store, 5, |store, context| operations::restore(store, version.id, context));
    assert!(matches!(again, Err(StoreError::Refused(Refusal::NotFound(_)))));
    delete(store, 6, version.id);
    register(store, "m", "1");
    conflict(
        at(store, 7, |store, context| operations::restore(store, version.id, context)),
        "registered already",
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
        operations::delete_model(store, "m", true, &Precondition::default(), context)
    })
    .unwrap();
    conflict(register(store, Some('c'), LabelReuse::ForSameBytes), "was used for other bytes");
    let fifth = register(store, Some('b'), LabelReuse::Allowed).unwrap();
    assert!(fifth.model != fourth.model && fifth.number == fourth.number + 1);
}

pub fn a_model_is_created_changed_renamed_deleted_and_restored(store: &mut impl Fixture) {
    let tag = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let patch =
        |name: Option<&str>, description: Option<Option<&str>>, tags: Vec<(String, Option<String>)>| {
            ModelPatch {
                name: name.map(str::to_owned),
                description: description.map(|text| text.map(str::to_owned)),
                tags: tags.into_iter().collect(),
            }
        };
    let created = patch(None, Some(Some("small")), vec![tag("team", Some("nlp"))]);
    let create = |store: &mut _, name: &str| {
        at(store, 0, |store, context| operations::create_model(store, name, &created, context))
    };
    let model = create(store, "m").unwrap();
    conflict(create(store, "m"), "already");
    assert!(create(store, " ").is_err());
    let summary = store.reader().model("m").unwrap().unwrap();
    assert_eq!((&summary.model, summary.versions, summary.latest), (&model, 0, None));

    let version = register(store, "m", "1");
    assert_eq!(version.model, model.key);
    let update = |store: &mut _, second, name: &str, patch: &ModelPatch| {
        at(store, second, |store, context| {
            operations::update_model(store, name, patch, &Precondition::default(), context)
        })
    };
    let changed = patch(None, Some(None), vec![tag("team", None), tag("owner", Some("ann"))]);
    let changed = update(store, 1, "m", &changed).unwrap();
    let tags = BTreeMap::from([("owner".to_owned(), "ann".to_owned())]);
    let expected = Model { description: None, tags, updated_at: time(1), ..model.clone() };
    assert_eq!(changed, expected);
    assert_eq!(store.reader().model("m").unwrap().unwrap().model, expected);
    assert_eq!(update(store, 2, "m", &ModelPatch::default()).unwrap(), expected, "no change, no new time");

    create(store, "taken").unwrap();
    conflict(update(store, 3, "m", &patch(Some("taken"), None, vec![])), "already");
    update(store, 4, "m", &patch(Some("n/ew"), None, vec![])).unwrap();
    assert_eq!(store.reader().model("m").unwrap(), None);
    let label = VersionRef::Label("n/ew".to_owned(), "1".to_owned());
    assert_eq!(find(store, &label), Some(version.id));
    assert_eq!(register(store, "n/ew", "2").number, 2);

    promote(store, 5, version.id, Status::Production);
    let remove = |store: &mut _, second, force| {
        at(store, second, |store, context| {
            operations::delete_model(store, "n/ew", force, &Precondition::default(), context)
        })
    };
    let refused = remove(store, 6, false).unwrap_err();
    assert!(matches!(refused, StoreError::Refused(Refusal::ForceRequired { .. })), "{refused}");
    delete(store, 6, 2);
    remove(store, 7, true).unwrap();
    assert_eq!(store.reader().model("n/ew").unwrap(), None);
    assert_eq!(store.reader().stats().unwrap().total_models, 0);
    let restored = |store: &mut _, second| {
        at(store, second, |store, context| operations::restore_model(store, "n/ew", context))
    };
    assert_eq!(restored(store, 8).unwrap().key, model.key);
    assert!(matches!(restored(store, 9), Err(StoreError::Refused(Refusal::NotFound(_)))));
    let summary = store.reader().model("n/ew").unwrap().unwrap();
    assert_eq!(
        (summary.versions, summary.latest),
        (1, Some(1)),
        "the version that was deleted before stays deleted"
    );
    remove(store, 10, true).unwrap();
    create(store, "n/ew").unwrap();
    conflict(restored(store, 11), "another model");
}

pub fn a_version_that_was_deleted_before_its_model_is_not_restored_with_it(store: &mut impl Fixture) {
    let one = register(store, "m", "1");
    delete(store, 5, one.id);
    let two = register(store, "m", "1");
    set_alias(store, 4, "champion", two.number, None).unwrap();
    let before = store.reader().model("m").unwrap().unwrap().model;
    // In the same moment.
    at(store, 5, |store, context| {
        operations::delete_model(store, "m", true, &Precondition::default(), context)
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
        assert_eq!(renamed, Version { name: name.to_owned(), updated_at: expected, ..version.clone() });
    }
}

pub fn models_are_listed_by_name_in_pages(store: &mut impl Fixture) {
    for name in ["b", "A", "c/1", "ü", "aa"] {
        register(store, name, "1");
    }
    let patch = ModelPatch {
        tags: BTreeMap::from([("team".to_owned(), Some("nlp".to_owned()))]),
        ..ModelPatch::default()
    };
    for name in ["b", "ü"] {
        at(store, 1, |store, context| {
            operations::update_model(store, name, &patch, &Precondition::default(), context)
        })
        .unwrap();
    }
    at(store, 2, |store, context| {
        operations::delete_model(store, "c/1", true, &Precondition::default(), context)
    })
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    let query = || ModelQuery { limit: 2, ..ModelQuery::default() };
    for (query, expected) in [
        (query(), &["A", "aa", "b", "ü"][..]),
        (ModelQuery { q: text("A"), ..query() }, &["A", "aa"]),
        (ModelQuery { q: text("Ü"), ..query() }, &["ü"]),
        (ModelQuery { tag: Some(("team".to_owned(), None)), ..query() }, &["b", "ü"]),
        (ModelQuery { tag: Some(("team".to_owned(), text("nlp"))), ..query() }, &["b", "ü"]),
        (ModelQuery { tag: Some(("team".to_owned(), text("cv"))), ..query() }, &[]),
        (ModelQuery { deleted: true, ..query() }, &["c/1"]),
    ] {
        let (mut names, mut next) = (Vec::new(), Some(query.clone()));
        while let Some(query) = next {
            let (models, page) = store.reader().models(&query).unwrap();
            assert!(models.len() <= 2);
            names.extend(models.into_iter().map(|summary| summary.model.name));
            next = page.next.map(|after| ModelQuery { after: Some(after), ..query });
        }
        assert_eq!(names, expected, "{query:?}");
    }
}

pub fn the_trail_is_read_by_model_version_type_and_actor(store: &mut impl Fixture) {
    let one = register(store, "m", "1");
    register(store, "other", "1");
    let two = register(store, "m", "2");
    set_alias(store, 1, "champion", two.number, None).unwrap();
    promote(store, 2, one.id, Status::Production);
    at(store, 3, |store, context| {
        let patch = ModelPatch { description: Some(Some("d".to_owned())), ..ModelPatch::default() };
        operations::update_model(store, "m", &patch, &Precondition::default(), context)
    })
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    let all = || TrailQuery { limit: 2, ..TrailQuery::default() };
    for (query, expected) in [
        (all(), &[6, 5, 4, 3, 2, 1][..]),
        (TrailQuery { model: text("m"), ..all() }, &[6, 5, 4, 3, 1]),
        (TrailQuery { model: text("none"), ..all() }, &[]),
        (TrailQuery { model: text("m"), number: Some(two.number), ..all() }, &[4, 3]),
        (TrailQuery { event_type: text("create"), ..all() }, &[3, 2, 1]),
        (TrailQuery { model: text("m"), event_type: text("create"), ..all() }, &[3, 1]),
        (TrailQuery { actor: text("bob"), ..all() }, &[]),
    ] {
        let (mut ids, mut next) = (Vec::new(), Some(query.clone()));
        while let Some(query) = next {
            let mut seen = 0;
            let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
                seen += 1;
                ids.push(event.event.id);
                assert_eq!(event.hash.len(), 32);
                ControlFlow::Continue(())
            };
            let page = store.reader().trail(&query, &mut visit).unwrap();
            assert!(seen <= 2);
            next = page.next.map(|after| TrailQuery { before: Some(after.id), ..query });
        }
        assert_eq!(ids, expected, "{query:?}");
    }
    let mut details = Vec::new();
    let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
        details.push((event.event.version_id, event.previous, event.details.map(|text| text.into_owned())));
        ControlFlow::Continue(())
    };
    store.reader().trail(&TrailQuery { model: text("m"), limit: 3, ..all() }, &mut visit).unwrap();
    let expected = [
        (0, Some(5), text(r#"{"before":{"description":null},"after":{"description":"d"}}"#)),
        (one.id, Some(4), None),
        (two.id, Some(3), text(r#"{"reason":"why"}"#)),
    ];
    assert_eq!(details, expected);
}
