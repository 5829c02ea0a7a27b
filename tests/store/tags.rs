//! Tags with values: a part of the suite that every store passes.

use std::ops::ControlFlow;

use model_registry::{
    domain::{
        Draft, EventQuery, Gate, LabelReuse, ListQuery, Patch, Precondition, Principal, Refusal, Status,
        Tags, Timestamp, Version, VersionRef, query::TrailQuery,
    },
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use crate::suite::Fixture;

fn run<T>(
    store: &mut impl Fixture,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: Timestamp::from_unix_millis(1_769_817_600_000),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    store.write(|store| operation(store, &context))
}

fn events(store: &mut impl Fixture, id: i64) -> Vec<(String, String)> {
    let query = EventQuery { version_id: id, limit: 100, offset: 0, after: None };
    let mut events = Vec::new();
    let visit = &mut |event: model_registry::domain::Event<'_>| {
        events.push((event.event_type.into_owned(), event.payload.into_owned()));
        ControlFlow::Continue(())
    };
    store.reader().events(&query, visit).unwrap();
    events
}

fn stored(store: &mut impl Fixture, id: i64) -> Version {
    let mut found = None;
    store.reader().version(&VersionRef::Id(id), &mut |row| found = Some(row.into_owned())).unwrap();
    found.unwrap()
}

