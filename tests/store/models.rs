//! Models, their versions and their trail: a part of the suite that every store passes.

use std::{collections::BTreeMap, ops::ControlFlow};

use model_registry::{
    domain::{
        Draft, FileRecord, Force, Gate, GivenTimes, Holding, LabelReuse, ListQuery, Model, Numbering,
        Precondition, Principal, Refusal, Status, Version, VersionRef,
        model::ModelPatch,
        query::{HistoryQuery, ModelQuery, TrailQuery},
    },
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use crate::{sqlite::at_second, suite::Fixture};

/// Runs an operation at this second of a day.
pub fn at<T>(
    store: &mut impl Fixture,
    second: i64,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: at_second(second),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    store.write(|store| operation(store, &context))
}

pub fn time(second: i64) -> String {
    at_second(second).to_string()
}

pub fn draft(name: &str, label: &str, sha256: Option<char>) -> Draft {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some(format!("s3://b/{name}/{label}"));
    let digest = sha256.map(|digit| digit.to_string().repeat(64));
    draft.checkpoint = FileRecord::claimed("checkpoint", None, digest.as_deref(), None).unwrap();
    draft
}

pub fn register(store: &mut impl Fixture, name: &str, label: &str) -> Version {
    let draft = draft(name, label, None);
    at(store, 0, |store, context| operations::register(store, draft, LabelReuse::Allowed, context)).unwrap()
}

pub fn set_alias(
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

pub fn promote(store: &mut impl Fixture, second: i64, id: i64, to: Status) {
    at(store, second, |store, context| {
        operations::promote(store, id, to, None, &Precondition::default(), context)
    })
    .unwrap();
}

pub fn delete(store: &mut impl Fixture, second: i64, id: i64) {
    at(store, second, |store, context| {
        operations::delete(store, id, Force::All, &Precondition::default(), context)
    })
    .unwrap();
}

pub fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) {
    match result {
        Err(StoreError::Refused(
            Refusal::Conflict(why) | Refusal::ModelExists(why) | Refusal::LabelSpent(why),
        )) => {
            assert!(why.contains(expected), "{why}");
        }
        other => panic!("a conflict was expected: {other:?}"),
    }
}

pub fn find(store: &mut impl Fixture, reference: &VersionRef) -> Option<i64> {
    let mut found = None;
    store.reader().version(reference, &mut |row| found = Some(row.id)).unwrap();
    found
}

pub fn history(store: &mut impl Fixture, alias: &str, at: Option<String>) -> Vec<Holding> {
    let query = HistoryQuery { model: "m".to_owned(), alias: Some(alias.to_owned()), at, limit: 100 };
    store.reader().history(&query).unwrap()
}

pub fn spans(holdings: &[Holding]) -> Vec<(i64, String, Option<String>)> {
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
        operations::delete_model(store, "m", Force::All, &Precondition::default(), context)
    })
    .unwrap();
    assert_eq!(numbers(store, &["a"]), [5], "a new model of the name goes on counting");
}

