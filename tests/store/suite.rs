//! The properties of every store that the registry's operations rely on.

use std::ops::ControlFlow;

use model_registry::{
    domain::{
        Draft, Event, EventDraft, EventQuery, ListQuery, Order, Page, Refusal, Sort, Status, Version,
        VersionRef, VersionRow, json::read_object,
    },
    store::{ReadStore, StoreError, WriteStore},
};

use crate::{add, aliases, following, keys, manifests, models, policies, search, tags, trash, webhooks};

/// An empty store for one test.
pub trait Fixture {
    /// Random searches that are compared with their evaluation; over a network each takes longer.
    const RANDOM_SEARCHES: u32;

    /// Runs `write` in a transaction: kept if it succeeds, undone if it fails.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut dyn WriteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;
    fn reader(&mut self) -> &mut dyn ReadStore;
}

/// Every test of the suite, for a store that `fixture` makes.
pub fn run<F: Fixture>(fixture: impl Fn() -> F) {
    for test in [
        an_inserted_version_is_found_by_id_and_by_name,
        name_and_version_are_unique_and_ids_are_never_reused,
        an_undone_transaction_leaves_nothing,
        each_field_is_written_and_read_back,
        the_store_itself_guards_one_production_version_per_name,
        events_stay_and_come_newest_first_in_pages,
        lists_are_sorted_filtered_and_counted,
        pages_by_cursor_show_each_version_once,
        a_visitor_that_stops_changes_nothing_but_what_is_visited,
        a_visitor_of_events_that_stops_gets_the_same_page,
        search::ordered::pages_in_an_order_of_several_keys_join_to_the_whole_list,
        search::ordered::a_page_begins_after_the_last_row_of_the_one_before_while_rows_come_and_go,
        search::ordered::recorded_metrics_and_tags_leave_the_place_of_a_version,
        search::ordered::models_are_searched_by_name_and_tags_and_prompts_are_apart,
        search::ordered::the_newest_version_of_each_status_is_found_for_many_models,
        models::numbers_count_up_and_are_never_given_out_again,
        models::a_registration_may_skip_numbers_and_bring_its_times,
        models::a_version_is_named_by_number_label_and_alias,
        aliases::an_alias_moves_only_from_the_expected_holder,
        aliases::production_is_an_alias_and_the_history_has_no_overlap_and_no_gap,
        aliases::a_rollback_goes_only_to_a_version_that_was_in_production,
        trash::a_deleted_version_is_restored_with_its_values_and_without_its_aliases,
        trash::a_label_that_was_used_for_other_bytes_is_spent,
        models::a_model_is_created_changed_renamed_deleted_and_restored,
        models::the_name_of_a_deleted_model_that_had_versions_is_given_to_no_other,
        trash::a_version_that_was_deleted_before_its_model_is_not_restored_with_it,
        models::models_are_listed_by_name_in_pages,
        models::the_trail_is_read_by_model_version_type_and_actor,
        following::what_follows_an_event_comes_in_order_and_is_filtered,
        policies::each_save_of_a_policy_is_a_version_that_stays,
        policies::approvals_are_kept_and_withdrawn,
        policies::conditions_see_files_origin_aliases_and_the_holder_before,
        tags::a_tag_is_set_moved_and_deleted_on_any_version_with_an_event_for_each_change,
        tags::a_tag_change_that_is_refused_writes_nothing,
        tags::fields_and_tags_change_in_one_update_with_one_event,
        manifests::files_are_listed_by_path_with_and_without_folders_in_pages,
        manifests::a_version_without_a_manifest_lists_the_files_of_its_row,
        manifests::the_files_of_a_version_go_with_it_to_the_trash_and_come_back,
        manifests::a_version_is_found_by_its_revision_and_by_the_digest_of_any_file,
        manifests::the_files_of_a_registered_version_do_not_change,
        keys::a_key_is_stored_changed_and_revoked_and_its_id_is_never_used_again,
        keys::a_key_manages_no_key_with_more_rights_and_a_refusal_writes_nothing,
        keys::a_key_that_was_revoked_or_rotated_after_its_request_began_manages_no_key,
        webhooks::an_event_is_kept_for_each_webhook_that_subscribes_to_it,
        webhooks::a_filter_is_judged_on_the_version_as_of_its_event,
        webhooks::a_delivery_of_an_undone_write_is_undone_with_it,
        webhooks::deliveries_of_a_model_are_claimed_in_order_and_hold_back_no_other_model,
        webhooks::a_claim_ends_and_another_server_takes_it_over,
        webhooks::what_became_of_a_delivery_is_read_back_and_it_can_be_replayed,
        webhooks::a_receiver_that_is_gone_disables_its_webhook,
        webhooks::pending_deliveries_of_a_disabled_webhook_are_parked_until_a_replay,
        webhooks::pruning_finds_what_was_added_while_a_webhook_was_disabled_or_deleted,
        webhooks::a_webhook_is_changed_and_goes_with_its_deliveries,
        webhooks::a_key_of_some_models_changes_only_webhooks_about_them,
        webhooks::old_deliveries_are_pruned_unless_they_are_pending,
        webhooks::prompts_have_events_of_their_own_in_mlflow,
        search::searches_match_the_evaluation_of_their_filters,
        search::a_visitor_that_stops_a_search_gets_the_other_ids_of_the_page,
    ] {
        test(&mut fixture());
    }
}