pub fn a_tag_is_set_moved_and_deleted_on_any_version_with_an_event_for_each_change(store: &mut impl Fixture) {
    let none = Precondition::default();
    let mut draft = Draft::named("m", "1").unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft.frozen = true;
    draft.status = Status::Production;
    draft.tags = vec!["a".to_owned(), "b".to_owned()];
    draft.properties = [("team".to_owned(), "nlp".to_owned())].into();
    let draft = draft.check().unwrap();
    let id = run(store, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
        .unwrap()
        .id;

    let set = |store: &mut _, key: &str, value: &str| {
        run(store, |store, context| operations::set_tag(store, id, key, value, &none, context)).unwrap()
    };
    let mut last = stored(store, id).updated_at;
    for (key, value, tags, properties) in [
        ("a", "x", r#"["b"]"#, Some(r#"{"a":"x","team":"nlp"}"#)),
        ("team", "", r#"["b","team"]"#, Some(r#"{"a":"x"}"#)),
        ("a", "y", r#"["b","team"]"#, Some(r#"{"a":"y"}"#)),
    ] {
        let version = set(store, key, value);
        assert_eq!(version, stored(store, id));
        assert_eq!(
            (version.tags.as_deref(), version.properties.as_deref()),
            (Some(tags), properties),
            "{key}"
        );
        assert!(version.updated_at > last, "{key}");
        last = version.updated_at;
    }
    let count = events(store, id).len();
    assert_eq!((set(store, "a", "y").updated_at, events(store, id).len()), (last, count), "the value it has");
    let version =
        run(store, |store, context| operations::delete_tag(store, id, "a", &none, context)).unwrap();
    assert_eq!(version.properties, None);
    let newest: Vec<_> = events(store, id).into_iter().take(2).collect();
    let event = |kind: &str, payload: &str| (kind.to_owned(), payload.to_owned());
    assert_eq!(
        newest,
        [event("delete_tag", r#"{"key":"a","value":null}"#), event("set_tag", r#"{"key":"a","value":"y"}"#)]
    );

    // The frozen API's list of tags replaces those without a value, and takes the value of one that it lists.
    set(store, "c", "1");
    set(store, "d", "2");
    let patch = Patch { tags: Some(vec!["c".to_owned()]), ..Patch::default() };
    let version = run(store, |store, context| operations::update(store, id, &patch, &none, context)).unwrap();
    assert_eq!(Tags::of(&version).by_key(), [("c", ""), ("d", "2")].into());
    let mut details = None;
    let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
        details = event.details.map(|text| text.into_owned());
        ControlFlow::Break(())
    };
    store.reader().trail(&TrailQuery { limit: 1, ..TrailQuery::default() }, &mut visit).unwrap();
    let expected =
        r#"{"before":{"tags":{"b":"","c":"1","d":"2","team":""}},"after":{"tags":{"c":"","d":"2"}}}"#;
    assert_eq!(details.as_deref(), Some(expected), "the value that is lost stays in the trail");
    for (tag, found) in [("c", 1), ("d", 0), ("2", 0)] {
        let query = ListQuery { tag: Some(tag.to_owned()), ..ListQuery::default() };
        let (page, _) = store.reader().versions(&query, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(page.total, Some(found), "the frozen API lists by tags without a value: {tag}");
    }
}

pub fn a_tag_change_that_is_refused_writes_nothing(store: &mut impl Fixture) {
    let mut draft = Draft::named("m", "1").unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft.tags = vec!["a".to_owned()];
    let before =
        run(store, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
            .unwrap();
    let none = Precondition::default();
    let stale = Precondition { if_updated_at: Some("2001-01-01 00:00:00".to_owned()), ..none.clone() };
    let id = before.id;
    for (refused, expected) in [
        (run(store, |store, context| operations::set_tag(store, id, "a", "x", &stale, context)), "conflict"),
        (run(store, |store, context| operations::delete_tag(store, id, "a", &stale, context)), "conflict"),
        (run(store, |store, context| operations::set_tag(store, id, " ", "x", &none, context)), "invalid"),
        (run(store, |store, context| operations::delete_tag(store, id, "b", &none, context)), "not found"),
        (
            run(store, |store, context| operations::set_tag(store, id + 1, "a", "x", &none, context)),
            "not found",
        ),
    ] {
        let found = match refused {
            Err(StoreError::Refused(Refusal::Conflict(_))) => "conflict",
            Err(StoreError::Refused(Refusal::Invalid(_))) => "invalid",
            Err(StoreError::Refused(Refusal::NotFound(_))) => "not found",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
    assert_eq!((stored(store, id), events(store, id).len()), (before, 1));
}

pub fn fields_and_tags_change_in_one_update_with_one_event(store: &mut impl Fixture) {
    let mut draft = Draft::named("m", "1").unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft.tags = vec!["a".to_owned()];
    draft.properties = [("team".to_owned(), "nlp".to_owned())].into();
    let version =
        run(store, |store, context| operations::register(store, draft, LabelReuse::Allowed, context))
            .unwrap();
    let (id, none) = (version.id, Precondition::default());
    let change = |store: &mut _, patch: &Patch, changes: &[(&str, Option<&str>)]| {
        let change = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        let tags = changes.iter().map(change).collect();
        run(store, |store, context| operations::update_with_tags(store, id, patch, &tags, &none, context))
    };
    let patch = Patch { description: Some(Some("d".to_owned())), ..Patch::default() };
    let changed =
        change(store, &patch, &[("a", Some("1")), ("b", Some("")), ("team", None), ("none", None)]).unwrap();
    assert_eq!(changed, stored(store, id));
    assert_eq!(Tags::of(&changed).by_key(), [("a", "1"), ("b", "")].into());
    let moved = |milliseconds: i64| Timestamp::from_unix_millis(1_769_817_600_000 + milliseconds).to_string();
    assert_eq!((&version.updated_at, &changed.updated_at), (&moved(0), &moved(1)), "one step");
    let mut details = Vec::new();
    let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
        details.push((event.event.payload.into_owned(), event.details.map(|text| text.into_owned())));
        ControlFlow::Continue(())
    };
    let query = TrailQuery { model: Some("m".to_owned()), limit: 10, ..TrailQuery::default() };
    store.reader().trail(&query, &mut visit).unwrap();
    let expected = (
        r#"{"updated_fields":["description","tags"]}"#.to_owned(),
        Some(
            r#"{"before":{"description":null,"tags":{"a":"","team":"nlp"}},"after":{"description":"d","tags":{"a":"1","b":""}}}"#
                .to_owned(),
        ),
    );
    assert_eq!((details.len(), &details[0]), (2, &expected));

    // The change of one tag has an event of its own, and without a change there is none.
    for (changes, expected) in [
        (&[("a", Some("2"))][..], "set_tag"),
        (&[("a", None)], "delete_tag"),
        (&[("a", None), ("b", Some(""))], "delete_tag"),
        (&[("c", Some("")), ("d", Some(""))], "update"),
    ] {
        change(store, &Patch::default(), changes).unwrap();
        assert_eq!(events(store, id)[0].0, expected, "{changes:?}");
    }
    assert_eq!(events(store, id).len(), 5);
    let before = stored(store, id);
    let refused = change(store, &patch, &[("e", Some("1")), (" ", Some("2"))]);
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::Invalid(_)))), "{refused:?}");
    assert_eq!((stored(store, id), events(store, id).len()), (before, 5));
}
