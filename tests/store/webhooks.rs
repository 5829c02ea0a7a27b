//! Webhooks and their deliveries: a part of the suite that every store passes.

use std::collections::BTreeSet;

use model_registry::{
    domain::{
        Draft, Gate, GivenTimes, Grant, LabelReuse, Numbering, Precondition, Principal, Refusal, Status,
        Timestamp, VersionId,
        model::ModelPatch,
        webhook::{
            Form, Webhook, WebhookPatch,
            delivery::{
                Attempt, Claim, Delivery, DeliveryDraft, DeliveryState, KEEP_DELIVERED_MS, KEEP_PARKED_MS,
                Replay,
            },
            secret::Secret,
        },
    },
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use crate::suite::Fixture;

const NOW: i64 = 1_769_817_600_000;

fn run<T>(
    store: &mut impl Fixture,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: Timestamp::from_unix_millis(NOW),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    store.write(|store| operation(store, &context))
}

fn webhook(uid: &str) -> Webhook {
    Webhook {
        id: 0,
        uid: uid.to_owned(),
        name: uid.to_owned(),
        description: None,
        url: "https://ci.example.org/\u{1}".to_owned(),
        form: Form::V1,
        events: Vec::new(),
        model: None,
        filter: None,
        secret: Some(Secret::of_bytes(&[1; 32])),
        former_secret: None,
        is_active: true,
        disabled_because: None,
        created_by: "ann".to_owned(),
        created_at: "2026-01-31 00:00:00.000".to_owned(),
        updated_at: "2026-01-31 00:00:00.000".to_owned(),
    }
}

fn create(store: &mut impl Fixture, webhook: Webhook) -> i64 {
    let uid = webhook.uid.clone();
    run(store, |store, context| operations::create_webhook(store, &webhook, context)).unwrap();
    let all = store.reader().webhooks().unwrap();
    all.into_iter().find(|webhook| webhook.uid == uid).unwrap().id
}

fn register(store: &mut impl Fixture, model: &str, label: &str) -> VersionId {
    let mut draft = Draft::named(model, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    let added = run(store, |store, context| operations::register(store, draft, LabelReuse::Allowed, context));
    added.unwrap().id
}

fn promote(store: &mut impl Fixture, id: VersionId, to: Status) {
    let none = Precondition::default();
    run(store, |store, context| operations::promote(store, id, to, None, &none, context)).unwrap();
}

fn all(store: &mut impl Fixture, webhook: i64) -> Vec<Delivery> {
    let (mut all, page) = store.reader().deliveries(webhook, None, 100, None).unwrap();
    assert!(page.next.is_none());
    all.reverse();
    all
}

fn types(store: &mut impl Fixture, webhook: i64) -> Vec<String> {
    let shown = |delivery: Delivery| format!("{} {}", delivery.model_name, delivery.event_type);
    all(store, webhook).into_iter().map(shown).collect()
}

fn claim(store: &mut impl Fixture, webhook: i64, now_ms: i64) -> Option<Claim> {
    store.write(|store| store.claim_deliveries(webhook, now_ms, now_ms + 30_000)).unwrap()
}

fn answered(delivery: &Delivery, status: i64) -> Delivery {
    let attempt = Attempt { at_ms: NOW, status: Some(status), latency_ms: 7, error: None };
    delivery.clone().after(attempt, 5_000, 0.5)
}

fn finish(store: &mut impl Fixture, attempted: &[Delivery]) {
    store.write(|store| store.finish_deliveries(attempted)).unwrap();
}

pub fn an_event_is_kept_for_each_webhook_that_subscribes_to_it(store: &mut impl Fixture) {
    register(store, "before", "1");
    let every = create(store, webhook("every"));
    let some = create(
        store,
        Webhook { events: vec!["promote".to_owned()], model: Some("m*".to_owned()), ..webhook("some") },
    );
    let off = create(store, Webhook { is_active: false, ..webhook("off") });
    let (m, n) = (register(store, "m/ü", "1"), register(store, "n", "1"));
    promote(store, m, Status::Staging);
    promote(store, n, Status::Staging);
    run(store, |store, context| {
        let (times, numbering) = (GivenTimes::default(), Numbering::Continued);
        operations::create_model(store, "own", &ModelPatch::default(), times, numbering, context)
    })
    .unwrap();
    assert_eq!(
        types(store, every),
        ["m/ü create", "n create", "m/ü promote", "n promote", "own create_model"]
    );
    assert_eq!(types(store, some), ["m/ü promote"]);
    assert_eq!(types(store, off), [""; 0]);
    let promoted = all(store, some).remove(0);
    assert_eq!((promoted.state, promoted.due_ms, promoted.attempts), (DeliveryState::Pending, NOW, 0));
    assert_eq!(promoted.last, None);
    let mut trail = Vec::new();
    let query = model_registry::domain::query::TrailQuery { limit: 10, ..Default::default() };
    let visit = &mut |event: model_registry::domain::TrailEvent<'_>| {
        // Events of the registry itself are for no webhook.
        if let Some(model) = event.model_name {
            trail.push((event.event.id, event.event.event_type.into_owned(), model.into_owned()));
        }
        std::ops::ControlFlow::Continue(())
    };
    store.reader().trail(&query, visit).unwrap();
    trail.reverse();
    let kept = all(store, every).into_iter().map(|kept| (kept.event, kept.event_type, kept.model_name));
    assert_eq!(kept.collect::<Vec<_>>(), trail[1..], "each is of its own event");
    let body: serde_json::Value = serde_json::from_str(&promoted.message(Form::V1).body).unwrap();
    assert_eq!(body["type"], "promote");
    assert_eq!(body["data"]["id"], promoted.event);
    assert_eq!(body["data"]["payload"], serde_json::json!({"from": "experimental", "to": "staging"}));
}

pub fn a_filter_is_judged_on_the_version_as_of_its_event(store: &mut impl Fixture) {
    let filter = Some("status = 'production' AND name = 'm'".to_owned());
    let id = create(store, Webhook { filter, ..webhook("filtered") });
    let first = register(store, "m", "1");
    let second = register(store, "m", "2");
    promote(store, first, Status::Production);
    promote(store, second, Status::Production);
    promote(store, second, Status::Staging);
    let events = all(store, id).into_iter().map(|kept| kept.event_type).collect::<Vec<_>>();
    assert_eq!(events, ["promote", "promote"], "neither the creation nor what left production");
}

pub fn a_delivery_of_an_undone_write_is_undone_with_it(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    let version = register(store, "m", "1");
    let undone = run(store, |store, context| {
        operations::promote(store, version, Status::Staging, None, &Precondition::default(), context)?;
        Err::<(), _>(StoreError::Full)
    });
    assert!(undone.is_err());
    let undone = run(store, |store, context| {
        operations::create_webhook(store, &webhook("undone"), context)?;
        Err::<(), _>(StoreError::Full)
    });
    assert!(undone.is_err());
    promote(store, version, Status::Archived);
    assert_eq!(types(store, id), ["m create", "m promote"]);
    assert_eq!(store.reader().webhooks().unwrap().len(), 1);
    assert_eq!(store.reader().pending_deliveries().unwrap(), 2);
}

pub fn deliveries_of_a_model_are_claimed_in_order_and_hold_back_no_other_model(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    for (model, label) in [("m", "1"), ("n", "1"), ("m", "2"), ("m", "3")] {
        register(store, model, label);
    }
    assert_eq!(store.reader().due_webhooks(&|| NOW - 1, 9).unwrap(), [(id, 0)]);
    assert_eq!(store.reader().due_webhooks(&|| NOW, 9).unwrap(), [(id, 2)]);
    assert_eq!(store.reader().due_webhooks(&|| NOW, 1).unwrap(), [(id, 1)]);
    let first = claim(store, id, NOW).unwrap();
    assert_eq!(first.webhook.uid, "w");
    let events = |claim: &Claim| claim.deliveries.iter().map(|kept| kept.event).collect::<Vec<_>>();
    assert_eq!(first.deliveries.len(), 3);
    assert!(events(&first).is_sorted(), "{:?}", events(&first));
    let second = claim(store, id, NOW).unwrap();
    assert_eq!((second.deliveries.len(), second.deliveries[0].model_name.as_str()), (1, "n"));
    assert_eq!(claim(store, id, NOW), None);
    // The first is delivered, the second fails, the third waits behind it.
    let attempted = [answered(&first.deliveries[0], 204), answered(&first.deliveries[1], 503)];
    finish(store, &attempted);
    assert_eq!(claim(store, id, NOW), None);
    let due = attempted[1].due_ms;
    assert!((NOW + 4_000..NOW + 7_000).contains(&due), "{due}");
    let again = claim(store, id, due).unwrap();
    assert_eq!(events(&again), events(&first)[1..]);
    assert_eq!(again.deliveries[0].attempts, 1);
}

pub fn a_claim_ends_and_another_server_takes_it_over(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    register(store, "m", "1");
    let first = claim(store, id, NOW).unwrap();
    assert_eq!(claim(store, id, NOW + 29_999), None);
    let second = claim(store, id, NOW + 30_000).unwrap();
    assert_eq!(first.deliveries[0].event, second.deliveries[0].event);
    finish(store, &[answered(&second.deliveries[0], 200)]);
    // The first server comes back late and says that it failed.
    finish(store, &[answered(&first.deliveries[0], 500)]);
    assert_eq!(all(store, id)[0].state, DeliveryState::Delivered);
}

pub fn what_became_of_a_delivery_is_read_back_and_it_can_be_replayed(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    register(store, "m", "1");
    register(store, "n", "1");
    let claimed = claim(store, id, NOW).unwrap().deliveries.remove(0);
    let error = Some("connection refused".to_owned());
    let attempt = Attempt { at_ms: NOW + 86_400_000, status: None, latency_ms: 3, error };
    let parked = claimed.clone().after(attempt, 5_000, 0.5);
    assert_eq!(parked.state, DeliveryState::Parked);
    finish(store, std::slice::from_ref(&parked));
    assert_eq!(all(store, id)[0], parked);
    let delivered = answered(&claim(store, id, NOW).unwrap().deliveries[0], 200);
    finish(store, std::slice::from_ref(&delivered));
    let (page, rest) = store.reader().deliveries(id, None, 1, None).unwrap();
    assert_eq!((page.as_slice(), rest.next.is_some()), (std::slice::from_ref(&delivered), true));
    let (page, rest) = store.reader().deliveries(id, None, 1, Some(delivered.id)).unwrap();
    assert_eq!((page[0].id, rest.next.is_none()), (parked.id, true));
    let (page, _) = store.reader().deliveries(id, Some(DeliveryState::Parked), 9, None).unwrap();
    assert_eq!(page, std::slice::from_ref(&parked));

    let replay = |store: &mut _, replay: Replay| {
        run(store, |store, context| {
            let context = Context { now: Timestamp::from_unix_millis(NOW + 5), ..context.clone() };
            operations::replay_deliveries(store, "w", &replay, &context)
        })
    };
    let none = replay(store, Replay::Event(999));
    assert!(matches!(none, Err(StoreError::Refused(Refusal::NotFound(_)))), "{none:?}");
    assert_eq!(replay(store, Replay::Event(parked.event)).unwrap(), 1);
    let again = all(store, id).remove(0);
    assert_eq!((again.state, again.attempts, again.queued_ms), (DeliveryState::Pending, 0, NOW + 5));
    assert_eq!(again.message(Form::V1), claimed.message(Form::V1), "a receiver recognizes it");
    assert_eq!(replay(store, Replay::Since(NOW)).unwrap(), 2);
    assert_eq!(replay(store, Replay::Since(NOW + 1)).unwrap(), 0);
}

pub fn a_receiver_that_is_gone_disables_its_webhook(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    register(store, "m", "1");
    let claimed = claim(store, id, NOW).unwrap();
    let gone = answered(&claimed.deliveries[0], 410);
    let before = store.reader().last_registry_event().unwrap();
    let disable = |store: &mut dyn WriteStore, uid: &str| {
        operations::disable_webhook(store, uid, "it answered 410", Timestamp::from_unix_millis(NOW))
    };
    store
        .write(|store| {
            store.finish_deliveries(&[gone])?;
            disable(store, "w")
        })
        .unwrap();
    let event = store.reader().last_registry_event().unwrap();
    assert!(event > before);
    store.write(|store| disable(store, "w").and(disable(store, "unknown"))).unwrap();
    assert_eq!(store.reader().last_registry_event().unwrap(), event, "it is disabled once");
    let disabled = store.reader().webhooks().unwrap().remove(0);
    assert_eq!((disabled.is_active, disabled.disabled_because.as_deref()), (false, Some("it answered 410")));
    let parked = all(store, id).remove(0);
    assert_eq!((parked.state, parked.error()), (DeliveryState::Parked, Some("the webhook was disabled")));
    assert_eq!(parked.last.and_then(|last| last.status), Some(410));
    register(store, "m", "2");
    assert_eq!(types(store, id), ["m create"]);
    assert_eq!(store.reader().due_webhooks(&|| i64::MAX, 9).unwrap(), []);
    assert_eq!(claim(store, id, NOW + 3_600_000), None);
    let refused =
        run(store, |store, context| operations::replay_deliveries(store, "w", &Replay::Since(0), context));
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::Conflict(_)))), "{refused:?}");
}