fn draft(name: &str, version: &str) -> Draft {
    let mut draft = Draft::named(name, version).unwrap();
    draft.artifact_uri = Some(format!("s3://b/{name}/{version}"));
    draft
}

fn insert(store: &mut impl Fixture, draft: Draft) -> Version {
    store.write(|store| add(store, draft)).unwrap()
}

fn by_id(store: &mut impl Fixture, id: i64) -> Option<Version> {
    let mut found = None;
    let seen =
        store.reader().version(&VersionRef::Id(id), &mut |row| found = Some(row.into_owned())).unwrap();
    assert_eq!(seen, found.is_some());
    found
}

fn list(store: &mut impl Fixture, query: &ListQuery) -> (Page, Vec<Version>) {
    let mut models = Vec::new();
    let visit = &mut |row: VersionRow<'_>| {
        models.push(row.into_owned());
        ControlFlow::Continue(())
    };
    let (page, _) = store.reader().versions(query, visit).unwrap();
    (page, models)
}

fn an_inserted_version_is_found_by_id_and_by_name(store: &mut impl Fixture) {
    let model = insert(store, draft("na me/ü", "v 1"));
    assert_eq!(by_id(store, model.id).as_ref(), Some(&model));
    assert_eq!(by_id(store, model.id + 1), None);
    for (name, version, found) in [("na me/ü", "v 1", true), ("na me/ü", "v", false), ("", "", false)] {
        let version = VersionRef::Label(name.to_owned(), version.to_owned());
        let seen = store.reader().version(&version, &mut |row| assert_eq!(row.id, model.id));
        assert_eq!(seen.unwrap(), found, "{version:?}");
    }
    assert_eq!(store.write(|store| store.find(model.id)).unwrap(), Some(model));
}

fn name_and_version_are_unique_and_ids_are_never_reused(store: &mut impl Fixture) {
    let first = insert(store, draft("m", "1"));
    let again = store.write(|store| add(store, draft("m", "1")));
    assert!(matches!(again, Err(StoreError::Refused(Refusal::Conflict(_)))), "{again:?}");
    store.write(|store| store.delete(&first, false, "ann", "2026")).unwrap();
    assert!(insert(store, draft("m", "1")).id > first.id);
}

fn an_undone_transaction_leaves_nothing(store: &mut impl Fixture) {
    let undone = store.write(|store| {
        let model = add(store, draft("m", "1"))?;
        store.append_event(model.model, Some(model.id), &EventDraft::update(&["tags"]), "ann", "2026")?;
        Err::<(), _>(Refusal::Invalid("no".to_owned()).into())
    });
    assert!(undone.is_err());
    assert_eq!(store.reader().stats().unwrap().total_models, 0);
}