pub fn a_registration_may_skip_numbers_and_bring_its_times(store: &mut impl Fixture) {
    let import = |store: &mut _, name: &str, number: i64, times: [Option<i64>; 2]| {
        let [created_at, updated_at] = times.map(|second| second.map(at_second));
        let mut draft = draft(name, &number.to_string(), None);
        draft.number = Some(number);
        draft.times = GivenTimes { created_at, updated_at };
        at(store, 100, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
    };
    let third = import(store, "m", 3, [Some(10), Some(20)]).unwrap();
    assert_eq!(
        (third.number, third.created_at.as_str(), third.updated_at.as_str()),
        (3, &*time(10), &*time(20))
    );
    let model = store.reader().model("m").unwrap().unwrap();
    assert_eq!((model.latest, model.model.created_at, model.model.updated_at), (Some(3), time(10), time(10)));
    assert_eq!(register(store, "m", "next").number, 4);
    for (number, problem) in [(2, "the next one is 5"), (4, "the next one is 5"), (3, "registered already")] {
        conflict(import(store, "m", number, [None, None]), problem);
    }
    for times in [[Some(101), None], [Some(20), Some(10)], [Some(20), Some(101)]] {
        assert!(
            matches!(import(store, "m", 9, times), Err(StoreError::Refused(Refusal::Invalid(_)))),
            "{times:?}"
        );
    }
    assert_eq!(import(store, "m", 5, [None, None]).unwrap().created_at, time(100));
    assert_eq!(import(store, "m", 900, [Some(5), None]).unwrap().updated_at, time(100));
    assert_eq!(register(store, "m", "last").number, 901);

    let mut ids = Vec::new();
    let query = ListQuery { name: Some("m".to_owned()), ..ListQuery::default() };
    let mut visit = |row: model_registry::domain::VersionRow<'_>| {
        ids.push(row.number);
        ControlFlow::Continue(())
    };
    store.reader().versions(&query, &mut visit).unwrap();
    assert_eq!(
        ids,
        [5, 3, 900, 901, 4],
        "the newest first: 100 s, 10 s, 5 s, and 0 s with the higher id first"
    );

    at(store, 101, |store, context| {
        operations::delete_model(store, "m", Force::All, &Precondition::default(), context)
    })
    .unwrap();
    conflict(import(store, "m", 7, [None, None]), "the next one is 902");
    assert!(store.reader().model("m").unwrap().is_none(), "a refused registration creates no model");
    assert_eq!(import(store, "m", 902, [None, None]).unwrap().number, 902);

    let times = GivenTimes { created_at: Some(at_second(1)), updated_at: Some(at_second(2)) };
    let create = |store: &mut _, times| {
        at(store, 100, |store, context| {
            operations::create_model(
                store,
                "old",
                &ModelPatch::default(),
                times,
                Numbering::Continued,
                context,
            )
        })
    };
    let late = GivenTimes { created_at: Some(at_second(101)), ..times };
    assert!(matches!(create(store, late), Err(StoreError::Refused(Refusal::Invalid(_)))));
    let model = create(store, times).unwrap();
    assert_eq!((model.created_at, model.updated_at), (time(1), time(2)));
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
        at(store, 0, |store, context| {
            operations::create_model(
                store,
                name,
                &created,
                GivenTimes::default(),
                Numbering::Continued,
                context,
            )
        })
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
    let expected = Model { description: None, tags, updated_at: time(1), next_number: 2, ..model.clone() };
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
            operations::delete_model(store, "n/ew", Force::all_if(force), &Precondition::default(), context)
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

pub fn the_name_of_a_deleted_model_that_had_versions_is_given_to_no_other(store: &mut impl Fixture) {
    let rename = |store: &mut _, second, from: &str, to: &str| {
        let patch = ModelPatch { name: Some(to.to_owned()), ..ModelPatch::default() };
        at(store, second, |store, context| {
            operations::update_model(store, from, &patch, &Precondition::default(), context)
        })
    };
    let remove = |store: &mut _, second, name: &str| {
        at(store, second, |store, context| {
            operations::delete_model(store, name, Force::All, &Precondition::default(), context)
        })
        .unwrap();
    };
    for name in ["m", "other"] {
        register(store, name, "1");
    }
    rename(store, 1, "m", "n").unwrap();
    rename(store, 2, "n", "m").unwrap();
    remove(store, 3, "m");
    conflict(rename(store, 4, "other", "m"), "a deleted model was named \"m\"");
    assert_eq!(register(store, "m", "1").number, 2);
    conflict(rename(store, 5, "other", "m"), "there is a model \"m\" already");
    // The second model of the name leaves it, and the first one is still in the trash.
    rename(store, 6, "m", "n").unwrap();
    conflict(rename(store, 7, "n", "m"), "its labels and numbers stay spent; choose another name");
    // A name that a rename gave up, and the name of a deleted model that never had a version.
    at(store, 8, |store, context| {
        operations::create_model(
            store,
            "empty",
            &ModelPatch::default(),
            GivenTimes::default(),
            Numbering::Continued,
            context,
        )
    })
    .unwrap();
    remove(store, 9, "empty");
    rename(store, 10, "other", "empty").unwrap();
    rename(store, 11, "n", "other").unwrap();
    assert_eq!(register(store, "n", "1").number, 1);
    assert_eq!(register(store, "empty", "2").number, 2);
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
        operations::delete_model(store, "c/1", Force::All, &Precondition::default(), context)
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