pub fn pending_deliveries_of_a_disabled_webhook_are_parked_until_a_replay(store: &mut impl Fixture) {
    let (id, other) = (create(store, webhook("w")), create(store, webhook("x")));
    for label in ["1", "2", "3"] {
        register(store, "m", label);
    }
    let claimed = claim(store, id, NOW).unwrap();
    finish(store, &[answered(&claimed.deliveries[0], 200)]);
    let set = |store: &mut _, is_active: bool| {
        let patch = WebhookPatch { is_active: Some(is_active), ..WebhookPatch::default() };
        run(store, |store, context| operations::update_webhook(store, "w", patch, context)).unwrap();
    };
    let states = |store: &mut _, webhook: i64| {
        all(store, webhook).into_iter().map(|kept| kept.state.as_str()).collect::<Vec<_>>()
    };
    set(store, false);
    assert_eq!(states(store, id), ["delivered", "parked", "parked"]);
    assert_eq!(states(store, other), ["pending"; 3]);
    assert_eq!(all(store, id)[2].error(), Some("the webhook was disabled"));
    set(store, true);
    assert_eq!(claim(store, id, i64::MAX - 30_000), None, "nothing goes out by itself");
    let replay = |store: &mut dyn WriteStore, context: &Context<'_>| {
        operations::replay_deliveries(store, "w", &Replay::Event(claimed.deliveries[1].event), context)
    };
    assert_eq!(run(store, replay).unwrap(), 1);
    assert_eq!(states(store, id), ["delivered", "pending", "parked"]);
}