fn each_field_is_written_and_read_back(store: &mut impl Fixture) {
    let before = insert(store, draft("m", "1"));
    let text = |text: &str| Some(text.to_owned());
    let model = Version {
        status: Status::Staging,
        artifact_uri: text("s3://other"),
        checkpoint_sha256: text("aa"),
        checkpoint_size_bytes: Some(i64::MAX),
        config_sha256: text("bb"),
        config_size_bytes: Some(0),
        run_id: text("r"),
        git_commit: text("g"),
        created_by: text("c"),
        source_host: text("h"),
        frozen: true,
        checkpoint_path: text("/data/a\u{0}b"),
        config_path: text("/data/c"),
        d_model: Some(1),
        n_layers: Some(2),
        n_heads: Some(3),
        vocab_size: Some(4),
        params: Some(5_000_000_000),
        training_step: Some(-6),
        training_loss: Some(0.1),
        dataset: text("d"),
        description: text(""),
        tags: text(r#"["тег"]"#),
        metrics: text(r#"{"a":1.0,"b":1e+5}"#),
        properties: text(r#"{"team":"nlp"}"#),
        updated_at: "2026-01-31 13:05:09.251".to_owned(),
        changed_at: text("2026-01-31 13:05:09.250"),
        origin: text(r#"{"run_link":"http://r"}"#),
        ..before.clone()
    };
    store.write(|store| store.update(&before, &model)).unwrap();
    assert_eq!(by_id(store, model.id).as_ref(), Some(&model));
    store.write(|store| store.update(&model, &model)).unwrap();
    assert_eq!(by_id(store, model.id).as_ref(), Some(&model));

    store.write(|store| store.set_status(model.id, Status::Archived, "2027")).unwrap();
    store.write(|store| store.set_metrics(model.id, r#"{"x":[]}"#, &[], "2028")).unwrap();
    let changed = Version {
        status: Status::Archived,
        metrics: text(r#"{"x":[]}"#),
        updated_at: "2028".to_owned(),
        changed_at: text("2027"),
        ..model
    };
    assert_eq!(by_id(store, changed.id), Some(changed));
}

fn the_store_itself_guards_one_production_version_per_name(store: &mut impl Fixture) {
    let (one, two) = (insert(store, draft("m", "1")), insert(store, draft("m", "2")));
    let other = insert(store, draft("other", "1"));
    for model in [&one, &other] {
        store.write(|store| store.set_status(model.id, Status::Production, "2026")).unwrap();
    }
    let second = store.write(|store| store.set_status(two.id, Status::Production, "2026"));
    assert!(second.is_err(), "a second production version of a name");
    let standing = store.write(|store| store.find_production("m")).unwrap();
    assert_eq!(standing.map(|model| model.id), Some(one.id));
    assert!(
        store
            .reader()
            .version(&VersionRef::production("m".to_owned()), &mut |row| assert_eq!(row.id, one.id))
            .unwrap()
    );
    assert!(!store.reader().version(&VersionRef::production("none".to_owned()), &mut |_| ()).unwrap());
}

fn events_stay_and_come_newest_first_in_pages(store: &mut impl Fixture) {
    let model = insert(store, draft("m", "1"));
    for field in ["a", "b", "c", "d", "e"] {
        let event = EventDraft::update(&[field]);
        store.write(|store| store.append_event(model.model, Some(model.id), &event, "ann", "2026")).unwrap();
    }
    store.write(|store| store.delete(&model, false, "ann", "2026")).unwrap();
    let mut query = EventQuery { version_id: model.id, limit: 2, offset: 0, after: None };
    let mut payloads = Vec::new();
    loop {
        let mut seen = 0;
        let mut visit = |event: Event<'_>| {
            seen += 1;
            payloads.push(event.payload.into_owned());
            ControlFlow::Continue(())
        };
        let page = store.reader().events(&query, &mut visit).unwrap();
        assert_eq!(page.total, Some(5));
        assert!(seen <= 2);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let expected = ["e", "d", "c", "b", "a"].map(|field| format!(r#"{{"updated_fields":["{field}"]}}"#));
    assert_eq!(payloads, expected);
    let offset = EventQuery { version_id: model.id, limit: 10, offset: 4, after: None };
    let visit = &mut |event: Event<'_>| {
        assert!(event.payload.contains("\"a\""));
        ControlFlow::Continue(())
    };
    let page = store.reader().events(&offset, visit).unwrap();
    assert_eq!((page.total, page.next), (Some(5), None));
}

fn lists_are_sorted_filtered_and_counted(store: &mut impl Fixture) {
    for (name, version, step, tags, description) in [
        ("alpha", "v1", Some(3), &["team-a", "smoke"][..], "Hello world"),
        ("alpha", "v2", None, &["team-a"], "100%"),
        ("beta", "v1", Some(-7), &["ТЕГ \"x\""], "Größe"),
    ] {
        let mut draft = draft(name, version);
        draft.training_step = step;
        draft.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        draft.description = Some(description.to_owned());
        draft.metrics = read_object(r#"{"a":1}"#).unwrap();
        insert(store, draft);
    }
    let query = ListQuery::default;
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (query(), vec![3, 2, 1]),
        (ListQuery { order: Order::Ascending, ..query() }, vec![1, 2, 3]),
        (ListQuery { sort: Sort::TrainingStep, ..query() }, vec![1, 3, 2]),
        (ListQuery { sort: Sort::TrainingStep, order: Order::Ascending, ..query() }, vec![2, 3, 1]),
        (ListQuery { name: text("alpha"), ..query() }, vec![2, 1]),
        (ListQuery { name: text("alph"), ..query() }, vec![]),
        (ListQuery { status: Some(Status::Experimental), ..query() }, vec![3, 2, 1]),
        (ListQuery { status: Some(Status::Archived), ..query() }, vec![]),
        (ListQuery { tag: text("team-a"), ..query() }, vec![2, 1]),
        (ListQuery { tag: text("team"), ..query() }, vec![]),
        (ListQuery { tag: text("ТЕГ \"x\""), ..query() }, vec![3]),
        (ListQuery { q: text("HELLO"), ..query() }, vec![1]),
        (ListQuery { q: text("V1"), ..query() }, vec![3, 1]),
        (ListQuery { q: text("%"), ..query() }, vec![2]),
        (ListQuery { q: text("_"), ..query() }, vec![]),
        (ListQuery { q: text("GRÖSSE"), ..query() }, vec![]),
        (ListQuery { q: text("GRÖ"), ..query() }, vec![3]),
        (ListQuery { q: text("alpha"), tag: text("smoke"), name: text("alpha"), ..query() }, vec![1]),
    ] {
        let (page, models) = list(store, &query);
        assert_eq!(models.iter().map(|model| model.id).collect::<Vec<_>>(), expected, "{query:?}");
        assert_eq!((page.total, page.next), (Some(expected.len() as u64), None), "{query:?}");
    }
    let offset = ListQuery { limit: Some(1), offset: 1, ..query() };
    let (page, models) = list(store, &offset);
    assert_eq!((page.total, models[0].id), (Some(3), 2));
    let stats = store.reader().stats().unwrap();
    assert_eq!(stats.by_name, [("alpha".to_owned(), 2), ("beta".to_owned(), 1)]);
    assert_eq!(stats.by_status, [("experimental".to_owned(), 3)]);
    let compared_versions = store.reader().compared_versions(&[3, 99, 1, 3]).unwrap();
    assert_eq!(compared_versions.iter().map(|model| model.id).collect::<Vec<_>>(), [1, 3]);
    for (most, expected) in [(9, &[3, 1, 3][..]), (2, &[3, 1])] {
        let mut seen = Vec::new();
        let visit = &mut |row: VersionRow<'_>| {
            seen.push(row.id);
            if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        store.reader().versions_with_ids(&[3, 99, 1, 3], visit).unwrap();
        assert_eq!(seen, expected);
    }
}

fn a_visitor_that_stops_changes_nothing_but_what_is_visited(store: &mut impl Fixture) {
    for version in 0..7 {
        let mut draft = draft(["a", "b"][version % 2], &version.to_string());
        draft.tags = vec!["t".to_owned()];
        draft.training_step = Some(version as i64 % 3);
        insert(store, draft);
    }
    let every = ListQuery::default();
    let name = Some("a".to_owned());
    for query in [
        ListQuery { limit: Some(4), ..every.clone() },
        ListQuery { limit: Some(4), offset: 2, ..every.clone() },
        ListQuery { limit: Some(4), name: name.clone(), ..every.clone() },
        ListQuery { limit: Some(3), tag: Some("t".to_owned()), ..every.clone() },
        ListQuery { limit: Some(3), sort: Sort::TrainingStep, ..every.clone() },
        ListQuery {
            limit: Some(3),
            sort: Sort::UpdatedAt,
            status: Some(Status::Experimental),
            ..every.clone()
        },
        ListQuery { limit: Some(7), ..every.clone() },
        ListQuery { limit: Some(2), name, sort: Sort::TrainingStep, order: Order::Ascending, ..every },
    ] {
        let mut next = Some(query);
        while let Some(query) = next {
            let (page, all) = list(store, &query);
            let all: Vec<_> = all.into_iter().map(|model| model.id).collect();
            for most in 1..=all.len() {
                let mut seen = Vec::new();
                let visit = &mut |row: VersionRow<'_>| {
                    seen.push(row.id);
                    if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                };
                let (same, rest) = store.reader().versions(&query, visit).unwrap();
                assert_eq!((&same, seen.len()), (&page, most), "{query:?}");
                assert_eq!([seen, rest].concat(), all, "{query:?}, stopped after {most}");
            }
            next = page.next.map(|after| ListQuery { after: Some(after), offset: 0, ..query });
        }
    }
}

fn a_visitor_of_events_that_stops_gets_the_same_page(store: &mut impl Fixture) {
    let id = insert(store, draft("m", "1")).id;
    for number in 0..6 {
        let event = EventDraft::update(&["tags"]);
        store.write(|store| store.append_event(1, Some(id), &event, "ann", &number.to_string())).unwrap();
    }
    for query in [(6, 0), (4, 0), (3, 2), (2, 5), (9, 0)] {
        let query = EventQuery { version_id: id, limit: query.0, offset: query.1, after: None };
        let mut all = Vec::new();
        let visit = &mut |event: Event<'_>| {
            all.push(event.id);
            ControlFlow::Continue(())
        };
        let page = store.reader().events(&query, visit).unwrap();
        for most in 1..=all.len() {
            let mut seen = Vec::new();
            let visit = &mut |event: Event<'_>| {
                seen.push(event.id);
                if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            assert_eq!(store.reader().events(&query, visit).unwrap(), page, "{query:?}");
            assert_eq!(seen, all[..most]);
        }
    }
}

fn pages_by_cursor_show_each_version_once(store: &mut impl Fixture) {
    // All made in the same millisecond, with steps that tie and are absent.
    let steps = [None, Some(5), Some(5), None, Some(i64::MIN), Some(9), None];
    for (version, step) in steps.into_iter().enumerate() {
        let mut draft = draft("m", &version.to_string());
        draft.training_step = step;
        insert(store, draft);
    }
    for sort in Sort::ALL {
        for order in [Order::Descending, Order::Ascending] {
            let whole = ListQuery { sort, order, limit: None, ..ListQuery::default() };
            let (_, expected) = list(store, &whole);
            assert_eq!(expected.len(), steps.len());
            let mut query = ListQuery { limit: Some(2), ..whole };
            let mut paged = Vec::new();
            loop {
                let (page, models) = list(store, &query);
                assert_eq!(page.total, Some(steps.len() as u64));
                paged.extend(models);
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, expected, "{sort:?} {order:?}");
        }
    }
}