pub fn pruning_finds_what_was_added_while_a_webhook_was_disabled_or_deleted(store: &mut impl Fixture) {
    let (id, off) =
        (create(store, webhook("w")), create(store, Webhook { is_active: false, ..webhook("off") }));
    register(store, "m", "1");
    let kept = all(store, id).remove(0);
    let draft = |webhook: i64| DeliveryDraft {
        webhook,
        model_name: kept.model_name.clone(),
        event_type: kept.event_type.clone(),
        data: kept.data.clone(),
    };
    store.write(|store| store.add_deliveries(kept.model, &[draft(off), draft(999)], NOW)).unwrap();
    assert_eq!((all(store, off).len(), all(store, 999).len()), (1, 1));
    assert_eq!(store.write(|store| store.prune_deliveries(NOW, 0)).unwrap(), None);
    assert_eq!(all(store, off)[0].state, DeliveryState::Parked);
    assert_eq!((all(store, 999), all(store, id)), (Vec::new(), vec![kept]));
}

pub fn a_webhook_is_changed_and_goes_with_its_deliveries(store: &mut impl Fixture) {
    let (id, other) = (create(store, webhook("w")), create(store, webhook("x")));
    assert_eq!(store.reader().webhooks().unwrap()[1], Webhook { id, ..webhook("w") });
    register(store, "m", "1");
    let patch = WebhookPatch { events: Some(vec!["promote".to_owned()]), ..WebhookPatch::default() };
    let changed =
        run(store, |store, context| operations::update_webhook(store, "w", patch, context)).unwrap();
    assert_eq!(store.reader().webhooks().unwrap()[1], changed);
    register(store, "m", "2");
    assert_eq!(types(store, id), ["m create"]);
    run(store, |store, context| operations::delete_webhook(store, "w", context)).unwrap();
    assert_eq!((all(store, id), all(store, other).len()), (Vec::new(), 2));
    let mut reader = Principal::administrator("bob");
    reader.grant = Grant::parse(&["read".to_owned()], &[], None).unwrap();
    let forbidden = run(store, |store, context| {
        let context = Context { principal: &reader, ..context.clone() };
        operations::delete_webhook(store, "x", &context)
    });
    assert!(matches!(forbidden, Err(StoreError::Refused(Refusal::Forbidden(_)))), "{forbidden:?}");
    let missing = run(store, |store, context| operations::delete_webhook(store, "w", context));
    assert!(matches!(missing, Err(StoreError::Refused(Refusal::NotFound(_)))), "{missing:?}");
    for number in 1..100 {
        create(store, Webhook { is_active: false, ..webhook(&number.to_string()) });
    }
    let refused =
        run(store, |store, context| operations::create_webhook(store, &webhook("one more"), context));
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::Conflict(_)))), "{refused:?}");
}

pub fn a_key_of_some_models_changes_only_webhooks_about_them(store: &mut impl Fixture) {
    let about = |model: &str| Some(model.to_owned());
    create(store, webhook("all"));
    create(store, Webhook { model: about("team-b/*"), ..webhook("theirs") });
    create(store, Webhook { model: about("team-a/x*"), ..webhook("ours") });
    let mut limited = Principal::administrator("bob");
    limited.grant = Grant::parse(&["webhooks".to_owned()], &["team-a/*".to_owned()], None).unwrap();
    fn may<T>(result: Result<T, StoreError>) -> bool {
        match result {
            Ok(_) => true,
            Err(StoreError::Refused(Refusal::Forbidden(_))) => false,
            Err(error) => panic!("{error}"),
        }
    }
    let url = || WebhookPatch { url: Some("https://other.example.org/".to_owned()), ..Default::default() };
    let models = |model: Option<&str>| WebhookPatch {
        model: Some(model.map(str::to_owned)),
        ..WebhookPatch::default()
    };
    for (uid, patch, allowed) in [
        ("all", url(), false),
        ("theirs", url(), false),
        ("theirs", models(Some("team-a/*")), false),
        ("ours", models(None), false),
        ("ours", models(Some("*")), false),
        ("ours", models(Some("team-b/*")), false),
        ("ours", models(Some("team-a/*")), true),
        ("ours", url(), true),
    ] {
        let shown = format!("{uid} {patch:?}");
        let changed = run(store, |store, context| {
            let context = Context { principal: &limited, ..context.clone() };
            operations::update_webhook(store, uid, patch, &context)
        });
        assert_eq!(may(changed), allowed, "{shown}");
    }
    for (model, allowed) in [(None, false), (Some("*"), false), (Some("team-a/y"), true)] {
        let added = Webhook { model: model.map(str::to_owned), ..webhook("added") };
        let created = run(store, |store, context| {
            let context = Context { principal: &limited, ..context.clone() };
            operations::create_webhook(store, &added, &context)
        });
        assert_eq!(may(created), allowed, "{model:?}");
    }
    for (uid, allowed) in [("all", false), ("theirs", false), ("ours", true)] {
        let replayed = run(store, |store, context| {
            let context = Context { principal: &limited, ..context.clone() };
            operations::replay_deliveries(store, uid, &Replay::Since(0), &context)
        });
        assert_eq!(may(replayed), allowed, "{uid}");
        let deleted = run(store, |store, context| {
            let context = Context { principal: &limited, ..context.clone() };
            operations::delete_webhook(store, uid, &context)
        });
        assert_eq!(may(deleted), allowed, "{uid}");
    }
    let left: Vec<_> = store.reader().webhooks().unwrap().into_iter().map(|webhook| webhook.uid).collect();
    assert_eq!(left, ["added", "theirs", "all"]);
}

pub fn old_deliveries_are_pruned_unless_they_are_pending(store: &mut impl Fixture) {
    let id = create(store, webhook("w"));
    for model in ["delivered", "parked", "pending"] {
        register(store, model, "1");
    }
    for (status, at_ms) in [(200, NOW), (500, NOW + 86_400_000)] {
        let claimed = claim(store, id, NOW).unwrap().deliveries.remove(0);
        let attempt = Attempt { at_ms, status: Some(status), latency_ms: 1, error: None };
        finish(store, &[claimed.after(attempt, 5_000, 0.5)]);
    }
    for (age_ms, left) in [
        (KEEP_DELIVERED_MS, &["delivered", "parked", "pending"][..]),
        (KEEP_DELIVERED_MS + 1, &["parked", "pending"]),
        (KEEP_PARKED_MS, &["parked", "pending"]),
        (KEEP_PARKED_MS + 1, &["pending"]),
    ] {
        let next = store.write(|store| store.prune_deliveries(NOW + age_ms, 0)).unwrap();
        assert_eq!(next.is_some(), age_ms > KEEP_DELIVERED_MS);
        if let Some(next) = next {
            assert_eq!(store.write(|store| store.prune_deliveries(NOW + age_ms, next)).unwrap(), None);
        }
        let models: Vec<_> = all(store, id).into_iter().map(|kept| kept.model_name).collect();
        assert_eq!(models, left, "{age_ms}");
    }
}

pub fn prompts_have_events_of_their_own_in_mlflow(store: &mut impl Fixture) {
    let id = create(store, Webhook { form: Form::Mlflow, secret: None, ..webhook("w") });
    let model = |store: &mut _, name: &str, tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        let patch = ModelPatch { tags: tags.collect(), ..ModelPatch::default() };
        run(store, |store, context| {
            let (times, numbering) = (GivenTimes::default(), Numbering::Continued);
            operations::create_model(store, name, &patch, times, numbering, context)
        })
        .unwrap();
    };
    model(store, "m", &[("team", "nlp")]);
    model(store, "p", &[("mlflow.prompt.is_prompt", "true")]);
    for (name, label) in [("m", "1"), ("p", "1")] {
        let version = register(store, name, label);
        run(store, |store, context| {
            operations::set_alias(store, name, "a", 1, None, None, context)?;
            operations::set_tag(store, version, "k", "v", &Precondition::default(), context)
        })
        .unwrap();
        let patch =
            ModelPatch { tags: [("t".to_owned(), Some("v".to_owned()))].into(), ..ModelPatch::default() };
        run(store, |store, context| {
            operations::update_model(store, name, &patch, &Precondition::default(), context)
        })
        .unwrap();
    }
    assert_eq!(
        types(store, id),
        [
            "m registered_model.created",
            "p prompt.created",
            "m model_version.created",
            "m model_version_alias.created",
            "m model_version_tag.set",
            "p prompt_version.created",
            "p prompt_alias.created",
            "p prompt_version_tag.set",
            "p prompt_tag.set",
        ]
    );
    let tags = [("t", None), ("u", Some("x")), ("v", Some("y"))];
    let tags = tags.map(|(key, value): (_, Option<&str>)| (key.to_owned(), value.map(str::to_owned)));
    let patch = ModelPatch { tags: tags.into(), ..ModelPatch::default() };
    run(store, |store, context| {
        operations::update_model(store, "p", &patch, &Precondition::default(), context)
    })
    .unwrap();
    let of_one_event = all(store, id).split_off(9);
    assert!(of_one_event.iter().all(|kept| kept.event == of_one_event[0].event));
    let ids: BTreeSet<_> = of_one_event.iter().map(|kept| kept.message(Form::Mlflow).id).collect();
    assert_eq!((of_one_event.len(), ids.len()), (3, 3), "{ids:?}");
    let created = all(store, id).remove(2).message(Form::Mlflow);
    assert_eq!(
        created.body,
        r#"{"entity":"model_version","action":"created","timestamp":"2026-01-31T00:00:00.000Z","data":{"name":"m","version":"1","source":"s3://b","run_id":null,"tags":{},"description":null}}"#
    );
}
